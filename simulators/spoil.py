"""From the right reply to what leaves the meter: the faults of replies, the same for every protocol."""

from collections.abc import Callable
from dataclasses import dataclass

from settings.plant_faults import FaultKind
from simulators.faults import Faults, Wrong

NOISE = bytes.fromhex("00 FF 37 91 5A")
MOST_ENDLESS = 65536
"""Bytes after which even an endless reply ends."""


@dataclass(frozen=True)
class Reply:
    """What a station sends back."""

    frame: bytes
    delay_s: float = 0.0
    """How much later than it should."""
    abort: bool = False
    """Whether the connection is reset behind it."""
    goes_on: Callable[[], bool] | None = None
    """An endless reply: bytes follow while this is true."""
    baud: int | None = None
    """The speed of the line from the end of this frame on; 0: the first one again."""
    then: "Reply | None" = None
    """What follows by itself."""


@dataclass(frozen=True)
class Draft:
    """A right reply, in the parts that faults take hold of."""

    meter: str
    body: bytes
    """All before the check."""
    close: Callable[[bytes, bool], bytes]
    """(body, wrong) -> the whole frame, with its check right or wrong."""
    address_at: int | None = None
    """Where in the body the address stands."""
    length_at: slice | None = None
    """Where in the body the length stands."""
    baud: int | None = None


class Spoiler:
    """Spoils replies as the faults of the moment say; keeps what `stale` holds back."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: dict[str, bytes] = {}

    def reply(self, request: bytes, draft: Draft) -> Reply | None:
        """Return what leaves the meter; None for silence."""
        wrong = {fault.kind: fault for fault in self._faults.under_way(draft.meter)}
        if "silence" in wrong:
            return None
        body = draft.body
        if "foreign" in wrong and draft.address_at is not None:
            body = _with(body, slice(draft.address_at, draft.address_at + 1), _stranger)
        if "length" in wrong and draft.length_at is not None and len(body) > draft.length_at.stop:
            body = _with(body, draft.length_at, lambda _: 0xFF)
        frame = draft.close(body, "checksum" in wrong or "transaction" in wrong)
        if "stale" in wrong:
            before, self._held[draft.meter] = self._held.get(draft.meter, b""), frame
            frame = before
        else:
            self._held.pop(draft.meter, None)
        return self._sent(request, frame, wrong, draft) if frame else None

    def _sent(self, request: bytes, frame: bytes, wrong: dict[FaultKind, Wrong], draft: Draft) -> Reply:
        """Do to a whole frame what the line does."""
        if "truncated" in wrong or "abort" in wrong:
            frame = frame[: len(frame) // 2]
        if "doubled" in wrong:
            frame *= 2
        if "noise" in wrong:
            frame = NOISE + frame + NOISE
        if "echo" in wrong:
            frame = request + frame
        goes_on = (lambda: self._faults.current("endless", draft.meter) is not None) if "endless" in wrong else None
        return Reply(frame, self._faults.delay_s(draft.meter), "abort" in wrong, goes_on, draft.baud)


def _with(body: bytes, at: slice, change: Callable[[int], int]) -> bytes:
    changed = bytearray(body)
    changed[at] = bytes(change(byte) for byte in body[at])
    return bytes(changed)


def _stranger(number: int) -> int:
    """Return the address of another, decimal where the first is."""
    return number + 1 if number % 16 != 9 and number < 0xFF else number - 1
