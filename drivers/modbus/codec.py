"""Modbus bytes: from the registers of one point to its raw number.

Promises
    * Any bytes give a number, or None: not a number, infinite, a BCD nibble above 9.
    * A 32-bit float enters as its shortest text: 230.2, not 230.1999969.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drivers.contract import Value
from drivers.measure import Measure, Number, measure, shortest_f32
from metering.profile import Place

_CODES = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_BCD = {f"bcd{digits}": digits for digits in range(2, 13)}
TYPES = ("bool", *_CODES, *_BCD)
"""Every type a point may have; `bool` is for function codes 1 and 2 alone."""

_F32 = struct.Struct(">f")
_F64 = struct.Struct(">d")


def words(type_name: str) -> int:
    """Return how many registers a value of this type takes (1 bit for `bool`)."""
    if type_name in _BCD:
        return -(-_BCD[type_name] // 4)
    return -(-struct.calcsize(">" + _CODES.get(type_name, "H")) // 2)


def _swap_bytes(raw: bytes) -> bytes:
    swapped = bytearray(raw)
    swapped[0::2], swapped[1::2] = raw[1::2], raw[0::2]
    return bytes(swapped)


ORDERS: dict[str, Callable[[bytes], bytes]] = {
    "ABCD": bytes,
    "CDAB": lambda raw: _swap_bytes(raw[::-1]),
    "BADC": _swap_bytes,
    "DCBA": lambda raw: raw[::-1],
}
"""From the order a data sheet names to network order; longer values go on in the same manner (CDAB is GHEFCDAB)."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where one point lies in the data of a reply, and how it becomes a value."""

    start: int
    """Bytes from the start of the data."""
    end: int
    code: str
    """What `struct` takes out, in network order: a number, or bytes that `number` makes one of."""
    number: Callable[[Any], Number | None]
    measure: Measure

    def value(self, item: Any, data: bytes) -> Value:
        return self.measure.value(self.number(item), data[self.start : self.end])


def register_field(name: str, start: int, point: Place, type_name: str, order: str) -> Field:
    """Return the field of a point in registers; `start` counts bytes."""
    size = 2 * words(type_name)
    code, number = _reader(type_name, order, size)
    sentinels = frozenset(_sentinel(sentinel, type_name, size) for sentinel in point.sentinels)
    return Field(start, start + size, code, number, measure(name, point, sentinels))


def _reader(type_name: str, order: str, size: int) -> tuple[str, Callable[[Any], Number | None]]:
    arrange = ORDERS[order]
    if type_name in _BCD:
        limit = 10 ** _BCD[type_name]
        return f"{size}s", lambda raw: _bcd(arrange(raw), limit)
    code = _CODES[type_name]
    finish = {"f32": _finite_f32, "f64": _finite}.get(type_name, _whole)
    if order == "ABCD":
        return code, finish
    unpack = struct.Struct(">" + code).unpack
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
