"""A long stretch of the past, asked for in pieces: the newest first, each as long as an answer should be. Pure.

A piece is asked on from its last value until it has no more, because a server may cut an answer short; then comes the one
before it. A piece is made longer where there is little in it, and shorter where there is much.
"""

from collections.abc import Iterable

FIRST_MS = 300_000
FEW, MANY = 500, 2000
"""Values of a piece, of all points together."""


class Backwards:
    """What of a stretch is still to be asked for."""

    def __init__(self, from_ms: int, to_ms: int) -> None:
        self._from_ms = from_ms
        self._width_ms = FIRST_MS
        self._begin_ms = to_ms
        self._count = 0
        self.piece: tuple[int, int] | None = None
        """Ask for what lies strictly between these two times; None: all was asked for."""
        self._step_back(to_ms)

    def took(self, times_ms: Iterable[int]) -> None:
        """Go on after an answer whose values have these times."""
        if self.piece is None:
            return
        begin_ms, end_ms = self.piece
        within = [ms for ms in times_ms if begin_ms < ms < end_ms]
        if within:
            self._count += len(within)
            self.piece = max(within), end_ms
            return
        if self._count < FEW:
            self._width_ms *= 2
        elif self._count > MANY:
            self._width_ms = max(1000, self._width_ms // 2)
        self._step_back(self._begin_ms + 1)

    def _step_back(self, end_ms: int) -> None:
        """Go to the piece that ends before `end_ms`."""
        if self._begin_ms <= self._from_ms:
            self.piece = None
            return
        self._count = 0
        self._begin_ms = max(self._from_ms, self._begin_ms - self._width_ms)
        self.piece = self._begin_ms, end_ms
