"""Modbus bytes: from the registers of one value to its raw number or text.

Promises
    * Any bytes give a number or a text, or None: not a number, infinite, a BCD nibble above 9, no such date.
    * A 32-bit float enters as its shortest text: 230.2, not 230.1999969.
"""

import math
import re
import struct
from array import array
from collections.abc import Callable
from datetime import datetime, timedelta

from drivers.measure import Number, shortest_f32

CODES = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_BCD = {f"bcd{digits}": digits for digits in range(2, 13)}
_DATETIMES = {"datetime6": 6, "datetime3": 3, "datetime3_bcd": 3, "datetime_iec": 4, "unix32": 2}
"""Layouts of a date and time, and their registers."""
_STRING = re.compile(r"str([1-9]\d{0,2})")
_LONGEST_STRING = 250
TYPES = ("bool", *CODES, *_BCD, *_DATETIMES, "str20")
"""Every type a place may have, `str` with any number of bytes; `bool` is for function codes 1 and 2 alone."""

LITTLE_ENDIAN = {"ABCD": (False, False), "CDAB": (True, True), "BADC": (False, True), "DCBA": (True, False)}
"""Of each order: whether the value is little-endian, once the two bytes of each register were changed round or not."""

Meaning = Number | str | None


def known(type_name: str) -> bool:
    return type_name in TYPES or 0 < string_bytes(type_name) <= _LONGEST_STRING


def string_bytes(type_name: str) -> int:
    """Return N of `strN`; 0 for any other type."""
    match = _STRING.fullmatch(type_name)
    return int(match[1]) if match else 0


def is_text(type_name: str) -> bool:
    return type_name in _DATETIMES or string_bytes(type_name) > 0


def has_words(type_name: str) -> bool:
    """Whether it is one number of several registers, so that the meter's own order of these holds for it."""
    return type_name == "unix32" or not is_text(type_name)


def is_whole(type_name: str) -> bool:
    """Whether bits can be taken out of it."""
    return type_name[:1] in "ui" and type_name in CODES


def words(type_name: str) -> int:
    """Return how many registers a value of this type takes (1 bit for `bool`)."""
    if type_name in _BCD:
        return -(-_BCD[type_name] // 4)
    if type_name in _DATETIMES:
        return _DATETIMES[type_name]
    return -(-(string_bytes(type_name) or struct.calcsize(">" + CODES.get(type_name, "H"))) // 2)


def swap_bytes(raw: bytes) -> bytes:
    """Change the two bytes of each register round."""
    registers = array("H", raw)
    registers.byteswap()
    return registers.tobytes()


def network_order(raw: bytes, order: str) -> bytes:
    """Return the bytes of a value, sent in `order`, from the highest to the lowest."""
    if len(order) == 8:
        return bytes(raw[order.index(letter)] for letter in "ABCDEFGH")
    little, swapped = LITTLE_ENDIAN[order]
    arranged = swap_bytes(raw) if swapped else raw
    return arranged[::-1] if little else arranged


def reader(type_name: str) -> Callable[[bytes], Meaning]:
    """Return what makes a number or text of a value's bytes in network order."""
    if type_name in _BCD:
        limit = 10 ** _BCD[type_name]
        return lambda raw: _bcd(raw, limit)
    if type_name in _DATETIMES:
        return _DATETIME_READERS[type_name]
    if size := string_bytes(type_name):
        return lambda raw: string(raw[:size])
    unpack = struct.Struct(">" + CODES[type_name]).unpack
    if type_name == "f32":
        return lambda raw: _finite_f32(unpack(raw)[0])
    if type_name == "f64":
        return lambda raw: _finite(unpack(raw)[0])
    return lambda raw: int(unpack(raw)[0])


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


def string(raw: bytes) -> str | None:
    """Return a text up to its first NUL or the FF that fill it up, without the blanks around it; None where it is empty or
    no text (UTF-8)."""
    try:
        text = raw.split(b"\0")[0].rstrip(b"\xff").decode().strip()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and text else None


def _moment(year: int, month: int, day: int, hour: int, minute: int, second: int, ms: int = 0) -> str | None:
    """Return the time as ISO 8601, in no zone: the meter's own clock. A year of two digits is of this century."""
    try:
        found = datetime(year + 2000 * (year < 100), month, day, hour, minute, second, ms * 1000)  # noqa: DTZ001
    except ValueError:
        return None
    return found.isoformat(timespec="milliseconds" if ms else "seconds")


def _datetime6(raw: bytes) -> str | None:
    return _moment(*struct.unpack(">6H", raw))


def _datetime3(raw: bytes) -> str | None:
    return _moment(*raw)


def _datetime3_bcd(raw: bytes) -> str | None:
    text = raw.hex()
    return _moment(*(int(text[at : at + 2]) for at in range(0, 12, 2))) if text.isdecimal() else None


def _datetime_iec(raw: bytes) -> str | None:
    """IEC 60870-5-4 as Schneider's meters send it: year; month and day; hour and minute; milliseconds of the minute."""
    year, date, clock, ms = struct.unpack(">4H", raw)
    if clock & 0x80:  # the meter itself calls it invalid
        return None
    return _moment(
        year & 0x7F, date >> 8 & 0xF, date & 0x1F, clock >> 8 & 0x1F, clock & 0x3F, ms // 1000, ms % 1000
    )  # fmt: skip


def _unix32(raw: bytes) -> str | None:
    seconds = int.from_bytes(raw, "big")
    found = datetime(1970, 1, 1) + timedelta(seconds=seconds)  # noqa: DTZ001
    return found.isoformat() + "Z" if seconds else None


_DATETIME_READERS: dict[str, Callable[[bytes], str | None]] = {
    "datetime6": _datetime6,
    "datetime3": _datetime3,
    "datetime3_bcd": _datetime3_bcd,
    "datetime_iec": _datetime_iec,
    "unix32": _unix32,
}
