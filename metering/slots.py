"""Slots: the times at which a meter is to be read, and what became of each of them. Pure; agent and ingester count by it.

What the words mean
    * A *slot* is a time `phase + n * interval` of the wall clock, as the agent announces them for each meter. A time that the
      clock was set past is a slot all the same, one that it showed twice is one slot.
    * A reading *counts for* the slot that began last when it was measured; up to a quarter of an interval before a slot it
      counts for that slot, since clocks are slewed.
    * `read`: the meter answered in its slot. How far its values can be trusted is their quality's business.
    * `late`: it did, and the reading arrived more than `LATE_MS` after it was measured: a backlog.
    * `backfilled`: nobody read it in its slot; the value was fetched afterwards from the meter's own record, or imported.
    * `missed`: all others, each with one cause. What the agent says it missed is missed, unless it was backfilled; then come
      the agent's stops, clocks that were set, batches that were given up; what nobody accounts for is `unknown`.

Promise
    * expected = read + late + backfilled + missed, exactly, whatever is told, how often and in whatever order.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

LATE_MS = 300_000
UNKNOWN = "unknown"
Kind = Literal["read", "late", "backfilled"]
Span = tuple[int, int]
"""Slots [first, end), by their numbers."""
Claim = tuple[int, int, str]
"""A span and what it is said to be."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The slots `phase_ms + n * interval_ms` of the wall clock, Unix ms."""

    interval_ms: int
    phase_ms: int = 0

    def after(self, wall_ms: int) -> int:
        """Return the first slot later than `wall_ms`."""
        return wall_ms + self.interval_ms - (wall_ms - self.phase_ms) % self.interval_ms

    def between(self, slot_ms: int, wall_ms: int) -> int:
        """Return how many slots lie after `slot_ms` and at or before `wall_ms`."""
        if wall_ms <= slot_ms:
            return 0
        return (wall_ms - self.phase_ms) // self.interval_ms - (slot_ms - self.phase_ms) // self.interval_ms

    def at(self, number: int) -> int:
        """Return the time of a slot."""
        return self.phase_ms + number * self.interval_ms

    def first(self, ms: int) -> int:
        """Return the number of the first slot at or after `ms`."""
        return -((self.phase_ms - ms) // self.interval_ms)

    def counts_for(self, measured_ms: int) -> int:
        """Return the number of the slot that a reading counts for."""
        return (measured_ms - self.phase_ms + self.interval_ms // 4) // self.interval_ms


@dataclass(frozen=True, slots=True)
class Seen:
    """Slots `first` to `last` for which there are readings, all of one kind."""

    kind: Kind
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Told:
    """Times [start, end) without a reading, Unix ms, and why."""

    start_ms: int
    end_ms: int
    cause: str
    sure: bool = False
    """Whether each slot of it is known to be missed, and not only those without a reading."""


@dataclass(frozen=True)
class Account:
    """What became of the slots of one meter in a stretch of time."""

    expected: int = 0
    read: int = 0
    late: int = 0
    backfilled: int = 0
    missed: Mapping[str, int] = field(default_factory=dict)
    """By cause."""

    @property
    def there(self) -> int:
        """How many slots have a reading, whenever it came."""
        return self.read + self.late + self.backfilled

    @property
    def share(self) -> float:
        """The share of the expected slots that have a reading, 0 to 1; 1 where none was expected."""
        return self.there / self.expected if self.expected else 1.0

    def __add__(self, other: "Account") -> "Account":
        return Account(
            self.expected + other.expected,
            self.read + other.read,
            self.late + other.late,
            self.backfilled + other.backfilled,
            dict(Counter(self.missed) + Counter(other.missed)),
        )


def account(
    grid: Grid, start_ms: int, end_ms: int, seen: Iterable[Seen], told: Iterable[Told], due_ms: int | None = None
) -> Account:
    """Return what became of the slots in [start, end).

    `told` is believed in its order, the first that speaks of a slot. Slots after `due_ms` of which nothing is known yet are
    not expected yet.
    """
    rest: list[Span] = [(grid.first(start_ms), grid.first(end_ms))] if start_ms < end_ms else []
    expected = sum(end - first for first, end in rest)
    runs, claims = list(seen), list(told)
    past, rest = _taken(rest, [_claim(run) for run in runs if run.kind == "backfilled"])
    missed, rest = _taken(rest, [_slots(grid, one) for one in claims if one.sure])
    live, rest = _taken(rest, [_claim(run) for run in runs if run.kind != "backfilled"])
    for one in claims:
        found, rest = _taken(rest, [] if one.sure else [_slots(grid, one)])
        missed += found
    for first, end in rest:
        due = end if due_ms is None else min(end, max(first, grid.first(due_ms + 1)))
        expected -= end - due
        missed[UNKNOWN] += due - first
    return Account(expected, live["read"], live["late"], past["backfilled"], dict(+missed))


def _claim(run: Seen) -> Claim:
    return run.first, run.last + 1, run.kind


def _slots(grid: Grid, told: Told) -> Claim:
    return grid.first(told.start_ms), grid.first(told.end_ms), told.cause


def _taken(rest: Sequence[Span], claims: Iterable[Claim]) -> tuple[Counter[str], list[Span]]:
    """Give claims what they ask for of what is left, the earlier first; return how much of what, and what is left then."""
    found: Counter[str] = Counter()
    left: list[Span] = []
    wanted = _apart(claims)
    at = 0
    for first, end in rest:
        while at < len(wanted) and wanted[at][0] < end:
            begin, until, what = wanted[at]
            begin, stop = max(begin, first), min(until, end)
            if begin < stop:
                found[what] += stop - begin
                if first < begin:
                    left.append((first, begin))
                first = stop
            if until > end:
                break
            at += 1
        if first < end:
            left.append((first, end))
    return found, left


def _apart(claims: Iterable[Claim]) -> list[Claim]:
    """Return claims in order, none overlapping: of two that do the earlier keeps what it asks for."""
    found: list[Claim] = []
    reach: int | None = None
    for begin, end, what in sorted(claims):
        begin = begin if reach is None else max(begin, reach)
        if begin < end:
            found.append((begin, end, what))
            reach = end
    return found
