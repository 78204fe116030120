"""Modbus bytes: from the registers of one point to its value.

Promises
    * Any bytes decode to a value, or to None with quality BAD: not a number, infinite, a sentinel, a BCD nibble above 9.
    * Scaling is decimal: the result is the double nearest to the exact product. A 32-bit float enters as its shortest text.
"""

import math
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from drivers.contract import Value
from metering.profile import ProfilePoint
from metering.quantity import EXACT
from metering.reading import Quality

_CODES = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_BCD = {f"bcd{digits}": digits for digits in range(2, 13)}
TYPES = ("bool", *_CODES, *_BCD)
"""Every type a point may have; `bool` is for function codes 1 and 2 alone."""

_FLOATS = ("f32", "f64")
_LARGEST = sys.float_info.max
_F32 = struct.Struct(">f")

Arrange = Callable[[bytes], bytes]
"""Brings the bytes of a value into network order."""


def words(type_name: str) -> int:
    """Return how many registers a value of this type takes (1 bit for `bool`)."""
    if type_name in _BCD:
        return -(-_BCD[type_name] // 4)
    return struct.calcsize(">" + _CODES[type_name]) // 2 if type_name in _CODES else 1


def shortest_f32(x: float) -> float:
    """Return the double whose text is the shortest one that means the 32-bit float `x`: 230.2, not 230.1999969."""
    for text in ("%.6g", "%.7g", "%.8g"):
        near = float(text % x)
        if _F32.unpack(_F32.pack(near))[0] == x:
            return near
    return float("%.9g" % x)  # noqa: UP031


def _swap_bytes(raw: bytes) -> bytes:
    swapped = bytearray(raw)
    swapped[0::2], swapped[1::2] = raw[1::2], raw[0::2]
    return bytes(swapped)


ORDERS: dict[str, Arrange] = {
    "ABCD": bytes,
    "CDAB": lambda raw: _swap_bytes(raw[::-1]),
    "BADC": _swap_bytes,
    "DCBA": lambda raw: raw[::-1],
}
"""Names as on a meter's data sheet; a longer value goes on in the same manner (CDAB is GHEFCDAB)."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where one point lies in the data of a reply, and how it becomes a value."""

    point: str
    start: int
    """Bytes from the start of the data."""
    size: int
    code: str
    """What `struct` takes out, in network order: a number, or bytes that `number` makes one of."""
    number: Callable[[Any], int | float | None]
    scaled: Callable[[Any], float]
    sentinels: frozenset[int | float]
    low: float
    high: float

    def value(self, item: Any, data: bytes) -> Value:
        raw = data[self.start : self.start + self.size]
        number = self.number(item)
        if number is None or number in self.sentinels:
            return Value(self.point, None, Quality.BAD, raw)
        value = self.scaled(number)
        if self.low <= value <= self.high:
            return Value(self.point, value, Quality.GOOD, raw)
        if math.isinf(value):
            return Value(self.point, None, Quality.BAD, raw)
        return Value(self.point, value, Quality.OUT_OF_RANGE, raw)


def register_field(name: str, start: int, point: ProfilePoint, type_name: str, order: str) -> Field:
    """Return the field of a point in registers; `start` counts bytes."""
    size = words(type_name) * 2
    code, number = _reader(type_name, order, size)
    low, high = (float(point.valid[0]), float(point.valid[1])) if point.valid else (-_LARGEST, _LARGEST)
    return Field(
        point=name, start=start, size=size, code=code, number=number,
        scaled=_scale_float(point.scale) if type_name in _FLOATS else _scale_whole(point.scale),
        sentinels=_sentinels(point.sentinels, type_name, size), low=low, high=high,
    )  # fmt: skip


def _reader(type_name: str, order: str, size: int) -> tuple[str, Callable[[Any], int | float | None]]:
    if type_name in _BCD:
        limit = 10 ** _BCD[type_name]
        arrange = ORDERS[order]
        return f"{size}s", lambda raw: _bcd(arrange(raw), limit)
    code = _CODES[type_name]
    finish = {"f32": _finite_f32, "f64": _finite}.get(type_name, _whole)
    if order == "ABCD" or (size == 2 and order == "CDAB"):
        return code, finish
    unpack, arrange = struct.Struct(">" + code).unpack, ORDERS[order]
    return f"{size}s", lambda raw: finish(unpack(arrange(raw))[0])


def _whole(x: int) -> int:
    return x


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _finite_f32(x: float) -> float | None:
    return shortest_f32(x) if math.isfinite(x) else None


def _bcd(raw: bytes, limit: int) -> int | None:
    text = raw.hex()
    if not text.isdecimal():
        return None
    number = int(text)
    return number if number < limit else None


def _scale_whole(scale: Decimal) -> Callable[[int], float]:
    """Python's division of integers is correctly rounded: the same double as float(Decimal(raw) * scale), and quicker."""
    times, over = scale.as_integer_ratio()
    return lambda number: number * times / over


def _scale_float(scale: Decimal) -> Callable[[float], float]:
    if scale == 1:
        return lambda number: number + 0.0  # minus zero is zero
    return lambda number: float(EXACT.multiply(Decimal(repr(number)), scale)) + 0.0


def _sentinels(given: Sequence[int | float | str], type_name: str, size: int) -> frozenset[int | float]:
    """A hexadecimal text is a bit pattern; a number is the number the register shows. NaN needs no mention."""
    found: set[int | float] = set()
    for sentinel in given:
        number = _sentinel(sentinel, type_name, size)
        if type_name.startswith("i") and number >= 2 ** (8 * size - 1):
            number -= 2 ** (8 * size)
        found.add(number)
    return frozenset(found)


def _sentinel(sentinel: int | float | str, type_name: str, size: int) -> int | float:
    if not isinstance(sentinel, str):
        return sentinel
    if not sentinel.lower().startswith("0x"):
        return float(sentinel)
    pattern = int(sentinel, 16)
    if type_name not in _FLOATS:
        return pattern
    raw = pattern.to_bytes(size, "big")
    return shortest_f32(_F32.unpack(raw)[0]) if type_name == "f32" else float(struct.unpack(">d", raw)[0])
