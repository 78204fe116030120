"""DL/T 645 meters on one line, both editions. Own frame code.

Answered: read data (2007: 0x11, 1997: 0x01) of all that the profile names, of blocks (`0001FF00`, `901F`) and daily
freezes (0506); the frames that follow (0x12, 0x02); read address (0x13). Anything else gets an error reply: unknown data,
or, for every write and switch command, no permission. Broadcast is heard and not answered. Several meters that feel meant
answer at once, and nobody can understand them.
"""

import datetime as dt
import re
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from simulators.dlt645_types import Dlt645Type, dlt645_type
from simulators.faults import Faults
from simulators.meters import Meter
from simulators.served import ServedLog
from simulators.spoil import Draft, Reply, Spoiler

START, END, OFFSET, WAKE = 0x68, 0x16, 0x33, 0xFE
READ, READ_NEXT, READ_ADDRESS = 0x11, 0x12, 0x13
READ_1997, READ_NEXT_1997 = 0x01, 0x02
REPLY, ERROR, MORE = 0x80, 0xC0, 0x20
NO_DATA, NOT_PERMITTED = 0x02, 0x04
HEAD = 10
"""Bytes before the data: 68, address, 68, control, length."""
ANY_DIGITS, BROADCAST = 0xAA, bytes([0x99] * 6)
MOST_FREEZES = 62

DATA: dict[str, tuple[str, int]] = {
    "00010000": ("energy_import", 4),
    "00020000": ("energy_export", 4),
    "02010100": ("voltage_l1", 2),
    "02010200": ("voltage_l2", 2),
    "02010300": ("voltage_l3", 2),
    "02020100": ("current_l1", 3),
    "02020200": ("current_l2", 3),
    "02020300": ("current_l3", 3),
    "02030000": ("power", 3),
    "02800002": ("frequency", 2),
}
"""DI -> point and bytes of its BCD number of the bundled meter; the steps of the point are the digits of the meter."""
ADDRESS_DATA = ("04000401", "04000402", "C032")


def frame_of(address: bytes, control: int, data: bytes) -> bytes:
    """Return a whole frame; `address` and `data` as on the line, before the 0x33 is added."""
    return _closed(_body(address, control, data), False).lstrip(bytes([WAKE]))


def _body(address: bytes, control: int, data: bytes) -> bytes:
    return bytes((START, *address, START, control, len(data))) + bytes((byte + OFFSET) % 256 for byte in data)


def _closed(body: bytes, wrong: bool) -> bytes:
    return bytes([WAKE] * 4) + body + bytes(((sum(body) + wrong) % 256, END))


class Dlt645Meter:
    """One meter on the line: what it knows, and the frames of an answer it has still to send."""

    def __init__(self, meter: Meter, faults: Faults, served: ServedLog, zone: ZoneInfo) -> None:
        self.meter = meter
        self.own = bytes.fromhex(meter.settings.digits.zfill(12))[::-1]
        self.spoiler = Spoiler(faults)
        self._faults = faults
        self._served = served
        self._zone = zone
        self._known = dict(_known(meter))
        self._rest: dict[bytes, list[bytes]] = {}

    def answer(self, control: int, data: bytes) -> bytes:
        """Return the body of the reply to a request."""
        if control == READ_ADDRESS:
            return _body(self.own, control | REPLY, self.own)
        if control in (READ, READ_1997):
            return self._read(control, data[: 4 if control == READ else 2])
        if control in (READ_NEXT, READ_NEXT_1997):
            return self._next(control, data)
        return _body(self.own, control | ERROR, bytes((NOT_PERMITTED,)))

    def _read(self, control: int, di: bytes) -> bytes:
        refused = self._faults.current("exception", self.meter.name)
        if refused is not None:
            return _body(self.own, control | ERROR, bytes((refused.code,)))
        value = self._value(di[::-1].hex().upper())
        if value is None:
            return _body(self.own, control | ERROR, bytes((NO_DATA,)))
        most = self.meter.settings.max_data
        first, *rest = [value[at : at + most] for at in range(0, len(value), most)] or [b""]
        self._rest[di] = rest
        return _body(self.own, control | REPLY | (MORE if rest else 0), di + first)

    def _next(self, control: int, data: bytes) -> bytes:
        """Send the next frame of an answer; in 2007 it is asked for by its number, from 1 on, and says it at its end."""
        size = 4 if control == READ_NEXT else 2
        di, sequence = data[:size], data[size : size + 1]
        rest = self._rest.get(di, [])
        which = sequence[0] - 1 if sequence else 0
        if not 0 <= which < len(rest):
            return _body(self.own, control | ERROR, bytes((NO_DATA,)))
        if not sequence:
            part = rest.pop(0)
            return _body(self.own, control | REPLY | (MORE if rest else 0), di + part)
        more = MORE if which + 1 < len(rest) else 0
        return _body(self.own, control | REPLY | more, di + rest[which] + sequence)

    def _value(self, di: str) -> bytes | None:
        now = self._faults.now()
        if di in self._known:
            return self._shown(di, now)
        if di in ADDRESS_DATA:
            return self.own
        if di[:4] == "0506":
            return self._freeze(di, now)
        members = _members(di)
        if not members or not any(member in self._known for member in members):
            return None
        last = max(at for at, member in enumerate(members) if member in self._known or at < 4)
        return b"".join(self._shown(member, now) for member in members[: last + 1])

    def _shown(self, di: str, ms: int) -> bytes:
        """Return what a DI holds; one the meter's profile does not name holds zero."""
        names = self._known.get(di, ())
        if not names:
            return bytes(dlt645_type(di, None).size)
        data = bytes(0)
        for name, of in names:
            more = self._encoded(name, of, ms)
            data = bytes(a | b for a, b in zip(data, more, strict=True)) if data else more
        return data + (self._time(ms, "%y%m%d%H%M") if len(di) == 8 and di[:2] == "01" else b"")

    def _encoded(self, name: str, of: Dlt645Type, ms: int) -> bytes:
        if "%" in of.kind:
            return self._time(ms, of.kind)
        if not self.meter.available(name):
            return b"\xff" * of.size
        if of.form.kind == "text":
            return of.encode(self.own[::-1].hex() if of.kind == "digits" else self.meter.text(name))
        steps = self.meter.steps(name, ms)
        value, mark = self.meter.read(name, steps), self._faults.mark(self.meter.name)
        self._served.note(self._faults.now(), self.meter.name, name, steps, value, mark)
        if self.meter.shape is None:
            return of.encode(steps)
        bits = self.meter.shape.spots[name].place.bits
        data = of.encode(int(self.meter.raws(name, steps)[0]) << (bits[0] if bits else 0))
        nibble = of.kind == "bcd" and self._faults.current("nibble", self.meter.name) is not None
        return bytes((data[0] | 0xF0,)) + data[1:] if nibble else data

    def _time(self, ms: int, form: str) -> bytes:
        local = dt.datetime.fromtimestamp(ms // 1000, self._zone)
        return bytes.fromhex(local.strftime(form))[::-1]

    def _freeze(self, di: str, now: int) -> bytes | None:
        """Return a daily freeze: 050600NN its time, 05060KNN the registers 000KFF00 as they stood then."""
        which, kind = int(di[6:], 16), int(di[4:6], 16)
        today = dt.datetime.fromtimestamp(now // 1000, self._zone).date()
        day = today - dt.timedelta(days=which - 1)
        at_ms = int(dt.datetime.combine(day, dt.time(), self._zone).timestamp()) * 1000
        members = [f"000{kind}{tariff:02X}00" for tariff in range(5)]
        if not 1 <= which <= MOST_FREEZES or kind > 8:
            return None
        if kind == 0:
            return self._time(at_ms, "%y%m%d%H%M")
        if not any(member in self._known for member in members):
            return None
        return b"".join(self._shown(member, at_ms) for member in members)


def _known(meter: Meter) -> Iterable[tuple[str, list[tuple[str, Dlt645Type]]]]:
    """Yield each DI of a meter with the places that are read from it."""
    if meter.shape is None:
        for di, (point, size) in DATA.items():
            yield di, [(point, Dlt645Type(size))]
        return
    found: dict[str, list[tuple[str, Dlt645Type]]] = {}
    for name, spot in meter.shape.spots.items():
        di = str(spot.place.address).upper()
        found.setdefault(di, []).append((name, dlt645_type(di, spot.place.type)))
    yield from found.items()


def _members(di: str) -> list[str]:
    """Return the data of a block in their order; none where the DI is no block."""
    if len(di) == 4:
        first = 1 if re.match("B6[12]", di) else 0
        return [f"{di[:3]}{low:X}" for low in range(first, 15)] if di[3] == "F" else []
    if di[:6] == "040005" and di[6:] == "FF":
        return [f"0400050{low}" for low in range(1, 8)]
    if di[4:6] != "FF":
        return []
    phases = re.match("020[12789]", di)
    lows = range(1, 4) if phases else range(4) if di[:2] == "02" else range(64)
    return [f"{di[:4]}{low:02X}{di[6:]}" for low in lows]


class Dlt645Bus:
    """The meters of one line."""

    def __init__(self, meters: Iterable[Meter], faults: Faults, served: ServedLog) -> None:
        self._meters = [Dlt645Meter(meter, faults, served, faults.timezone) for meter in meters]

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next frame with a right checksum; wake-up bytes and noise before it go."""
        while True:
            begin = received.find(START)
            if begin < 0:
                received.clear()
                return None
            del received[:begin]
            length = HEAD + received[9] + 2 if len(received) >= HEAD else HEAD + 2
            if len(received) < length:
                return None
            if _sound(received[:length]):
                frame = bytes(received[:length])
                del received[:length]
                return frame
            del received[0]

    def answer(self, request: bytes) -> Reply | None:
        address, control = request[1:7], request[8]
        data = bytes((byte - OFFSET) % 256 for byte in request[HEAD:-2])
        if address == BROADCAST:
            return None
        replies = [reply for one in self._meters if _meant(address, one.own)
                   and (reply := self._reply(one, request, control, data)) is not None]  # fmt: skip
        return collided(replies)

    def _reply(self, one: Dlt645Meter, request: bytes, control: int, data: bytes) -> Reply | None:
        body = one.answer(control, data)
        draft = Draft(one.meter.name, body, _closed, address_at=1, length_at=slice(9, 10))
        return one.spoiler.reply(request, draft)


def collided(replies: list[Reply]) -> Reply | None:
    """Return what is on the wire when stations answer at once: a zero of any of them wins."""
    if len(replies) < 2:
        return replies[0] if replies else None
    longest = max(len(reply.frame) for reply in replies)
    mixed = bytearray(b"\xff" * longest)
    for at, reply in enumerate(replies):
        for index, byte in enumerate(reply.frame.ljust(longest, b"\xff")):
            mixed[(index + at) % longest] &= byte
    return Reply(bytes(mixed))


def _sound(frame: bytearray) -> bool:
    return frame[7] == START and frame[-1] == END and sum(frame[:-2]) % 256 == frame[-2]


def _meant(asked: bytes, own: bytes) -> bool:
    """Whether a meter is meant by an address in which AA stands for any two digits, A for one."""
    return all(want in ("a", have) for want, have in zip(asked.hex(), own.hex(), strict=True))
