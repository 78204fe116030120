"""From the data of a reply to the value of one place.

There are two ways, and they agree. `value` is the whole of it: all parts, sentinels, bits, the scale registers, in exact
decimals. `quick` serves the common case, one number with a fixed scale, at a fraction of the cost; it gives NaN for
whatever is not as plain as that, and the whole way then decides.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from drivers.contract import Value
from drivers.measure import LARGEST_EXACT, Measure, Number, measure, nearest, scaling, shortest_f32
from drivers.modbus.codec import CODES, Meaning, network_order, reader
from metering.profile import Place, ProfilePoint, ScaleFrom
from metering.quantity import EXACT, Unit, convert, exact, total, unit
from metering.reading import Quality

_F32 = struct.Struct(">f")
_F64 = struct.Struct(">d")
_NAN = float("nan")
LARGEST_POWER = 30
"""No meter scales by more powers of ten; a register that says so is not what the profile takes it for."""


@dataclass(frozen=True, slots=True)
class Part:
    """One number of a place: where its bytes lie in the data, and how they are read."""

    start: int
    end: int
    order: str
    read: Callable[[bytes], Meaning]
    sentinels: frozenset[Number]
    scale: Decimal = Decimal(1)
    bits: tuple[int, int] | None = None

    def meaning(self, data: bytes) -> Meaning:
        found = self.read(network_order(data[self.start : self.end], self.order))
        if found is None or found in self.sentinels:
            return None
        if self.bits is None or not isinstance(found, int):
            return found
        low, high = self.bits
        return found >> low & (1 << high - low + 1) - 1


@dataclass(frozen=True, slots=True)
class Scale:
    """A register that says how a value is scaled."""

    part: Part
    units: Mapping[int, Unit] | None
    """What its codes mean; None: it holds a power of ten."""

    def scaled(self, value: Decimal, data: bytes, wanted: Unit | None) -> Decimal | str:
        """Return the value as the register says, or why there is none."""
        code = self.part.meaning(data)
        if not isinstance(code, int):
            return "the scale register holds no number"
        if self.units is None or wanted is None:
            return EXACT.scaleb(value, code) if abs(code) <= LARGEST_POWER else f"the scale register says 10^{code}"
        if code not in self.units:
            return f"the profile knows no unit with code {code}"
        return convert(value, self.units[code], wanted)


@dataclass(frozen=True, slots=True)
class Field:
    """One place of a profile in the data of a reply."""

    parts: tuple[Part, ...]
    """What is added up; the first is the place itself."""
    scales: tuple["Scale", ...]
    """The registers that say how it is scaled."""
    unit: Unit | None
    measure: Measure
    quick: Callable[[Any], float] | None
    """Makes a value of what `struct` takes out; NaN: ask `value`. None: always ask."""
    code: str
    """What `struct` takes out for `quick`."""

    @property
    def start(self) -> int:
        return self.parts[0].start

    @property
    def end(self) -> int:
        return self.parts[0].end

    def value(self, data: bytes) -> Value:
        read = (*self.parts, *(scale.part for scale in self.scales))
        raw = b"".join(data[part.start : part.end] for part in read)
        numbers: list[Number] = []
        for part in self.parts:
            found = part.meaning(data)
            if found is None:
                return self._none(raw)
            if isinstance(found, str):
                return Value(self.measure.point, None, raw=raw, text=found)
            numbers.append(found)
        value = self._sum(numbers)
        for scale in self.scales:
            scaled = scale.scaled(value, data, self.unit)
            if isinstance(scaled, str):
                return self._none(raw, scaled)
            value = scaled
        return self._measured(value, numbers, raw)

    def _sum(self, numbers: Sequence[Number]) -> Decimal:
        terms = zip(self.parts, numbers, strict=True)
        return total(EXACT.multiply(exact(number), part.scale) for part, number in terms)

    def _measured(self, value: Decimal, numbers: Sequence[Number], raw: bytes) -> Value:
        """Whole registers keep their digits: beyond 2^53 as an int, and where even that cannot be, they are marked."""
        if not all(isinstance(number, int) for number in numbers):
            return self.measure.judged(float(value) + 0.0, raw)
        near = nearest(value)
        if any(abs(number) > LARGEST_EXACT for number in numbers) and exact(near) != value:
            return self.measure.judged(near, raw, Quality.UNCERTAIN, why="it has more digits than a double holds")
        return self.measure.judged(near, raw)

    def _none(self, raw: bytes, why: str = "") -> Value:
        return Value(self.measure.point, None, Quality.BAD, raw, why=why)


@dataclass(frozen=True, slots=True)
class Piece:
    """One number of a place in the meter's registers."""

    address: int
    type: str
    order: str
    end: int
    scale: Decimal = Decimal(1)


def field_of(
    name: str, place: Place, pieces: tuple[Piece, ...], scales: tuple[Piece, ...], offset: Callable[[Piece], int]
) -> Field:
    """Return the field of a place; `offset` says where in the data a piece begins, in bytes."""
    main = pieces[0]
    alike = [place.sentinels if piece.type == main.type else [] for piece in pieces]
    parts = tuple(_part(piece, offset(piece), given) for piece, given in zip(pieces, alike, strict=True))
    parts = (replace(parts[0], bits=place.bits), *parts[1:])
    own = measure(name, place, parts[0].sentinels)
    plain = len(parts) == 1 and not scales and place.bits is None and main.type in CODES and len(main.order) == 4
    return Field(
        parts=parts,
        scales=tuple(_scale(piece, offset(piece), of) for piece, of in zip(scales, place.scale_from, strict=True)),
        unit=unit(place.unit) if isinstance(place, ProfilePoint) else None,
        measure=own,
        quick=_quick(main.type, place.scale, parts[0].sentinels) if plain else None,
        code=CODES.get(main.type, ""),
    )


def _scale(piece: Piece, start: int, of: ScaleFrom) -> Scale:
    units = None if of.units is None else {code: unit(symbol) for code, symbol in of.units.items()}
    return Scale(_part(piece, start, ["0x8000"] if piece.type == "i16" else []), units)


def _part(piece: Piece, start: int, given: Sequence[Number | str]) -> Part:
    size = 2 * (piece.end - piece.address)
    sentinels = frozenset(_sentinel(sentinel, piece.type, size) for sentinel in given)
    return Part(start, start + size, piece.order, reader(piece.type), sentinels, piece.scale)


def _quick(type_name: str, scale: Decimal, sentinels: frozenset[Number]) -> Callable[[Any], float]:
    quick = _quick_number(type_name, scale)
    if not sentinels:
        return quick
    read = shortest_f32 if type_name == "f32" else lambda number: number
    return lambda item: _NAN if read(item) in sentinels else quick(item)


def _quick_number(type_name: str, scale: Decimal) -> Callable[[Any], float]:
    scaled = scaling(scale)
    if type_name == "f32":
        return shortest_f32 if scale == 1 else lru_cache(maxsize=256)(lambda item: scaled(shortest_f32(item)))
    if type_name == "f64":
        return scaled
    if 2**32 * abs(scale) > LARGEST_EXACT or type_name.endswith("64"):
        return lambda item: scaled(item) if -LARGEST_EXACT <= item <= LARGEST_EXACT else _NAN
    return float if scale == 1 else scaled


def _sentinel(sentinel: Number | str, type_name: str, size: int) -> Number:
    """A hexadecimal text is a bit pattern; anything else is the number the registers show."""
    if not isinstance(sentinel, str):
        return _signed(sentinel, type_name, size)
    if not sentinel.lower().startswith("0x"):
        return float(sentinel)
    if type_name == "f32":
        return shortest_f32(_F32.unpack(int(sentinel, 16).to_bytes(4, "big"))[0])
    if type_name == "f64":
        return float(_F64.unpack(int(sentinel, 16).to_bytes(8, "big"))[0])
    return _signed(int(sentinel, 16), type_name, size)


def _signed(number: Number, type_name: str, size: int) -> Number:
    return number - 2 ** (8 * size) if type_name.startswith("i") and number >= 2 ** (8 * size - 1) else number
