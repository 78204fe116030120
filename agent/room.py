"""The room in the outbox's file: counted in pages before each write, so that the bound holds.

Delivered batches go first, oldest first; then the oldest that wait, and each of those is a loss that must be told. The
newest batch always stays: it carries the identity that the next one follows.
"""

import sqlite3

from agent.sealed import SELECT, Sealed, row_of

PAGE = 4096
_CHUNK = 64
_SLACK = 16


class Room:
    """Deletes inside the caller's transaction until what is to be written fits."""

    def __init__(self, db: sqlite3.Connection, page_limit: int) -> None:
        self._db = db
        self.page_limit = page_limit
        self._purged_to = 0
        """Delivered ranges up to this id have no batches left."""

    def make(self, payloads: list[int], newest_id: int) -> list[Sealed]:
        """Delete until payloads of these lengths fit; return the undelivered batches given up, oldest first."""
        given_up: list[Sealed] = []
        while not self.fits(payloads):
            if self.drop_delivered(newest_id):
                continue
            dropped = self._drop_oldest(newest_id)
            if not dropped:
                break
            given_up += dropped
        return given_up

    def fits(self, payloads: list[int]) -> bool:
        """Return whether payloads of these lengths can be written without deleting anything."""
        needed = _SLACK + sum(1 + int((length + 300) * 1.05) // PAGE for length in payloads)
        return self.used_pages() + needed <= self.page_limit

    def used_pages(self) -> int:
        return self.pages() - int(self._db.execute("PRAGMA freelist_count").fetchone()[0])

    def pages(self) -> int:
        return int(self._db.execute("PRAGMA page_count").fetchone()[0])

    def drop_delivered(self, newest_id: int, before_ms: int | None = None) -> int:
        """Delete up to a chunk of delivered batches, oldest first; return how many."""
        limit_ms = before_ms if before_ms is not None else 1 << 62
        reach = min(newest_id, self._first_kept(limit_ms))
        ranges = self._db.execute(
            "SELECT first_id, last_id FROM delivered WHERE last_id > ? AND at_ms < ? ORDER BY first_id",
            (self._purged_to, limit_ms),
        )
        for first, last in ranges.fetchall():
            gone = self._db.execute(
                "DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE id BETWEEN ? AND ? AND id < ? LIMIT ?)",
                (first, last, newest_id, _CHUNK),
            ).rowcount
            if gone:
                return gone
            if last < reach:
                self._purged_to = last
        return 0

    def _first_kept(self, limit_ms: int) -> int:
        """Return the first id that was delivered too lately to be deleted."""
        (first,) = self._db.execute(
            "SELECT min(first_id) FROM delivered WHERE last_id > ? AND at_ms >= ?", (self._purged_to, limit_ms)
        ).fetchone()
        return first if first is not None else 1 << 62

    def delivered_from(self, first_id: int) -> None:
        """Look again at what was delivered from this id on: receipts do not come in order."""
        self._purged_to = min(self._purged_to, first_id - 1)

    def _drop_oldest(self, newest_id: int) -> list[Sealed]:
        sql = SELECT + "WHERE id < ? ORDER BY id LIMIT ?"
        rows = [row_of(columns) for columns in self._db.execute(sql, (newest_id, _CHUNK // 4))]
        if rows:
            self._db.execute("DELETE FROM batches WHERE id <= ?", (rows[-1].id,))
        return rows

    def forget_purged(self) -> None:
        """Delete ranges below the oldest batch: nothing can ask for them."""
        self._db.execute("DELETE FROM delivered WHERE last_id < (SELECT min(id) FROM batches)")
