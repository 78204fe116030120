"""From the raw number of a point to its value: sentinels, scale, valid range. The same for every protocol.

Promises
    * Scaling is decimal: the result is the double nearest to the exact product of raw number and scale.
    * A 32-bit float enters as its shortest text: 230.2, not 230.1999969.
    * What is not a finite number, or means `not available`, is None with quality BAD. What cannot be true keeps its
      value with quality OUT_OF_RANGE.
"""

import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from drivers.contract import Value
from metering.profile import Place
from metering.quantity import EXACT
from metering.reading import Quality
from metering.text import Text

Number = int | float

_F32 = struct.Struct(">f")


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
        value = self.scaled(number)
        if self.low <= value <= self.high:
            return Value(self.point, value, quality, raw, source_ms)
        if not math.isfinite(value):
            return Value(self.point, None, Quality.BAD, raw, source_ms)
        return Value(self.point, value, Quality.OUT_OF_RANGE, raw, source_ms)


def measure(name: str, point: Place, sentinels: frozenset[Number], scale: Decimal | None = None) -> Measure:
    """Return the measure of a point; `scale` where the protocol's own decimals join the profile's."""
    largest = sys.float_info.max
    low, high = (float(point.valid[0]), float(point.valid[1])) if point.valid else (-largest, largest)
    return Measure(name, _scaling(point.scale if scale is None else scale), sentinels, low, high)


def _scaling(scale: Decimal) -> Callable[[Number], float]:
    """Python divides integers correctly rounded: the same double as float(Decimal(raw) * scale), and quicker."""
    times, over = scale.as_integer_ratio()

    def scaled(number: Number) -> float:
        if isinstance(number, int):
            return number * times / over
        if times == over or not math.isfinite(number):
            return number + 0.0  # minus zero is zero
        return float(EXACT.multiply(Decimal(repr(number)), scale)) + 0.0

    return scaled


def shortest_f32(x: float) -> float:
    """Return the double whose text is the shortest one that means the 32-bit float `x`, in 6 digits or more."""
    for text in ("%.6g", "%.7g", "%.8g"):
        near = float(text % x)
        if _F32.unpack(_F32.pack(near))[0] == x:
            return near
    return float("%.9g" % x)  # noqa: UP031


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
