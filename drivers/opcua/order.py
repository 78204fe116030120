"""The order of one point's values in time, whichever way they came.

A reading has the time at which we asked; the value in it was sampled by the source a little before, or after. What a
subscription told, and what a history recorded, has the source's time. Put side by side, a counter could seem to step back
by what it counted in between. So
    * what was sampled after a reading's value never stands before the reading, and
    * what was sampled before it, or with it, never stands after it: it is left out there, for the reading has said more.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from drivers.contract import Value

KEPT = 16
SAME_READING_MS = 1000


@dataclass(frozen=True)
class Reading:
    """When one meter was asked, and when its values had been sampled."""

    asked_ms: int
    sampled_ms: dict[str, int]

    def admits(self, point: str, at_ms: int, sampled_ms: int) -> bool:
        """Return whether a value may stand at `at_ms` beside this reading."""
        known = self.sampled_ms.get(point)
        return known is None or sampled_ms > known or at_ms < self.asked_ms

    def not_before(self, point: str, at_ms: int, sampled_ms: int) -> int:
        """Return the time of a value: after this reading where it was sampled after the reading's."""
        known = self.sampled_ms.get(point)
        return max(at_ms, self.asked_ms + 1) if known is not None and sampled_ms > known else at_ms


@dataclass
class Readings:
    """The last readings of one meter."""

    _kept: deque[Reading] = field(default_factory=lambda: deque(maxlen=KEPT))
    _told_ms: dict[str, int] = field(default_factory=dict)
    """Before this nothing more is told of a point."""

    def add(self, asked_ms: int, values: Iterable[Value]) -> None:
        if (
            self._kept and asked_ms < self._kept[-1].asked_ms
        ):  # our clock was set back: what was before it tells nothing
            self._kept.clear()
            self._told_ms.clear()
        sampled = {value.point: value.source_ms for value in values if value.source_ms is not None}
        self._kept.append(Reading(asked_ms, sampled))

    def told(self, values: Sequence[Value]) -> Iterator[Value]:
        """Yield what a subscription told, in order with the last readings and with what was told before."""
        for value in values:
            at_ms, sampled_ms = value.at_ms, value.source_ms
            if at_ms is None or sampled_ms is None:
                yield value
                continue
            for reading in self._kept:
                at_ms = reading.not_before(value.point, at_ms, sampled_ms)
            at_ms = max(at_ms, self._told_ms.get(value.point, 0))
            if all(reading.admits(value.point, at_ms, sampled_ms) for reading in self._kept):
                self._told_ms[value.point] = at_ms + 1
                yield msgspec.structs.replace(value, at_ms=at_ms)

    def past(self, values: Iterable[Value], to_ms: int) -> list[Value]:
        """Return what was recorded before the reading at `to_ms` was sampled."""
        near = min(self._kept, key=lambda reading: abs(reading.asked_ms - to_ms), default=None)
        if near is None or abs(near.asked_ms - to_ms) > SAME_READING_MS:
            return list(values)
        return [value for value in values if (value.at_ms or 0) < near.sampled_ms.get(value.point, to_ms)]
