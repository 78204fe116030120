"""What a meter recorded itself while nobody asked: fetched after a gap, in the line's idle time.

    * Asked for is what lies strictly between the last reading before the gap and the first after it, at most 62 days back:
      as far as the daily freezes of DL/T 645 go. A gap that a stop of the agent made is one like any other.
    * It comes piece by piece, the newest first, and after each piece the line and the outbox have some rest. Of one gap at most
      1,000,000 values are taken, so the oldest are missing where there are more; the oldest gap comes first.
    * Each value goes on once, with its own time and marked as backfilled; one outside the gap is thrown away.
    * The clock of whoever recorded may differ from ours. So near an end of the gap a counter's value that does not lie between
      the readings at both ends is thrown away: it would seem a step back.
The gap stays on record, with how many values were backfilled.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from agent.answer import Answer, Wire, by_time
from agent.counters import MeterCounters
from agent.gaps import GapBook
from agent.wiring import Meter
from drivers.contract import Value
from metering.reading import Quality
from metering.wire import Gap

log = logging.getLogger(__name__)

LONGEST_BACK_MS = 62 * 86_400_000
MOST_VALUES = 1_000_000
PER_S = 1000
"""Values of one gap a second, on average."""
EDGE_MS = 300_000
"""So near an end of a gap a value's time may be another by our clock: meters are kept to five minutes."""
_REMEMBERED = 20_000
"""Values among which one that comes twice is noticed."""


class Takes(Protocol):
    def take(self, meter: Meter, answers: Sequence[Answer]) -> bool: ...


@dataclass(frozen=True)
class Stand:
    """A reading at one end of a gap."""

    at_ms: int
    values: Mapping[str, float] = field(default_factory=dict)
    """What the counters showed, as far as it is known."""


def stand(meter: Meter, answers: Iterable[Answer]) -> Stand | None:
    """Return what a meter showed in one slot; nothing where it was not read."""
    at_ms, values = None, {}
    for answer in answers:
        at_ms = answer.measured_ms
        for value in answer.values:
            if value.point in meter.counters and value.value is not None and value.at_ms is None:
                values[value.point] = value.value
    return None if at_ms is None else Stand(at_ms, values)


@dataclass(frozen=True)
class Hole:
    """A gap of one meter and the readings at its ends."""

    gap: Gap
    before: Stand
    after: Stand

    def holds(self, value: Value) -> bool:
        """Return whether a value was measured between the readings at the ends."""
        at_ms, before, after = value.at_ms, self.before, self.after
        if at_ms is None or value.value is None or not before.at_ms < at_ms < after.at_ms:
            return False
        if at_ms - before.at_ms < EDGE_MS and value.value < before.values.get(value.point, value.value):
            return False
        return after.at_ms - at_ms >= EDGE_MS or value.value <= after.values.get(value.point, value.value)


def hole(gap: Gap, before: Stand | None, after: Stand) -> Hole:
    """Return what to ask for after a gap; `before` is the last reading, where it is known."""
    before = before or Stand(gap.start - 1)
    oldest_ms = after.at_ms - LONGEST_BACK_MS
    return Hole(gap, before if before.at_ms >= oldest_ms else Stand(oldest_ms), after)


async def filled(
    wire: Wire, sink: Takes, gaps: GapBook, meter: Meter, counters: MeterCounters, missing: Hole
) -> AsyncIterator[float]:
    """Fetch the values of a gap, one request a step; yield how long to leave it at that, seconds."""
    seen: set[tuple[str, int]] = set()
    count = 0
    try:
        async for answer in wire.history(meter, missing.before.at_ms, missing.after.at_ms):
            values = [_marked(value) for value in answer.values if _belongs(value, meter, missing, seen)]
            for part in by_time(Answer(answer.measured_ms, values)) if values else ():
                if not sink.take(meter, [part]):
                    return
            count += len(values)
            gaps.fetched(missing.gap, [value.at_ms for value in values if value.at_ms is not None])
            counters.backfilled += len(values)
            if count >= MOST_VALUES:
                break
            yield len(values) / PER_S
    except Exception as error:  # noqa: BLE001 - the past is a gift, the meter is read all the same
        log.info("meter %s: the gap could not be filled: %r", meter.id, error)
    finally:
        if count:
            gaps.filled(missing.gap, count)
            log.info("meter %s: %d values backfilled", meter.id, count)


def _belongs(value: Value, meter: Meter, missing: Hole, seen: set[tuple[str, int]]) -> bool:
    if value.at_ms is None or value.point not in meter.indices or not missing.holds(value):
        return False
    if (value.point, value.at_ms) in seen:
        return False
    if len(seen) >= _REMEMBERED:
        seen.clear()
    seen.add((value.point, value.at_ms))
    return True


def _marked(value: Value) -> Value:
    """Return a value of the past with the quality that says so."""
    return replace(value, quality=Quality.BACKFILLED) if value.quality is Quality.GOOD else value
