"""Which batches of the outbox have been receipted: ranges of ids, in memory and in the file.

One row covers all receipts of a minute, so that receipts cost almost no writing. A row whose check sum is wrong is
ignored: its batches are then sent again, which is harmless.
"""

import sqlite3
import zlib

from metering.ranges import Ranges

_ONE_ROW_MS = 60_000


class Delivered:
    """The receipts of one file. `known` is what may be deleted or skipped."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.known = Ranges((first, last) for first, last, _ in self.rows())
        self._unwritten: list[tuple[int, int]] = []

    def rows(self) -> list[tuple[int, int, int]]:
        """Return (first id, last id, when) as the file has them."""
        found = self._db.execute("SELECT first_id, last_id, at_ms, crc FROM delivered ORDER BY first_id").fetchall()
        return [(first, last, at) for first, last, at, crc in found if crc == _crc(first, last, at)]

    def add(self, first: int, last: int) -> None:
        """Note ids as delivered; the next commit writes it."""
        for span in list(self.known.missing(first, last)):
            self.known.add(*span)
            self._unwritten.append(span)

    def write(self, now_ms: int) -> int | None:
        """Write what waits, inside the caller's transaction; return the lowest id written."""
        lowest = min((first for first, _ in self._unwritten), default=None)
        for first, last in self._unwritten:
            newest = self._db.execute("SELECT * FROM delivered ORDER BY first_id DESC LIMIT 1").fetchone()
            at_ms = now_ms
            if newest and newest[1] == first - 1 and now_ms - newest[2] < _ONE_ROW_MS:
                first, at_ms = newest[0], newest[2]
            self._db.execute(
                "INSERT OR REPLACE INTO delivered VALUES(?,?,?,?)", (first, last, at_ms, _crc(first, last, at_ms))
            )
        return lowest

    def written(self) -> None:
        """Say that the transaction of `write` was committed."""
        self._unwritten.clear()


def _crc(first: int, last: int, at_ms: int) -> int:
    return zlib.crc32(f"{first},{last},{at_ms}".encode())
