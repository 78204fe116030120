"""Modbus TCP, UDP and TLS: requests and replies behind an MBAP header. Own frames."""

import struct
from collections.abc import Iterable

from simulators.registers import ModbusUnit
from simulators.sockets import NotOurProtocol
from simulators.spoil import Draft, Reply

LONGEST = 254
"""Unit and PDU of an MBAP frame, bytes."""
FOREIGN = 0x5A
"""What is laid over the transaction id of a spoilt reply, on both its bytes."""


class MbapBus:
    """Answers on the units given; other units are silent, as behind a gateway."""

    def __init__(self, units: Iterable[ModbusUnit]) -> None:
        self._units = {unit.number: unit for unit in units}

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next request.

        Raises:
            NotOurProtocol: no MBAP header begins here.
        """
        if len(received) < 6:
            return None
        _, protocol, length = struct.unpack_from(">HHH", received)
        if protocol != 0 or not 2 <= length <= LONGEST:
            raise NotOurProtocol("Modbus TCP")
        if len(received) < 6 + length:
            return None
        frame = bytes(received[: 6 + length])
        del received[: 6 + length]
        return frame

    def answer(self, request: bytes) -> Reply | None:
        unit = self._units.get(request[6])
        pdu = unit.answer(request[7:]) if unit else None
        if unit is None or pdu is None:
            return None
        body = request[:4] + struct.pack(">HB", len(pdu) + 1, request[6]) + pdu
        draft = Draft(unit.meter.name, body, _closed, address_at=6, length_at=slice(4, 6))
        return unit.spoiler.reply(request, draft)


def _closed(body: bytes, wrong: bool) -> bytes:
    return bytes((body[0] ^ FOREIGN, body[1] ^ FOREIGN)) + body[2:] if wrong else body
