"""The activity of an interval: what a point counted in it, and how much of its time was measured.

The register is interpolated at the interval's edges and the activity is their difference, so activities telescope: over any
partition of time they add up to the whole exactly. What lies between two readings further apart than one interval, with an
edge between them, is known in total and apportioned in shape; what lies outside the readings is missing, never zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from metering.quantity import EXACT
from metering.register import Track

Stretch = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Multiplier:
    """CT x PT, pulse weight: what a register's count is multiplied with from `from_ms` on."""

    from_ms: int
    value: Decimal


@dataclass(frozen=True, slots=True)
class Coverage:
    """How the time of an interval is known, in milliseconds; the three add up to its length."""

    measured_ms: int
    apportioned_ms: int
    missing_ms: int
    stretches: tuple[Stretch, ...] = ()
    """The spans between readings that were apportioned; inside a longer interval they count as measured."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What was counted in [start, end), after the multiplier. `value` is the known part, None where nothing is known."""

    start_ms: int
    end_ms: int
    value: Decimal | None
    coverage: Coverage


def activity(track: Track, start_ms: int, end_ms: int, multipliers: Sequence[Multiplier], longest_ms: int) -> Activity:
    """Return the activity of [start, end). `longest_ms` is the longest span between readings that still counts as measured."""
    value: Decimal | None = None
    for start, end, factor in _pieces(start_ms, end_ms, multipliers):
        counted = track.counted(start, end)
        if counted is not None:
            value = EXACT.add(value or Decimal(0), EXACT.multiply(counted, factor))
    return Activity(start_ms, end_ms, value, coverage(track, start_ms, end_ms, longest_ms))


def _pieces(start_ms: int, end_ms: int, multipliers: Sequence[Multiplier]) -> Iterable[tuple[int, int, Decimal]]:
    changes = [change for change in multipliers if start_ms < change.from_ms < end_ms]
    edges = [start_ms, *(change.from_ms for change in changes), end_ms]
    for start, end in pairwise(edges):
        yield start, end, multiplier_at(multipliers, start)


def multiplier_at(multipliers: Sequence[Multiplier], ms: int) -> Decimal:
    """Return the multiplier in force at `ms`; before the first one, the first; 1 where there is none."""
    in_force = [change.value for change in multipliers if change.from_ms <= ms]
    if in_force:
        return in_force[-1]
    return multipliers[0].value if multipliers else Decimal(1)


def coverage(track: Track, start_ms: int, end_ms: int, longest_ms: int) -> Coverage:
    """Return how the time of [start, end) is known."""
    measured: list[Stretch] = []
    apportioned: list[Stretch] = []
    for span in track.spans(start_ms, end_ms):
        across = span[0] < start_ms or span[1] > end_ms
        (apportioned if across and span[1] - span[0] > longest_ms else measured).append(span)
    measured_ms = _length(measured, start_ms, end_ms)
    known_ms = _length(measured + apportioned, start_ms, end_ms)
    return Coverage(
        measured_ms, known_ms - measured_ms, end_ms - start_ms - known_ms, tuple(dict.fromkeys(apportioned))
    )


def joined(coverages: Sequence[tuple[int, int, Coverage]]) -> Coverage:
    """Return the coverage of several intervals (start, end, coverage) taken as one row.

    A stretch that lies wholly inside the row was measured in total, so its time is moved back to measured.
    """
    start, end = min(row[0] for row in coverages), max(row[1] for row in coverages)
    measured = sum(row[2].measured_ms for row in coverages)
    apportioned = sum(row[2].apportioned_ms for row in coverages)
    missing = sum(row[2].missing_ms for row in coverages)
    stretches = tuple(sorted({stretch for row in coverages for stretch in row[2].stretches}))
    inside = min(_length([s for s in stretches if s[0] >= start and s[1] <= end], start, end), apportioned)
    crossing = tuple(s for s in stretches if s[0] < start or s[1] > end)
    return Coverage(measured + inside, apportioned - inside, missing, crossing)


def _length(stretches: Sequence[Stretch], start_ms: int, end_ms: int) -> int:
    """Return how many milliseconds of [start, end) the stretches cover together."""
    covered, reached = 0, start_ms
    for start, end in sorted(stretches):
        begin, stop = max(start, reached), min(end, end_ms)
        if stop > begin:
            covered += stop - begin
            reached = stop
    return covered
