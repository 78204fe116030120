"""OPC UA data values: status, source time and number of one node.

Promises
    * A Bad value is never good: it is None with quality BAD, as is what is not a number.
    * Uncertain stays UNCERTAIN; a value somebody put in by hand is SUBSTITUTED. The top two bits of the status code
      decide, so codes of later editions are understood too (OPC 10000-4, 7.38).
    * A good value with no source time or one in the future is UNCERTAIN; one older than allowed is FROZEN.
    * A value before which the server's queue ran over is UNCERTAIN.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from asyncua import ua

from drivers.contract import Value
from drivers.measure import LARGEST_EXACT, Measure, Number, measure, nearest, sentinel_numbers, shortest_f32
from metering.errors import MeteringError
from metering.profile import Place, Profile, ProfilePoint
from metering.quantity import EXACT
from metering.reading import Quality
from metering.text import Text

_SUBSTITUTED = (0x4091, 0x0096)
"""UncertainSubstituteValue and GoodLocalOverride, without their info bits."""
_OVERFLOW_MASK, _OVERFLOW = 0x0C80, 0x0480
"""Info type DataValue with the overflow bit (OPC 10000-4, 7.38.1)."""
AHEAD_MS = 60_000
"""A source time this far after our clock is in the future; clocks of a plant differ by less."""
AHEAD_OF_SERVER_MS = 5_000
"""The same against the time of the server that tells it."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What a source time is compared with."""

    now_ms: int
    stale_ms: float

    def judge(self, source_ms: int | None, server_ms: int | None) -> tuple[Quality, str]:
        """Return what a source time makes of a good value, and why.

        Age is counted by the server's clock where it tells its time: how far that is from ours is no fault of the value.
        """
        if source_ms is None:
            return Quality.UNCERTAIN, "no SourceTimestamp"
        if source_ms > self.now_ms + AHEAD_MS or (server_ms is not None and source_ms > server_ms + AHEAD_OF_SERVER_MS):
            return Quality.UNCERTAIN, "SourceTimestamp in the future"
        if (server_ms if server_ms is not None else self.now_ms) - source_ms > self.stale_ms:
            return Quality.FROZEN, "SourceTimestamp is old"
        return Quality.GOOD, ""


@dataclass(frozen=True, slots=True)
class Target:
    """One node to read and what becomes of its value."""

    node: ua.NodeId
    measure: Measure
    scale: Decimal
    counts: bool
    """Whether it is a point, which is a number; else a place that may hold a text."""

    def value(self, data: ua.DataValue, clock: Clock | None = None, backfilled: bool = False) -> Value:
        """Return the value of a node, judged by `clock` where there is one."""
        source_ms, server_ms = epoch_ms(data.SourceTimestamp), epoch_ms(data.ServerTimestamp)
        status = data.StatusCode.value if data.StatusCode is not None else 0
        quality, why = quality_of(status), ""
        if quality is Quality.BAD:
            return Value(self.measure.point, None, quality, source_ms=source_ms, why=status_name(status))
        if quality is Quality.GOOD and clock is not None and self.counts:
            quality, why = clock.judge(source_ms, server_ms)
        if quality is Quality.GOOD and backfilled:
            quality = Quality.BACKFILLED
        return self._measured(data.Value, quality, source_ms, why)

    def _measured(self, variant: ua.Variant | None, quality: Quality, source_ms: int | None, why: str) -> Value:
        number = number_of(variant)
        if number is not None:
            if isinstance(number, int) and abs(number) > LARGEST_EXACT and number not in self.measure.sentinels:
                return self.measure.judged(
                    nearest(EXACT.multiply(Decimal(number), self.scale)), None, quality, source_ms, why
                )
            if number in self.measure.sentinels:
                return Value(self.measure.point, None, Quality.BAD, source_ms=source_ms, why=f"{number:g} means none")
            return self.measure.value(number, None, quality, source_ms)
        text = None if self.counts else text_of(variant)
        if text is not None:
            return Value(self.measure.point, None, quality, source_ms=source_ms, text=text)
        return Value(self.measure.point, None, Quality.BAD, source_ms=source_ms, why=_no_number(variant))


def target(name: str, point: Place) -> Target:
    """Return the target of a point without `fault`."""
    return Target(
        ua.NodeId.from_string(str(point.address)),
        measure(name, point, sentinel_numbers(point)),
        point.scale,
        isinstance(point, ProfilePoint),
    )


def replayed(profile: Profile, vector: Mapping[str, Any]) -> Iterator[Value]:
    """Yield the values of the points and identity of which `{values: {"ns=2;s=…": 81234.567}}` has the nodes.

    Raises:
        MeteringError: the vector has another form, or a node that is none of the profile's.
    """
    given = vector.get("values")
    if not isinstance(given, Mapping):
        raise MeteringError(_NO_VALUES)
    places: dict[str, Place] = {**profile.identity, **profile.points}
    strange = sorted({str(node) for node in given} - {str(place.address) for place in places.values()})
    if strange:
        raise MeteringError(_STRANGE_NODE, node=strange[0])
    for name, place in places.items():
        if str(place.address) in given:
            yield target(name, place).value(_data_of(given[str(place.address)]), None)


_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _data_of(given: Any) -> ua.DataValue:
    """A number of a settings file arrives as it is written there, as text."""
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        given = nearest(Decimal(given))
    kinds = {
        bool: ua.VariantType.Boolean,
        int: ua.VariantType.Int64,
        float: ua.VariantType.Double,
        str: ua.VariantType.String,
    }
    if type(given) not in kinds or (type(given) is int and not -(2**63) <= given < 2**64):
        raise MeteringError(_NO_VALUE, value=given)
    return ua.DataValue(ua.Variant(given, kinds[type(given)]))


def standard_node(number: int) -> ua.NodeId:
    """Return a node of the standard's own namespace."""
    return ua.NodeId(ua.Int32(number))


def quality_of(status: int) -> Quality:
    """Return the quality a status code stands for."""
    if status >= 0x8000_0000:
        return Quality.BAD
    if status >> 16 in _SUBSTITUTED:
        return Quality.SUBSTITUTED
    return Quality.UNCERTAIN if status >= 0x4000_0000 or overflowed(status) else Quality.GOOD


def overflowed(status: int) -> bool:
    """Return whether values before this one were lost in the server's queue."""
    return status & _OVERFLOW_MASK == _OVERFLOW


def status_name(status: int) -> str:
    """Return the standard's name of a status code, such as `BadNodeIdUnknown`, or its number."""
    name: str = ua.StatusCode(ua.UInt32(status & 0xFFFF_0000)).name
    return name if name and name != "Unknown" else f"0x{status:08X}"


def epoch_ms(time: datetime | None) -> int | None:
    """Return Unix milliseconds; None for no time, which some servers write as 1601."""
    if time is None or not 1970 <= time.year < 9999:
        return None
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def number_of(variant: ua.Variant | None) -> Number | None:
    """Return a variant's number; None for anything else. A bool is 0 or 1."""
    value = variant.Value if variant is not None else None
    if isinstance(value, int):
        return int(value)
    if not isinstance(value, float) or not math.isfinite(value):
        return None
    return shortest_f32(value) if variant is not None and variant.VariantType == ua.VariantType.Float else value


def text_of(variant: ua.Variant | None) -> str | None:
    """Return a variant's text; a time as ISO 8601. None for anything else."""
    value = variant.Value if variant is not None else None
    if isinstance(value, ua.LocalizedText):
        value = value.Text
    if isinstance(value, datetime):
        return value.isoformat()
    return value[:_LONGEST].strip() if isinstance(value, str) else None


def _no_number(variant: ua.Variant | None) -> str:
    """Say what a node holds that is no number."""
    if variant is None or variant.Value is None:
        return "no value"
    if isinstance(variant.Value, float):
        return "NaN"
    return (
        "an array" if isinstance(variant.Value, list) else f"{getattr(variant.VariantType, 'name', '?')}, not a number"
    )


_LONGEST = 500
_NO_VALUES = Text('OPC UA 的算例要写 values: {"ns=2;s=…": 数值}', 'a vector of OPC UA has values: {"ns=2;s=…": number}')
_STRANGE_NODE = Text("{node} 不是本型号的节点", "{node} is no node of this profile")
_NO_VALUE = Text("{value!r} 不是数或文本", "{value!r} is neither a number nor a text")
