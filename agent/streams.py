"""The streams of the outbox's file: which ids their numbers have. `id - seq` is the same for a whole stream."""

import sqlite3
from collections.abc import Iterator, Sequence

from agent.sealed import SELECT, Sealed, body_of, row_of


class Streams:
    """Each stream lies in one stretch of ids; a row per stream says where it begins."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[str, tuple[int, int]] = {}
        """stream -> (id - seq, highest seq)."""
        self._written: set[str] = set()

    def load(self) -> str | None:
        """Read the streams that have batches; return the first whose numbers do not agree with its batches."""
        blocks = self._db.execute("SELECT first_id, stream, before FROM streams ORDER BY first_id").fetchall()
        ends = [first_id for first_id, _, _ in blocks[1:]] + [1 << 62]
        for (first_id, stream, before), end_id in zip(blocks, ends, strict=False):
            rows = list(self._ends(first_id, end_id))
            if not all(row.stream == stream and row.id - row.seq == before and body_of(row) for row in rows):
                return str(stream)
            if rows:
                self._known[stream] = before, max(row.seq for row in rows)
        self._written = set(self._known)
        return None

    def _ends(self, first_id: int, end_id: int) -> Iterator[Sealed]:
        """Yield the first and the last batch of a range of ids."""
        for order in ("ASC", "DESC"):
            found = self._db.execute(
                SELECT + f"WHERE id >= ? AND id < ? ORDER BY id {order} LIMIT 1", (first_id, end_id)
            )
            yield from (row_of(columns) for columns in found)

    @property
    def highest(self) -> dict[str, int]:
        """Each stream with the highest number given in it."""
        return {stream: last_seq for stream, (_, last_seq) in self._known.items()}

    def begin(self, stream: str, last_id: int, last_seq: int = 0) -> None:
        """Note a stream whose number `last_seq` has the id `last_id`."""
        self._known[stream] = last_id - last_seq, last_seq

    def write(self, rows: Sequence[Sealed]) -> None:
        """Write where the streams of `rows` begin, inside the caller's transaction."""
        firsts: dict[str, Sealed] = {}
        for row in rows:
            if row.stream not in firsts or row.id < firsts[row.stream].id:
                firsts[row.stream] = row
        for stream, row in firsts.items():
            if stream not in self._written:
                self._db.execute(
                    "INSERT INTO streams VALUES(?,?,?) "
                    "ON CONFLICT(stream) DO UPDATE SET first_id = min(first_id, excluded.first_id)",
                    (stream, row.id - row.seq, row.id),
                )

    def written(self, rows: Sequence[Sealed], in_order: bool) -> None:
        """Say that the transaction of `write` was committed. Only a stream written in order needs no further look."""
        for row in rows:
            _, last_seq = self._known.get(row.stream, (0, 0))
            self._known[row.stream] = row.id - row.seq, max(last_seq, row.seq)
            if in_order:
                self._written.add(row.stream)

    def ids(self, stream: str, first_seq: int, last_seq: int) -> tuple[int, int]:
        """Return the ids of a stretch of numbers, as far as they were given; (1, 0) when none was."""
        if stream not in self._known:
            return 1, 0
        before, highest = self._known[stream]
        return before + max(first_seq, 1), before + min(last_seq, highest)

    def identity(self, id_: int) -> tuple[str, int] | None:
        """Return the stream and number an id was given to."""
        for stream, (before, highest) in self._known.items():
            if 1 <= id_ - before <= highest:
                return stream, id_ - before
        return None

    def newest(self, limit: int) -> list[tuple[str, int, int]]:
        """Return (stream, `id - seq`, highest seq) of the newest streams, oldest first."""
        return [(stream, before, highest) for stream, (before, highest) in list(self._known.items())[-limit:]]

    def forget(self, first_id: int) -> None:
        """Delete the streams that end before the oldest batch, inside the caller's transaction."""
        self._db.execute(
            "DELETE FROM streams WHERE first_id < (SELECT max(first_id) FROM streams WHERE first_id <= ?)", (first_id,)
        )
