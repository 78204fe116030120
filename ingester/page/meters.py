"""What the plant says: last readings, agents and their meters, gaps. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from ingester.completeness import SlotsNow
from ingester.live import Snapshot
from ingester.page.model import Cell, Column, Row, Tone
from ingester.page.words import CAUSES, DASH, ago, clock, named, register, span, unit_sign
from ingester.store.contract import GapRow, Latest
from metering.reading import Quality
from metering.slots import Account
from metering.text import Lang, Text
from metering.wire import AgentStatus

READING_COLUMNS = (
    Column(Text("测点", "Point")),
    Column(Text("读数", "Reading"), "number"),
    Column(Text("质量", "Quality"), "pill"),
    Column(Text("读取时间", "Read"), "number"),
)
AGENT_COLUMNS = (
    Column(Text("采集端", "Agent")),
    Column(Text("状态", "State"), "pill"),
    Column(Text("待确认", "Waiting"), "number"),
    Column(Text("时钟", "Clock")),
    Column(Text("确认", "Receipts")),
)
METER_COLUMNS = (
    Column(Text("仪表", "Meter")),
    Column(Text("状态", "State"), "pill"),
    Column(Text("本小时已读", "This hour"), "number"),
    Column(Text("今日已读", "Today"), "number"),
    Column(Text("上次读数", "Last read"), "number"),
)
GAP_COLUMNS = (
    Column(Text("仪表", "Meter")),
    Column(Text("开始", "From"), "number"),
    Column(Text("时长", "For"), "number"),
    Column(Text("缺读", "Missed"), "number"),
    Column(Text("原因", "Cause")),
)

ONLINE = Text("在线", "online")
OFFLINE = Text("离线", "offline")
NONE_WAITS = Text("无", "none")
BATCHES = Text("{n} 批", "{n} batches")
CLOCKS = {
    "synced": Text("已同步", "synchronised"),
    "unsynced": Text("未同步", "not synchronised"),
    "holdover": Text("守时", "holding over"),
}
RECEIVED = Text("正常", "as they should be")
SILENT_SINCE = Text("中心自 {since} 起没有确认", "no receipt since {since}")
STATUS_AGE = Text("状态更新于 {ago}", "status {ago}")
STATES: dict[str, tuple[Text, Tone]] = {
    "ok": (Text("正常", "being read"), "good"),
    "silent": (Text("无应答", "silent"), "bad"),
    "starting": (Text("等待首次读取", "not read yet"), "muted"),
}
SINCE = Text("{cause}，自 {since}", "{cause}, since {since}")
SLOTS = Text("{expected} 次中 {read} 次", "{read} of {expected}")
LATE = Text("迟到", "late")
PAST = Text("补录", "backfilled")
BY_AGENT = Text("采集端启动以来", "since the agent started")
LISTED = Text("、", ", ")
LASTS = Text("仍在持续", "still lasts")
OF_AGENT = Text("采集端 {agent}", "agent {agent}")

QUALITY_TONES: dict[Quality, Tone] = {
    Quality.GOOD: "good",
    Quality.BAD: "bad",
    Quality.TIMEOUT: "bad",
    Quality.PROTOCOL_ERROR: "bad",
    Quality.OUT_OF_RANGE: "bad",
}
"""The rest is marked and counts."""


def reading_rows(snapshot: Snapshot, lang: Lang) -> tuple[Row, ...]:
    return tuple(_reading(latest, snapshot.at_ms, lang) for latest in sorted(snapshot.readings, key=lambda r: r.point))


def _reading(latest: Latest, now_ms: int, lang: Lang) -> Row:
    value = DASH if latest.value is None else f"{register(latest.value)} {unit_sign(latest.unit)}"
    tone = QUALITY_TONES.get(latest.quality, "warn")
    age = ago(latest.measured_ms, now_ms, lang)
    return Row(
        latest.point,
        (Cell(latest.point), Cell(value), Cell(latest.quality.text.say(lang), tone=tone), Cell(age)),
    )


def agent_rows(snapshot: Snapshot, zone: ZoneInfo, lang: Lang) -> tuple[Row, ...]:
    return tuple(_agent(agent, snapshot.at_ms, zone, lang) for agent in snapshot.agents)


def _agent(agent: AgentStatus, now_ms: int, zone: ZoneInfo, lang: Lang) -> Row:
    waiting = BATCHES.say(lang, n=agent.unreceipted) if agent.unreceipted else NONE_WAITS.say(lang)
    silent = agent.silent_since is not None
    since = SILENT_SINCE.say(lang, since=clock(agent.silent_since, zone, now_ms)) if agent.silent_since else ""
    return Row(
        agent.agent,
        (
            Cell(agent.agent, STATUS_AGE.say(lang, ago=ago(agent.at, now_ms, lang))),
            Cell((ONLINE if agent.online else OFFLINE).say(lang), tone="good" if agent.online else "bad"),
            Cell(waiting, f"{agent.outbox_bytes / 1000:,.0f} kB" if agent.outbox_bytes else ""),
            Cell(named(CLOCKS, agent.clock, lang), tone="" if agent.clock == "synced" else "warn"),
            Cell(since if silent else RECEIVED.say(lang), tone="bad" if silent else ""),
        ),
    )


def meter_rows(snapshot: Snapshot, zone: ZoneInfo, lang: Lang) -> tuple[Row, ...]:
    return tuple(
        Row(
            f"{agent.agent}/{meter}",
            _meter(agent, meter, facts, snapshot.slots.get(meter), snapshot.at_ms, zone, lang),
        )
        for agent in snapshot.agents
        for meter, facts in sorted(agent.meters.items())
    )


def _meter(
    agent: AgentStatus,
    meter: str,
    facts: dict[str, Any],
    slots: SlotsNow | None,
    now_ms: int,
    zone: ZoneInfo,
    lang: Lang,
) -> tuple[Cell, ...]:
    last = facts.get("last_good")
    well = agent.online and facts.get("state") == "ok"
    return (
        Cell(meter, OF_AGENT.say(lang, agent=agent.agent)),
        _state(agent, facts, now_ms, zone, lang),
        *_slots(facts, slots, lang),
        Cell(ago(last, now_ms, lang), tone="" if well else "warn"),
    )


def _state(agent: AgentStatus, facts: dict[str, Any], now_ms: int, zone: ZoneInfo, lang: Lang) -> Cell:
    if not agent.online:
        return Cell(OFFLINE.say(lang), STATUS_AGE.say(lang, ago=ago(agent.at, now_ms, lang)), "bad")
    state = STATES.get(str(facts.get("state")))
    cause = named(CAUSES, str(facts.get("cause") or ""), lang)
    since = facts.get("since")
    note = SINCE.say(lang, cause=cause, since=clock(since, zone, now_ms)) if cause and since else cause
    return Cell(state[0].say(lang), note, state[1]) if state else Cell(DASH, note)


def _slots(facts: dict[str, Any], slots: SlotsNow | None, lang: Lang) -> tuple[Cell, Cell]:
    """Return "59 of 60" of this hour and of today. An agent that announces no slots is taken at its word, since it started."""
    if slots is not None:
        return _account(slots.hour, lang), _account(slots.today, lang)
    expected, read = facts.get("expected"), facts.get("read")
    if expected is None or read is None:
        return Cell(DASH), Cell(DASH)
    said = _account(Account(expected, read, missed=dict(facts.get("missed") or {})), lang)
    return Cell(DASH), replace(said, note=LISTED.say(lang).join([BY_AGENT.say(lang), *filter(None, [said.note])]))


def _account(slots: Account, lang: Lang) -> Cell:
    """Return how many slots have a reading, and what became of the others."""
    if not slots.expected:
        return Cell(DASH)
    late = [(LATE, slots.late), (PAST, slots.backfilled)]
    others = [f"{text.say(lang)} {count:,}" for text, count in late if count]
    others += [f"{named(CAUSES, cause, lang)} {count:,}" for cause, count in sorted(slots.missed.items(), key=_most)]
    text = SLOTS.say(lang, expected=f"{slots.expected:,}", read=f"{slots.there:,}")
    return Cell(text, LISTED.say(lang).join(others), "warn" if slots.missed else "")


def _most(missed: tuple[str, int]) -> tuple[int, str]:
    return -missed[1], missed[0]


def gap_rows(gaps: Iterable[GapRow], now_ms: int, zone: ZoneInfo, lang: Lang) -> tuple[Row, ...]:
    return tuple(_gap(gap, now_ms, zone, lang) for gap in gaps)


def _gap(gap: GapRow, now_ms: int, zone: ZoneInfo, lang: Lang) -> Row:
    lasts = gap.end_ms is None
    length = span((now_ms if gap.end_ms is None else gap.end_ms) - gap.start_ms, lang)
    return Row(
        f"{gap.agent}/{gap.meter}/{gap.start_ms}",
        (
            Cell(gap.meter, OF_AGENT.say(lang, agent=gap.agent)),
            Cell(clock(gap.start_ms, zone, now_ms)),
            Cell(length, LASTS.say(lang) if lasts else "", tone="bad" if lasts else ""),
            Cell(f"{gap.missed:,}"),
            Cell(named(CAUSES, gap.cause, lang)),
        ),
    )
