"""The sources of emissions (table A.1) and the products, as `ingester.yaml` declares them."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from metering.errors import MeteringError
from metering.expression import Expression, expression
from metering.factor import Variant, Vintage
from metering.fields import Amount, Day, FieldError, Id, Number, OrEmpty, Strict, decimal
from metering.profile import Bilingual
from metering.quantity import Quantity, quantity
from metering.text import Text

Category = Literal[
    "fuel_combustion", "process", "purchased_electricity", "exported_electricity", "purchased_heat", "exported_heat",
    "recovered_co2",
]  # fmt: skip
SUBTRACTED: frozenset[Category] = frozenset({"exported_electricity", "exported_heat", "recovered_co2"})
"""Categories whose positive emissions are taken off the site's total."""
ELECTRICITY: frozenset[Category] = frozenset({"purchased_electricity", "exported_electricity"})
HEAT: frozenset[Category] = frozenset({"purchased_heat", "exported_heat"})
CATEGORY_TEXTS: dict[Category, Text] = {
    "fuel_combustion": Text("化石燃料燃烧", "fuel combustion"),
    "process": Text("工业生产过程", "process"),
    "purchased_electricity": Text("购入电力", "purchased electricity"),
    "exported_electricity": Text("输出电力", "exported electricity"),
    "purchased_heat": Text("购入热力", "purchased heat"),
    "exported_heat": Text("输出热力", "exported heat"),
    "recovered_co2": Text("回收利用的二氧化碳", "recovered CO2"),
}


def _parameter(value: Any) -> Any:
    """Read a value with its unit, or the name of a factor set."""
    text = str(value).strip()
    if text[:1].isdigit() or text[:1] in "+-.":
        try:
            return quantity(text)
        except MeteringError as error:
            raise FieldError(error.sentence, **error.values) from error
    return text


def _share(value: Any) -> Any:
    """Read `0.05` or `5 %`."""
    text = str(value).strip()
    return decimal(text[:-1]) / 100 if text.endswith("%") else value


Activity = Annotated[Expression, BeforeValidator(expression)]
Parameter = Annotated[Quantity | str, BeforeValidator(_parameter)]


class Parameters(Strict):
    """Values of this plant in place of the factor set's: `38.9 GJ/t`, or the name of another set."""

    ncv: Parameter | None = None
    cc: Parameter | None = None
    of: Parameter | None = None
    ef: Amount | None = None
    """tCO2 per unit of activity, for electricity, heat and processes."""


class MethodSection(Strict):
    """What a standard leaves open."""

    vintage: Vintage = "data_year"
    year: int | None = Field(default=None, ge=1990, le=2100)
    """The data year of the grid factor, with `vintage: fixed`."""
    device: str | None = None
    """Kind of device, where a set's oxidation rate depends on it."""

    @model_validator(mode="after")
    def _year_with_fixed(self) -> "MethodSection":
        if (self.vintage == "fixed") != (self.year is not None):
            raise FieldError(Text("vintage: fixed 与 year 要一起写", "vintage: fixed and year go together"))
        return self


class SourceSection(Strict):
    """One source of emissions."""

    category: Category = Field(examples=["fuel_combustion"])
    activity: Activity = Field(examples=["gas-main/volume"])
    fuel: str | None = None
    factor_set: str | None = None
    region: str | None = None
    variant: Variant = "average"
    parameters: Annotated[Parameters, OrEmpty] = Parameters()
    method: Annotated[MethodSection, OrEmpty] = MethodSection()
    part_of: Id | None = None
    """The source this one only breaks down; it does not enter the total."""
    biogenic_share: Annotated[Number, Field(ge=0, le=1)] = Decimal(0)
    """Share of biogenic carbon, reported apart."""
    mobile: bool = False
    name: Bilingual | None = None
    location: Bilingual | None = None
    specification: Bilingual | None = None
    commissioned: Day | None = None
    responsible: Bilingual | None = None

    @field_validator("biogenic_share", mode="before")
    @classmethod
    def _percent(cls, value: Any) -> Any:
        return _share(value)


class ProductSection(Strict):
    """What is produced, for the intensity."""

    activity: Activity = Field(examples=["output/tonnes"])
    name: Bilingual | None = None
