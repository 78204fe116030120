"""What can still be read of a damaged outbox file.

First by SQL: forwards, backwards, and one id after another where neither gets through; then by looking for payloads in
the bytes of the file itself. Nothing is believed but a batch whose body has the hash that stands beside it: identity,
readings and events are taken from the body. So a damaged file may yield less, never something else.
"""

import mmap
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import zstandard

from agent.delivered import Delivered
from agent.sealed import SELECT, Sealed, row_of
from metering.errors import MalformedBatch
from metering.ranges import Ranges
from metering.wire import MAX_BODY, MAX_SENT, Lost, decode_batch, digest, unpack

_MOST_PROBES = 20_000
_HASH = 32
_ZSTD = b"\x28\xb5\x2f\xfd"
_PLAIN = b'{"v":1,"site":"'
_LONGEST_PLAIN = 400


class Salvage:
    """Reads a file that was set aside. `rows` may be asked for once; `delivered` holds after it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[tuple[str, int]] = set()
        self._offsets: dict[str, int] = {}
        self._next_id = 1
        self.delivered: list[tuple[int, int]] = []
        """Ids that were receipted, as far as the file still says so."""
        self.placed_anew: set[str] = set()
        """Streams whose ids are not those of the file: nothing is known of their receipts."""

    def rows(self) -> Iterator[Sealed]:
        """Yield each batch once, those found by SQL first."""
        complete = False
        try:
            db = sqlite3.connect(self._path, isolation_level=None, timeout=1)
            try:
                self._read_delivered(db)
                walk = _Walk(db)
                for row in walk.rows():
                    yield from self._believed(row)
                complete = walk.complete
            finally:
                db.close()
        except sqlite3.Error:
            complete = False
        if not complete:
            yield from self._carve()

    def _read_delivered(self, db: sqlite3.Connection) -> None:
        try:
            self.delivered = [(first, last) for first, last, _ in Delivered(db).rows()]
        except (sqlite3.Error, TypeError):
            self.delivered = []

    def _believed(self, row: Sealed) -> Iterator[Sealed]:
        """Yield the batch of a row under the identity its body proves, unless it was yielded before."""
        whole = _proved(row)
        if whole is None or (whole.stream, whole.seq) in self._seen:
            return
        self._seen.add((whole.stream, whole.seq))
        offset = self._offsets.setdefault(whole.stream, row.id - whole.seq)
        id_ = offset + whole.seq
        self._next_id = max(self._next_id, id_ + 1)
        if id_ > 0:
            yield Sealed(
                id_, whole.stream, whole.seq, whole.created_ms, whole.readings, whole.losses, whole.sha256,
                whole.payload,
            )  # fmt: skip

    def _carve(self) -> Iterator[Sealed]:
        """Yield what lies in the bytes; streams SQL did not find come after all ids of the file."""
        found: dict[str, tuple[int, int, int]] = {}
        for row in self._carved():
            first, last, created = found.get(row.stream, (row.seq, row.seq, row.created_ms))
            found[row.stream] = min(first, row.seq), max(last, row.seq), min(created, row.created_ms)
        after = max([self._next_id - 1, *(last for _, last in self.delivered)])
        for stream, (first, last, _) in sorted(found.items(), key=lambda one: one[1][2]):
            if stream not in self._offsets:
                self.placed_anew.add(stream)
                self._offsets[stream] = after + 1 - first
                after += last - first + 1
        for row in self._carved():
            yield from self._believed(row)

    def _carved(self) -> Iterator[Sealed]:
        for path in (self._path, Path(f"{self._path}-wal")):
            if path.exists() and path.stat().st_size:
                with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    for sha256, payload in _payloads(data):
                        whole = _proved(Sealed(0, "", 0, 0, 0, (), sha256, payload))
                        if whole is not None:
                            yield whole


class _Walk:
    """All rows SQL can still reach. `complete` says whether it reached the end without an error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.complete = False
        self._reached: list[int] = []

    def rows(self) -> Iterator[Sealed]:
        yield from self._direction("ASC")
        if self.complete:
            return
        low = self._reached[-1] if self._reached else 0
        self._reached.clear()
        yield from self._direction("DESC")
        self.complete = False
        high = self._reached[-1] if self._reached else low + _MOST_PROBES
        for id_ in range(low + 1, min(high, low + _MOST_PROBES)):
            yield from self._one(id_)

    def _direction(self, order: str) -> Iterator[Sealed]:
        try:
            for columns in self._db.execute(SELECT + f"NOT INDEXED ORDER BY id {order}"):
                row = row_of(columns)
                self._reached.append(row.id)
                yield row
            self.complete = True
        except sqlite3.Error:
            self.complete = False

    def _one(self, id_: int) -> Iterator[Sealed]:
        try:
            for columns in self._db.execute(SELECT + "NOT INDEXED WHERE id=?", (id_,)):
                yield row_of(columns)
        except sqlite3.Error:
            return


def _proved(row: Sealed) -> Sealed | None:
    try:
        body = unpack(row.payload)
        if digest(body) != row.sha256:
            return None
        batch = decode_batch(body)
    except MalformedBatch:
        return None
    losses = tuple(event for event in batch.events if isinstance(event, Lost))
    created = row.created_ms or batch.t0 + max(batch.t, default=0)
    return Sealed(row.id, batch.stream, batch.seq, created, len(batch.t), losses, row.sha256, row.payload)


def _payloads(data: mmap.mmap) -> Iterator[tuple[str, bytes]]:
    """Yield (hash, payload) wherever 32 bytes are the hash of the body that follows them."""
    for mark, cut in ((_ZSTD, _frame), (_PLAIN, _plain)):
        at = data.find(mark)
        while at >= 0:
            sha256 = data[max(0, at - _HASH) : at]
            payload = cut(data, at, sha256)
            if payload:
                yield sha256.hex(), payload
            at = data.find(mark, at + 1)


def _frame(data: mmap.mmap, at: int, sha256: bytes) -> bytes | None:
    chunk = data[at : at + MAX_SENT]
    try:
        if zstandard.frame_content_size(chunk) > MAX_BODY:
            return None
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        body = decompressor.decompress(chunk)
    except zstandard.ZstdError:
        return None
    return chunk[: len(chunk) - len(decompressor.unused_data)] if digest(body) == sha256.hex() else None


def _plain(data: mmap.mmap, at: int, sha256: bytes) -> bytes | None:
    end = data.find(b"}", at)
    while 0 <= end < at + _LONGEST_PLAIN:
        if digest(data[at : end + 1]) == sha256.hex():
            return data[at : end + 1]
        end = data.find(b"}", end + 1)
    return None


def holes(rows: Ranges, delivered: list[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """Return the ids of first..last that were neither recovered nor delivered."""
    known = Ranges([*rows, *delivered])
    return list(known.missing(first, last))
