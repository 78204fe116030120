"""Today's emissions over the day, stacked by source, as options of ECharts. Pure.

No name a person gave reaches HTML: tooltips are drawn, not marked up. Nothing known is an empty place, never a zero.
"""

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from ingester.live import Snapshot, SourceNow
from ingester.page.figures import COLOURS, DEDUCTED
from ingester.page.words import MINUTE_MS, moment
from ingester.store.contract import Result
from metering.text import Lang, Text

BUCKETS_MIN = (1, 2, 5, 10, 15, 30, 60)
MOST_BUCKETS = 72
GREY = "#8b97a2"
"""Of axes and words: readable on the light and the dark ground."""

EVERY = Text("每 {n} 分钟，kg CO₂", "kg CO₂ every {n} min")
PARTLY = Text("部分时间缺测", "some time missing")


def chart(snapshot: Snapshot, zone: ZoneInfo, lang: Lang) -> tuple[dict[str, Any], str]:
    """Return the options and a line that says what one bar is; nothing where nothing is known."""
    sources = {source.id: source for source in snapshot.sources if not source.part_of}
    results = [result for result in snapshot.today if result.account in sources]
    if all(result.activity is None for result in results):
        return {}, ""
    width = _width(results, snapshot.at_ms)
    starts = _starts(results, width)
    labels = [f"{moment(start, zone):%H:%M}" for start in starts]
    series = [
        _bars(source, COLOURS[place % len(COLOURS)], _sums(results, source, width), starts, lang)
        for place, source in enumerate(snapshot.sources)
        if source.id in sources
    ]
    series.append(_missing(results, width, starts, lang))
    return _options(labels, series), EVERY.say(lang, n=width // MINUTE_MS)


def _width(results: list[Result], now_ms: int) -> int:
    """Return the length of one bar: a multiple of the interval, so that the day so far has at most 72 of them."""
    interval = max(result.end_ms - result.start_ms for result in results)
    since = now_ms - min(result.start_ms for result in results)
    for minutes in BUCKETS_MIN:
        width = minutes * MINUTE_MS
        if width % interval == 0 and since <= width * MOST_BUCKETS:
            return width
    return max(interval, 60 * MINUTE_MS)


def _starts(results: list[Result], width: int) -> range:
    first = min(result.start_ms for result in results) // width * width
    return range(first, max(result.start_ms for result in results) + 1, width)


def _sums(results: Iterable[Result], source: SourceNow, width: int) -> dict[int, float]:
    """Return kg CO2 by bar; a float is enough to draw."""
    sign = -1000 if source.category in DEDUCTED else 1000
    sums: dict[int, float] = {}
    for result in results:
        if result.account == source.id and result.activity is not None and result.ratio is not None:
            bucket = result.start_ms // width * width
            sums[bucket] = sums.get(bucket, 0.0) + float(result.activity) * _ratio(result.ratio) * sign
    return sums


@lru_cache(maxsize=64)
def _ratio(fraction: str) -> float:
    return float(Fraction(fraction))


def _bars(source: SourceNow, colour: str, sums: dict[int, float], starts: range, lang: Lang) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": source.name.say(lang),
        "stack": "today",
        "itemStyle": {"color": colour},
        "barCategoryGap": "18%",
        "data": [round(sums[start], 3) if start in sums else None for start in starts],
    }


def _missing(results: Iterable[Result], width: int, starts: range, lang: Lang) -> dict[str, Any]:
    touched = {result.start_ms // width * width for result in results if result.missing_ms > 0 and result.revision > 0}
    return {
        "type": "scatter",
        "name": PARTLY.say(lang),
        "symbol": "triangle",
        "symbolSize": 7,
        "itemStyle": {"color": "#d64545"},
        "data": [0 if start in touched else None for start in starts],
    }


def _options(labels: list[str], series: list[dict[str, Any]]) -> dict[str, Any]:
    words = {"color": GREY, "fontSize": 12}
    return {
        "animation": False,
        "grid": {"left": 8, "right": 8, "top": 16, "bottom": 44, "containLabel": True},
        "legend": {
            "bottom": 0,
            "type": "scroll",
            "icon": "roundRect",
            "itemWidth": 10,
            "itemHeight": 10,
            "textStyle": words,
        },
        "tooltip": {"trigger": "axis", "renderMode": "richText", "axisPointer": {"type": "shadow"}, "confine": True},
        "xAxis": {
            "type": "category",
            "data": labels,
            "axisLabel": words,
            "axisTick": {"show": False},
            "axisLine": {"lineStyle": {"color": GREY, "opacity": 0.4}},
        },
        "yAxis": {
            "type": "value",
            "axisLabel": words,
            "splitLine": {"lineStyle": {"color": GREY, "opacity": 0.18}},
        },
        "series": series,
    }
