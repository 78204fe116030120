"""Modbus RTU stations on one line. Own frames and CRC."""

from collections.abc import Iterable

from simulators.registers import ModbusUnit
from simulators.spoil import Draft, Reply

READ_LENGTH = 8
"""Bytes of a request of functions 1 to 6."""


def crc(data: bytes | bytearray) -> int:
    """Return the CRC-16 of Modbus (polynomial 0xA001, from 0xFFFF)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


class RtuBus:
    """The units of one line; a number nobody has stays silent."""

    def __init__(self, units: Iterable[ModbusUnit]) -> None:
        self._units = {unit.number: unit for unit in units}

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next request with a right CRC; a byte in front that begins none is noise."""
        while len(received) >= 2:
            length = _length(received)
            if length is not None and length <= len(received) and _sound(received[:length]):
                frame = bytes(received[:length])
                del received[:length]
                return frame
            if (length is None or length > len(received)) and received[0] in self._units:
                return None
            del received[0]
        return None

    def answer(self, request: bytes) -> Reply | None:
        unit = self._units.get(request[0])
        pdu = unit.answer(request[1:-2]) if unit else None
        if unit is None or pdu is None:
            return None
        draft = Draft(unit.meter.name, bytes((unit.number,)) + pdu, _closed, address_at=0, length_at=slice(2, 3))
        return unit.spoiler.reply(request, draft)


def _closed(body: bytes, wrong: bool) -> bytes:
    return body + (crc(body) ^ (0xFFFF if wrong else 0)).to_bytes(2, "little")


def _length(received: bytearray) -> int | None:
    """Return the length of the request that begins here: an identification is shorter, a write of many registers carries
    a byte count."""
    if received[1] == 43:
        return 7
    if received[1] in (15, 16):
        return 9 + received[6] if len(received) > 6 else None
    return READ_LENGTH


def _sound(frame: bytearray) -> bool:
    return crc(frame[:-2]) == int.from_bytes(frame[-2:], "little")
