"""What an M-Bus line and a meter on it are told in `agent.yaml`."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from drivers.contract import ExchangeLine, ReplyTimeS
from drivers.mbus.medium import maker_code
from drivers.refusal import quoted
from metering.fields import FieldError, Strict
from metering.text import Text

MOST_TELEGRAMS = 32
"""Telegrams of one reading at most, should a meter announce more for ever."""


class MBusLine(ExchangeLine):
    """A level converter on a serial port, or an M-Bus gateway on TCP. Defaults as meters leave the factory."""

    baud: int = Field(default=2400, ge=300, le=4_000_000)
    frame: Literal["8N1", "8E1", "8O1", "8N2", "7E1"] = "8E1"
    timeout: ReplyTimeS = 2.0
    """Longest wait for a reply, and for the next part of it. A meter has 330 bit times and 50 ms, 1.2 s at 300 baud."""


def _eight(value: str) -> str:
    number = value.upper().zfill(8)
    if not re.fullmatch(r"[0-9F]{8}", number):
        raise FieldError(Text("{value!r} 不是表号：至多 8 位数字，F 代表任意一位",
                              "{value!r} is no meter number: 8 digits at most, F for any digit"), value=value)  # fmt: skip
    return number


def _letters(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise FieldError(Text("{value!r} 不是厂商代码：三个大写字母，如 KAM",
                              "{value!r} is no maker: three capital letters such as KAM"), value=value)  # fmt: skip
    return value


class MBusMeter(Strict):
    """Which meter on the line. `primary`, `secondary` or both are given."""

    primary: int | None = Field(default=None, ge=0, le=254)
    """0 to 250; 254 is answered by every meter, so it is for a line with only one."""
    secondary: Annotated[str, quoted("secondary", 8), AfterValidator(_eight)] | None = None
    """The meter's eight-digit number, `F` for any digit. Alone, the meter is selected by it; with `primary`, it is asked
    there and its answer must carry this number."""
    maker: Annotated[str, AfterValidator(_letters)] | None = None
    """Three letters, such as KAM; None: any."""
    version: int | None = Field(default=None, ge=0, le=254)
    medium: int | None = Field(default=None, ge=0, le=254)
    """The code of what it measures: 3 gas, 4 heat, 7 water, …; None: any."""
    telegrams: int = Field(default=MOST_TELEGRAMS, ge=1, le=MOST_TELEGRAMS)
    """How many telegrams to read where the meter has several; those not read cost no time."""

    @model_validator(mode="after")
    def _addressed(self) -> "MBusMeter":
        if self.primary is None and self.secondary is None:
            raise FieldError(Text('写 primary: 主地址，或 secondary: "八位表号"',
                                  'give primary: its address, or secondary: "its eight digits"'))  # fmt: skip
        if self.primary is not None and 250 < self.primary < 254:
            raise FieldError(Text("{value} 不是主地址：0 到 250，线上只有一台时可用 254",
                                  "{value} is no primary address: 0 to 250, or 254 for the only meter on a line"),
                             value=self.primary)  # fmt: skip
        return self

    @property
    def selector(self) -> bytes:
        """The secondary address as it is sent: number, maker, version, medium; FF for any."""
        number = bytes.fromhex(self.secondary or "FFFFFFFF")[::-1]
        maker = maker_code(self.maker) if self.maker else b"\xff\xff"
        return number + maker + bytes(255 if part is None else part for part in (self.version, self.medium))
