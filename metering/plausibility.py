"""What a factor cannot be: bounds of nature and of experience, so that a mistyped or "corrected" value is noticed.

Carbon per tonne: methane 0.749, butane 0.827, diesel about 0.862, benzene 0.923. A row outside its bounds is refused, unless
it carries a `doubt` that says why it stands all the same (an official table may print such a value).
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from metering.factor_set import FactorSet, FuelRow, GridRow, HeatRow, Row
from metering.quantity import Quantity, plain, unit
from metering.text import Text

_CARBON_LIMITS = {"lng": Decimal("0.80")}
_PHASE_CARBON_LIMITS = {"solid": Decimal("0.95"), "liquid": Decimal("0.87"), "gas": Decimal("0.87")}
_NCV_BANDS = {"solid": (5, 36), "liquid": (30, 52), "gas": (20, 125)}
"""GJ/t."""
_GAS_NCV_BAND = (20, 600)
"""GJ per 10^4 m3."""
_CC_BAND = (Decimal("0.010"), Decimal("0.075"))
"""tC/GJ; blast-furnace gas, at 0.0708, is the highest there is."""
_OF_BAND = (80, 100)
_GRID_BAND = (Decimal("0.02"), Decimal("1.3"))
"""tCO2/MWh."""
_HEAT_BAND = (Decimal("0.02"), Decimal("0.2"))
"""tCO2/GJ."""


def plausibility_faults(factors: FactorSet) -> list[tuple[Row, Text, dict[str, object]]]:
    """Return each row that cannot be true, why, and the values of that sentence. A row with a `doubt` has been judged."""
    found = [(row, *fault) for row in factors.rows() for fault in _row_faults(row)]
    return [(row, text, values) for row, text, values in found if row.doubt is None]


def _row_faults(row: Row) -> Iterator[tuple[Text, dict[str, object]]]:
    if isinstance(row, FuelRow):
        yield from _fuel_faults(row)
    if isinstance(row, GridRow):
        yield from _outside("value", row.value.to("tCO2/MWh"), _GRID_BAND)
    if isinstance(row, HeatRow):
        yield from _outside("value", row.value.to("tCO2/GJ"), _HEAT_BAND)


def _fuel_faults(row: FuelRow) -> Iterator[tuple[Text, dict[str, object]]]:
    content = row.cc.to("tC/GJ")
    yield from _outside("cc", content, _CC_BAND)
    for share in row.of.values() if isinstance(row.of, dict) else [row.of]:
        yield from _outside("of", share.to("%"), _OF_BAND)
    if row.ncv.unit.dimensions != unit("GJ/t").dimensions:
        yield from _outside("ncv", row.ncv.to(f"GJ/10^4 m3@{row.ncv.unit.reference}"), _GAS_NCV_BAND)
        return
    heat = row.ncv.to("GJ/t")
    yield from _outside("ncv", heat, _NCV_BANDS[row.phase])
    carbon = heat.value * content.value
    limit = _CARBON_LIMITS.get(row.fuel, _PHASE_CARBON_LIMITS[row.phase])
    if carbon > limit:
        yield _TOO_MUCH_CARBON, {"row": row.id, "carbon": plain(carbon), "limit": limit}


def parameter_faults(name: str, value: Quantity) -> Iterator[tuple[Text, dict[str, object]]]:
    """Yield why a plant's own `ncv`, `cc` or `of` cannot be true, whatever the fuel; also where its unit is another's."""
    wanted = {"ncv": NCV_DIMENSIONS, "cc": {unit("tC/GJ").dimensions}, "of": {unit("%").dimensions}}[name]
    if value.unit.dimensions not in wanted:
        yield _OTHER_UNIT, {"name": name, "value": value, "such": _UNITS[name]}
    elif name == "cc":
        yield from _outside(name, value.to("tC/GJ"), _CC_BAND)
    elif name == "of":
        yield from _outside(name, value.to("%"), _OF_BAND)
    elif value.unit.dimensions == unit("GJ/t").dimensions:
        low, high = min(b[0] for b in _NCV_BANDS.values()), max(b[1] for b in _NCV_BANDS.values())
        yield from _outside(name, value.to("GJ/t"), (low, high))
    else:
        yield from _outside(
            name,
            value.to(f"GJ/10^4 m3@{value.unit.reference}" if value.unit.reference else "GJ/10^4 m3"),
            _GAS_NCV_BAND,
        )


def _outside(name: str, value: Quantity, band: tuple[Any, Any]) -> Iterator[tuple[Text, dict[str, object]]]:
    if not band[0] <= value.value <= band[1]:
        yield _OUTSIDE, {"name": name, "value": value, "low": band[0], "high": band[1]}


_TOO_MUCH_CARBON = Text(
    "热值 × 单位热值含碳量 = {carbon} tC/t，超过 {limit}", "NCV x CC is {carbon} tC/t, above {limit}"
)
NCV_DIMENSIONS = {unit("GJ/t").dimensions, unit("GJ/10^4 m3").dimensions}
_UNITS = {"ncv": "GJ/t, GJ/10^4 m3@20C", "cc": "tC/GJ", "of": "%"}
_OTHER_UNIT = Text(
    "参数 {name} = {value} 的单位应当是 {such} 一类", "the parameter {name} = {value} should have a unit such as {such}"
)
_OUTSIDE = Text("{name} = {value} 不在 {low} 到 {high} 之间", "{name} = {value} is not within {low} and {high}")
