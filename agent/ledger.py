"""The file of the outbox: one SQLite database, used from one thread.

    batches(id, stream, seq, created_ms, readings, losses, sha256, payload)   one row per sealed batch
    streams(stream, before, first_id)                                        its ids are `before` + seq, from first_id on
    delivered(first_id, last_id, at_ms, crc)                                 what the ingester has receipted, as ranges
    facts(name, value)                                                       the last clean stop, a salvage under way

A cycle costs one fsync and one or two pages: there is no second index, and receipts are written once a minute only (one
that is lost with the power means a batch sent twice). Database and write-ahead log together stay within `max_size`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from agent.database import StoreDamaged, opened, store_errors
from agent.delivered import Delivered
from agent.room import Room
from agent.sealed import SELECT, Head, Sealed, body_of, columns_of, joined, lost, row_of, seal
from agent.streams import Streams
from metering.errors import MalformedBatch
from metering.wire import Batch, Lost, decode_batch

TOLD = 50
"""Of so many streams, and so many ranges of each, is told what was delivered."""


class Ledger:
    """An open file. Every method blocks; all are called from one thread.

    Raises:
        StoreDamaged: the file is not what was written; set it aside.
        StoreFailed: the disk is full, gone or refuses; the state is that of the last commit.
    """

    def __init__(self, path: Path, max_size: int) -> None:
        self.path = path
        self.head: Head | None = None
        """None until a first stream is begun."""
        self.first_id = 1
        self.salvaging = ""
        """The damaged file whose losses no batch in this one has told yet."""
        self._spoiled: list[Sealed] = []
        self._db, page_limit = opened(path, max_size)
        try:
            with store_errors(path):
                self._room = Room(self._db, page_limit)
                self._delivered = Delivered(self._db)
                self._streams = Streams(self._db)
                self._load()
        except BaseException:
            self._db.close()
            raise

    def _load(self) -> None:
        strange = self._streams.load()
        if strange is not None:
            raise StoreDamaged(path=self.path, reason=f"the numbers of stream {strange} do not agree")
        newest = self._db.execute(SELECT + "ORDER BY id DESC LIMIT 1").fetchone()
        if newest is not None:
            row = row_of(newest)
            self.head = Head(row.id, row.stream, row.seq, row.sha256)
            if row.stream not in self._streams.highest:
                raise StoreDamaged(path=self.path, reason="the newest batch belongs to no stream")
        self.salvaging = self.fact("salvaging") or ""
        self._find_first()

    def _find_first(self) -> None:
        (first,) = self._db.execute("SELECT min(id) FROM batches").fetchone()
        self.first_id = first if first is not None else self.last_id + 1

    @property
    def last_id(self) -> int:
        return self.head.id if self.head else 0

    @property
    def unreceipted(self) -> int:
        """Batches that wait for their receipt."""
        return sum(last - first + 1 for first, last in self._delivered.known.missing(self.first_id, self.last_id))

    def size(self) -> int:
        """Return the bytes on disk."""
        names = (self.path, Path(f"{self.path}-wal"))
        with store_errors(self.path):
            return sum(name.stat().st_size for name in names if name.exists())

    # -- writing

    def begin(self, stream: str) -> None:
        """Let the next batch be the first of a new stream."""
        self._streams.begin(stream, self.last_id)
        self.head = Head(self.last_id, stream)

    def put(self, drafts: Sequence[Batch], now_ms: int) -> list[Sealed]:
        """Seal the drafts after the head and commit them, together with the receipts that have come."""
        if self.head is None:
            raise ValueError("no stream was begun")
        spoiled = list(self._spoiled)
        drafts = with_losses(drafts, [loss for row in spoiled for loss in lost([self._placed(row)], "damaged")])
        for row in spoiled:
            self._delivered.add(row.id, row.id)
        rows, head = seal(drafts, self.head, now_ms)
        with self._commit(now_ms, receipts=bool(spoiled) or not self._fits(rows)):
            self._db.executemany("DELETE FROM batches WHERE id=?", [(row.id,) for row in spoiled])
            losses = self._make_room(rows)
            if losses:
                rows, head = seal(with_losses(drafts, losses), self.head, now_ms)
            self._insert(rows)
            if self.salvaging:
                self._db.execute("DELETE FROM facts WHERE name='salvaging'")
        self.salvaging = ""
        self._spoiled = [row for row in self._spoiled if row not in spoiled]
        self.head = head
        self._streams.written(rows, in_order=True)
        self._find_first()
        return rows

    def adopt(self, rows: Sequence[Sealed], now_ms: int) -> list[Lost]:
        """Commit batches sealed elsewhere (salvaged, or sealed while the disk was away); return what that displaced."""
        with self._commit(now_ms):
            losses = self._make_room(rows)
            self._insert(rows, "IGNORE")
        self._streams.written(rows, in_order=False)
        last = max(rows, key=lambda row: row.id)
        if last.id > self.last_id:
            self.head = Head(last.id, last.stream, last.seq, last.sha256)
        self._find_first()
        return losses

    def follow(self, head: Head) -> None:
        """Let the next batch follow one that was sealed elsewhere."""
        self._streams.begin(head.stream, head.id, head.seq)
        self.head = head
        self._find_first()

    def hole(self, stream: str, first_seq: int, last_seq: int) -> Lost:
        """Return the loss of a stretch that is not in the file; how many readings it held is not known."""
        _, last_id = self._streams.ids(stream, first_seq, last_seq)
        following = self._span(last_id + 1, last_id + 1, 1)
        after = decoded(following[0]) if following else None
        return Lost(
            stream=stream, from_seq=first_seq, to_seq=last_seq, readings=0, cause="damaged",
            sha256_of_b=after.prev if after and after.stream == stream else "",
        )  # fmt: skip

    def mark_delivered(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Note ids that another file knew as delivered."""
        for first, last in ranges:
            self._delivered.add(first, last)

    def _fits(self, rows: Sequence[Sealed]) -> bool:
        with store_errors(self.path):
            return self._room.fits([len(row.payload) for row in rows])

    def _make_room(self, rows: Sequence[Sealed]) -> list[Lost]:
        given_up = self._room.make([len(row.payload) for row in rows], self.last_id)
        return joined(lost([row for row in given_up if row.id not in self._delivered.known], "full"))

    def _insert(self, rows: Sequence[Sealed], how: str = "ABORT") -> None:
        self._db.executemany(f"INSERT OR {how} INTO batches VALUES(?,?,?,?,?,?,?,?)", [columns_of(row) for row in rows])
        self._streams.write(rows)

    @contextmanager
    def _commit(self, now_ms: int, receipts: bool = True) -> Iterator[None]:
        with store_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if receipts and (lowest := self._delivered.write(now_ms)) is not None:
                    self._room.delivered_from(lowest)
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            if receipts:
                self._delivered.written()

    # -- receipts

    def settle(self, stream: str, through: int, also: Sequence[int]) -> None:
        """Note what a receipt settles; numbers that were never given are ignored. The next commit writes it."""
        first, last = self._streams.ids(stream, 1, through)
        self._delivered.add(max(first, self.first_id), last)
        for seq in also:
            first, last = self._streams.ids(stream, seq, seq)
            self._delivered.add(max(first, self.first_id), last)

    def tidy(self, now_ms: int, keep_ms: int) -> None:
        """Write waiting receipts; delete some of what was delivered longer than `keep_ms` ago."""
        with self._commit(now_ms):
            for _ in range(8):
                if not self._room.drop_delivered(self.last_id, now_ms - keep_ms):
                    break
            self._room.forget_purged()
            self._streams.forget(self.first_id)
        self._find_first()
        with store_errors(self.path):
            if self._room.pages() > self._room.page_limit and self._room.used_pages() <= self._room.page_limit:
                self._db.execute("VACUUM")

    # -- reading

    def unreceipted_after(self, after_id: int, limit: int) -> list[Sealed]:
        """Return up to `limit` batches without a receipt, oldest first; damaged ones are given up, not returned."""
        rows: list[Sealed] = []
        for first, last in self._delivered.known.missing(max(after_id + 1, self.first_id), self.last_id):
            while first <= last and len(rows) < limit:
                found = self._span(first, last, limit)
                rows += [row for row in found if self._is_whole(row)]
                first = found[-1].id + 1 if found else last + 1
        return rows[:limit]

    @property
    def streams(self) -> dict[str, int]:
        """Each stream in the file, with the highest number given in it."""
        return self._streams.highest

    def stretch(self, stream: str, first_seq: int, last_seq: int, limit: int) -> list[Sealed]:
        """Return what is left of a stretch of a stream, delivered or not."""
        rows = self._span(*self._streams.ids(stream, first_seq, last_seq), limit)
        return [row for row in rows if row.stream == stream and self._is_whole(row)]

    def newest(self, limit: int, before_id: int | None = None) -> list[tuple[int, Batch]]:
        """Return the last batches with their ids, newest first, decoded; damaged ones are passed over."""
        sql = SELECT + "WHERE id<? ORDER BY id DESC LIMIT ?"
        with store_errors(self.path):
            found = self._db.execute(sql, (before_id if before_id is not None else self.last_id + 1, limit)).fetchall()
        rows = [row_of(columns) for columns in found]
        return [(row.id, batch) for row in rows if (batch := decoded(row))]

    def delivered(self) -> dict[str, list[tuple[int, int]]]:
        """Return what was receipted and is still here: ranges of numbers by stream, oldest first."""
        found: dict[str, list[tuple[int, int]]] = {}
        for stream, before, highest in self._streams.newest(TOLD):
            ids = self._delivered.known.within(max(before + 1, self.first_id), before + highest)
            ranges = [(first - before, last - before) for first, last in ids][-TOLD:]
            if ranges:
                found[stream] = ranges
        return found

    def _span(self, first: int, last: int, limit: int) -> list[Sealed]:
        sql = SELECT + "WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
        with store_errors(self.path):
            return [row_of(columns) for columns in self._db.execute(sql, (first, last, limit))]

    def _is_whole(self, row: Sealed) -> bool:
        whole = body_of(row) is not None
        if not whole and row not in self._spoiled:
            self._spoiled.append(row)
        return whole

    def _placed(self, row: Sealed) -> Sealed:
        """Return a damaged batch with the identity that its neighbours prove."""
        following = self._span(row.id + 1, row.id + 1, 1)
        after = decoded(following[0]) if following else None
        identity = self._streams.identity(row.id)
        if identity is None:
            return row
        stream, seq = identity
        sha256 = after.prev if after and after.stream == stream else row.sha256
        return replace(row, stream=stream, seq=seq, sha256=sha256)

    # -- facts and end

    def salvage_from(self, name: str, now_ms: int) -> None:
        """Note the damaged file this one takes over from; the next put forgets it, as it tells what was lost."""
        self.remember("salvaging", name, now_ms)
        self.salvaging = name

    def fact(self, name: str) -> str | None:
        with store_errors(self.path):
            row = self._db.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
        return str(row[0]) if row else None

    def remember(self, name: str, value: str, now_ms: int) -> None:
        with self._commit(now_ms):
            self._db.execute("INSERT OR REPLACE INTO facts VALUES(?,?)", (name, value))

    def delivered_rows(self) -> list[tuple[int, int, int]]:
        with store_errors(self.path):
            return self._delivered.rows()

    def close(self) -> None:
        with store_errors(self.path):
            self._db.close()


def decoded(row: Sealed) -> Batch | None:
    """Return the batch of a row, or None when it is damaged."""
    body = body_of(row)
    try:
        return None if body is None else decode_batch(body)
    except MalformedBatch:
        return None


def with_losses(drafts: Sequence[Batch], losses: Sequence[Lost]) -> list[Batch]:
    """Return the drafts with the losses among the events of the first."""
    if not losses:
        return list(drafts)
    return [msgspec.structs.replace(drafts[0], events=[*drafts[0].events, *losses]), *drafts[1:]]
