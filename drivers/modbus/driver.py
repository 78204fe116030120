"""The Modbus driver: what of it the line owner sees."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from drivers.contract import MeterPlan, Request, Value
from drivers.modbus.faults import fault
from drivers.modbus.identify import Identify
from drivers.modbus.plan import shared_blocks
from drivers.modbus.read import read_of
from drivers.modbus.replay import replay
from drivers.modbus.settings import ModbusLine, ModbusMeter
from drivers.modbus.wrap import Ascii, Mbap, Rtu, Wrapping
from drivers.refusal import refuse_points
from metering.errors import MeteringError
from metering.profile import Place, Profile
from metering.text import Text

_WRAPPINGS: dict[str, type[Wrapping]] = {"tcp": Mbap, "rtu": Rtu, "ascii": Ascii}


class ModbusDriver:
    """Meters that speak Modbus."""

    name = "modbus"
    line_model: type[BaseModel] = ModbusLine
    meter_model: type[BaseModel] = ModbusMeter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        return fault(point, profile)

    def replay(self, profile: Profile, vector: Mapping[str, Any]) -> Sequence[Value]:
        return replay(profile, vector)

    def silence_s(self, line: BaseModel) -> float:
        """3.5 characters on a serial line, 1.75 ms above 19200 baud (Modbus over serial line V1.02, 2.5.1.1)."""
        settings = ModbusLine.model_validate(line)
        if settings.serial is None or settings.wrapping == "ascii":
            return settings.turnaround
        bits = 11 if settings.frame in ("8E1", "8O1", "8N2") else 10
        own = 0.00175 if settings.baud > 19200 else 3.5 * bits / settings.baud
        return max(own, settings.turnaround)

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return the reads of one meter.

        Raises:
            MeteringError: a point has a `fault`, or the unit number is not one of this line.
        """
        refuse_points(meter, fault)
        unit, wrapping = _way(line, meter)
        return [read_of(block, unit, wrapping) for block in shared_blocks(meter.points, meter.profile)]

    def identify(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        return [Identify(*_way(line, meter))]

    def history(self, line: BaseModel, meter: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Request]:
        """Return none: Modbus has no records of the past."""
        return ()


def _way(line: BaseModel, meter: MeterPlan) -> tuple[int, type[Wrapping]]:
    settings = ModbusLine.model_validate(line)
    unit = ModbusMeter.model_validate(dict(meter.address)).unit
    if unit == 0 and settings.wrapping != "tcp":
        raise MeteringError(Text("{meter}：串行线路上 unit: 0 是广播，无人应答；写 1 到 247",
                                 "{meter}: unit: 0 is the broadcast of a serial line and nobody answers it; 1 to 247"),
                            meter=meter.meter)  # fmt: skip
    return unit, _WRAPPINGS[settings.wrapping]
