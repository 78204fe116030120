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


def _outside(name: str, value: Quantity, band: tuple[Any, Any]) -> Iterator[tuple[Text, dict[str, object]]]:
    if not band[0] <= value.value <= band[1]:
        yield _OUTSIDE, {"name": name, "value": value, "low": band[0], "high": band[1]}


_TOO_MUCH_CARBON = Text(
    "热值 × 单位热值含碳量 = {carbon} tC/t，超过 {limit}", "NCV x CC is {carbon} tC/t, above {limit}"
)
_OUTSIDE = Text("{name} = {value} 不在 {low} 到 {high} 之间", "{name} = {value} is not within {low} and {high}")
