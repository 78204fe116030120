"""What a CJ/T 188 line and a meter on it are told in `agent.yaml`."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from drivers.contract import ExchangeLine, ReplyTimeS
from drivers.refusal import quoted
from metering.fields import FieldError, Strict
from metering.text import Text


class Cjt188Line(ExchangeLine):
    """A serial line, a serial server on TCP, or an M-Bus converter. Defaults as meters leave the factory."""

    baud: int = Field(default=2400, ge=300, le=4_000_000)
    frame: Literal["8N1", "8E1", "8O1", "8N2", "7E1"] = "8E1"
    timeout: ReplyTimeS = 2.0


def _fourteen(value: str) -> str:
    number = value.upper().zfill(14)
    if not re.fullmatch(r"[0-9A-F]{4}[0-9A]{10}", number):
        raise FieldError(Text("{value!r} 不是表号：至多 10 位数字，或前加 4 位厂商代码，A 代表任意一位",
                              "{value!r} is no meter number: 10 digits at most, or the maker's 4 before them, A for any digit"),
                         value=value)  # fmt: skip
    return number


def _type(value: Any) -> Any:
    """The two digits may come as a number: YAML reads 10 as ten."""
    if value is None:
        return None
    kind = str(value).upper()
    if not re.fullmatch(r"[1-4][0-9]|AA", kind):
        raise FieldError(Text("{value!r} 不是仪表类型，例如 10 冷水、11 热水、20 热量、21 冷量、30 燃气、AA 任意",
                              "{value!r} is no kind of meter; some are 10 cold water, 11 hot water, 20 heat, 21 cold, 30 gas, "
                              "AA any"), value=value)  # fmt: skip
    return kind


class Cjt188Meter(Strict):
    """Which meter on the line, and what its maker does differently. A profile gives the latter under `meter:`."""

    number: Annotated[str, quoted("number", 10), AfterValidator(_fourteen)]
    """The number on its plate in quotes, 10 digits at most; where the maker has a code of 4, it stands before them. `A`
    stands for any digit: fourteen of them for the only meter on a line."""
    type: Annotated[str | None, BeforeValidator(_type)] = None
    """Kind of meter, two digits (10 cold water, 20 heat, 30 gas, AA any); None: by the profile's `kind`."""
    di_order: Literal["normal", "swapped"] = "normal"
    """How the data identifier 901F is sent: `normal` 1F 90, `swapped` 90 1F. In a reply both are understood."""
    unit_position: Literal["after", "before"] = "after"
    """Where the byte with a value's unit stands."""
    preamble: int = Field(default=4, ge=0, le=32)
    """How many FE wake the meter before a request."""
    checksum: Literal["strict", "lenient"] = "strict"
    """`lenient`: values of a frame with a wrong checksum are taken and marked uncertain."""
