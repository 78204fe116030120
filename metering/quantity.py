"""Quantities and units: a small table of our own, exact, with UCUM codes.

A volume carries its reference state: `m3@20C`, `m3@15C`, `m3@0C` (all at 101.325 kPa) and plain `m3` (as it flowed)
are different units and are never added. A unit is an atom (`kWh`), or a ratio of two (`GJ/t`, `kWh/h`).
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache

from metering.errors import QuantityError, UnknownUnit, UnlikeUnits
from metering.text import Text

EXACT = Context(prec=34, rounding=ROUND_HALF_EVEN)
"""The arithmetic of every sum: 34 digits, half even."""
LARGEST_EXPONENT = 30
"""No quantity of a plant has its first digit further from the decimal point; a number beyond is a slip of the keyboard."""
LONGEST_UNIT = 40
"""Characters of a unit's symbol at most."""

REFERENCE_KELVIN = {"0C": Decimal("273.15"), "15C": Decimal("288.15"), "20C": Decimal("293.15")}
"""Reference temperatures of a gas volume; the reference pressure is always 101.325 kPa."""

_VOLUME = {"m": 3}
_ENERGY = {"J": 1}
_ATOMS: dict[str, tuple[str, dict[str, int], Fraction]] = {
    # symbol: (UCUM code, dimensions, factor to the base unit of those dimensions)
    "1": ("1", {}, Fraction(1)),
    "%": ("%", {}, Fraction(1, 100)),
    "s": ("s", {"s": 1}, Fraction(1)),
    "min": ("min", {"s": 1}, Fraction(60)),
    "h": ("h", {"s": 1}, Fraction(3600)),
    "d": ("d", {"s": 1}, Fraction(86400)),
    "J": ("J", _ENERGY, Fraction(1)),
    "kJ": ("kJ", _ENERGY, Fraction(10**3)),
    "MJ": ("MJ", _ENERGY, Fraction(10**6)),
    "GJ": ("GJ", _ENERGY, Fraction(10**9)),
    "TJ": ("TJ", _ENERGY, Fraction(10**12)),
    "Wh": ("W.h", _ENERGY, Fraction(3600)),
    "kWh": ("kW.h", _ENERGY, Fraction(3600 * 10**3)),
    "MWh": ("MW.h", _ENERGY, Fraction(3600 * 10**6)),
    "GWh": ("GW.h", _ENERGY, Fraction(3600 * 10**9)),
    "mmBtu": ("[Btu_IT]*10*6", _ENERGY, Fraction("1055055852.62")),
    "W": ("W", {"J": 1, "s": -1}, Fraction(1)),
    "kW": ("kW", {"J": 1, "s": -1}, Fraction(10**3)),
    "MW": ("MW", {"J": 1, "s": -1}, Fraction(10**6)),
    "varh": ("var.h", {"var": 1, "s": 1}, Fraction(3600)),
    "kvarh": ("kvar.h", {"var": 1, "s": 1}, Fraction(3600 * 10**3)),
    "var": ("var", {"var": 1}, Fraction(1)),
    "kvar": ("kvar", {"var": 1}, Fraction(10**3)),
    "VA": ("V.A", {"VA": 1}, Fraction(1)),
    "kVA": ("kV.A", {"VA": 1}, Fraction(10**3)),
    "V": ("V", {"V": 1}, Fraction(1)),
    "kV": ("kV", {"V": 1}, Fraction(10**3)),
    "A": ("A", {"A": 1}, Fraction(1)),
    "Hz": ("Hz", {"s": -1}, Fraction(1)),
    "m": ("m", {"m": 1}, Fraction(1)),
    "m2": ("m2", {"m": 2}, Fraction(1)),
    "m3": ("m3", _VOLUME, Fraction(1)),
    "10^4 m3": ("10*4.m3", _VOLUME, Fraction(10**4)),
    "L": ("L", _VOLUME, Fraction(1, 1000)),
    "gal": ("[gal_us]", _VOLUME, Fraction("0.003785411784")),
    "scf": ("[cft_i]", _VOLUME, Fraction("0.028316846592")),
    "g": ("g", {"g": 1}, Fraction(1)),
    "kg": ("kg", {"g": 1}, Fraction(10**3)),
    "t": ("t", {"g": 1}, Fraction(10**6)),
    "Gg": ("Gg", {"g": 1}, Fraction(10**9)),
    "short_ton": ("[ston_av]", {"g": 1}, Fraction("907184.74")),
    "kgCO2": ("kg", {"CO2": 1}, Fraction(10**3)),
    "tCO2": ("t", {"CO2": 1}, Fraction(10**6)),
    "tC": ("t", {"C": 1}, Fraction(10**6)),
    "kgC": ("kg", {"C": 1}, Fraction(10**3)),
    "Pa": ("Pa", {"Pa": 1}, Fraction(1)),
    "kPa": ("kPa", {"Pa": 1}, Fraction(10**3)),
    "bar": ("bar", {"Pa": 1}, Fraction(10**5)),
    "mbar": ("mbar", {"Pa": 1}, Fraction(100)),
    "MPa": ("MPa", {"Pa": 1}, Fraction(10**6)),
    "K": ("K", {"K": 1}, Fraction(1)),
    "C": ("Cel", {"Cel": 1}, Fraction(1)),
    "pcs": ("{pieces}", {"pcs": 1}, Fraction(1)),
    "CNY": ("{CNY}", {"CNY": 1}, Fraction(1)),
    "10^4 CNY": ("10*4.{CNY}", {"CNY": 1}, Fraction(10**4)),
}

_SPELLINGS = {
    "m³": "m3", "10^4m3": "10^4 m3", "10^4 m³": "10^4 m3", "万m3": "10^4 m3", "l": "L", "°C": "C", "℃": "C",
    "degC": "C", "kwh": "kWh", "KWH": "kWh", "ton": "t", "㎡": "m2", "m²": "m2", "": "1", "tCO2e": "tCO2",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of the table. `reference` is `0C`, `15C` or `20C` for a gas volume at a reference state."""

    symbol: str
    ucum: str
    dimensions: tuple[tuple[str, int], ...]
    factor: Fraction
    """How many base units one of these is."""
    reference: str | None = None

    def __str__(self) -> str:
        return self.symbol

    def like(self, other: "Unit") -> bool:
        """Whether quantities of both may be added after conversion."""
        return self.dimensions == other.dimensions and self.reference == other.reference

    def at(self, reference: str | None) -> "Unit":
        """Return this volume unit at another reference state (a relabelling, not a conversion)."""
        bare = self.symbol.split("@")[0]
        return unit(f"{bare}@{reference}" if reference else bare)


@lru_cache(maxsize=1024)
def unit(symbol: str) -> Unit:
    """Return the unit written as `symbol`: `kWh`, `GJ/t`, `m3@20C`, `GJ/10^4 m3@20C`.

    Raises:
        UnknownUnit: the symbol is not in the table; the nearest one is named.
    """
    text = " ".join(symbol.strip().split())
    if len(symbol) > LONGEST_UNIT or text.count("/") > 1 or text.startswith("10^4/"):
        raise UnknownUnit(unit=symbol[:LONGEST_UNIT], hint="")
    if "/" in text:
        above, _, below = text.partition("/")
        return _ratio(text, unit(above), unit(below))
    name, _, reference = text.partition("@")
    name = _SPELLINGS.get(name, name)
    if name not in _ATOMS or (reference and (reference not in REFERENCE_KELVIN or _ATOMS[name][1] != _VOLUME)):
        raise UnknownUnit(unit=symbol, hint=_nearest(name))
    ucum, dimensions, factor = _ATOMS[name]
    shown = f"{name}@{reference}" if reference else name
    return Unit(shown, ucum, tuple(sorted(dimensions.items())), factor, reference or None)


def _ratio(symbol: str, above: Unit, below: Unit) -> Unit:
    dimensions = dict(above.dimensions)
    for name, power in below.dimensions:
        dimensions[name] = dimensions.get(name, 0) - power
    kept = tuple(sorted((name, power) for name, power in dimensions.items() if power))
    ucum = f"{above.ucum}/({below.ucum})" if "." in below.ucum else f"{above.ucum}/{below.ucum}"
    reference = above.reference or below.reference
    return Unit(symbol, ucum, kept, above.factor / below.factor, reference)


def _nearest(name: str) -> str:
    near = [atom for atom in _ATOMS if atom.lower() == name.lower()]
    near = near or difflib.get_close_matches(name, _ATOMS, n=1, cutoff=0.5)
    return f" ({near[0]}?)" if near else ""


def convert(value: Decimal, source: Unit, target: Unit) -> Decimal:
    """Return `value` of `source` in `target`, with one division.

    Raises:
        UnlikeUnits: the dimensions or the reference states differ.
    """
    if source == target:
        return value
    if {source.symbol, target.symbol} == {"C", "K"}:
        shift = Decimal("273.15") if source.symbol == "C" else Decimal("-273.15")
        return EXACT.add(value, shift)
    if not source.like(target):
        raise UnlikeUnits(unit=source, other=target)
    ratio = source.factor / target.factor
    return EXACT.divide(EXACT.multiply(value, Decimal(ratio.numerator)), Decimal(ratio.denominator))


def exact(value: float | int | str | Decimal) -> Decimal:
    """Return the Decimal of the shortest text of `value`: 0.1 is a tenth, not 0.1000000000000000055."""
    return value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else str(value))


def plausible(value: Decimal) -> bool:
    """Return whether a number from outside is one that sums can take: finite, and zero or between 1e-30 and 1e31."""
    return value.is_finite() and (value == 0 or abs(value.adjusted()) <= LARGEST_EXPONENT)


def total(values: Iterable[Decimal]) -> Decimal:
    """Return the sum in the exact context, in the order given."""
    result = Decimal(0)
    for value in values:
        result = EXACT.add(result, value)
    return result


def plain(value: Decimal) -> str:
    """Write a decimal as reports do: no exponent, no trailing zeros, unrounded."""
    text = format(value.normalize(EXACT), "f")
    return "0" if text in ("-0", "") else text


@dataclass(frozen=True, slots=True)
class Quantity:
    """A decimal number with its unit."""

    value: Decimal
    unit: Unit

    def __str__(self) -> str:
        return f"{plain(self.value)} {self.unit}"

    def to(self, target: Unit | str) -> "Quantity":
        """Return the same quantity in another unit.

        Raises:
            UnlikeUnits: the dimensions or the reference states differ.
        """
        wanted = unit(target) if isinstance(target, str) else target
        return Quantity(convert(self.value, self.unit, wanted), wanted)

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(EXACT.add(self.value, other.to(self.unit).value), self.unit)


_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*)$")


def quantity(text: str) -> Quantity:
    """Read `5000 kWh/h`, `0.845 kg/L`, `101.325 kPa`, `20 C`.

    Raises:
        QuantityError: there is no number in front, it is out of all proportion, or the unit is unknown.
    """
    match = _NUMBER.match(text)
    if match is None:
        raise QuantityError(_NO_QUANTITY, text=repr(text))
    try:
        value = Decimal(match[1])
    except InvalidOperation as error:
        raise QuantityError(_IMPLAUSIBLE, text=text) from error
    if not plausible(value):
        raise QuantityError(_IMPLAUSIBLE, text=text)
    return Quantity(value, unit(match[2]))


_NO_QUANTITY = Text(
    zh="{text} 不是带单位的数，例如 5000 kWh/h", en="{text} is not a number with a unit such as 5000 kWh/h"
)
_IMPLAUSIBLE = Text(zh="{text} 的数量级不可能，请检查指数", en="{text} is out of all proportion; check the exponent")
