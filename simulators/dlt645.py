"""DL/T 645-2007 meters on one line. Own frame code.

Answered: read data (0x11) of the DIs below, read address (0x13). Anything else gets an error reply: unknown data, or,
for every write and switch command, no permission. Broadcast is heard and not answered.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from simulators.faults import Faults
from simulators.meters import Meter
from simulators.served import ServedLog

START, END, OFFSET, WAKE = 0x68, 0x16, 0x33, 0xFE
READ, READ_NEXT, READ_ADDRESS = 0x11, 0x12, 0x13
REPLY, ERROR = 0x80, 0xC0
NO_DATA, NOT_PERMITTED = 0x02, 0x04
HEAD = 10
"""Bytes before the data: 68, address, 68, control, length."""
ANY_DIGITS, BROADCAST = 0xAA, bytes([0x99] * 6)

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
"""DI -> point and bytes of its BCD number; the steps of the point are the digits of the meter."""
ADDRESS_DATA = ("04000401", "04000402")


@dataclass(frozen=True)
class Dlt645Reply:
    frame: bytes
    delay_s: float


def frame_of(address: bytes, control: int, data: bytes) -> bytes:
    """Return a whole frame; `address` and `data` as on the line, before the 0x33 is added."""
    body = bytes((START, *address, START, control, len(data))) + bytes((byte + OFFSET) % 256 for byte in data)
    return body + bytes((sum(body) % 256, END))


def bcd(number: int, size: int) -> bytes:
    """Return `number` as little-endian BCD; the top bit of the last byte is the sign, too large a number shows nines."""
    digits = min(abs(number), 10 ** (2 * size) - 1)
    data = bytearray.fromhex(f"{digits:0{2 * size}d}")[::-1]
    if number < 0:
        data[-1] |= 0x80
    return bytes(data)


class Dlt645Bus:
    """The meters of one line."""

    def __init__(self, meters: Iterable[Meter], faults: Faults, served: ServedLog) -> None:
        self._meters = {bytes.fromhex(str(meter.settings.number))[::-1]: meter for meter in meters}
        self._faults = faults
        self._served = served

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

    def answer(self, request: bytes) -> Dlt645Reply | None:
        address, control = request[1:7], request[8]
        data = bytes((byte - OFFSET) % 256 for byte in request[HEAD:-2])
        found = [(own, meter) for own, meter in self._meters.items() if _meant(address, own)]
        if address == BROADCAST or len(found) != 1 or self._faults.silent(found[0][1].name):
            return None
        own, meter = found[0]
        frame = self._frame(own, meter, control, data)
        if self._faults.corrupt(meter.name):
            frame = frame[:-2] + bytes(((frame[-2] + 1) % 256, END))
        wake = bytes([WAKE] * 4)
        return Dlt645Reply(wake + frame, self._faults.delay_s(meter.name))

    def _frame(self, own: bytes, meter: Meter, control: int, data: bytes) -> bytes:
        if control == READ_ADDRESS:
            return frame_of(own, control | REPLY, own)
        if control not in (READ, READ_NEXT):
            return frame_of(own, control | ERROR, bytes((NOT_PERMITTED,)))
        value = self._value(own, meter, data[:4][::-1].hex()) if control == READ else None
        if value is None:
            return frame_of(own, control | ERROR, bytes((NO_DATA,)))
        return frame_of(own, control | REPLY, data[:4] + value)

    def _value(self, own: bytes, meter: Meter, di: str) -> bytes | None:
        if di in ADDRESS_DATA:
            return own
        if di not in DATA:
            return None
        point, size = DATA[di]
        now = self._faults.now()
        steps = meter.steps(point, now)
        self._served.note(now, meter.name, point, steps, meter.read(point, steps), self._faults.mark(meter.name))
        return bcd(steps, size)


def _sound(frame: bytearray) -> bool:
    return frame[7] == START and frame[-1] == END and sum(frame[:-2]) % 256 == frame[-2]


def _meant(asked: bytes, own: bytes) -> bool:
    """Whether a meter is meant by an address in which AA stands for any two digits."""
    return all(want in (ANY_DIGITS, have) for want, have in zip(asked, own, strict=True))
