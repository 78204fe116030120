"""What a CJ/T 188 meter answers to the read of its data (DI 901F), and the units it may use.

Water and gas meters send a total and that of the last settlement day, heat meters these of heat besides power, flow and
temperatures. Both end with the clock and a status of two bytes. CJ/T 188-2004, table 13 and annex; 2018 keeps them.
"""

from dataclasses import dataclass
from decimal import Decimal

from metering.quantity import EXACT, Unit, convert, unit


@dataclass(frozen=True, slots=True)
class Field:
    """One value of the answer: BCD with its lowest pair first, and where it has one, a byte that says its unit."""

    size: int
    decimals: int = 0
    unit: str = "1"
    """What kind of quantity it is; that unit itself where no byte says another."""
    coded: bool = False
    """Whether a byte says its unit."""

    @property
    def step(self) -> Decimal:
        return Decimal(1).scaleb(-self.decimals)

    @property
    def width(self) -> int:
        return self.size + self.coded


CLOCK, STATUS = "clock", "status"
_TAIL = {CLOCK: Field(7), STATUS: Field(2)}
VOLUME: dict[str, Field] = {
    "total": Field(4, 2, "m3", coded=True),
    "settlement": Field(4, 2, "m3", coded=True),
    **_TAIL,
}
HEAT: dict[str, Field] = {
    "settlement_heat": Field(4, 2, "J", coded=True),
    "heat": Field(4, 2, "J", coded=True),
    "power": Field(4, 2, "W", coded=True),
    "flow": Field(4, 4, "m3/h", coded=True),
    "total": Field(4, 2, "m3", coded=True),
    "supply_temperature": Field(3, 2, "C"),
    "return_temperature": Field(3, 2, "C"),
    "hours": Field(3, 0, "h"),
    **_TAIL,
}
"""In the order in which they are sent; the names are those of points in a profile."""


def fields_of(meter_type: str) -> dict[str, Field]:
    """Return what a kind of meter sends: 2x are heat and cold, the others volumes."""
    return HEAT if meter_type[0] == "2" else VOLUME


_FIRST = {
    0x02: "Wh", 0x05: "kWh", 0x08: "MWh", 0x0B: "kJ", 0x0E: "MJ", 0x11: "GJ", 0x14: "W", 0x17: "kW", 0x1A: "MW",
    0x29: "L", 0x2C: "m3", 0x32: "L/h", 0x35: "m3/h", 0x43: "kJ/h", 0x46: "MJ/h", 0x49: "GJ/h",
}  # fmt: skip
"""Each stands for three codes: the unit, ten of it, a hundred of it."""
UNITS: dict[int, tuple[str, int]] = {
    0x01: ("J", 1),
    0x40: ("J/h", 1),
    **{code + power: (symbol, 10**power) for code, symbol in _FIRST.items() for power in range(3)},
}
"""Unit byte -> unit and how many of it. CJ/T 188-2004 table 13, 2018 table 20."""


def factors(wanted: Unit) -> dict[int, Decimal]:
    """Return, for each unit byte that can be converted, how many of the `wanted` unit it means. A volume counts at the
    reference state the wanted unit names: the meter does not say."""
    found = {}
    for code, (symbol, times) in UNITS.items():
        source = unit(symbol)
        if wanted.reference is not None and source.like(unit("m3")):
            source = source.at(wanted.reference)
        if source.like(wanted):
            found[code] = EXACT.multiply(convert(Decimal(1), source, wanted), Decimal(times))
    return found
