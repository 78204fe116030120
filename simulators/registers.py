"""Modbus as a meter sees it: register images of the models, and the answer to a request. Own encoder, no library.

Only reads are answered (function codes 3 and 4, each model one of them); everything else is exception 1.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from simulators.faults import Faults
from simulators.meters import Meter
from simulators.served import ServedLog

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
MOST_REGISTERS = 125


@dataclass(frozen=True)
class Register:
    """Where a point lies: `words` registers from `address` on, big endian."""

    address: int
    point: str
    words: int
    encode: Callable[[Meter, str, int], bytes]


def _integer(form: str) -> Callable[[Meter, str, int], bytes]:
    """Return an encoder of the bare steps; what does not fit shows the largest number, as a meter's overflow does."""
    size = struct.calcsize(form) * 8
    low, high = (-(2 ** (size - 1)), 2 ** (size - 1) - 1) if form[-1].islower() else (0, 2**size - 1)
    return lambda _meter, _point, steps: struct.pack(form, min(max(steps, low), high))


def _float(meter: Meter, point: str, steps: int) -> bytes:
    return struct.pack(">f", meter.read(point, steps))


MAPS: dict[str, tuple[int, tuple[Register, ...]]] = {
    "power-meter": (
        3,
        (
            Register(0, "energy_import", 2, _integer(">I")),
            Register(2, "power", 2, _integer(">i")),
            Register(4, "voltage", 1, _integer(">H")),
            Register(5, "frequency", 1, _integer(">H")),
        ),
    ),
    "gas-corrector": (
        4,
        (
            Register(0, "volume", 2, _integer(">I")),
            Register(2, "temperature", 2, _float),
            Register(4, "pressure", 2, _float),
            Register(6, "flow", 2, _float),
        ),
    ),
}
"""Function code and registers of each model; the maps of `config/profiles/demo/`."""


class ModbusUnit:
    """One meter answering PDUs."""

    def __init__(self, meter: Meter, faults: Faults, served: ServedLog) -> None:
        self.meter = meter
        self.number = meter.settings.unit
        self._faults = faults
        self._served = served
        self._function, self._registers = MAPS[meter.settings.model]
        self._end = max(register.address + register.words for register in self._registers)

    def answer(self, pdu: bytes) -> bytes | None:
        """Return the reply to a PDU, or None when the meter is silent."""
        if not pdu or self._faults.silent(self.meter.name):
            return None
        if pdu[0] != self._function:
            return bytes((pdu[0] | 0x80, ILLEGAL_FUNCTION))
        if len(pdu) != 5:
            return bytes((pdu[0] | 0x80, ILLEGAL_VALUE))
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= MOST_REGISTERS:
            return bytes((pdu[0] | 0x80, ILLEGAL_VALUE))
        if address + count > self._end:
            return bytes((pdu[0] | 0x80, ILLEGAL_ADDRESS))
        return bytes((pdu[0], 2 * count)) + self._image(address, count)

    def corrupt(self) -> bool:
        """Whether the frame of a reply is to be spoilt."""
        return self._faults.corrupt(self.meter.name)

    def delay_s(self) -> float:
        return self._faults.delay_s(self.meter.name)

    def _image(self, address: int, count: int) -> bytes:
        now = self._faults.now()
        fault = self._faults.mark(self.meter.name)
        image = bytearray(2 * self._end)
        for register in self._registers:
            if register.address + register.words <= address or register.address >= address + count:
                continue
            steps = self.meter.steps(register.point, now)
            at = 2 * register.address
            image[at : at + 2 * register.words] = register.encode(self.meter, register.point, steps)
            if address <= register.address and register.address + register.words <= address + count:
                value = self.meter.read(register.point, steps)
                self._served.note(now, self.meter.name, register.point, steps, value, fault)
        return bytes(image[2 * address : 2 * (address + count)])
