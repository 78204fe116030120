"""What the outbox tells a new run of the one before: how it ended, and which readings the stop has cost.

Each meter's gap reaches from its last reading in the outbox to its first reading of this run. Its cause is `stopped`
when the agent had been told to stop, `power_loss` when the machine was booted since, `crashed` otherwise; a gap that was
already open keeps its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.backfill import Stand
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
_AT_ONCE = 50


@dataclass
class Former:
    """What the newest batches say of the run before."""

    boot: str = ""
    config: str = ""
    stopped_ms: int | None = None
    """When it last recorded anything."""
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
            if meter in former.stands or (looked_at >= _LOOKED_AT and back_ms > _INTERVALS * interval_ms):
                del wanted[meter]
    return former


def _learn(former: Former, batch: Batch) -> None:
    """Learn from a batch older than those before."""
    if former.stopped_ms is None:
        former.boot, former.config = batch.boot, batch.config
    newest = batch.t0 + max(batch.t, default=0)
    former.stopped_ms = max(former.stopped_ms or newest, newest)
    for meter, found in _stands(batch).items():
        former.stands.setdefault(meter, found)
    for event in reversed(batch.events):
        if isinstance(event, Gap) and event.meter not in former.open_gaps:
            former.open_gaps[event.meter] = event


def _stands(batch: Batch) -> dict[str, Stand]:
    """Return the last reading of each meter that was polled in a batch."""
    at_ms: dict[str, int] = {}
    shown: dict[str, dict[str, float]] = {}
    for at, index, x, quality in zip(batch.t, batch.p, batch.x, batch.q, strict=True):
        meter, _, point = batch.points[index][0].partition("/")
        if quality == Quality.BACKFILLED:
            continue
        at_ms[meter] = max(at_ms.get(meter, 0), batch.t0 + at)
        if x is not None and Quality(quality).counts:
            shown.setdefault(meter, {})[point] = float(x)
    return {meter: Stand(at, shown.get(meter, {})) for meter, at in at_ms.items()}


def begin_gaps(
    former: Former, clean: bool, boot: str, meters: Iterable[Meter], book: GapBook, now_ms: int, uptime_s: float
) -> None:
    """Open the gap of each meter that a stop has cost readings."""
    cause = "stopped" if clean else "crashed" if former.boot == boot else "power_loss"
    for meter in meters:
        grid = Grid(meter.interval_ms, meter.phase_ms)
        last = former.stands[meter.id].at_ms if meter.id in former.stands else None
        gap = former.open_gaps.get(meter.id)
        if gap is not None and gap.end is None and (last is None or gap.start > last):
            missed = gap.missed + grid.between(former.stopped_ms or gap.start, now_ms)
            book.missed(meter.id, gap.start, gap.cause, uptime_s, missed)
        elif last is not None and last < now_ms:
            slot = last - (last - grid.phase_ms) % grid.interval_ms
            missed = grid.between(slot, now_ms)
            if missed:
                book.missed(meter.id, slot + grid.interval_ms, cause, uptime_s, missed)


def first_events(former: Former, clean: bool, now_ms: int, config: str, text: str) -> list[Event]:
    """Return what the first batch of a run tells."""
    events: list[Event] = [Restart(at=now_ms, stopped=former.stopped_ms, clean=clean)]
    if former.config != config:
        events.append(ConfigChanged(at=now_ms, sha256=config, text=text))
    return events
