"""Emission factors as rows with their provenance, in sets that may contradict each other.

Promises
    * A row says where it was seen and how far that can be trusted; what nobody has compared with the original is not verified.
    * A withheld row is kept with its reason and never used.
    * No row answers for a fuel, region or year it was not published for, save the one rule a grid factor has: where a data
      year has none yet, the newest earlier one holds, provisionally.
"""

import difflib
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from metering.errors import UnknownFactor
from metering.fields import Amount, FieldError, Id, Number, Strict
from metering.profile import Bilingual
from metering.quantity import Quantity, unit
from metering.region import NAMES, NATIONAL, NEIGHBOURS, region_key, region_title
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

    fuel: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
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
    published: str | None = Field(default=None, pattern=_PUBLISHED)
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


def fuel_row(factors: FactorSet, fuel: str) -> FuelRow:
    """Return the row of a fuel.

    Raises:
        UnknownFactor: the set has none, or withholds it.
    """
    for row in factors.fuels:
        if row.fuel == fuel:
            return row
    for held in factors.withheld:
        if held.fuel == fuel:
            reason = held.reason
            raise UnknownFactor(_WITHHELD, set=factors.id, key=fuel, reason_zh=reason.zh, reason_en=reason.en)
    raise UnknownFactor(set=factors.id, key=fuel, hint=_near(fuel, (row.fuel for row in factors.fuels)))


def grid_row(
    factors: FactorSet,
    region: str | None,
    variant: Variant,
    data_year: int,
    vintage: Vintage = "data_year",
    as_of: date | None = None,
) -> tuple[GridRow, bool]:
    """Return the row of a region, variant and data year, and whether it only stands in for a year that has none yet.

    `data_year`: the row of that year, else the newest earlier one (provisional). `latest_at_reporting`: the newest row,
    whatever year it is for. `fixed`: `data_year` is the year the source names; it must be there. `as_of` leaves out rows
    that were not yet published on that day. Of two rows for one year the later published holds.

    Raises:
        UnknownFactor: unknown region, a region without a factor, or a year before the first.
    """
    rows = [row for row in region_rows(factors, region, variant) if as_of is None or row.published_by(as_of)]
    of_year = [row for row in rows if row.holds_for(data_year)]
    before = [row for row in rows if row.data_year < data_year]
    if vintage == "latest_at_reporting":
        chosen = rows
    elif vintage == "fixed" or of_year:
        chosen = of_year
    else:
        chosen = before
    if not chosen:
        where = region_title(region_key(region) or NATIONAL)
        first = min((row.data_year for row in rows), default=None)
        hint_zh, hint_en = (f"（最早 {first} 年）", f" (the first year is {first})") if first else ("", "")
        raise UnknownFactor(_NO_YEAR, set=factors.id, key=where, year=data_year, hint_zh=hint_zh, hint_en=hint_en)
    row = max(chosen, key=lambda row: (row.data_year, row.published or ""))
    return row, chosen is before


def region_rows(factors: FactorSet, region: str | None, variant: Variant) -> list[GridRow]:
    """Return the rows of a region and variant, of all years.

    Raises:
        UnknownFactor: unknown region, or one without a factor in this set.
    """
    key = region_key(region)
    rows = [row for row in factors.grid if row.region == key and row.variant == variant]
    if rows:
        return rows
    known = list(dict.fromkeys(row.region for row in factors.grid if row.variant == variant))
    if key is None:
        raise UnknownFactor(set=factors.id, key=region, hint=_near(str(region), _spellings(known)))
    near = [each for each in (*NEIGHBOURS.get(key, ()), NATIONAL) if each in known]
    hint = f" ({', '.join(region_title(each) for each in near)}?)" if near else ""
    wanted = region_title(key) if variant == "average" else f"{region_title(key)}, {variant}"
    raise UnknownFactor(set=factors.id, key=wanted, hint=hint)


def heat_row(factors: FactorSet) -> HeatRow:
    """Return the row of purchased heat.

    Raises:
        UnknownFactor: the set has none.
    """
    if not factors.heat:
        raise UnknownFactor(set=factors.id, key="heat", hint="")
    return factors.heat[0]


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f" ({near[0]}?)" if near else ""


def _spellings(regions: Iterable[str]) -> list[str]:
    return [spelling for key in regions for spelling in (key, NAMES[key].zh, NAMES[key].en.lower())]


_WITHHELD = Text("因子集 {set} 扣留了 {key}：{reason_zh}", "factor set {set} withholds {key}: {reason_en}")
_NO_YEAR = Text(
    "因子集 {set} 中没有 {key} {year} 年的因子{hint_zh}", "factor set {set} has no factor for {key}, {year}{hint_en}"
)
_BY_DEVICE = Text(
    "{key} 的氧化率因设备而异，请写 method: {{device: …}}，可选 {known}",
    "the oxidation rate of {key} depends on the device: write method: {{device: …}}, one of {known}",
)
