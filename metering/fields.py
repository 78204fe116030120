"""The field types of every settings file: ids, durations, sizes, quantities, decimals, in both languages' errors."""

import re
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from metering.errors import MeteringError
from metering.quantity import Quantity, plausible, quantity, unit
from metering.text import Lang, Text
from metering.wire import ID


class Strict(BaseModel):
    """A section of a settings file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class FieldError(ValueError):
    """A value a field cannot take, in both languages."""

    def __init__(self, text: Text, /, **values: object) -> None:
        self.text = text
        self.values = values
        super().__init__(text.say("en", **values))

    def say(self, lang: Lang) -> str:
        return self.text.say(lang, **self.values)


_SECONDS = {
    "ms": Decimal("0.001"), "s": Decimal(1), "sec": Decimal(1), "min": Decimal(60), "m": Decimal(60),
    "h": Decimal(3600), "d": Decimal(86400), "day": Decimal(86400), "days": Decimal(86400), "w": Decimal(604800),
}  # fmt: skip
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)")


def _scaled(value: Any, table: dict[str, Any], text: Text) -> Decimal:
    match = _AMOUNT.fullmatch(str(value).strip())
    if match is None or match[2] not in table:
        raise FieldError(text, value=value)
    return Decimal(match[1]) * Decimal(table[match[2]])


def seconds(value: Any) -> float:
    """Read a duration: `10 s`, `500 ms`, `15min`, `2 h`, `7 d`. Returns seconds."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        raise FieldError(
            Text("时长要带单位，例如 {value} s", "a duration needs its unit, such as {value} s"), value=value
        )
    return float(_scaled(value, _SECONDS, Text("{value!r} 不是时长，例如 10 s、15min、7 d",
                                               "{value!r} is not a duration such as 10 s, 15min or 7 d")))  # fmt: skip


def byte_size(value: Any) -> int:
    """Read a size: `500 MB`, `1 GiB`. Returns bytes."""
    return int(_scaled(value, _BYTES, Text("{value!r} 不是大小，例如 500 MB、1 GiB",
                                           "{value!r} is not a size such as 500 MB or 1 GiB")))  # fmt: skip


def _id(value: str) -> str:
    if not ID.fullmatch(value):
        raise FieldError(
            Text("{value!r} 只能用小写字母、数字和连字符，首位不是连字符，至多 63 个字符",
                 "{value!r} may hold lower-case letters, digits and hyphens, not first a hyphen, 63 at most"),
            value=value,
        )  # fmt: skip
    return value


def _quantity(value: Any) -> Quantity:
    if isinstance(value, Quantity):
        return value
    try:
        return quantity(str(value))
    except MeteringError as error:
        raise FieldError(error.sentence, **error.values) from error


def _unit(value: Any) -> str:
    try:
        return str(unit(str(value)))
    except MeteringError as error:
        raise FieldError(error.sentence, **error.values) from error


def decimal(value: Any) -> Decimal:
    """Read a decimal exactly as written."""
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise FieldError(Text("{value!r} 不是数", "{value!r} is not a number"), value=value)
    if not plausible(number):
        raise FieldError(
            Text("{value} 的数量级不可能，请检查指数", "{value} is out of all proportion; check the exponent"),
            value=value,
        )
    return number


def _day(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return datetime.strptime(str(value), "%Y-%m-%d").date()  # noqa: DTZ007 - a day of the plant, in no zone
    except ValueError as error:
        raise FieldError(Text("{value} 不是日期，例如 2024-02-29", "{value} is not a day such as 2024-02-29"),
                         value=value) from error  # fmt: skip


def _point_id(value: str) -> str:
    if not _POINT_ID.fullmatch(value):
        raise FieldError(
            Text("测点 {value} 要由小写字母、数字和 _ . - 组成，例如 {near}",
                 "the point {value} should be lower-case letters, digits and _ . -, such as {near}"),
            value=value, near=re.sub("[^a-z0-9]+", "_", value.lower()).strip("_")[:63] or "energy_import",
        )  # fmt: skip
    return value


_POINT_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
Id = Annotated[str, AfterValidator(_id)]
PointId = Annotated[str, AfterValidator(_point_id)]
"""The name of a point of a meter, as it stands behind the slash in `gas-main/volume`."""
DurationS = Annotated[float, BeforeValidator(seconds)]
"""A duration in a file, seconds in the code."""
ByteSize = Annotated[int, BeforeValidator(byte_size)]
Amount = Annotated[Quantity, BeforeValidator(_quantity), PlainSerializer(str, return_type=str, when_used="json")]
UnitName = Annotated[str, BeforeValidator(_unit)]
Number = Annotated[Decimal, BeforeValidator(decimal)]
"""A decimal exactly as written."""
Day = Annotated[date, BeforeValidator(_day)]
"""A calendar day of the plant, written 2024-02-29."""
OrEmpty = BeforeValidator(lambda value: {} if value is None else value)
"""A section all of whose lines are commented out holds its defaults."""
