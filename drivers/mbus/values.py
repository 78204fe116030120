"""From records to the values of points: the right record, in the point's unit, with the quality the meter gives it.

Promises
    * A value is converted exactly from the telegram's unit. A unit that does not fit, or is not known, is no value.
    * A point that no record or more than one answers has no value, and says why.
    * A record error, or BCD that is none, is no value; a meter that reports an error makes its values uncertain.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from drivers.contract import Value
from drivers.mbus.address import HEADER, Wanted, wanted
from drivers.mbus.content import BCDS, LVAR
from drivers.mbus.medium import medium_name
from drivers.mbus.telegram import Header, Record
from drivers.mbus.vif import QUANTITIES, factor_of, unit_after
from drivers.measure import Number, measure, number_fault, sentinel_numbers
from drivers.refusal import NoNumber
from metering.errors import MeteringError
from metering.profile import Place, ProfilePoint
from metering.quantity import EXACT, Unit, convert, plausible, unit
from metering.reading import Quality
from metering.text import Text

RAW = "raw"
"""The type of a point that takes the record's number as it is, times its scale, whatever unit the telegram says."""
_DIFFERENCES = frozenset({"temperature_difference"})

Harvest = Callable[[Header, Sequence[Record]], Sequence[Value]]


def harvest(points: Mapping[str, Place]) -> Harvest:
    """Return what takes the values of points out of a reading.

    Raises:
        MeteringError: an address means nothing.
    """
    found = [_taker(name, place) for name, place in points.items()]
    return lambda header, records: [take(header, records) for take in found]


def _taker(name: str, place: Place) -> Callable[[Header, Sequence[Record]], Value]:
    if place.address in HEADER:
        return lambda header, _: _of_header(name, str(place.address), header)
    return _Taker(name, place, wanted(place.address)).value


def _of_header(name: str, field: str, header: Header) -> Value:
    held = getattr(header, field)
    if held in (None, ""):
        return Value(name, None, Quality.BAD, why="the header does not say")
    return Value(name, None, text=held) if isinstance(held, str) else Value(name, float(held))


def identity(header: Header, records: Sequence[Record]) -> Sequence[Value]:
    """Return what a meter says of itself, as texts: maker, serial, version, medium, and model and firmware where it has them."""
    texts = {"maker": header.maker, "serial": header.id}
    if header.version is not None:
        texts["version"] = str(header.version)
    if header.medium is not None:
        texts["medium"] = medium_name(header.medium)
    for name, quantity in (("model", "model"), ("firmware", "firmware_version")):
        record = next((record for record in records if record.kind.quantity == quantity), None)
        text = _text(record) if record else None
        if text:
            texts[name] = text
    return [Value(name, None, text=text) for name, text in texts.items() if text]


def _text(record: Record) -> str | None:
    """Return what a record says as a text; an identification number with its zeros."""
    if record.content.text is not None:
        return record.content.text.strip()
    if record.content.number is None:
        return None
    number = record.content.number
    return str(number).zfill(_digits(record)) if number >= 0 else None


def _digits(record: Record) -> int:
    """Return how many decimal digits a record has; 0 where it is no BCD."""
    field = record.block[0] & 0x0F if record.block else 0
    if field == LVAR:
        return 2 * (len(record.data) - 1) if record.data[0] >> 4 == 0xC else 0
    return 2 * len(record.data) if field in BCDS else 0


class _Taker:
    """Takes one point's value."""

    def __init__(self, name: str, place: Place, record: Wanted) -> None:
        self._name = name
        self._wanted = record
        self._raw = place.type == RAW
        self._sentinels: frozenset[Number] = sentinel_numbers(place)
        self._scale = place.scale
        self._unit = unit(place.unit) if isinstance(place, ProfilePoint) else None
        self._measure = measure(name, place, frozenset(), Decimal(1))

    def value(self, header: Header, records: Sequence[Record]) -> Value:
        fitting = [record for record in records if self._wanted.fits(record)]
        if len(fitting) != 1:
            return self._none(_how_many(self._wanted.text, fitting, records))
        record = fitting[0]
        raw = record.block + record.data
        if self._unit is None and (record.kind.binary != "B" or record.content.text is not None) and not record.error:
            text = _text(record)
            return Value(self._name, None, raw=raw, text=text) if text else self._none("invalid or no data", raw)
        try:
            number = self._number(record)
        except NoNumber as problem:
            return self._none(str(problem), raw)
        quality, why = _doubt(header.status or 0)
        value = self._measure.value(number, raw, quality)
        return Value(value.point, value.value, value.quality, raw, why=why) if why else value

    def _none(self, why: str, raw: bytes | None = None) -> Value:
        return Value(self._name, None, Quality.BAD, raw, why=why)

    def _number(self, record: Record) -> float:
        if record.error:
            raise NoNumber(f"the meter reports: {record.error}")
        number = record.content.number
        if number is None:
            raise NoNumber("the record holds a text" if record.content.text is not None else "invalid or no data")
        if number in self._sentinels:
            raise NoNumber(f"{number} means not available")
        if self._raw:
            return float(EXACT.multiply(number, self._scale)) + 0.0
        return self._converted(record, number)

    def _converted(self, record: Record, number: Decimal) -> float:
        first, other = record.combined
        name, scaled = unit_after(record.kind.unit, first, other)
        exact = EXACT.multiply(number, record.kind.step) if scaled else number
        for factor in filter(None, map(factor_of, first)):
            exact = EXACT.multiply(exact, factor)
        if self._unit is not None:
            exact = convert(exact, self._source(name, record), self._unit)
        if not plausible(exact):
            raise NoNumber(f"{exact} is out of all proportion")
        return float(exact) + 0.0

    def _source(self, name: str | None, record: Record) -> Unit:
        assert self._unit is not None
        if name is None:
            what = " ".join(filter(None, (record.kind.quantity, record.vifes.hex().upper())))
            raise NoNumber(f"its unit is not known here ({what}); take the number with type: raw")
        found = unit(name)
        if not found.like(self._unit) and {found.symbol, self._unit.symbol} != {"C", "K"}:
            raise NoNumber(f"it is in {found}, which is not {self._unit}")
        return found


def _how_many(address: str, fitting: Sequence[Record], records: Sequence[Record]) -> str:
    if not fitting:
        unread = "".join(f"; nothing behind #{record.number} can be read, its LVAR {record.data.hex().upper()} is reserved"
                         for record in records if record.endless)  # fmt: skip
        return f"no record {address} in its answer{unread}"
    numbers = ", ".join(f"#{record.number}" for record in fitting[:5])
    return f"{len(fitting)} records are {address}: {numbers}; name one of them"


def _doubt(status: int) -> tuple[Quality, str]:
    """Return the best quality of a value by the header's status (EN 13757-3, 6.6). A low battery does not put it in doubt."""
    words = [word for bit, word in ((0x08, "permanent error"), (0x10, "temporary error")) if status & bit]
    words += {1: ["application busy"], 2: ["application error"]}.get(status & 0x03, [])
    return (Quality.UNCERTAIN, f"status {status:02X}: {', '.join(words)}") if words else (Quality.GOOD, "")


def fault(place: Place) -> Text | None:
    """Return what is wrong with a place in a profile, or None."""
    if place.type not in (None, RAW):
        return Text(f"没有类型 {place.type!r}：报文自带类型和单位，只可写 raw（原数乘 scale）",
                    f"no type {place.type!r}: the telegram says type and unit; only raw (the number times scale) is possible")  # fmt: skip
    if place.address in HEADER:
        return None
    try:
        record = wanted(place.address)
    except MeteringError as error:
        return Text(error.say("zh"), error.say("en"))
    if place.type != RAW and place.scale != 1:
        return Text(
            "单位由报文给出，scale 只能与 type: raw 同用", "the telegram says the unit; scale goes with type: raw only"
        )
    return number_fault(place) or _unit_fault(record.quantity, place)


def _unit_fault(quantity: str, place: Place) -> Text | None:
    if place.type == RAW or not isinstance(place, ProfilePoint) or not quantity or "vife=" in str(place.address):
        return None
    given, theirs = unit(place.unit), QUANTITIES[quantity]
    if quantity in _DIFFERENCES and given.symbol != "K":
        return Text("温差的单位是 K", "a temperature difference is in K")
    if theirs is None:
        return Text(f"{quantity} 没有单位，请写 type: raw", f"{quantity} has no unit here: give type: raw")
    source = unit(theirs)
    if source.like(given) or {source.symbol, given.symbol} == {"C", "K"}:
        return None
    return Text(f"{quantity} 不能以 {given} 计", f"{quantity} cannot be in {given}")
