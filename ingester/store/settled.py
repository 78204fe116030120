"""Which batches of a stream are settled, as ranges of their numbers. Pure."""

from bisect import bisect_right
from collections.abc import Iterable


class SettledRanges:
    """Disjoint, sorted, inclusive ranges; neighbours are joined."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._first, seq) - 1
        return at >= 0 and self._last[at] >= seq

    def copy(self) -> "SettledRanges":
        twin = SettledRanges()
        twin._first, twin._last = self._first.copy(), self._last.copy()
        return twin

    def add(self, first: int, last: int) -> None:
        """Settle first..last; nothing when last < first."""
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
