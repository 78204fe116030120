"""Whose turn it is on a line. Pure.

Of the meters whose slot has begun, the one goes first whose deadline is earliest. A deadline is one interval after the meter
was last asked, and does not move on while it is not asked: so where the line has no time for all, each misses its share of
slots, and none is forgotten, however slow.
"""

from heapq import heappop, heappush
from math import inf


class Schedule:
    """The meters of a line by number."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, float, int]] = []
        self._due: list[tuple[float, int]] = []

    def put(self, number: int, at_s: float, deadline_s: float) -> None:
        """Plan a meter's next slot, by the uptime."""
        heappush(self._waiting, (at_s, deadline_s, number))

    def take(self, now_s: float) -> int | None:
        """Return the meter to be asked now and take it off, or None where none is due."""
        while self._waiting and self._waiting[0][0] <= now_s:
            _, deadline_s, number = heappop(self._waiting)
            heappush(self._due, (deadline_s, number))
        return heappop(self._due)[1] if self._due else None

    @property
    def next_s(self) -> float:
        """The uptime at which the next slot begins; in the past where one is due."""
        if self._due:
            return 0.0
        return self._waiting[0][0] if self._waiting else inf
