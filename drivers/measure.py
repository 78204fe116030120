"""From the raw number of a point to its value: sentinels, scale, valid range. The same for every protocol.

Promises
    * Scaling is decimal: the result is the double nearest to the exact product of raw number and scale.
    * A 32-bit float enters as its shortest text: 230.2, not 230.1999969.
    * A whole number above 2^53 keeps its digits, as an int.
    * What is not a finite number, or means `not available`, is None with quality BAD. What cannot be true keeps its
      value with quality OUT_OF_RANGE.
"""

import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from drivers.contract import Value
from metering.profile import Place
from metering.quantity import EXACT
from metering.reading import Quality
from metering.text import Text

Number = int | float

LARGEST_EXACT = 2**53
"""Doubles hold every whole number up to here."""
_LARGEST_INT = Decimal("1e30")
_F32 = struct.Struct(">f")
_pack_f32, _unpack_f32 = _F32.pack, _F32.unpack


@dataclass(frozen=True, slots=True)
class Measure:
    """What the profile says of one point's numbers."""

    point: str
    scaled: Callable[[Number], float]
    sentinels: frozenset[Number]
    low: float
    high: float

    def value(
        self, number: Number | None, raw: bytes | None, quality: Quality = Quality.GOOD, source_ms: int | None = None
    ) -> Value:
        """Return the value of a raw number; None and NaN are none. `quality` is the best it can be."""
        if number is None or number in self.sentinels:
            return Value(self.point, None, Quality.BAD, raw, source_ms)
        return self.judged(self.scaled(number), raw, quality, source_ms)

    def judged(
        self,
        value: Number,
        raw: bytes | None,
        quality: Quality = Quality.GOOD,
        source_ms: int | None = None,
        why: str = "",
    ) -> Value:
        """Return a scaled value as it can be trusted, `quality` at best."""
        if self.low <= value <= self.high:
            return Value(self.point, value, quality, raw, source_ms, why=why)
        if not math.isfinite(value):
            return Value(self.point, None, Quality.BAD, raw, source_ms)
        return Value(self.point, value, Quality.OUT_OF_RANGE, raw, source_ms)


def measure(name: str, point: Place, sentinels: frozenset[Number], scale: Decimal | None = None) -> Measure:
    """Return the measure of a point; `scale` where the protocol's own decimals join the profile's."""
    largest = sys.float_info.max
    low, high = (float(point.valid[0]), float(point.valid[1])) if point.valid else (-largest, largest)
    return Measure(name, scaling(point.scale if scale is None else scale), sentinels, low, high)


def scaling(scale: Decimal) -> Callable[[Number], float]:
    """Return what multiplies a raw number by `scale`: the double nearest to the exact product.

    Python divides integers correctly rounded, and reads a decimal text so: both are quicker than Decimal.
    """
    times, over = scale.as_integer_ratio()
    exponent = scale.normalize().as_tuple().exponent if scale.normalize().as_tuple().digits == (1,) and scale > 0 else 0

    def scaled(number: Number) -> float:
        if isinstance(number, int):
            return number * times / over
        if times == over or not math.isfinite(number):
            return number + 0.0  # minus zero is zero
        text = repr(number)
        if exponent and "e" not in text:
            return float(f"{text}e{exponent}") + 0.0
        return float(EXACT.multiply(Decimal(text), scale)) + 0.0

    return scaled


def nearest(total: Decimal) -> Number:
    """Return the double nearest to a sum; a whole number beyond what doubles hold, as an int."""
    if LARGEST_EXACT < abs(total) < _LARGEST_INT and total == total.to_integral_value():
        return int(total)
    return float(total) + 0.0


@lru_cache(maxsize=16384)  # most registers of a meter say now what they said a second ago
def shortest_f32(x: float) -> float:
    """Return the double whose text is the shortest one that means the 32-bit float `x`, in 6 digits or more."""
    near = float("%.6g" % x)  # noqa: UP031 - quicker
    if _unpack_f32(_pack_f32(near))[0] == x:
        return near + 0.0
    near = float("%.7g" % x)  # noqa: UP031
    if _unpack_f32(_pack_f32(near))[0] == x:
        return near
    near = float("%.8g" % x)  # noqa: UP031
    return near if _unpack_f32(_pack_f32(near))[0] == x else float("%.9g" % x)  # noqa: UP031


def sentinel_numbers(point: Place) -> frozenset[Number]:
    """Return the sentinels as numbers; a text may be hexadecimal. NaN needs no mention."""
    return frozenset(_number(sentinel) for sentinel in point.sentinels)


def _number(sentinel: Number | str) -> Number:
    if not isinstance(sentinel, str):
        return sentinel
    return int(sentinel, 16) if sentinel[:2] in ("0x", "0X") else float(sentinel)


def number_fault(point: Place) -> Text | None:
    """Return what is wrong with a point's scale or sentinels, or None."""
    if not Decimal("1e-18") <= abs(point.scale) <= Decimal("1e18"):
        return Text(f"scale {point.scale} 不能用", f"scale {point.scale} cannot be used")
    for sentinel in point.sentinels:
        try:
            _number(sentinel)
        except ValueError:
            return Text(f"sentinels 中的 {sentinel!r} 不是数", f"{sentinel!r} among the sentinels is not a number")
    return None
