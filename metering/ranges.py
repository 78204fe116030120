"""A set of whole numbers kept as ranges: which batches of a stream are settled."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """Disjoint, sorted, inclusive ranges; neighbours are joined."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._first, self._last, strict=True))

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._first, number) - 1
        return at >= 0 and self._last[at] >= number

    def copy(self) -> "Ranges":
        twin = Ranges()
        twin._first, twin._last = self._first.copy(), self._last.copy()
        return twin

    def add(self, first: int, last: int) -> None:
        """Add first..last; nothing when last < first."""
        if last < first:
            return
        low = bisect_right(self._first, first) - 1
        if low < 0 or self._last[low] < first - 1:
            low += 1
        high = bisect_right(self._first, last + 1)
        if low < high:
            first = min(first, self._first[low])
            last = max(last, self._last[high - 1])
        self._first[low:high] = [first]
        self._last[low:high] = [last]

    def missing(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of first..last that are not in the set, in order."""
        at = max(0, bisect_right(self._first, first) - 1)
        while first <= last and at < len(self._first):
            if self._first[at] > last:
                break
            if self._first[at] > first:
                yield first, self._first[at] - 1
            first = max(first, self._last[at] + 1)
            at += 1
        if first <= last:
            yield first, last

    def within(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of first..last that are in the set, in order."""
        at = max(0, bisect_right(self._first, first) - 1)
        while at < len(self._first) and self._first[at] <= last:
            low, high = max(self._first[at], first), min(self._last[at], last)
            if low <= high:
                yield low, high
            at += 1

    def count(self, first: int, last: int) -> int:
        """Return how many of first..last are in the set."""
        return last - first + 1 - sum(b - a + 1 for a, b in self.missing(first, last)) if last >= first else 0

    @property
    def through(self) -> int:
        """Every number from 1 up to this one is settled."""
        return self._last[0] if self._first and self._first[0] <= 1 else 0

    def beyond(self, limit: int) -> tuple[int, ...]:
        """Return the newest settled numbers after the first hole, at most `limit`, ascending."""
        found: list[int] = []
        for first, last in zip(reversed(self._first), reversed(self._last), strict=True):
            if last <= self.through or len(found) >= limit:
                break
            found.extend(range(last, max(first, last - limit + len(found) + 1) - 1, -1))
        return tuple(reversed(found))
