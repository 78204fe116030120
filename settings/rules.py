"""The rules that say when a rate deviates, as `ingester.yaml` declares them."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from metering.expression import POINT
from metering.fields import Amount, DurationS, FieldError, Strict
from metering.profile import Bilingual
from metering.quantity import Quantity, unit
from metering.text import Text


def _point(value: str) -> str:
    if not POINT.fullmatch(value):
        raise FieldError(
            Text("{value!r} 应写成 仪表/测点，例如 gas-main/volume", "{value!r} should be meter/point: gas-main/volume"),
            value=value,
        )  # fmt: skip
    return value


def _percent(value: Quantity) -> Quantity:
    if value.unit != unit("%") or value.value <= 0:
        raise FieldError(
            Text("{value} 应当是百分数，例如 30 %", "{value} should be a percentage such as 30 %"), value=value
        )
    return value


PointRef = Annotated[str, AfterValidator(_point)]


class RuleSection(Strict):
    """One rule: the rate of a point over `window` against the same hour of earlier days, or against a limit.

    A deviation is raised when the rate has been too high for `for`; it is over when the excess has halved.
    """

    point: PointRef = Field(examples=["gas-main/volume"])
    compare: Literal["same_hour", "limit"] = Field(examples=["same_hour"])
    window: DurationS = Field(default=60.0, gt=0, le=86400)
    """Seconds the rate is averaged over."""
    lasting: DurationS = Field(default=0.0, ge=0, alias="for")
    """Seconds the rate must have been too high before it counts."""
    days: int = Field(default=14, ge=1, le=366)
    """same_hour: earlier days whose same hour is compared; their median is expected."""
    min_days: int = Field(default=3, ge=1, le=366)
    """same_hour: fewer days with data give no judgement."""
    by: Annotated[Amount, AfterValidator(_percent)] = Quantity(Decimal(30), unit("%"))
    """same_hour: excess over what is expected."""
    limit: Amount | None = None
    """limit: the highest rate, in a unit such as m3/h."""
    name: Bilingual | None = None

    @model_validator(mode="after")
    def _what_it_needs(self) -> "RuleSection":
        if (self.compare == "limit") != (self.limit is not None):
            raise FieldError(Text("compare: limit 与 limit 要一起写", "compare: limit and limit go together"))
        own = {"days", "min_days", "by"} & self.model_fields_set
        if self.compare == "limit" and own:
            raise FieldError(Text("{names} 只用于 compare: same_hour", "{names} is for compare: same_hour only"),
                             names=", ".join(sorted(own)))  # fmt: skip
        if self.min_days > self.days:
            raise FieldError(Text("min_days 大于 days", "min_days is more than days"))
        return self
