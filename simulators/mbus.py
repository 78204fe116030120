"""M-Bus slaves on one line (EN 13757-2 and -3): by primary address, or selected by the secondary one. Own frames.

A meter answers SND_NKE, the selection, and REQ_UD2 with its frame count bit: an unchanged one repeats the last telegram.
What does not fit one telegram goes into several.
"""

from collections.abc import Iterable
from decimal import Decimal

from simulators.dlt645 import collided
from simulators.faults import Faults
from simulators.mbus_types import HEADER, RecordType, record_type
from simulators.meters import Meter
from simulators.served import ServedLog
from simulators.spoil import Draft, Reply, Spoiler

ACK, LONG, SHORT, STOP = b"\xe5", 0x68, 0x10, 0x16
SND_NKE, SND_UD, REQ_UD2, RSP_UD = 0x40, 0x53, 0x5B, 0x08
FCB = 0x20
SELECTED, EVERYONE, NOBODY = 0xFD, 0xFE, 0xFF
MORE = 0x1F
MEDIA = {"electricity": 2, "gas": 3, "heat": 4, "water": 7, "steam": 5, "fuel": 1}


class MBusMeter:
    """One slave."""

    def __init__(self, meter: Meter, faults: Faults, served: ServedLog) -> None:
        assert meter.shape is not None
        self.meter = meter
        self.spoiler = Spoiler(faults)
        self.selected = False
        self._faults = faults
        self._served = served
        spots = meter.shape.spots
        maker = next((meter.text(name) for name in spots if spots[name].place.address == "maker"
                      and name.startswith("probe.")), "TAN")  # fmt: skip
        self.number = bytes.fromhex(meter.settings.digits.zfill(8))[::-1]
        self.identity = self.number + _maker(maker) + bytes((self._head("version", 1), self._head("medium", 0)))
        self._records = self._ordered()
        self._last_fcb: int | None = None
        self._next = 0
        self._telegrams: list[bytes] = []
        self._access = 0

    def _head(self, field: str, default: int) -> int:
        """Return what a probe wants to see in the header, else what suits."""
        assert self.meter.shape is not None
        spots = self.meter.shape.spots
        for name, spot in spots.items():
            if spot.place.address == field and name.startswith("probe."):
                return int(self.meter.value(name, self._faults.now()))
        return MEDIA.get(self.meter.shape.profile.kind, 0) if field == "medium" else default

    def _ordered(self) -> list[tuple[str, RecordType]]:
        """Return the records in the order in which they are sent: those that are counted stand at their number."""
        assert self.meter.shape is not None
        found: dict[bytes | int, tuple[str, RecordType]] = {}
        for name, spot in self.meter.shape.spots.items():
            if spot.place.address not in HEADER:
                kind = record_type(spot.place)
                found.setdefault(kind.block if kind.number is None else kind.number, (name, kind))
        counted = {key: record for key, record in found.items() if isinstance(key, int)}
        free = [record for key, record in found.items() if not isinstance(key, int)]
        ordered: list[tuple[str, RecordType]] = []
        while counted or free:
            if len(ordered) in counted:
                ordered.append(counted.pop(len(ordered)))
            else:
                ordered.append(free.pop(0) if free else ("", _FILLER))
        return ordered

    def reset(self) -> None:
        self._last_fcb, self._next, self._telegrams = None, 0, []

    def data(self, control: int, address: int) -> bytes:
        """Return the body of the next telegram, or of the last one again where the frame count bit is unchanged."""
        fcb = control & FCB
        if fcb != self._last_fcb or not self._telegrams:
            if self._next >= len(self._telegrams) or self._last_fcb is None:
                self._telegrams, self._next = self._all(), 0
            self._access = (self._access + 1) % 256
            self._next += 1
            self._last_fcb = fcb
        payload = self._telegrams[self._next - 1]
        head = self.identity + bytes((self._access, 0, 0, 0))
        answering = self.meter.settings.unit if address in (SELECTED, EVERYONE) else address
        content = bytes((RSP_UD, answering, 0x72)) + head + payload
        return bytes((LONG, len(content), len(content), LONG)) + content

    def _all(self) -> list[bytes]:
        """Return the records of all telegrams; each but the last ends by saying that more follow."""
        now, telegrams = self._faults.now(), [b""]
        for name, kind in self._records:
            record = kind.block + (self._encoded(name, kind, now) if name else b"\0")
            if len(telegrams[-1]) + len(record) > self.meter.settings.max_data:
                telegrams[-1] += bytes((MORE,))
                telegrams.append(b"")
            telegrams[-1] += record
        return telegrams

    def _encoded(self, name: str, kind: RecordType, now: int) -> bytes:
        if not self.meter.available(name):
            return kind.invalid
        text = self.meter.text(name)
        if text:
            digits = "".join(letter for letter in text if letter.isdigit())[-8:] or "0"
            return kind.encode(int(digits))
        steps, mark = self.meter.steps(name, now), self._faults.mark(self.meter.name)
        self._served.note(now, self.meter.name, name, steps, self.meter.read(name, steps), mark)
        data = kind.encode(self.meter.raws(name, steps)[0])
        nibble = kind.bcd and self._faults.current("nibble", self.meter.name) is not None
        return bytes((data[0] | 0xF0,)) + data[1:] if nibble else data


_FILLER = RecordType(bytes((0x01, 0x7A)), Decimal(1))
"""A record of no interest: the bus address in one byte."""


def _maker(letters: str) -> bytes:
    """Return the two bytes of three letters, five bits each (EN 13757-3, 5.5)."""
    value = 0
    for letter in letters[:3].upper():
        value = value << 5 | (ord(letter) - 64)
    return value.to_bytes(2, "little")


class MBusBus:
    """The slaves of one line."""

    def __init__(self, meters: Iterable[Meter], faults: Faults, served: ServedLog) -> None:
        self._meters = [MBusMeter(meter, faults, served) for meter in meters]

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next frame with a right checksum; what begins none is noise."""
        while received:
            length = _length(received)
            if length is None or length > len(received):
                return None
            frame = bytes(received[:length])
            if length and _sound(frame):
                del received[:length]
                return frame
            del received[0]
        return None

    def answer(self, request: bytes) -> Reply | None:
        control, address = (request[1], request[2]) if request[0] == SHORT else (request[4], request[5])
        if control & ~FCB == SND_UD and request[0] == LONG and request[6] == 0x52:
            return self._select(request)
        meant = [one for one in self._meters if _meant(one, address)]
        if control == SND_NKE:
            return self._reset(request, meant, address)
        if control & ~FCB != REQ_UD2 & ~FCB or address == NOBODY:
            return None
        replies = [one.spoiler.reply(request, Draft(one.meter.name, one.data(control, address), _closed, address_at=5,
                                                    length_at=slice(1, 3))) for one in meant]  # fmt: skip
        return collided([reply for reply in replies if reply is not None])

    def _select(self, request: bytes) -> Reply | None:
        """Select by secondary address: FF for any part, F for any digit."""
        wanted = request[7:15]
        for one in self._meters:
            one.selected = len(wanted) == 8 and _matches(wanted, one.identity)
            if one.selected:
                one.reset()
        return self._acknowledged(request, [one for one in self._meters if one.selected])

    def _reset(self, request: bytes, meant: list[MBusMeter], address: int) -> Reply | None:
        for one in meant:
            one.reset()
            if address == SELECTED:
                one.selected = False
        return self._acknowledged(request, meant) if address != NOBODY else None

    def _acknowledged(self, request: bytes, meant: list[MBusMeter]) -> Reply | None:
        replies = [one.spoiler.reply(request, Draft(one.meter.name, ACK, lambda body, _wrong: body)) for one in meant]
        return next((reply for reply in replies if reply is not None), None)


def _meant(one: MBusMeter, address: int) -> bool:
    return address in (one.meter.settings.unit, EVERYONE, NOBODY) or (address == SELECTED and one.selected)


def _matches(wanted: bytes, identity: bytes) -> bool:
    digits = all(want in ("f", have) for want, have in zip(wanted[:4].hex(), identity[:4].hex(), strict=True))
    maker = wanted[4:6] in (b"\xff\xff", identity[4:6])
    return digits and maker and all(want in (0xFF, have) for want, have in zip(wanted[6:], identity[6:], strict=True))


def _length(received: bytearray) -> int | None:
    """Return the length of the frame that begins here, 0 where none does, None while it cannot be told."""
    if received[0] == SHORT:
        return 5
    if received[0] != LONG:
        return 0
    if len(received) < 4:
        return None
    return received[1] + 6 if received[1] == received[2] and received[3] == LONG and received[1] >= 3 else 0


def _sound(frame: bytes) -> bool:
    content = frame[1:-2] if frame[0] == SHORT else frame[4:-2]
    return frame[-1] == STOP and sum(content) % 256 == frame[-2]


def _closed(body: bytes, wrong: bool) -> bytes:
    return body + bytes(((sum(body[4:]) + wrong) % 256, STOP))
