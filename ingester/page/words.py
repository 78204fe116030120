"""How the page writes numbers, times and the words that several panels share. Unknown is a dash, never a zero."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal

from metering.text import Lang, Text

DASH = "–"
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000

AGO = Text("{span}前", "{span} ago")
SPANS: tuple[tuple[int, int, Text], ...] = (
    (DAY_MS, 2 * DAY_MS, Text("{n} 天", "{n} d")),
    (HOUR_MS, 2 * HOUR_MS, Text("{n} 小时", "{n} h")),
    (MINUTE_MS, 2 * MINUTE_MS, Text("{n} 分钟", "{n} min")),
    (1000, 0, Text("{n} 秒", "{n} s")),
)
"""Length of one in milliseconds, the span from which it is used, the words."""

SIGNS = {"C": "°C", "1": "", "tCO2": "tCO₂", "kgCO2": "kg CO₂"}

CAUSES = {
    "timeout": Text("没有应答", "no reply"),
    "bad_frame": Text("报文错误", "bad frames"),
    "exception": Text("仪表拒绝", "refused by the meter"),
    "unreachable": Text("无法连接", "cannot be reached"),
    "breaker": Text("暂停探询，等待恢复", "paused after failures, probing"),
    "line_busy": Text("总线被占用", "line in use"),
    "overrun": Text("来不及轮询", "the line is too slow for its period"),
    "starting": Text("线路启动", "the line was starting"),
    "stopped": Text("采集端停止", "the agent was stopped"),
    "power_loss": Text("采集端断电", "the agent lost power"),
    "crashed": Text("采集端崩溃", "the agent crashed"),
    "clock": Text("时钟被调整", "the clock was set"),
    "error": Text("读取错误", "read error"),
    "variant": Text("型式不明", "its edition is unknown"),
    "no_room": Text("采集端无处存放", "the agent had no room"),
    "agent_down": Text("采集端未运行", "the agent was down"),
    "dropped": Text("采集端存满而舍弃", "given up by a full agent"),
    "unknown": Text("尚无说明", "not accounted for"),
}


def number(value: Decimal | float | None, digits: int) -> str:
    """Return `value` with that many decimals and thousands apart; a dash where it is unknown."""
    if value is None:
        return DASH
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    return f"{exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN):,f}"


def amount(value: Decimal | float | None) -> str:
    """Return `value` with the decimals its size deserves: 0.0123, 12.35, 1,235."""
    if value is None:
        return DASH
    size = abs(float(value))
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 or not size else 4
    return number(value, digits)


def register(value: float | None) -> str:
    """Return a meter's value as it is, with at most four decimals."""
    if value is None:
        return DASH
    text = number(value, 4)
    return text.rstrip("0").rstrip(".")


def unit_sign(symbol: str) -> str:
    """Return a unit of our table as people write it: `m3@20C` as m³ (20 °C)."""
    bare, at, reference = symbol.partition("@")
    sign = SIGNS.get(bare, bare.replace("m3", "m³").replace("m2", "m²"))
    return f"{sign} ({reference.removesuffix('C')} °C)" if at else sign


def percent(share: float) -> str:
    """Return a share from 0 to 1 in percent; a share that is not quite nothing, or not quite all, never looks so."""
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{share * 100:.1f} %"


def span(milliseconds: int, lang: Lang) -> str:
    """Return a length of time in its largest fitting unit."""
    milliseconds = max(milliseconds, 0)
    one, _, words = next(fitting for fitting in SPANS if milliseconds >= fitting[1])
    return words.say(lang, n=milliseconds // one)


def ago(then_ms: int | None, now_ms: int, lang: Lang) -> str:
    return DASH if then_ms is None else AGO.say(lang, span=span(now_ms - then_ms, lang))


def moment(ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)


def midnight_ms(ms: int, zone: tzinfo) -> int:
    """Return the last midnight of that zone."""
    return round(moment(ms, zone).replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)


def clock(ms: int, zone: tzinfo, now_ms: int) -> str:
    """Return the time of day; with the date before it where that is not today."""
    then = moment(ms, zone)
    return f"{then:%H:%M:%S}" if then.date() == moment(now_ms, zone).date() else f"{then:%m-%d %H:%M:%S}"


def offset(ms: int, zone: tzinfo) -> str:
    """Return the zone's distance from UTC at that time, such as UTC+08:00."""
    digits = f"{moment(ms, zone):%z}"
    return f"UTC{digits[:3]}:{digits[3:5]}"


def named(texts: Mapping[str, Text], word: str, lang: Lang) -> str:
    """Return the words for a code; a code nobody has worded yet is shown itself."""
    text = texts.get(word)
    return text.say(lang) if text else word.replace("_", " ")
