"""OPC UA data values: status, source time and number of one node.

Promises
    * A Bad value is never good: it is None with quality BAD, as is what is not a number.
    * Uncertain stays UNCERTAIN; a value somebody put in by hand is SUBSTITUTED. The top two bits of the status code
      decide, so codes of later editions are understood too (OPC 10000-4, 7.38).
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua

from drivers.contract import Value
from drivers.measure import Measure, Number, measure, sentinel_numbers, shortest_f32
from metering.profile import Place
from metering.reading import Quality

_SUBSTITUTED = (0x4091, 0x0096)
"""UncertainSubstituteValue and GoodLocalOverride, without their info bits."""


@dataclass(frozen=True, slots=True)
class Target:
    """One node to read and what becomes of its value."""

    node: ua.NodeId
    measure: Measure

    def value(self, data: ua.DataValue) -> Value:
        source_ms = epoch_ms(data.SourceTimestamp)
        status = data.StatusCode
        quality = quality_of(status.value if status is not None else 0)
        if status is not None and quality is Quality.BAD:
            return Value(self.measure.point, None, Quality.BAD, source_ms=source_ms, why=status.name)
        return self.measure.value(_number(data.Value), None, quality, source_ms)


def target(name: str, point: Place) -> Target:
    """Return the target of a point without `fault`."""
    return Target(ua.NodeId.from_string(str(point.address)), measure(name, point, sentinel_numbers(point)))


def quality_of(status: int) -> Quality:
    """Return the quality a status code stands for."""
    if status >= 0x8000_0000:
        return Quality.BAD
    if status >> 16 in _SUBSTITUTED:
        return Quality.SUBSTITUTED
    return Quality.UNCERTAIN if status >= 0x4000_0000 else Quality.GOOD


def epoch_ms(time: datetime | None) -> int | None:
    """Return Unix milliseconds; None for no time, which some servers write as 1601."""
    if time is None or time.year < 1970:
        return None
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _number(variant: ua.Variant | None) -> Number | None:
    if variant is None:
        return None
    value = variant.Value
    if isinstance(value, int):  # a bool is 0 or 1
        return int(value)
    if not isinstance(value, float) or not math.isfinite(value):
        return None
    return shortest_f32(value) if variant.VariantType == ua.VariantType.Float else value
