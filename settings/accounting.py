"""The factor a source counts with: rows of its factor set, or values of the plant in their place, as one exact ratio.

Pure. The ingester derives with it, and a check at start tries it on every source, so that a unit or fuel that does not fit
is found before the first reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from metering.emission import Ratio, direct_ratio, fuel_ratio
from metering.errors import UnknownFactor
from metering.factor import FactorSet, Row, fuel_row, grid_row, heat_row
from metering.quantity import Quantity, Unit, unit
from metering.text import Text
from settings.sources import ELECTRICITY, HEAT, SourceSection

Sets = Mapping[str, FactorSet]


@dataclass(frozen=True)
class UsedValue:
    """One number behind a factor, and where it comes from (tables A.2 and A.3)."""

    parameter: Literal["ncv", "cc", "of", "ef", "density"]
    value: Quantity
    kind: Literal["default", "declared"]
    """`default`: of a factor set; `declared`: a value of this plant, out of ingester.yaml."""
    set: str = ""
    version: str = ""
    row: str = ""
    verified: bool = True
    """Whether somebody compared the row with the official text; a declared value answers for itself."""


@dataclass(frozen=True)
class SourceFactor:
    """The factor of a source for one data year, for all of its carbon."""

    ratio: Ratio
    """tCO2 per unit of the activity."""
    values: tuple[UsedValue, ...]
    formula: str
    provisional: bool = False
    uncertainty_percent: Decimal | None = None

    @property
    def verified(self) -> bool:
        return all(value.verified for value in self.values)


def source_factor(
    source: SourceSection,
    counted: Unit,
    density: Quantity | None,
    sets: Sets,
    data_year: int,
    as_of: date | None = None,
) -> SourceFactor:
    """Return the factor of a source whose activity is in `counted`. `as_of`: by the rows published on that day.

    Raises:
        UnknownFactor: no row answers (set, fuel, region, year, device), or a value that must be given is not.
        UnlikeUnits: the factor is for another kind of activity.
    """
    if source.category == "fuel_combustion":
        return _fuel(source, counted, density, sets)
    if source.category in ELECTRICITY:
        year = source.method.year or data_year
        return _electricity(source, counted, sets, year, as_of)
    if source.category in HEAT:
        return _heat(source, counted, sets)
    if source.category == "recovered_co2" and source.parameters.ef is None:
        return _direct(counted, _declared("ef", Quantity(Decimal(1), unit(_per_tonne_of_itself(counted)))))
    if source.parameters.ef is None:
        raise UnknownFactor(_NO_EF, key=source.category)
    return _direct(counted, _declared("ef", source.parameters.ef))


def _electricity(source: SourceSection, counted: Unit, sets: Sets, year: int, as_of: date | None) -> SourceFactor:
    if source.parameters.ef is not None:
        return _direct(counted, _declared("ef", source.parameters.ef))
    factors = _set(source.factor_set, sets)
    row, provisional = grid_row(factors, source.region, source.variant, year, source.method.vintage, as_of)
    return _direct(counted, _default("ef", row.value, factors, row), provisional, row.uncertainty_percent)


def _heat(source: SourceSection, counted: Unit, sets: Sets) -> SourceFactor:
    if source.parameters.ef is not None:
        return _direct(counted, _declared("ef", source.parameters.ef))
    factors = _set(source.factor_set, sets)
    row = heat_row(factors)
    return _direct(counted, _default("ef", row.value, factors, row), uncertainty=row.uncertainty_percent)


def _direct(
    counted: Unit, used: UsedValue, provisional: bool = False, uncertainty: Decimal | None = None
) -> SourceFactor:
    ratio = direct_ratio(counted, used.value)
    return SourceFactor(ratio, (used,), f"E = AD x {used.value}", provisional, uncertainty)


def _fuel(source: SourceSection, counted: Unit, density: Quantity | None, sets: Sets) -> SourceFactor:
    values = (_parameter("ncv", source, sets), _parameter("cc", source, sets), _parameter("of", source, sets))
    ncv, cc, of = (used.value for used in values)
    formula = f"E = FC x {ncv} x {cc} x {of} x 44/12"
    if density is not None and counted.dimensions == unit("L").dimensions:
        formula = formula.replace("FC x", f"FC x {density} x")
    rows = {(used.set, used.row) for used in values}
    one_row = fuel_row(sets[values[0].set], source.fuel or "") if len(rows) == 1 and values[0].set else None
    uncertainty = one_row.uncertainty_percent if one_row else None
    by_volume = density is not None and counted.dimensions == unit("L").dimensions
    used = (*values, _declared("density", density)) if density is not None and by_volume else values
    return SourceFactor(fuel_ratio(counted, ncv, cc, of, density), used, formula, uncertainty_percent=uncertainty)


def _parameter(name: Literal["ncv", "cc", "of"], source: SourceSection, sets: Sets) -> UsedValue:
    """Return a value of this plant, of the set it names, or of the source's own set."""
    given = getattr(source.parameters, name)
    if isinstance(given, Quantity):
        return _declared(name, given)
    factors = _set(given or source.factor_set, sets)
    if source.fuel is None:
        raise UnknownFactor(_NO_FUEL, key=source.category)
    row = fuel_row(factors, source.fuel)
    value = row.oxidation(source.method.device) if name == "of" else row.ncv if name == "ncv" else row.cc
    return _default(name, value, factors, row)


def _set(name: str | None, sets: Sets) -> FactorSet:
    if name is None:
        raise UnknownFactor(_NO_SET, key="factor_set")
    if name not in sets:
        raise UnknownFactor(_SET_NOT_LISTED, set=name, known=", ".join(sets))
    return sets[name]


def _default(name: Literal["ncv", "cc", "of", "ef"], value: Quantity, factors: FactorSet, row: Row) -> UsedValue:
    return UsedValue(name, value, "default", factors.id, factors.version, row.id, row.verified)


def _declared(name: Literal["ncv", "cc", "of", "ef", "density"], value: Quantity) -> UsedValue:
    return UsedValue(name, value, "declared")


def _per_tonne_of_itself(counted: Unit) -> str:
    return "1" if counted.dimensions == unit("tCO2").dimensions else "tCO2/t"


_NO_SET = Text("没有写因子集：加上 factor_set", "no factor set is named: add factor_set")
_SET_NOT_LISTED = Text("因子集 {set} 不在 factors 中（{known}）", "the factor set {set} is not under factors ({known})")
_NO_FUEL = Text("没有写燃料：加上 fuel，例如 fuel: natural_gas", "no fuel is named: add fuel, such as natural_gas")
_NO_EF = Text(
    "{key} 没有缺省因子：加上 parameters 的 ef，例如 0.440 tCO2/t",
    "{key} has no default factor: add ef under parameters, such as 0.440 tCO2/t",
)
