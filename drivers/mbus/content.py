"""The data of a record: what its bytes mean by the data field and the VIF (EN 13757-3, annexes A and B).

Promises
    * A number is exact: whole, or the shortest decimal of a 32-bit float. What the standard calls invalid, and BCD with
      digits above nine, is None.
    * Never raises: bytes of a length the type does not have are none.
"""

import math
import struct
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from drivers.measure import shortest_f32

SIZES = (0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, None, 6, None)
"""Bytes of data by the low nibble of the DIF; None: the data say it (LVAR), or it is no data field."""
REAL, LVAR = 0x5, 0xD
BCDS = frozenset({0x9, 0xA, 0xB, 0xC, 0xE})
_BINARY = frozenset({0x1, 0x2, 0x3, 0x4, 0x6, 0x7})
_TIMES = frozenset({"date", "time", "battery_change", "tariff_start"})
"""Quantities that are dates: binary of types F, G, I and J; in any other form (M is one) they are not understood."""
NO_DATA = frozenset({0x0, 0x8})
_BIG_LVAR = {0xF0: 16, 0xF1: 20, 0xF2: 24, 0xF3: 28, 0xF4: 32, 0xF5: 48, 0xF6: 64}
_LONGEST_NUMBER = 16
"""Bytes of a binary number at most; a longer one is hexadecimal text."""


@dataclass(frozen=True, slots=True)
class Content:
    """A number, a text, or neither."""

    number: Decimal | None = None
    text: str | None = None


NONE = Content()


def lvar_size(lvar: int) -> int | None:
    """Return how many bytes follow the LVAR of variable-length data, or None for a reserved one."""
    if lvar <= 0xBF:
        return lvar
    if lvar <= 0xEF:
        return lvar & 0x0F
    return _BIG_LVAR.get(lvar)


def content(field: int, quantity: str, data: bytes, binary: str) -> Content:
    """Return what `data` are: `field` is the low nibble of the DIF, and `data` begin with the LVAR where it is variable.
    `binary` is the type of a binary number, B, C or D."""
    if field in NO_DATA:
        return NONE
    timely = quantity in _TIMES
    if field == LVAR:
        held = _variable(data[0], data[1:], binary)
        return NONE if timely and held.text is None else held
    if timely:
        return Content(text=moment(data)) if field in _BINARY else NONE
    if field in BCDS:
        return Content(bcd(data))
    if field == REAL:
        return Content(_real(data))
    return Content(_binary(data, binary))


def _variable(lvar: int, data: bytes, binary: str) -> Content:
    if lvar <= 0xBF:
        return Content(text=data[::-1].decode("latin-1").replace("\0", ""))
    if not data or lvar_size(lvar) is None:
        return NONE
    if lvar <= 0xDF:
        digits = bcd(data)
        return Content(None if digits is None or digits < 0 else -digits if lvar >= 0xD0 else digits)
    if len(data) > _LONGEST_NUMBER:
        return Content(text=data[::-1].hex().upper())
    return Content(_binary(data, binary))


def bcd(data: bytes) -> Decimal | None:
    """Return type A, lowest pair first: F in the highest place is a minus sign, any other digit above nine is none."""
    digits = data[::-1].hex()
    sign, digits = ("-", digits[1:]) if digits[0] == "f" else ("", digits)
    return Decimal(sign + digits) + 0 if digits.isdecimal() else None


def _binary(data: bytes, binary: str) -> Decimal | None:
    """Types B, C and D. The largest negative number of B, and all bits set of C, mean `invalid`; of D they are flags."""
    number = int.from_bytes(data, "little", signed=binary == "B")
    invalid = {"B": -(1 << 8 * len(data) - 1), "C": (1 << 8 * len(data)) - 1}.get(binary)
    return None if number == invalid else Decimal(number)


def _real(data: bytes) -> Decimal | None:
    (number,) = struct.unpack("<f", data)
    return Decimal(repr(shortest_f32(number))) if math.isfinite(number) else None


def moment(data: bytes) -> str | None:
    """Return a date (type G, 2 bytes), a time (J, 3) or both (F, 4; I, 6) as ISO 8601 without a zone, in the meter's own
    time; None where it is marked invalid or is no date."""
    if len(data) == 2:
        return _date(data)
    if len(data) == 3:
        return _clock(data[2] & 0x1F, data[1] & 0x3F, data[0] & 0x3F)
    if len(data) == 4 and not data[0] & 0x80:
        return _joined(_date(data[2:], data[1] >> 5 & 3), _clock(data[1] & 0x1F, data[0] & 0x3F))
    if len(data) == 6 and not data[1] & 0x80:
        return _joined(_date(data[3:5]), _clock(data[2] & 0x1F, data[1] & 0x3F, data[0] & 0x3F))
    return None


def _date(data: bytes, hundreds: int = 0) -> str | None:
    """Two digits of a year up to 80 are of this century, unless type F says how many hundreds to add to 1900."""
    day, month = data[0] & 0x1F, data[1] & 0x0F
    year = data[0] >> 5 | (data[1] & 0xF0) >> 1
    if year > 99:
        return None
    try:
        return date(1900 + year + 100 * (hundreds or year <= 80), month, day).isoformat()
    except ValueError:
        return None


def _clock(*parts: int) -> str | None:
    hour, *rest = parts
    return ":".join(f"{part:02}" for part in parts) if hour <= 23 and all(part <= 59 for part in rest) else None


def _joined(day: str | None, clock: str | None) -> str | None:
    return f"{day}T{clock}" if day and clock else None
