"""Which stations answer on a line."""

from collections.abc import Callable, Sequence

from settings.plant import PlantLine
from simulators.cjt188 import Cjt188Bus
from simulators.dlt645 import Dlt645Bus
from simulators.faults import Faults
from simulators.iec62056 import Iec62056Bus
from simulators.mbus import MBusBus
from simulators.meters import Meter
from simulators.modbus_ascii import AsciiBus
from simulators.modbus_rtu import RtuBus
from simulators.modbus_tcp import MbapBus
from simulators.registers import ModbusUnit
from simulators.serial_line import Bus
from simulators.served import ServedLog

_MODBUS: dict[str, Callable[[list[ModbusUnit]], Bus]] = {
    "modbus-tcp": MbapBus,
    "modbus-rtu": RtuBus,
    "modbus-ascii": AsciiBus,
}
_SERIAL: dict[str, Callable[[Sequence[Meter], Faults, ServedLog], Bus]] = {
    "dlt645": Dlt645Bus,
    "cjt188": Cjt188Bus,
    "mbus": MBusBus,
    "iec62056": Iec62056Bus,
}


def bus_of(line: PlantLine, meters: Sequence[Meter], faults: Faults, served: ServedLog) -> Bus:
    """Return the stations of a line."""
    if line.protocol in _SERIAL:
        return _SERIAL[line.protocol](meters, faults, served)
    return _MODBUS[line.protocol]([ModbusUnit(meter, faults, served) for meter in meters])
