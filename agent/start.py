"""What the outbox tells a new run of the one before: how it ended, and which readings the stop has cost.

Each meter's gap reaches from its last reading in the outbox to its first reading of this run. Its cause is `stopped`
when the agent had been told to stop, `power_loss` when the machine was booted since, `crashed` otherwise; a gap that was
already open keeps its own. A meter that is not found there has been silent since the oldest batch looked at. Where the
clock was not to be trusted at the start, and is set later, a second gap reaches to the time it is set to.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.backfill import Stand
from agent.batch import STEP_MS
from agent.gaps import GapBook
from agent.outbox import Outbox
from agent.wiring import Meter
from metering.reading import Quality
from metering.slots import Grid
from metering.wire import Batch, ConfigChanged, Event, Gap, Restart

_LOOKED_AT = 600
"""Batches, and as many more as three intervals of a meter take that is read rarely, but no more than `_MOST_LOOKED_AT`."""
_MOST_LOOKED_AT = 10_000
_INTERVALS = 3
_TOLD_MS = 90_000
"""So far back the last word of an open gap is found, which is told once a minute."""
_AT_ONCE = 50
_BELIEVED_MS = 10 * 366 * 86_400_000
"""No stop is as long as from the clock's zero, 1970, to now."""


@dataclass
class Former:
    """What the newest batches say of the run before."""

    boot: str = ""
    config: str = ""
    stopped_ms: int | None = None
    """When it last recorded anything."""
    oldest_ms: int = 0
    """When the oldest batch looked at began."""
    stands: dict[str, Stand] = field(default_factory=dict)
    """meter -> its last reading."""
    open_gaps: dict[str, Gap] = field(default_factory=dict)


async def former_run(outbox: Outbox, intervals_ms: Mapping[str, int]) -> Former:
    """Read the newest batches back until each meter (with its interval) was found or should have been."""
    former = Former()
    wanted = dict(intervals_ms)
    before_id: int | None = None
    looked_at = 0
    while wanted and looked_at < _MOST_LOOKED_AT and (found := await outbox.newest(_AT_ONCE, before_id)):
        for _, batch in found:
            _learn(former, batch)
        looked_at += len(found)
        before_id, oldest = found[-1]
        back_ms = (former.stopped_ms or oldest.t0) - oldest.t0
        for meter, interval_ms in list(wanted.items()):
            far = back_ms > max(_INTERVALS * interval_ms, _TOLD_MS)
            if meter in former.stands or (looked_at >= _LOOKED_AT and far):
                del wanted[meter]
    return former


def _learn(former: Former, batch: Batch) -> None:
    """Learn from a batch older than those before."""
    if former.stopped_ms is None:
        former.boot, former.config = batch.boot, batch.config
    newest = batch.t0 + max(batch.t, default=0)
    former.stopped_ms = max(former.stopped_ms or newest, newest)
    if former.stopped_ms - batch.t0 < _BELIEVED_MS:
        former.oldest_ms = batch.t0
    for meter, found in _stands(batch).items():
        former.stands.setdefault(meter, found)
    for event in reversed(batch.events):
        if isinstance(event, Gap) and event.meter not in former.open_gaps:
            former.open_gaps[event.meter] = event


def _stands(batch: Batch) -> dict[str, Stand]:
    """Return the last reading with a value of each meter in a batch."""
    at_ms: dict[str, int] = {}
    shown: dict[str, dict[str, float]] = {}
    for at, index, x, quality in zip(batch.t, batch.p, batch.x, batch.q, strict=True):
        meter, _, point = batch.points[index][0].partition("/")
        if quality == Quality.BACKFILLED or x is None:
            continue
        at_ms[meter] = max(at_ms.get(meter, 0), batch.t0 + at)
        if Quality(quality).counts:
            shown.setdefault(meter, {})[point] = float(x)
    return {meter: Stand(at, shown.get(meter, {})) for meter, at in at_ms.items()}


def begin_gaps(
    former: Former,
    clean: bool,
    boot: str,
    config: str,
    meters: Iterable[Meter],
    book: GapBook,
    now_ms: int,
    uptime_s: float,
) -> None:
    """Open the gap of each meter that a stop has cost readings."""
    cause = _cause(former, clean, boot)
    for meter in meters:
        grid = Grid(meter.interval_ms, meter.phase_ms)
        last = _last_ms(former, meter.id, config)
        gap = former.open_gaps.get(meter.id)
        if gap is not None and gap.end is None and (last is None or gap.start > last):
            missed = max(gap.missed, grid.between(gap.start - 1, now_ms))
            book.missed(meter.id, gap.start, gap.cause, uptime_s, missed)
        elif last is not None and last < now_ms < last + _BELIEVED_MS:
            slot = last - (last - grid.phase_ms) % grid.interval_ms
            missed = grid.between(slot, now_ms)
            if missed:
                book.missed(meter.id, slot + grid.interval_ms, cause, uptime_s, missed)


def _last_ms(former: Former, meter: str, config: str) -> int | None:
    """Return when a meter was last read, or where it was not found, since when it was not; None where it may be new."""
    if meter in former.stands:
        return former.stands[meter].at_ms
    known = former.stopped_ms is not None and former.config == config
    return former.oldest_ms if known and meter not in former.open_gaps else None


class Doubt:
    """A start by a clock that nothing vouched for. Where it is set later, the stop was as long as that says."""

    def __init__(self, former: Former, clean: bool, boot: str, meters: Iterable[Meter], offset_ms: int) -> None:
        self._former = former
        self._cause = _cause(former, clean, boot)
        self._left = list(meters)
        self._offset_ms = offset_ms
        """Wall clock minus uptime at the start."""
        self._before: Mapping[str, int | None] = {}
        """When each meter was last read by the clock before it was set."""
        self._was_set = False
        self.over = False

    def look(self, offset_ms: int, is_synced: bool, read_ms: Mapping[str, int | None]) -> list[Gap]:
        """Return the gaps up to each meter's first reading by the clock that was set; `read_ms` is when each was last read."""
        self._was_set = self._was_set or abs(offset_ms - self._offset_ms) > STEP_MS
        if not self._was_set:
            self._before, self.over = read_ms, is_synced
            return []
        again = [meter for meter in self._left if read_ms[meter.id] != self._before.get(meter.id)]
        self._left = [meter for meter in self._left if meter not in again]
        self.over = not self._left
        return [gap for meter in again if (gap := self._gap(meter, read_ms[meter.id] or 0))]

    def _gap(self, meter: Meter, first_ms: int) -> Gap | None:
        grid, stand = Grid(meter.interval_ms, meter.phase_ms), self._former.stands.get(meter.id)
        last_ms = max(stand.at_ms if stand else 0, self._before.get(meter.id) or 0)
        start, end = (at - (at - grid.phase_ms) % grid.interval_ms for at in (last_ms, first_ms))
        missed = grid.between(start, end) - 1
        if missed < 1 or end - start > _BELIEVED_MS:
            return None
        return Gap(meter=meter.id, start=start + grid.interval_ms, end=end, cause=self._cause, missed=missed)


def _cause(former: Former, clean: bool, boot: str) -> str:
    return "stopped" if clean else "crashed" if former.boot == boot else "power_loss"


def first_events(former: Former, clean: bool, now_ms: int, config: str, text: str) -> list[Event]:
    """Return what the first batch of a run tells."""
    events: list[Event] = [Restart(at=now_ms, stopped=former.stopped_ms, clean=clean)]
    if former.config != config:
        events.append(ConfigChanged(at=now_ms, sha256=config, text=text))
    return events
