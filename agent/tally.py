"""What the agent itself knows of its slots: of each meter in this hour, and in all since it began counting.

The words are those of metering/slots.py; the ingester comes to the same numbers by the readings and gaps it was sent (what it
calls late is read here). A slot within a gap has the gap's cause.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.wiring import Meter
from metering.ranges import Ranges
from metering.slots import Grid
from metering.wire import Slots

HOUR_MS = 3_600_000
_HOURS = 2
_TOLD_AT_ONCE = 500


@dataclass(slots=True)
class Tally:
    read: int = 0
    backfilled: int = 0
    missed: Counter[str] = field(default_factory=Counter)

    def report(self, from_ms: int) -> dict[str, Any]:
        missed = dict(+self.missed)
        expected = self.read + self.backfilled + sum(missed.values())
        return {
            "from": from_ms, "expected": expected, "read": self.read, "backfilled": self.backfilled, "missed": missed
        }  # fmt: skip


class SlotTally:
    """One meter's slots, told in their order: each counts once, also where the clock was set."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._next: int | None = None
        """The first slot that is not counted yet."""
        self._since_ms = 0
        self._all = Tally()
        self._hours: dict[int, Tally] = {}
        self._filled = Ranges()
        """Slots that were backfilled: each once, whatever points its values are of."""

    def read(self, slot_ms: int, cause: str) -> None:
        """Note a slot that was read. Slots before it that nobody told of were missed, for `cause`."""
        number = self._reach(slot_ms, cause)
        if number == self._next:
            self._all.read += 1
            self._hour(number).read += 1
            self._next = number + 1

    def missed(self, slot_ms: int, count: int, cause: str, before: str = "clock") -> None:
        """Note slots in a row that were missed, the first at `slot_ms`. Slots before it were missed for `before`."""
        number = self._reach(slot_ms, before)
        assert self._next is not None
        self._miss(max(number, self._next), number + count, cause)

    def backfilled(self, measured_ms: Iterable[int], from_ms: int, to_ms: int, cause: str) -> None:
        """Note values of the past for slots in [from, to) that had been missed for `cause`."""
        first, end = self._grid.first(from_ms), self._grid.first(to_ms)
        for number in {self._grid.counts_for(ms) for ms in measured_ms}:
            if not first <= number < end or number in self._filled:
                continue
            self._filled.add(number, number)
            for tally in (self._all, self._hour(number)):
                if tally.missed[cause]:
                    tally.missed[cause] -= 1
                    tally.backfilled += 1

    def report(self, now_ms: int) -> dict[str, Any]:
        """Return what is counted of this hour (UTC), and in all."""
        hour_ms = now_ms - now_ms % HOUR_MS
        return self._all.report(self._since_ms) | {"hour": self._hours.get(hour_ms, Tally()).report(hour_ms)}

    def _reach(self, slot_ms: int, cause: str) -> int:
        """Return the number of a slot, having counted those before it."""
        number = self._grid.first(slot_ms)
        if self._next is None:
            self._next, self._since_ms = number, self._grid.at(number)
        self._miss(self._next, number, cause)
        return number

    def _miss(self, first: int, end: int, cause: str) -> None:
        if first >= end:
            return
        self._all.missed[cause] += end - first
        self._next = end
        oldest_ms = self._grid.at(end) - _HOURS * HOUR_MS
        first = max(first, self._grid.first(oldest_ms))
        while first < end:
            until = min(end, self._grid.first(self._grid.at(first) // HOUR_MS * HOUR_MS + HOUR_MS))
            self._hour(first).missed[cause] += until - first
            first = until

    def _hour(self, number: int) -> Tally:
        hour_ms = self._grid.at(number) // HOUR_MS * HOUR_MS
        if hour_ms not in self._hours:
            self._hours[hour_ms] = Tally()
            for old in sorted(self._hours)[:-_HOURS]:
                del self._hours[old]
        return self._hours.get(hour_ms) or Tally()


def announcement(meters: Sequence[Meter], boot: str, since_ms: int, now_ms: int) -> list[Slots]:
    """Return which meters this run reads, and when, for the ingester."""
    parts = [meters[at : at + _TOLD_AT_ONCE] for at in range(0, len(meters), _TOLD_AT_ONCE)] or [[]]
    return [
        Slots(
            at=now_ms, since=since_ms, boot=boot,
            meters={meter.id: (meter.interval_ms, meter.phase_ms) for meter in part},
        )
        for part in parts
    ]  # fmt: skip
