"""The contract between agent and ingester: topics, batches, receipts, status messages.

Promises
    * The body that was hashed is the body that is stored, byte for byte: encode once, keep the bytes.
    * A payload is UTF-8 JSON or the same JSON as one zstd frame, at most 60 kB as sent and 4 MB unpacked.
    * What decodes has the right shape: a wrong one raises MalformedBatch with the place, and is never half-used.
All times are Unix milliseconds UTC.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import zstandard

from metering.errors import MalformedBatch

VERSION = 1
MAX_SENT = 60_000
"""Bytes of a payload as sent."""
MAX_BODY = 4_000_000
"""Bytes of a body after decompression; a larger one is refused before it is unpacked."""
ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PLAIN_BELOW = 200
"""Bodies shorter than this are sent as they are: compression would not pay."""

ClockState = Literal["synced", "unsynced", "holdover"]
T = TypeVar("T")


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Gap(_Wire, tag_field="kind", tag="gap", rename={"start": "from", "end": "to"}, frozen=True, kw_only=True):
    """No readings of a meter between two times, and why. `end` is None while it lasts."""

    meter: str
    start: int
    end: int | None = None
    cause: str
    """timeout, bad_frame, exception, unreachable, breaker, line_busy, overrun, stopped, power_loss, clock, …"""
    missed: int
    """Slots that passed without a reading."""
    backfilled: int = 0
    """Values of it that the meter had recorded itself, and that were fetched afterwards."""


class Lost(_Wire, tag_field="kind", tag="lost", frozen=True, kw_only=True):
    """Batches A..B of a stream were given up; they count as settled and the chain goes on from B's hash."""

    stream: str
    from_seq: int
    to_seq: int
    sha256_of_b: str
    readings: int
    cause: str


class Thinned(_Wire, tag_field="kind", tag="thinned", frozen=True, kw_only=True):
    """Batches A..B were replaced by this one, which keeps the first and last counter reading of each hour."""

    stream: str
    from_seq: int
    to_seq: int
    sha256_of_b: str
    readings: int
    cause: str


class Restart(_Wire, tag_field="kind", tag="restart", frozen=True, kw_only=True):
    """The agent started; `stopped` is when it last ran, `clean` whether it was told to stop."""

    at: int
    stopped: int | None = None
    clean: bool = False


class ClockStep(_Wire, tag_field="kind", tag="clock", frozen=True, kw_only=True):
    """The wall clock was set: `before` was due, `after` came."""

    at: int
    before: int
    after: int


class ConfigChanged(_Wire, tag_field="kind", tag="config", frozen=True, kw_only=True):
    """The configuration's text without secrets."""

    at: int
    sha256: str
    text: str


class Exchange(_Wire, tag_field="kind", tag="exchange", frozen=True, kw_only=True):
    """A meter was exchanged: the old one's final reading and the new one's first."""

    at: int
    point: str
    old_final: str
    new_initial: str
    old_serial: str = ""
    new_serial: str = ""
    reason: str = ""
    by: str = ""


class Key(_Wire, tag_field="kind", tag="key", frozen=True, kw_only=True):
    """The agent's public key, by which its seals are checked."""

    public_key: str
    """Ed25519, hex."""


class Seal(_Wire, tag_field="kind", tag="seal", frozen=True, kw_only=True):
    """The agent vouches for its stream up to a batch."""

    through_seq: int
    sha256: str
    """Of the body of `through_seq`, hex."""
    sig: str
    """Ed25519, hex."""


class Slots(_Wire, tag_field="kind", tag="slots", frozen=True, kw_only=True):
    """Which meters a run of the agent reads, and when. Told at its start and once a day, so that a loss of batches loses no slot.

    What a run tells of one `since` adds up; a meter that it does not name is not read any more.
    """

    at: int
    since: int
    """When the run began."""
    boot: str
    meters: dict[str, tuple[Annotated[int, msgspec.Meta(gt=0, lt=2**53)], Annotated[int, msgspec.Meta(ge=0, lt=2**53)]]]
    """Interval and phase, ms: a meter is read at phase + n * interval of the wall clock (Unix ms)."""


Event = Gap | Lost | Thinned | Restart | ClockStep | ConfigChanged | Exchange | Key | Seal | Slots


class Batch(_Wire, omit_defaults=False, frozen=True, kw_only=True):
    """Readings of one agent in columns. Field names are the wire's."""

    v: int = VERSION
    site: str
    agent: str
    stream: str
    """UUID of the outbox that numbered it."""
    seq: int
    """From 1, without holes within a stream."""
    prev: str
    """SHA-256 (hex) of the body before; empty for the first."""
    boot: str
    up: int
    """CLOCK_BOOTTIME at `t0`, ms."""
    clock: ClockState
    config: str
    points: list[tuple[str, str]]
    """(point, unit)."""
    t0: int
    t: list[int]
    """ms after t0."""
    p: list[int]
    """Index into points."""
    x: list[float | str | None]
    """The value; an integer above 2^53 travels as a string."""
    q: list[int]
    """Quality, 0..9."""
    s: list[int] | msgspec.UnsetType = msgspec.UNSET
    """Source time minus measured time, ms."""
    raw: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """Bytes as read (hex), by index."""
    events: list[Event] = []

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.agent, self.stream, self.seq


class Receipt(_Wire, frozen=True, kw_only=True):
    """What the ingester has committed of one stream."""

    stream: str
    through: int
    """Every seq up to this one is settled."""
    also: list[int] = []
    resend: list[tuple[int, int]] = []


class AgentStatus(_Wire, omit_defaults=False, frozen=True, kw_only=True):
    """Retained; the will message is the same with online = false."""

    online: bool
    agent: str
    version: str
    at: int
    config: str = ""
    clock: ClockState = "unsynced"
    stream: str = ""
    last_seq: int = 0
    unreceipted: int = 0
    """Batches in the outbox without a receipt."""
    delivered: dict[str, list[tuple[int, int]]] = {}
    """By stream, oldest first: what was receipted and is still in the outbox. A restored ingester asks for it."""
    outbox_bytes: int = 0
    silent_since: int | None = None
    """Since when the ingester has given no receipt for what waits."""
    alarms: list[str] = []
    """What the agent cannot mend by itself: a disk that refuses, a damaged outbox that was set aside."""
    lines: dict[str, dict[str, Any]] = {}
    """Per line: state and counters."""
    meters: dict[str, dict[str, Any]] = {}
    """Per meter: state, last good read, expected / read / missed slots, cause of silence."""


class IngesterStatus(_Wire, omit_defaults=False, frozen=True, kw_only=True):
    """Retained. A new epoch tells agents to resend what has no receipt."""

    ingester: str
    epoch: str
    since: int
    heartbeat: int
    online: bool = True


@dataclass(frozen=True)
class Topics:
    """The topics of one site."""

    site: str

    def data(self, agent: str) -> str:
        return f"tanbiao/v1/{self.site}/{agent}/data"

    def status(self, agent: str) -> str:
        return f"tanbiao/v1/{self.site}/{agent}/status"

    def receipt(self, agent: str) -> str:
        return f"tanbiao/v1/{self.site}/{agent}/receipt"

    @property
    def ingester_status(self) -> str:
        return f"tanbiao/v1/{self.site}/_ingester/status"

    @property
    def alerts(self) -> str:
        return f"tanbiao/v1/{self.site}/alerts"

    def agent_of(self, topic: str) -> str | None:
        """Return the agent a data or status topic of this site belongs to."""
        parts = topic.split("/")
        ours = len(parts) == 5 and parts[:3] == ["tanbiao", "v1", self.site] and parts[4] in ("data", "status")
        return parts[3] if ours and ID.fullmatch(parts[3]) else None


_compressors: list[zstandard.ZstdCompressor] = []
_decompressors: list[zstandard.ZstdDecompressor] = []
"""Those that no thread is using: making one costs more than a small batch does."""
_encoder = msgspec.json.Encoder()
_batch_decoder = msgspec.json.Decoder(Batch)


def encode(message: msgspec.Struct) -> bytes:
    """Return the JSON body of a message."""
    return _encoder.encode(message)


def digest(body: bytes) -> str:
    """Return the SHA-256 of a body, hex; the `prev` of the next batch."""
    return hashlib.sha256(body).hexdigest()


def pack(body: bytes) -> bytes:
    """Return the payload to send: one zstd frame (level 1), or the body itself where that is shorter."""
    if len(body) < _PLAIN_BELOW:
        return body
    try:
        compressor = _compressors.pop()
    except IndexError:
        compressor = zstandard.ZstdCompressor(level=1)
    payload = compressor.compress(body)
    _compressors.append(compressor)
    return payload


def unpack(payload: bytes) -> bytes:
    """Return the body of a payload.

    Raises:
        MalformedBatch: too long, or not one whole zstd frame.
    """
    if len(payload) > MAX_SENT:
        raise MalformedBatch(reason=f"{len(payload)} bytes as sent, at most {MAX_SENT}")
    if not payload.startswith(_ZSTD_MAGIC):
        return payload
    try:
        size = zstandard.frame_content_size(payload)
        if size > MAX_BODY:
            raise MalformedBatch(reason=f"{size} bytes unpacked, at most {MAX_BODY}")
        try:
            decompressor = _decompressors.pop()
        except IndexError:
            decompressor = zstandard.ZstdDecompressor()
        body = decompressor.decompress(payload, max_output_size=MAX_BODY)
        _decompressors.append(decompressor)
        return body
    except zstandard.ZstdError as error:
        raise MalformedBatch(reason=f"zstd: {error}") from error


def decode_batch(body: bytes) -> Batch:
    """Return the batch of a body, checked: columns of one length, indices in range, ids well formed.

    Raises:
        MalformedBatch: with the place that is wrong.
    """
    try:
        batch = _batch_decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedBatch(reason=str(error)) from error
    reason = _fault(batch)
    if reason:
        raise MalformedBatch(reason=reason)
    return batch


def decode_as(kind: type[T], body: bytes) -> T:
    """Return the receipt or status in a body.

    Raises:
        MalformedBatch: it is not one.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedBatch(reason=str(error)) from error


def _fault(batch: Batch) -> str:
    if batch.v != VERSION:
        return f"version {batch.v} is not {VERSION}"
    for name in (batch.site, batch.agent):
        if not ID.fullmatch(name):
            return f"id {name!r}"
    if batch.seq < 1:
        return f"seq {batch.seq}"
    if any("/" not in point for point, _ in batch.points):
        return "a point is meter/point"
    return _column_fault(batch)


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,40}", text) is not None


def _column_fault(batch: Batch) -> str:
    rows = len(batch.t)
    if not (len(batch.p) == len(batch.x) == len(batch.q) == rows):
        return f"columns differ in length: t {rows}, p {len(batch.p)}, x {len(batch.x)}, q {len(batch.q)}"
    if rows and not (min(batch.p) >= 0 and max(batch.p) < len(batch.points)):
        return "p points outside points"
    if rows and not (min(batch.q) >= 0 and max(batch.q) <= 9):
        return "q outside 0..9"
    if rows and min(batch.t) < 0:
        return "t before t0"
    if isinstance(batch.s, list) and len(batch.s) != rows:
        return "s differs in length"
    if str in set(map(type, batch.x)) and not all(_is_whole(value) for value in batch.x if isinstance(value, str)):
        return "x holds a text that is no integer"
    return ""
