"""A sealed batch: it has its identity (stream, seq), the hash of the one before, and the bytes that will be sent.

A batch is encoded once. The body that was hashed is the body that is stored and sent, byte for byte.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from metering.errors import MalformedBatch
from metering.wire import MAX_SENT, Batch, Lost, digest, encode, pack, unpack


@dataclass(frozen=True, slots=True)
class Sealed:
    """One batch as it waits in the outbox."""

    id: int
    """Order of creation over all streams; `id - seq` is the same for a whole stream."""
    stream: str
    seq: int
    created_ms: int
    readings: int
    losses: tuple[Lost, ...]
    sha256: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The last identity given; the next batch follows it."""

    id: int
    stream: str
    seq: int = 0
    sha256: str = ""


def seal(drafts: Iterable[Batch], head: Head, created_ms: int) -> tuple[list[Sealed], Head]:
    """Number the drafts after `head` and encode them; one too long to be sent is split."""
    sealed: list[Sealed] = []
    waiting = list(drafts)
    while waiting:
        draft = waiting.pop(0)
        one = _seal_one(draft, head, created_ms)
        if len(one.payload) > MAX_SENT and len(draft.t) > 1:
            waiting[:0] = halves(draft)
            continue
        sealed.append(one)
        head = Head(one.id, one.stream, one.seq, one.sha256)
    return sealed, head


def _seal_one(draft: Batch, head: Head, created_ms: int) -> Sealed:
    batch = msgspec.structs.replace(draft, stream=head.stream, seq=head.seq + 1, prev=head.sha256)
    body = encode(batch)
    losses = tuple(event for event in batch.events if isinstance(event, Lost))
    return Sealed(head.id + 1, batch.stream, batch.seq, created_ms, len(batch.t), losses, digest(body), pack(body))


def halves(draft: Batch) -> tuple[Batch, Batch]:
    """Cut a batch in two; the events stay with the first half."""
    middle = len(draft.t) // 2
    return _part(draft, 0, middle), msgspec.structs.replace(_part(draft, middle, len(draft.t)), events=[])


def _part(draft: Batch, first: int, end: int) -> Batch:
    raw = draft.raw
    if isinstance(raw, dict):
        raw = {str(int(at) - first): text for at, text in raw.items() if first <= int(at) < end}
    shift = draft.s[first:end] if isinstance(draft.s, list) else draft.s
    return msgspec.structs.replace(
        draft, t=draft.t[first:end], p=draft.p[first:end], x=draft.x[first:end], q=draft.q[first:end], s=shift, raw=raw
    )


def body_of(sealed: Sealed) -> bytes | None:
    """Return the body if every byte and the identity are as they were sealed, else None."""
    try:
        body = unpack(sealed.payload)
    except MalformedBatch:
        return None
    identity = f'"stream":"{sealed.stream}","seq":{sealed.seq},'.encode()
    return body if digest(body) == sealed.sha256 and identity in body[:400] else None


def lost(rows: Sequence[Sealed], cause: str) -> list[Lost]:
    """Return the events that give up `rows`, in order of id; losses they carried live on, joined where they adjoin."""
    found: list[Lost] = []
    for row in rows:
        found.extend(row.losses)
        found.append(Lost(
            stream=row.stream, from_seq=row.seq, to_seq=row.seq, sha256_of_b=row.sha256, readings=row.readings,
            cause=cause,
        ))  # fmt: skip
    return joined(found)


def joined(losses: Iterable[Lost]) -> list[Lost]:
    """Join losses of one stream and cause that adjoin."""
    result: list[Lost] = []
    for loss in sorted(losses, key=lambda one: (one.stream, one.from_seq)):
        last = result[-1] if result else None
        if last and (last.stream, last.cause) == (loss.stream, loss.cause) and last.to_seq + 1 == loss.from_seq:
            result[-1] = msgspec.structs.replace(loss, from_seq=last.from_seq, readings=last.readings + loss.readings)
        else:
            result.append(loss)
    return result


SELECT = "SELECT id, stream, seq, created_ms, readings, losses, sha256, payload FROM batches "
"""Hash and payload are neighbours in the file, for salvage."""
_losses = msgspec.json.Decoder(tuple[Lost, ...])


def row_of(columns: Sequence[object]) -> Sealed:
    """Return the batch of a row; a column of the wrong kind gives one whose body will not verify."""
    id_, stream, seq, created_ms, readings, losses, sha256, payload = columns
    return Sealed(
        _number(id_), str(stream), _number(seq), _number(created_ms), _number(readings), _losses_of(losses),
        sha256.hex() if isinstance(sha256, bytes) else "", payload if isinstance(payload, bytes) else b"",
    )  # fmt: skip


def _number(column: object) -> int:
    return column if isinstance(column, int) else 0


def columns_of(row: Sealed) -> tuple[object, ...]:
    """Return the row of a batch, in the order of SELECT."""
    losses = msgspec.json.encode(row.losses).decode() if row.losses else None
    sha256 = bytes.fromhex(row.sha256)
    return row.id, row.stream, row.seq, row.created_ms, row.readings, losses, sha256, row.payload


def _losses_of(column: object) -> tuple[Lost, ...]:
    if not isinstance(column, str):
        return ()
    try:
        return _losses.decode(column)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return ()
