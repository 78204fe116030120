"""What a Modbus line and a Modbus meter are told in `agent.yaml`."""

from typing import Literal

from pydantic import Field, model_validator

from drivers.contract import ExchangeLine
from metering.fields import FieldError, Strict
from metering.text import Text


class ModbusLine(ExchangeLine):
    """A Modbus TCP device or gateway, or a serial line."""

    framer: Literal["tcp", "rtu", "ascii"] | None = None
    """How frames are wrapped; None: `rtu` on a serial line, `tcp` (MBAP) on any other. A transparent RS-485 server on a
    `tcp:` line needs `rtu`, or `ascii`."""

    @model_validator(mode="after")
    def _framer_fits(self) -> "ModbusLine":
        if self.serial is not None and self.framer == "tcp":
            raise FieldError(Text("串口线路只能用 framer: rtu 或 ascii", "a serial line takes framer: rtu or ascii"))
        if self.serial is not None and self.frame == "7E1" and self.wrapping == "rtu":
            raise FieldError(Text("RTU 要 8 个数据位：7E1 只用于 framer: ascii",
                                  "RTU needs 8 data bits: 7E1 goes with framer: ascii"))  # fmt: skip
        return self

    @property
    def wrapping(self) -> str:
        """`tcp`, `rtu` or `ascii`."""
        return self.framer or ("rtu" if self.serial is not None else "tcp")


class ModbusMeter(Strict):
    """Which device on the line."""

    unit: int = Field(default=1, ge=0, le=255)
    """The device's number on the line, 1 to 247 behind a serial line; 255 or 0 suits most devices that have an IP address
    of their own."""
