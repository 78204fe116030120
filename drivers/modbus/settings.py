"""What a Modbus line and a Modbus meter are told in `agent.yaml`."""

from typing import Literal

from pydantic import Field, model_validator

from drivers.contract import ExchangeLine
from metering.fields import FieldError, Strict
from metering.text import Text


class ModbusLine(ExchangeLine):
    """A Modbus TCP device or gateway, or a serial line."""

    framer: Literal["tcp", "rtu"] | None = None
    """How frames are wrapped; None: `tcp` on a `tcp:` line, `rtu` on a serial one. A transparent RS-485 server on a
    `tcp:` line needs `rtu`."""

    @model_validator(mode="after")
    def _framer_fits(self) -> "ModbusLine":
        if self.serial is not None and self.framer == "tcp":
            raise FieldError(Text("串口线路只能用 framer: rtu", "a serial line takes framer: rtu only"))
        return self

    @property
    def wraps_rtu(self) -> bool:
        """Whether frames carry a checksum instead of a transaction id."""
        return self.serial is not None or self.framer == "rtu"


class ModbusMeter(Strict):
    """Which device on the line."""

    unit: int = Field(default=1, ge=1, le=255)
    """The device's number on the line; 255 suits most devices that have an IP address of their own."""
