"""What an IEC 62056-21 line and a meter on it are told in `agent.yaml`."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from drivers.contract import ExchangeLine, ReplyTimeS
from drivers.refusal import quoted
from metering.fields import FieldError, Strict
from metering.text import Text


class Iec62056Line(ExchangeLine):
    """An optical head or serial interface, or a serial server on TCP."""

    baud: int = Field(default=300, ge=300, le=4_000_000)
    """The speed of the sign-on: 300 by the standard. It stays where the speed is not changed."""
    frame: Literal["8N1", "8E1", "8O1", "8N2", "7E1"] = "7E1"
    timeout: ReplyTimeS = 3.0
    change_speed: bool = True
    """Whether to go to the speed the meter proposes. Without effect over plain TCP, where nobody can change it."""
    software_parity: bool = False
    """Whether to add the parity bit ourselves, for a port or server that can only do 8N1."""


def _device(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z ]{0,32}", value):
        raise FieldError(Text("{value!r} 不是设备地址：至多 32 个字母、数字或空格",
                              "{value!r} is no device address: 32 letters, digits or spaces at most"), value=value)  # fmt: skip
    return value


class Iec62056Meter(Strict):
    """Which meter on the line."""

    address: Annotated[str, quoted("address"), AfterValidator(_device)] = ""
    """The device address of the sign-on, `/?address!`; empty for the only meter, as on an optical port."""
    wake_up: int = Field(default=0, ge=0, le=250)
    """NULs sent before the sign-on, for battery meters that sleep; about 65 are 2.2 s at 300 baud."""
