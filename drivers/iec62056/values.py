"""From data sets to the values of points, in the point's unit.

Promises
    * A value with a unit is converted exactly; a unit that does not fit, or is not known, is no value.
    * A value without one is taken in the point's unit. An empty one, or digits with a `?` among them, is none.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from drivers.contract import Value
from drivers.iec62056.codec import Identification
from drivers.iec62056.datasets import HEADER, Address, DataSet, Held, address
from drivers.measure import Number, measure, number_fault, sentinel_numbers
from drivers.refusal import NoNumber
from metering.errors import UnknownUnit
from metering.profile import Place, ProfilePoint
from metering.quantity import EXACT, Unit, convert, plausible, unit
from metering.reading import Quality
from metering.text import Text

RAW = "raw"
"""The type of a point that takes the number as it is, times its scale, whatever unit stands beside it."""
Harvest = Callable[[Identification, Sequence[DataSet]], Sequence[Value]]

_NUMBER = re.compile(r"[+-]?\d{1,20}(?:[.,]\d{0,15})?")
_SPELLINGS = {
    "m^3": "m3", "m^3/h": "m3/h", "m3ph": "m3/h", "m³/h": "m3/h", "M3": "m3", "M3/h": "m3/h", "M3/H": "m3/h", "lph": "L/h",
    "deg C": "C", "Deg C": "C", "'C": "C", "MIN": "min",
}  # fmt: skip
"""How meters write units, beside the spellings every file may use."""
_LARGER = {"Mvarh": ("kvarh", "1E3"), "Mvar": ("kvar", "1E3"), "MVA": ("kVA", "1E3"), "GW": ("MW", "1E3"),
           "mA": ("A", "1E-3"), "mV": ("V", "1E-3")}  # fmt: skip
"""Units that are a power of ten of ours."""
_ANY_CASE = ("Wh", "kWh", "MWh", "GWh", "kJ", "MJ", "GJ", "W", "kW", "MW", "varh", "kvarh", "var", "kvar", "VA", "kVA", "V", "kV",
             "Hz", "L", "m3/h", "L/h", "kg", "bar", "kPa", "MPa", *_LARGER)  # fmt: skip
_SERIALS = ("C.1.0", "0.0.0", "96.1.0", "9.21")


def _folded(text: str) -> str:
    """Return a unit without its case, but for the M of mega and the m of milli."""
    return text[:1] + text[1:].casefold() if text[:1] in ("m", "M") else text.casefold()


_UNITS = {_folded(name): name for name in _ANY_CASE}


def unit_of(written: str) -> tuple[Unit, Decimal]:
    """Return the unit that a meter means, and how many of it one of its units is: `KVARH` is kvarh, `Mvarh` a thousand.

    Raises:
        UnknownUnit: it is none of ours, or could be more than one: Nm3 says no temperature, Gcal not which calorie.
    """
    name = _SPELLINGS.get(written, written)
    try:
        return unit(name), Decimal(1)
    except UnknownUnit:
        known = _UNITS.get(_folded(name))
        if known is None:
            raise
        ours, factor = _LARGER.get(known, (known, "1"))
        return unit(ours), Decimal(factor)


def harvest(points: Mapping[str, Place]) -> Harvest:
    """Return what takes the values of points out of a readout."""
    takers = [_taker(name, place) for name, place in points.items()]
    return lambda who, sets: [take(who, sets) for take in takers]


def _taker(name: str, place: Place) -> Callable[[Identification, Sequence[DataSet]], Value]:
    text = str(place.address)
    if text in HEADER:
        return lambda who, _: Value(name, None, text=getattr(who, text))
    return _Taker(name, place).value


def identity(who: Identification, sets: Sequence[DataSet]) -> Sequence[Value]:
    """Return what a meter says of itself, as texts: maker, model (its identification), serial."""
    texts = {"maker": who.maker, "model": who.ident}
    for serial in _SERIALS:
        held = next((found.values[0].value for found in sets if Address(serial).fits(found)), "")
        if held:
            texts["serial"] = held
            break
    return [Value(name, None, text=text) for name, text in texts.items() if text]


class _Taker:
    """Takes one point's value."""

    def __init__(self, name: str, place: Place) -> None:
        self._name = name
        self._address = address(str(place.address)) or Address(str(place.address))
        self._raw = place.type == RAW
        self._scale = place.scale
        self._sentinels: frozenset[Number] = sentinel_numbers(place)
        self._unit = unit(place.unit) if isinstance(place, ProfilePoint) else None
        self._measure = measure(name, place, frozenset(), Decimal(1))

    def value(self, _: Identification, sets: Sequence[DataSet]) -> Value:
        fitting = [found for found in sets if self._address.fits(found)]
        if len(fitting) != 1 or len(fitting[0].values) < self._address.value:
            return Value(self._name, None, Quality.BAD, why=_how_many(self._address, fitting))
        held = fitting[0].values[self._address.value - 1]
        raw = f"{held.value}*{held.unit}".rstrip("*").encode("latin-1", "replace")
        if self._unit is None and not _NUMBER.fullmatch(held.value):
            return self._text(held.value, raw)
        try:
            return self._measure.value(self._number(held), raw)
        except NoNumber as problem:
            return Value(self._name, None, Quality.BAD, raw, why=str(problem), text=held.value or None)

    def _text(self, text: str, raw: bytes) -> Value:
        return (
            Value(self._name, None, raw=raw, text=text)
            if text
            else Value(self._name, None, Quality.BAD, raw, why="empty")
        )

    def _number(self, held: Held) -> float:
        if not _NUMBER.fullmatch(held.value):
            raise NoNumber(f"{held.value!r} is no number" if held.value else "empty")
        number = Decimal(held.value.replace(",", "."))
        if number in self._sentinels:
            raise NoNumber(f"{held.value} means not available")
        if self._raw:
            number = EXACT.multiply(number, self._scale)
        elif held.unit and self._unit is not None:
            found, factor = self._unit_of(held, self._unit)
            number = convert(EXACT.multiply(number, factor), found, self._unit)
        if not plausible(number):
            raise NoNumber(f"{held.value} is out of all proportion")
        return float(number) + 0.0

    def _unit_of(self, held: Held, wanted: Unit) -> tuple[Unit, Decimal]:
        try:
            found, factor = unit_of(held.unit)
        except UnknownUnit:
            raise NoNumber(f"its unit {held.unit!r} is not known here; take the number with type: raw") from None
        if not found.like(wanted) and {found.symbol, wanted.symbol} != {"C", "K"}:
            raise NoNumber(f"it is in {found}, which is not {wanted}")
        return found, factor


def _how_many(wanted: Address, fitting: Sequence[DataSet]) -> str:
    if not fitting:
        return f"no data set {wanted.text} in its readout"
    if len(fitting) > 1:
        return (
            f"{len(fitting)} data sets are {wanted.text}: {', '.join(found.address for found in fitting[:5])}; name one"
        )
    return f"{wanted.text} has {len(fitting[0].values)} values, none at {wanted.value}"


def fault(place: Place) -> Text | None:
    """Return what is wrong with a place in a profile, or None."""
    if isinstance(place.address, int) or (place.address not in HEADER and address(place.address) is None):
        return Text(f'{place.address!r} 不是数据集地址：OBIS 码加引号，如 "1.8.0"、"1-0:1.8.0*01"',
                    f'{place.address!r} is no data set: an OBIS code in quotes, such as "1.8.0" or "1-0:1.8.0*01"')  # fmt: skip
    if place.type not in (None, RAW):
        return Text(f"没有类型 {place.type!r}：只可写 raw（原数乘 scale）",
                    f"no type {place.type!r}: only raw (the number times scale) is possible")  # fmt: skip
    if place.type != RAW and place.scale != 1:
        return Text(
            "单位由读出给出，scale 只能与 type: raw 同用", "the readout says the unit; scale goes with type: raw only"
        )
    return number_fault(place)
