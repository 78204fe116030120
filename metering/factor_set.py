"""The shape of a factor set: rows with their provenance. A row says where it was seen and how far that can be trusted."""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from metering.errors import UnknownFactor
from metering.fields import Amount, FieldError, Id, Number, Strict
from metering.profile import Bilingual
from metering.quantity import Quantity, unit
from metering.region import NAMES, NATIONAL
from metering.text import Text

Trust = Literal["V", "V2", "RUN", "M", "K"]
"""V: seen in the official text. V2: seen in a transcription. RUN: computed. M: from memory. K: known, its origin unseen."""
Variant = Literal["average", "excluding_market", "fossil"]
Vintage = Literal["data_year", "latest_at_reporting", "fixed"]
State = Literal["0 C", "15 C", "20 C"]
_PUBLISHED = r"^\d{4}(-\d{2}(-\d{2})?)?$"


def _in_unit(of_unit: str, *others: str) -> AfterValidator:
    """Refuse a quantity that cannot be converted to one of the units."""
    wanted = [unit(symbol) for symbol in (of_unit, *others)]

    def check(value: Quantity) -> Quantity:
        if any(value.unit.dimensions == each.dimensions for each in wanted):
            return value
        text = Text("{value} 的单位应当是 {wanted} 一类", "{value} should have a unit such as {wanted}")
        raise FieldError(text, value=value, wanted=", ".join(str(each) for each in wanted))

    return AfterValidator(check)


HeatValue = Annotated[Amount, _in_unit("GJ/t", "GJ/10^4 m3")]
CarbonContent = Annotated[Amount, _in_unit("tC/GJ")]
Share = Annotated[Amount, _in_unit("%")]
GridValue = Annotated[Amount, _in_unit("tCO2/MWh")]
HeatFactor = Annotated[Amount, _in_unit("tCO2/GJ")]


class Provenance(Strict):
    """Where a row comes from."""

    source: str
    """The document that fixes the value."""
    table: str = ""
    notice: str = ""
    """Number of the notice that published it."""
    url: str = ""
    trust: Trust
    seen_in: str = ""
    """Where the value was read, if not in the source itself."""
    retrieved: date | None = None
    checked_by: str | None = None
    """Who compared it with the source."""


class Reference(Strict):
    """The state the volume of a gas row is given at; pressure always 101.325 kPa."""

    state: State
    trust: Trust
    note: Bilingual | None = None


class Row(Strict):
    """What every factor row has."""

    id: Id
    provenance: Provenance
    gas: Literal["CO2"] = "CO2"
    valid_from: date | None = None
    valid_to: date | None = None
    uncertainty_percent: Number | None = None
    """U95 of the factor as a whole."""
    doubt: Bilingual | None = None
    """Why a row stands although a bound of plausibility says otherwise; printed with it."""
    note: Bilingual | None = None

    @property
    def verified(self) -> bool:
        """Whether somebody compared the value with the official text."""
        return self.provenance.checked_by is not None or self.provenance.trust == "V"

    @property
    def remembered(self) -> bool:
        """Whether no document at all was seen for it."""
        return self.provenance.checked_by is None and self.provenance.trust in ("M", "K")


class FuelRow(Row):
    """NCV, carbon content and oxidation rate of one fuel; tCO2 = FC x NCV x CC x OF x 44/12."""

    fuel: str = Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["natural_gas"])
    name: Bilingual
    phase: Literal["solid", "liquid", "gas"]
    heat_basis: Literal["net", "gross"]
    reference: Reference | None = None
    ncv: HeatValue
    cc: CarbonContent
    of: Share | dict[str, Share]
    """One rate, or one per kind of device (`power_boiler`), which the source then names."""

    @model_validator(mode="after")
    def _one_state(self) -> "FuelRow":
        state = self.ncv.unit.reference
        if state != (self.reference.state.replace(" ", "") if self.reference else None):
            raise FieldError(
                Text("热值的单位 {unit} 与参比状态 reference 不一致", "the unit {unit} and `reference` name different states"),
                unit=self.ncv.unit,
            )  # fmt: skip
        return self

    def oxidation(self, device: str | None = None) -> Quantity:
        """Return the oxidation rate.

        Raises:
            UnknownFactor: it depends on the device, and this one is not in the row.
        """
        if isinstance(self.of, Quantity):
            return self.of
        if device in self.of:
            return self.of[device]
        raise UnknownFactor(_BY_DEVICE, key=self.fuel, known=", ".join(self.of))


class GridRow(Row):
    """What a grid's electricity emits, by data year."""

    region: str = NATIONAL
    variant: Variant = "average"
    data_year: int = Field(ge=1990, le=2100)
    and_earlier: bool = False
    """It holds for all data years before, too."""
    published: str | None = Field(default=None, pattern=_PUBLISHED, examples=["2025-12"])
    """Year, month or day it was published; None: unknown."""
    value: GridValue

    @model_validator(mode="after")
    def _known_region(self) -> "GridRow":
        if self.region not in NAMES:
            raise FieldError(Text("{value!r} 不是地区", "{value!r} is no region"), value=self.region)
        return self

    def holds_for(self, year: int) -> bool:
        return self.data_year == year or (self.and_earlier and year < self.data_year)

    def published_by(self, day: date) -> bool:
        """Whether it was out on that day; a year or month alone counts from its end."""
        known = self.published or str(self.data_year)
        return known + "-12-31"[len(known) - 4 :] <= day.isoformat()


class HeatRow(Row):
    """What purchased heat emits."""

    value: HeatFactor


class Withheld(Strict):
    """A row that was seen and is not used."""

    fuel: str
    reason: Bilingual
    row: dict[str, Any]
    """As it was seen."""


class FactorSet(Strict):
    """One published table of factors, with its own version."""

    id: Id
    version: str
    title: Bilingual
    verified: bool
    """Somebody has compared every row with the official text."""
    notes: list[Bilingual] = []
    fuels: list[FuelRow] = []
    grid: list[GridRow] = []
    heat: list[HeatRow] = []
    withheld: list[Withheld] = []

    @model_validator(mode="before")
    @classmethod
    def _common(cls, given: Any) -> Any:
        """Give each row what `common` says of all of them, where it does not say otherwise itself."""
        if not isinstance(given, dict) or not isinstance(given.get("common"), dict):
            return given
        common = given["common"]
        filled = {key: value for key, value in given.items() if key != "common"}
        for kind in ("fuels", "grid", "heat"):
            if isinstance(given.get(kind), list):
                filled[kind] = [_under(common, row) for row in given[kind]]
        return filled

    @model_validator(mode="after")
    def _sound(self) -> "FactorSet":
        rows = [row.id for row in self.rows()]
        twice = next((row for row in rows if rows.count(row) > 1), None)
        if twice:
            raise FieldError(Text("行 {row} 重复", "the row {row} stands twice"), row=twice)
        unverified = next((row.id for row in self.rows() if not row.verified), None)
        if self.verified and unverified:
            text = Text(
                "行 {row} 未经核对，整套不能标为 verified", "the row {row} is not verified, so the set is not either"
            )
            raise FieldError(text, row=unverified)
        return self

    def rows(self) -> Iterator[Row]:
        yield from self.fuels
        yield from self.grid
        yield from self.heat


def _under(common: dict[str, Any], row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    merged = {**common, **row}
    if isinstance(common.get("provenance"), dict) and isinstance(row.get("provenance"), dict):
        merged["provenance"] = {**common["provenance"], **row["provenance"]}
    return merged


_BY_DEVICE = Text(
    "{key} 的氧化率因设备而异，请写 method: {{device: …}}，可选 {known}",
    "the oxidation rate of {key} depends on the device: write method: {{device: …}}, one of {known}",
)
