"""What a DL/T 645 line and a meter on it are told in `agent.yaml`."""

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

from drivers.contract import ExchangeLine
from drivers.refusal import quoted
from metering.fields import FieldError, Strict
from metering.text import Text

Year = Literal[1997, 2007]


class Dlt645Line(ExchangeLine):
    """A serial line, or a transparent serial server on TCP. Defaults as meters leave the factory."""

    baud: int = Field(default=2400, ge=300, le=4_000_000)
    frame: Literal["8N1", "8E1", "8O1", "8N2", "7E1"] = "8E1"
    edition: Year = 2007
    """Edition of the standard its meters speak, where neither they nor their profile say."""


def _twelve(value: str) -> str:
    number = value.upper().zfill(12)
    if not re.fullmatch(r"[0-9A]{12}", number):
        raise FieldError(Text("{value!r} 不是表号：至多 12 位数字，A 代表任意一位",
                              "{value!r} is no meter number: 12 digits at most, A for any digit"), value=value)  # fmt: skip
    if number == "9" * 12:
        raise FieldError(Text("{value!r} 是广播地址，不会有应答", "{value!r} is the broadcast address: no meter answers it"),
                         value=value)  # fmt: skip
    return number


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise FieldError(Text("没有时区 {value!r}，例如 Asia/Shanghai", "no time zone {value!r}; one is Asia/Shanghai"),
                         value=value) from error  # fmt: skip
    return value


MeterNumber = Annotated[str, quoted("number", 12), AfterValidator(_twelve)]


class Dlt645Meter(Strict):
    """Which meter on the line, and how it wants to be asked."""

    number: MeterNumber
    """The communication address, 12 digits in quotes; a shorter one is padded with zeros on the left. `A` stands for any
    digit: twelve of them for the only meter on a line."""
    edition: Year | None = None
    """Edition of the standard it speaks; None: the line's."""
    blocks: bool = False
    """Whether neighbouring data are read as one block (`0001FF00`): fewer exchanges, but not every meter answers them."""
    preamble: int = Field(default=4, ge=0, le=16)
    """How many FE wake it before a request."""
    timezone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    """Of the meter's clock, for its daily freezes."""
