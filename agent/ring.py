"""Batches in memory while the disk is away: bounded, and under a stream of their own.

The stream is new because what was sealed here may be sent and then lost with the power: its numbers must never be given
again. What has to make room is a loss, told in the next batch. Receipted batches go first.
"""

from collections.abc import Sequence
from dataclasses import replace

from agent.ledger import with_losses
from agent.sealed import Head, Sealed, joined, lost, seal
from metering.ranges import Ranges
from metering.wire import Batch, Lost

SIZE = 16 << 20
"""Bytes of payload kept in memory."""


class Ring:
    """The outbox while it has no disk."""

    def __init__(self, head: Head, size: int = SIZE) -> None:
        self.head = head
        self.rows: dict[int, Sealed] = {}
        self.delivered = Ranges()
        self.first_id = head.id + 1
        self._offset = head.id
        self._size = size
        self._bytes = 0
        self._losses: list[Lost] = []

    def put(self, drafts: Sequence[Batch], now_ms: int) -> list[Sealed]:
        """Seal and keep; the oldest make room."""
        rows, self.head = seal(with_losses(drafts, joined(self._losses)), self.head, now_ms)
        self._losses = []
        for row in rows:
            self.rows[row.id] = row
            self._bytes += len(row.payload)
        self._make_room()
        return rows

    def shift(self, by: int) -> None:
        """Renumber the order of creation, after a file that turned out to hold more."""
        self.rows = {id_ + by: replace(row, id=id_ + by) for id_, row in self.rows.items()}
        self.delivered = Ranges((first + by, last + by) for first, last in self.delivered)
        self.head = replace(self.head, id=self.head.id + by)
        self.first_id += by
        self._offset += by

    def _make_room(self) -> None:
        for wanted in (True, False):
            for id_ in list(self.rows):
                if self._bytes <= self._size or len(self.rows) == 1:
                    return
                if (id_ in self.delivered) == wanted:
                    self._drop(self.rows.pop(id_))

    def _drop(self, row: Sealed) -> None:
        self._bytes -= len(row.payload)
        if row.id not in self.delivered:
            self.delivered.add(row.id, row.id)
            self._losses += lost([row], "memory_full")

    def settle(self, stream: str, through: int, also: Sequence[int]) -> None:
        if stream == self.head.stream:
            self.delivered.add(self.first_id, self._offset + min(through, self.head.seq))
            for seq in also:
                if 1 <= seq <= self.head.seq:
                    self.delivered.add(self._offset + seq, self._offset + seq)

    def unreceipted_after(self, after_id: int, limit: int) -> list[Sealed]:
        waiting = (row for row in self.rows.values() if row.id > after_id and row.id not in self.delivered)
        return [row for row, _ in zip(waiting, range(limit), strict=False)]

    @property
    def unreceipted(self) -> int:
        return sum(last - first + 1 for first, last in self.delivered.missing(self.first_id, self.head.id))

    @property
    def untold(self) -> list[Lost]:
        """Losses that no batch has told yet."""
        return joined(self._losses)
