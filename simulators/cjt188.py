"""CJ/T 188 meters on one line: water, gas, heat. Own frame code, with the makers' quirks the profile names.

Answered: read data (0x01) of DI 901F, read address (0x03). Anything else gets an error reply; no valve moves here.
"""

import datetime as dt
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from simulators.cjt188_types import HEAT, VOLUME, Slot, code_of
from simulators.dlt645 import collided
from simulators.dlt645_types import bcd
from simulators.faults import Faults
from simulators.meters import Meter
from simulators.served import ServedLog
from simulators.spoil import Draft, Reply, Spoiler

START, END, WAKE = 0x68, 0x16, 0xFE
READ, READ_ADDRESS = 0x01, 0x03
REPLY, ERROR = 0x80, 0xC0
HEAD = 11
"""Bytes before the data: 68, type, address, control, length."""
DATA, ADDRESS = (b"\x1f\x90", b"\x90\x1f"), (b"\x81\x0a", b"\x0a\x81")
TYPES = {"water": 0x10, "heat": 0x20, "gas": 0x30}


def _body(head: bytes, control: int, data: bytes) -> bytes:
    return bytes((START,)) + head + bytes((control, len(data))) + data


def _closed(body: bytes, wrong: bool) -> bytes:
    return bytes([WAKE] * 2) + body + bytes(((sum(body) + wrong) % 256, END))


class Cjt188Meter:
    """One meter on the line."""

    def __init__(self, meter: Meter, faults: Faults, served: ServedLog, zone: ZoneInfo) -> None:
        assert meter.shape is not None
        told = meter.shape.profile.meter
        self.meter = meter
        self.type = int(str(told.get("type") or f"{TYPES.get(meter.shape.profile.kind, 0x10):x}"), 16)
        self.own = bytes.fromhex(meter.settings.digits.zfill(14))[::-1]
        self.head = bytes((self.type,)) + self.own
        self.spoiler = Spoiler(faults)
        self._unit_first = told.get("unit_position") == "before"
        self._swapped = told.get("di_order") == "swapped"
        self._faults = faults
        self._served = served
        self._zone = zone
        self._slots = HEAT if self.type >> 4 == 2 else VOLUME

    def answer(self, control: int, data: bytes) -> bytes:
        """Return the body of the reply to a request."""
        serial = data[2:3] or b"\0"
        refused = self._faults.current("exception", self.meter.name)
        if refused is not None:
            return _body(self.head, control | ERROR, serial + bytes((refused.code, 0)))
        if control == READ_ADDRESS and data[:2] in ADDRESS:
            return _body(self.head, control | REPLY, data[:2] + serial)
        if control == READ and data[:2] == DATA[self._swapped]:
            return _body(self.head, control | REPLY, data[:2] + serial + self._values())
        return _body(self.head, control | ERROR, serial + b"\x02\x00")

    def _values(self) -> bytes:
        now = self._faults.now()
        return b"".join(self._field(field, slot, now) for field, slot in self._slots.items())

    def _field(self, field: str, slot: Slot, now: int) -> bytes:
        if field == "clock":
            local = dt.datetime.fromtimestamp(now // 1000, self._zone)
            return bytes.fromhex(local.strftime("%Y%m%d%H%M%S"))[::-1]
        if field == "status":
            return self._status(now)
        assert self.meter.shape is not None
        spots = self.meter.shape.spots
        name = next((name for name, spot in spots.items() if spot.place.address == field), None)
        data = bcd(self._raw(name, now), slot.size) if name else bytes(slot.size)
        if name and not self.meter.available(name):
            data = b"\xff" * slot.size
        if self._faults.current("nibble", self.meter.name) is not None:
            data = bytes((data[0] | 0xF0,)) + data[1:]
        if slot.code is None:
            return data
        code = bytes((code_of(slot, getattr(spots[name].place, "unit", None) if name else None),))
        return code + data if self._unit_first else data + code

    def _status(self, now: int) -> bytes:
        """Valve in bits 0 and 1, battery low in bit 2."""
        assert self.meter.shape is not None
        word = 0
        for name, spot in self.meter.shape.spots.items():
            if spot.place.address == "status" and self.meter.available(name):
                word |= self._raw(name, now) << (spot.place.bits[0] if spot.place.bits else 0)
        return word.to_bytes(2, "little")

    def _raw(self, name: str, now: int) -> int:
        steps, mark = self.meter.steps(name, now), self._faults.mark(self.meter.name)
        self._served.note(now, self.meter.name, name, steps, self.meter.read(name, steps), mark)
        return int(self.meter.raws(name, steps)[0])


class Cjt188Bus:
    """The meters of one line."""

    def __init__(self, meters: Iterable[Meter], faults: Faults, served: ServedLog) -> None:
        self._meters = [Cjt188Meter(meter, faults, served, faults.timezone) for meter in meters]

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next frame with a right checksum; wake-up bytes and noise before it go."""
        while (begin := received.find(START)) >= 0:
            del received[:begin]
            length = HEAD + received[10] + 2 if len(received) >= HEAD else HEAD + 2
            if len(received) < length:
                return None
            if received[length - 1] == END and sum(received[: length - 2]) % 256 == received[length - 2]:
                frame = bytes(received[:length])
                del received[:length]
                return frame
            del received[0]
        received.clear()
        return None

    def answer(self, request: bytes) -> Reply | None:
        kind, address, control, data = request[1], request[2:9], request[9], request[HEAD:-2]
        replies = []
        for one in self._meters:
            if _meant(bytes((kind,)), bytes((one.type,))) and _meant(address, one.own):
                draft = Draft(one.meter.name, one.answer(control, data), _closed, address_at=2, length_at=slice(10, 11))
                reply = one.spoiler.reply(request, draft)
                replies += [reply] if reply is not None else []
        return collided(replies)


def _meant(asked: bytes, own: bytes) -> bool:
    """Whether a meter is meant by an address in which A stands for any digit."""
    return all(want in ("a", have) for want, have in zip(asked.hex(), own.hex(), strict=True))
