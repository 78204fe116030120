"""The emission of an activity: one exact ratio per factor, one division, last.

    fuel        E = FC x NCV x CC x OF x 44/12        GB/T 32150-2015, sector guidelines; tCO2
    electricity E = AD x EF                           tCO2 = MWh x tCO2/MWh
    heat        E = AD x EF                           tCO2 = GJ x tCO2/GJ
    process     E = AD x EF                           tCO2 = t x tCO2/t

All units and constants of a factor are folded into one exact fraction, so that the emission is activity x numerator / denominator.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from metering.errors import UnlikeUnits
from metering.quantity import EXACT, REFERENCE_KELVIN, Quantity, Unit, unit

CARBON_TO_CO2 = Fraction(44, 12)
"""Mass of CO2 per mass of carbon; never pre-rounded."""
_TONNES_CO2 = unit("tCO2")


@dataclass(frozen=True, slots=True)
class Ratio:
    """tCO2 per unit of activity, exactly."""

    value: Fraction

    def tonnes(self, activity: Decimal) -> Decimal:
        """Return tCO2: one multiplication, one division."""
        above = EXACT.multiply(activity, Decimal(self.value.numerator))
        return EXACT.divide(above, Decimal(self.value.denominator))

    def __str__(self) -> str:
        return f"{self.value.numerator}/{self.value.denominator}"

    @classmethod
    def parse(cls, text: str) -> "Ratio":
        return cls(Fraction(text))


def fuel_ratio(activity: Unit, ncv: Quantity, cc: Quantity, of: Quantity, density: Quantity | None = None) -> Ratio:
    """Return tCO2 per unit of a fuel: NCV x CC x OF x 44/12. `density` brings a volume to the mass the NCV is given for.

    Raises:
        UnlikeUnits: the activity's unit does not fit the NCV's, or its volume has another reference state and no gas law helps.
    """
    chain = _times(_times(_fit(activity, ncv.unit, density), ncv), cc)
    value = _value(of) * of.unit.factor * CARBON_TO_CO2
    carbon = unit("tC")
    if chain.dimensions != carbon.dimensions:
        raise UnlikeUnits(unit=activity, other=ncv.unit)
    return Ratio(chain.value * value / carbon.factor)


def direct_ratio(activity: Unit, factor: Quantity) -> Ratio:
    """Return tCO2 per unit of an activity whose factor is mass of CO2 per unit of it (electricity, heat, process).

    Raises:
        UnlikeUnits: the factor is for another kind of activity.
    """
    chain = _times(_Chain(activity.factor, activity.dimensions), factor)
    if chain.dimensions != _TONNES_CO2.dimensions or (activity.reference or None) != (factor.unit.reference or None):
        raise UnlikeUnits(unit=activity, other=factor.unit)
    return Ratio(chain.value / _TONNES_CO2.factor)


def summed(parts: Iterable[tuple[Decimal, Ratio]]) -> Decimal:
    """Return tCO2 of activities under possibly different ratios: those of one ratio are added first, so each is divided once."""
    activities: dict[Fraction, Decimal] = {}
    for activity, ratio in parts:
        activities[ratio.value] = EXACT.add(activities.get(ratio.value, Decimal(0)), activity)
    result = Decimal(0)
    for value, activity in activities.items():
        result = EXACT.add(result, Ratio(value).tonnes(activity))
    return result


@dataclass(frozen=True, slots=True)
class _Chain:
    """A product of units on its way to tonnes: base units per unit of activity."""

    value: Fraction
    dimensions: tuple[tuple[str, int], ...]


def _times(chain: _Chain, factor: Quantity) -> _Chain:
    powers = dict(chain.dimensions)
    for name, power in factor.unit.dimensions:
        powers[name] = powers.get(name, 0) + power
    kept = tuple(sorted((name, power) for name, power in powers.items() if power))
    return _Chain(chain.value * _value(factor) * factor.unit.factor, kept)


def _fit(activity: Unit, ncv: Unit, density: Quantity | None) -> _Chain:
    """Bring a unit of activity to what the NCV is given per: its mass by density, its volume to the NCV's reference state."""
    chain = _Chain(activity.factor, activity.dimensions)
    volume_for_mass = activity.dimensions == (("m", 3),) and ("g", -1) in ncv.dimensions
    if volume_for_mass and density is not None and activity.reference is None:
        return _times(chain, density)
    if activity.reference == ncv.reference:
        return chain
    if activity.reference is None or ncv.reference is None:
        raise UnlikeUnits(unit=activity, other=ncv)
    kelvins = Fraction(REFERENCE_KELVIN[ncv.reference]) / Fraction(REFERENCE_KELVIN[activity.reference])
    return _Chain(chain.value * kelvins, chain.dimensions)


def _value(quantity: Quantity) -> Fraction:
    return Fraction(quantity.value)
