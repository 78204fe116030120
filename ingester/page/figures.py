"""Tonnes: the day's total, each source, each product. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

from ingester.flags import flag_text
from ingester.live import ProductNow, Snapshot, SourceNow
from ingester.page.model import Cell, Column, Figure, Row
from ingester.page.words import DASH, MINUTE_MS, amount, midnight_ms, named, number, percent, unit_sign
from metering.text import Lang, Text

COLOURS = ("#2f8f6b", "#d9822b", "#3f7fbf", "#a05bb5", "#c2a12b", "#3aa0a8", "#c25b6a", "#7a8793")
"""Of the sources, in their order, in the table and the chart."""

DEDUCTED = frozenset({"exported_electricity", "exported_heat", "recovered_co2"})

CATEGORIES = {
    "fuel_combustion": Text("燃料燃烧", "fuel combustion"),
    "process": Text("生产过程", "process"),
    "purchased_electricity": Text("购入电力", "purchased electricity"),
    "exported_electricity": Text("输出电力", "exported electricity"),
    "purchased_heat": Text("购入热力", "purchased heat"),
    "exported_heat": Text("输出热力", "exported heat"),
    "recovered_co2": Text("回收二氧化碳", "recovered CO2"),
}

SOURCE_COLUMNS = (
    Column(Text("排放源", "Source")),
    Column(Text("今日 tCO₂", "Today, tCO₂"), "number"),
    Column(Text("占比", "Share"), "bar"),
    Column(Text("当前 kg CO₂/h", "Now, kg CO₂/h"), "number"),
    Column(Text("今日活动数据", "Activity today"), "number"),
    Column(Text("缺测时间", "Time missing"), "number"),
    Column(Text("说明", "Remarks")),
)

ON_ITS_WAY_MS = 2 * MINUTE_MS
"""The newest readings of a live plant are not missing, only not here yet."""

TODAY = Text("今日排放", "Emitted today")
RATE = Text("当前排放速率", "Emission rate now")
INTENSITY = Text("排放强度：{name}", "Intensity: {name}")
NO_TOTAL = Text("今天还没有任何排放源的计量数据", "no source has a measured activity today yet")
NO_RATE = Text("最近几分钟没有读数", "no readings in the last minutes")
NO_ACTIVITY = Text("今天还没有计量数据", "nothing measured today yet")
SOME_RATES = Text("{known}/{all} 个排放源有读数", "{known} of {all} sources have readings")
INCOMPLETE = Text(
    "不完整：{sources} 有缺测，缺测不按零计", "incomplete: {sources} has time missing, which is not counted as zero"
)
COMPLETE = Text("所有排放源数据完整", "complete for all sources")
GAPS = Text("各排放源无缺测；今日读数缺口：{n}", "no source has time missing; gaps in today's readings: {n}")
PART_OF = Text("{name} 的一部分，不重复计入", "part of {name}, not counted twice")
IS_DEDUCTED = Text("从总量中扣除", "deducted from the total")
MADE_TODAY = Text("今日产量 {amount} {unit}", "{amount} {unit} made today")
NOTHING_MADE = Text("今天还没有产量", "nothing produced today yet")
NO_EMISSION = Text("今日产量 {amount} {unit}，排放尚未知", "{amount} {unit} made today, emissions not known yet")
COMMA = Text("、", ", ")
STOP = Text("；", "; ")


def lacks(source: SourceNow, snapshot: Snapshot, zone: ZoneInfo) -> bool:
    """Whether more of today is missing than what is still on its way."""
    return source.missing_share * (snapshot.at_ms - midnight_ms(snapshot.at_ms, zone)) > ON_ITS_WAY_MS


def total(snapshot: Snapshot, zone: ZoneInfo, lang: Lang) -> Figure:
    value = snapshot.total_tonnes_today
    whole = [source for source in snapshot.sources if not source.part_of]
    gaps = [source.name.say(lang) for source in whole if lacks(source, snapshot, zone)]
    if value is None:
        return Figure("total", TODAY.say(lang), DASH, "tCO₂", NO_TOTAL.say(lang), "muted")
    holes = _gaps_today(snapshot, zone)
    if gaps:
        note = INCOMPLETE.say(lang, sources=COMMA.say(lang).join(gaps))
    elif holes:
        note = GAPS.say(lang, n=holes)
    else:
        note = COMPLETE.say(lang)
    return Figure("total", TODAY.say(lang), number(value, 3), "tCO₂", note, "warn" if gaps or holes else "")


def _gaps_today(snapshot: Snapshot, zone: ZoneInfo) -> int:
    """Return how many gaps of the day's readings there are."""
    midnight = midnight_ms(snapshot.at_ms, zone)
    return sum(gap.end_ms is None or gap.end_ms > midnight for gap in snapshot.gaps)


def figures(snapshot: Snapshot, lang: Lang) -> tuple[Figure, ...]:
    return (_rate(snapshot.sources, lang), *(_intensity(product, lang) for product in snapshot.products))


def _rate(sources: Sequence[SourceNow], lang: Lang) -> Figure:
    whole = [source for source in sources if not source.part_of]
    known = [_signed(source, source.kg_per_hour) for source in whole if source.kg_per_hour is not None]
    if not known:
        return Figure("rate", RATE.say(lang), DASH, "kg CO₂/h", NO_RATE.say(lang), "muted")
    note = "" if len(known) == len(whole) else SOME_RATES.say(lang, known=len(known), all=len(whole))
    return Figure("rate", RATE.say(lang), number(sum(known, Decimal(0)), 1), "kg CO₂/h", note, "warn" if note else "")


def _intensity(product: ProductNow, lang: Lang) -> Figure:
    label = INTENSITY.say(lang, name=product.name.say(lang))
    made_in = unit_sign(product.unit)
    unit = f"tCO₂/{made_in}"
    if not product.activity_today:
        return Figure(f"product:{product.id}", label, DASH, unit, NOTHING_MADE.say(lang), "muted")
    words = NO_EMISSION if product.intensity is None else MADE_TODAY
    note = words.say(lang, amount=amount(product.activity_today), unit=made_in)
    return Figure(f"product:{product.id}", label, amount(product.intensity), unit, note)


def source_rows(snapshot: Snapshot, zone: ZoneInfo, lang: Lang) -> tuple[Row, ...]:
    names = {source.id: source.name.say(lang) for source in snapshot.sources}
    whole = sum((_positive(source) for source in snapshot.sources), Decimal(0))
    return tuple(
        Row(
            source.id,
            (
                Cell(names[source.id], named(CATEGORIES, source.category, lang), colour=_colour(place)),
                Cell(number(source.tonnes_today, 3), "" if source.tonnes_today is not None else NO_ACTIVITY.say(lang)),
                _share(source, whole, _colour(place), lang),
                Cell(number(source.kg_per_hour, 1), "" if source.kg_per_hour is not None else NO_RATE.say(lang)),
                _activity(source),
                Cell(percent(source.missing_share), tone="warn" if lacks(source, snapshot, zone) else "muted"),
                _remarks(source, names, lang),
            ),
        )
        for place, source in enumerate(snapshot.sources)
    )


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _activity(source: SourceNow) -> Cell:
    if source.activity_today is None:
        return Cell(DASH)
    return Cell(f"{amount(source.activity_today)} {unit_sign(source.unit)}")


def _share(source: SourceNow, whole: Decimal, colour: str, lang: Lang) -> Cell:
    if source.category in DEDUCTED or source.tonnes_today is None or whole <= 0:
        return Cell(DASH, tone="muted")
    share = float(source.tonnes_today / whole)
    return Cell(percent(share), share=share, colour=colour)


def _remarks(source: SourceNow, names: dict[str, str], lang: Lang) -> Cell:
    remarks = [flag_text(flag).say(lang) for flag in source.flags]
    place = []
    if source.part_of:
        place.append(PART_OF.say(lang, name=names.get(source.part_of, source.part_of)))
    if source.category in DEDUCTED:
        place.append(IS_DEDUCTED.say(lang))
    return Cell(STOP.say(lang).join(remarks), STOP.say(lang).join(place), tone="warn" if remarks else "")


def _signed(source: SourceNow, value: Decimal) -> Decimal:
    return -value if source.category in DEDUCTED else value


def _positive(source: SourceNow) -> Decimal:
    counted = source.tonnes_today is not None and not source.part_of and source.category not in DEDUCTED
    return source.tonnes_today or Decimal(0) if counted else Decimal(0)
