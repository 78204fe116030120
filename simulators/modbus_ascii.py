"""Modbus ASCII stations on one line: a colon, two hexadecimal digits a byte, LRC, CR LF. Own frames."""

from collections.abc import Iterable

from simulators.registers import ModbusUnit
from simulators.spoil import Draft, Reply


def lrc(data: bytes) -> int:
    """Return the LRC: the sum of the bytes, its two's complement (Modbus over serial line V1.02, 2.5.2.2)."""
    return -sum(data) & 0xFF


class AsciiBus:
    """The units of one line; a number nobody has stays silent."""

    def __init__(self, units: Iterable[ModbusUnit]) -> None:
        self._units = {unit.number: unit for unit in units}

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next line with a right LRC; what stands before a colon, and what is no line, is noise."""
        while (begin := received.find(b":")) >= 0:
            del received[:begin]
            end = received.find(b"\r\n")
            if end < 0:
                return None
            line = bytes(received[: end + 2])
            del received[: end + 2]
            line = line[line.rindex(b":") :]
            if _sound(line):
                return line
        received.clear()
        return None

    def answer(self, request: bytes) -> Reply | None:
        asked = bytes.fromhex(request[1:-2].decode("ascii"))
        unit = self._units.get(asked[0])
        pdu = unit.answer(asked[1:-1]) if unit else None
        if unit is None or pdu is None:
            return None
        draft = Draft(unit.meter.name, bytes((unit.number,)) + pdu, _closed, address_at=0, length_at=slice(2, 3))
        return unit.spoiler.reply(request, draft)


def _closed(body: bytes, wrong: bool) -> bytes:
    check = lrc(body) ^ (0xFF if wrong else 0)
    return b":" + (body + bytes((check,))).hex().upper().encode() + b"\r\n"


def _sound(line: bytes) -> bool:
    try:
        data = bytes.fromhex(line[1:-2].decode("ascii"))
    except ValueError:
        return False
    return len(data) >= 3 and lrc(data[:-1]) == data[-1]
