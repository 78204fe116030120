"""What needs somebody: alerts and instruments due. Pure."""

from zoneinfo import ZoneInfo

from calibration.due import DueState, State
from calibration.instrument import Instrument
from ingester.alerts import say
from ingester.live import Snapshot
from ingester.page.model import Alarm, Cell, Column, Row, Tone
from ingester.page.words import DASH, amount, clock, span
from ingester.store.contract import AlertRow
from metering.text import Lang, Text

DUE_COLUMNS = (
    Column(Text("计量器具", "Instrument")),
    Column(Text("状态", "State"), "pill"),
    Column(Text("有效期至", "Valid until"), "number"),
    Column(Text("剩余天数", "Days left"), "number"),
)
HISTORY_COLUMNS = (
    Column(Text("发生了什么", "What happened")),
    Column(Text("开始", "Since"), "number"),
    Column(Text("时长", "For"), "number"),
    Column(Text("状态", "State"), "pill"),
)

SINCE = Text("自 {time} 起，已 {span}", "since {time}, for {span}")
CARBON = Text("{kg} kg CO₂", "{kg} kg CO₂")
ACTIVE = Text("持续中", "active")
CLEARED = Text("已恢复", "cleared")
SERIAL = Text("出厂编号 {serial}", "serial number {serial}")
LATE = Text("已过 {n} 天", "{n} days over")

STATE_TONES: dict[State, Tone] = {
    State.VALID: "good",
    State.DUE_SOON: "warn",
    State.REPLACED: "muted",
    State.OUT_OF_SERVICE: "muted",
}
"""The rest is bad."""


def alarms(snapshot: Snapshot, zone: ZoneInfo, lang: Lang) -> tuple[Alarm, ...]:
    """Return the active alerts, the newest first."""
    return tuple(_alarm(alert, snapshot.at_ms, zone, lang) for alert in snapshot.alerts if alert.cleared_ms is None)


def _alarm(alert: AlertRow, now_ms: int, zone: ZoneInfo, lang: Lang) -> Alarm:
    since = SINCE.say(lang, time=clock(alert.since_ms, zone, now_ms), span=span(now_ms - alert.since_ms, lang))
    return Alarm(alert.id, say(alert, lang), since, _carbon(alert, lang))


def _carbon(alert: AlertRow, lang: Lang) -> str:
    kg = alert.values.get("kg_co2")
    return CARBON.say(lang, kg=amount(float(kg))) if kg is not None else ""


def history_rows(snapshot: Snapshot, zone: ZoneInfo, lang: Lang) -> tuple[Row, ...]:
    return tuple(_history(alert, snapshot.at_ms, zone, lang) for alert in snapshot.alerts)


def _history(alert: AlertRow, now_ms: int, zone: ZoneInfo, lang: Lang) -> Row:
    active = alert.cleared_ms is None
    end_ms = now_ms if alert.cleared_ms is None else alert.cleared_ms
    return Row(
        alert.id,
        (
            Cell(say(alert, lang), _carbon(alert, lang)),
            Cell(clock(alert.since_ms, zone, now_ms)),
            Cell(span(end_ms - alert.since_ms, lang)),
            Cell((ACTIVE if active else CLEARED).say(lang), tone="bad" if active else "muted"),
        ),
    )


def due_rows(snapshot: Snapshot, lang: Lang) -> tuple[Row, ...]:
    return tuple(_due(instrument, state, lang) for instrument, state in snapshot.due)


def _due(instrument: Instrument, state: DueState, lang: Lang) -> Row:
    left = state.days_left
    tone = STATE_TONES.get(state.state, "bad")
    days = DASH if left is None else LATE.say(lang, n=-left) if left < 0 else str(left)
    return Row(
        instrument.id,
        (
            Cell(_name(instrument, lang), SERIAL.say(lang, serial=instrument.serial_number)),
            Cell(state.state.text.say(lang), tone=tone),
            Cell(state.due.isoformat() if state.due else DASH),
            Cell(days, tone="" if left is None or tone == "good" else tone),
        ),
    )


def _name(instrument: Instrument, lang: Lang) -> str:
    return instrument.name.zh if lang == "zh" else instrument.name.en
