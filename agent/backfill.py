"""What a meter recorded itself while nobody asked: fetched after a gap, in the line's idle time.

    * Asked for is what lies strictly between the last reading before the gap and the first after it, at most a day back.
    * At most 10,000 values of one gap are taken; the oldest gap comes first.
    * Each value goes on once, with its own time and marked as backfilled; one outside the gap is thrown away.
The gap stays on record, with how many values were backfilled.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
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

LONGEST_BACK_MS = 86_400_000
MOST_VALUES = 10_000


class Takes(Protocol):
    def take(self, meter: Meter, answers: Sequence[Answer]) -> bool: ...


@dataclass(frozen=True)
class Hole:
    """A gap of one meter and the readings at its ends, Unix ms."""

    gap: Gap
    from_ms: int
    to_ms: int


def hole(gap: Gap, last_good_ms: int | None, measured_ms: int) -> Hole:
    """Return what to ask for after a gap that ended with a reading at `measured_ms`."""
    before = max(last_good_ms if last_good_ms is not None else gap.start - 1, measured_ms - LONGEST_BACK_MS)
    return Hole(gap, before, measured_ms)


async def filled(
    wire: Wire, sink: Takes, gaps: GapBook, meter: Meter, counters: MeterCounters, missing: Hole
) -> AsyncIterator[None]:
    """Fetch the values of a gap, one request a step."""
    seen: set[tuple[str, int]] = set()
    try:
        async for answer in wire.history(meter, missing.from_ms, missing.to_ms):
            values = [_marked(value) for value in answer.values if _belongs(value, meter, missing, seen)]
            for part in by_time(Answer(answer.measured_ms, values)) if values else ():
                if not sink.take(meter, [part]):
                    return
            counters.backfilled += len(values)
            if len(seen) >= MOST_VALUES:
                break
            yield
    except Exception as error:  # noqa: BLE001 - the past is a gift, the meter is read all the same
        log.info("meter %s: the gap could not be filled: %r", meter.id, error)
    finally:
        if seen:
            gaps.filled(missing.gap, len(seen))
            log.info("meter %s: %d values backfilled", meter.id, len(seen))


def _belongs(value: Value, meter: Meter, missing: Hole, seen: set[tuple[str, int]]) -> bool:
    if value.value is None or value.at_ms is None or value.point not in meter.indices:
        return False
    if not missing.from_ms < value.at_ms < missing.to_ms or (value.point, value.at_ms) in seen:
        return False
    seen.add((value.point, value.at_ms))
    return len(seen) <= MOST_VALUES


def _marked(value: Value) -> Value:
    """Return a value of the past with the quality that says so."""
    return replace(value, quality=Quality.BACKFILLED) if value.quality is Quality.GOOD else value
