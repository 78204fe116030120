"""Readings of all lines in columns, cut into batches.

A batch ends at 500 readings, when the collector is emptied (as soon as the lines rest), where the wall clock was set, and where the
state of the clock changed: so all of a batch shares one relation between wall clock and uptime. A read under way while
the clock was set counts as measured by the clock as it is now.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from agent.answer import Answer
from agent.wiring import Meter
from drivers.contract import Value
from link.world import World
from metering.reading import Quality
from metering.wire import Batch, ClockState, ClockStep, Event

READINGS = 500
"""In one batch at most."""
MOST_BATCHES = 1000
"""Collected and not yet stored: a minute's worth of a large agent."""
STEP_MS = 200
"""A wall clock that moved this far against the uptime between two looks was set, not slewed."""
_EXACT = 2.0**53


@dataclass(frozen=True)
class Origin:
    """What all batches of a run say alike."""

    site: str
    agent: str
    config: str
    points: Sequence[tuple[str, str]]


@dataclass(slots=True)
class _Columns:
    clock: ClockState
    offset_ms: int
    """Wall clock minus uptime."""
    t: list[int] = field(default_factory=list)
    p: list[int] = field(default_factory=list)
    x: list[float | str | None] = field(default_factory=list)
    q: list[int] = field(default_factory=list)
    s: dict[int, int] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)


class Collector:
    """Takes answers from the lines; gives drafts of batches, without identity, to the outbox."""

    def __init__(self, origin: Origin, world: World) -> None:
        self._origin = origin
        self._world = world
        self._full: list[_Columns] = []
        self._raw_minute: dict[int, int] = {}
        """counter -> minute whose first read was kept with its bytes."""
        self._open = self._columns()

    def _columns(self) -> _Columns:
        return _Columns(self._world.clock_state(), self._offset_ms())

    def _offset_ms(self) -> int:
        return self._world.now_ms() - round(self._world.uptime() * 1000)

    def take(self, meter: Meter, answers: Sequence[Answer]) -> bool:
        """Add one meter's answers of one slot; refuse them when a stalled disk has filled the memory."""
        if len(self._full) >= MOST_BATCHES:
            return False
        self.look_at_clock()
        for answer in answers:
            self._add(meter, answer)
        if len(self._open.t) >= READINGS:
            self._cut()
        return True

    def _add(self, meter: Meter, answer: Answer) -> None:
        columns, measured_ms = self._open, self._measured_ms(answer)
        indices = [meter.indices[value.point] for value in answer.values]
        unsynced = columns.clock == "unsynced"
        at = len(columns.t)
        for index, value in zip(indices, answer.values, strict=True):
            x: float | str | None = value.value
            quality = value.quality
            if isinstance(x, float | int) and not -_EXACT <= x <= _EXACT:
                x, quality = self._large(x, quality)
            if unsynced and quality is Quality.GOOD:
                quality = Quality.UNSYNCED
            columns.p.append(index)
            columns.x.append(x)
            columns.q.append(int(quality))
            if value.source_ms is not None:
                columns.s[len(columns.p) - 1] = value.source_ms - measured_ms
        columns.t.extend([measured_ms] * (len(columns.p) - at))
        if answer.error is None:
            self._keep_raw(meter, answer.values, at, measured_ms)

    def _measured_ms(self, answer: Answer) -> int:
        """Return when a value was asked for, by the clock of the columns."""
        if answer.asked_s is None:
            return answer.measured_ms
        by_uptime_ms = self._open.offset_ms + round(answer.asked_s * 1000)
        return by_uptime_ms if abs(by_uptime_ms - answer.measured_ms) > STEP_MS else answer.measured_ms

    def _large(self, x: float, quality: Quality) -> tuple[float | str | None, Quality]:
        if math.isfinite(x):
            return (str(int(x)) if x == int(x) and abs(x) < 1e40 else x), quality
        return None, Quality.BAD

    def _keep_raw(self, meter: Meter, values: Sequence[Value], at: int, measured_ms: int) -> None:
        """Keep the counters' bytes of the first read of a minute, and of the last that is due in it."""
        minute = measured_ms // 60_000
        is_last = (measured_ms + meter.interval_ms) // 60_000 != minute
        for place, value in enumerate(values, at):
            if value.raw is None or value.point not in meter.counters or value.quality is Quality.BACKFILLED:
                continue
            counter = meter.indices[value.point]
            if is_last or self._raw_minute.get(counter) != minute:
                self._open.raw[str(place)] = value.raw.hex()
                self._raw_minute[counter] = minute

    @property
    def holds_any(self) -> bool:
        """Whether there is anything to store."""
        return bool(self._full or self._open.t or self._open.events)

    def tell(self, events: Sequence[Event]) -> None:
        """Add events to the batch under way."""
        self._open.events.extend(events)

    def look_at_clock(self) -> None:
        """Cut where the wall clock was set, or its state changed, since the last look."""
        columns = self._open
        offset_ms = self._offset_ms()
        moved_ms = offset_ms - columns.offset_ms
        if abs(moved_ms) > STEP_MS:
            now_ms = self._world.now_ms()
            self._cut()
            self._open.events.append(ClockStep(at=now_ms, before=now_ms - moved_ms, after=now_ms))
            return
        columns.offset_ms = offset_ms
        if columns.clock != self._world.clock_state():
            self._cut()

    def _cut(self) -> None:
        if self._open.t or self._open.events:
            self._full.append(self._open)
        self._open = self._columns()

    def drafts(self) -> list[Batch]:
        """Empty the collector."""
        self.look_at_clock()
        self._cut()
        full, self._full = self._full, []
        return [self._draft(columns) for columns in full]

    def _draft(self, columns: _Columns) -> Batch:
        t0 = min(columns.t, default=columns.offset_ms + round(self._world.uptime() * 1000))
        local: dict[int, int] = {}
        p = [local.setdefault(index, len(local)) for index in columns.p]
        shift = [columns.s.get(at, 0) for at in range(len(p))] if columns.s else UNSET
        return Batch(
            site=self._origin.site, agent=self._origin.agent, stream="", seq=0, prev="",
            boot=self._world.boot_id, up=max(0, t0 - columns.offset_ms), clock=columns.clock,
            config=self._origin.config, points=[self._origin.points[index] for index in local], t0=t0,
            t=[at - t0 for at in columns.t], p=p, x=columns.x, q=columns.q, s=shift, raw=columns.raw or UNSET,
            events=columns.events,
        )  # fmt: skip
