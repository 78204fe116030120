"""What an author meant who wrote a point almost right: the one change with which its vector fits.

Tried are the slips of the pen that are common: the word order, the address beside, the other function code, a power of ten,
another type, an address written as the manual numbers registers.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from drivers.contract import Driver, Value
from metering.errors import MeteringError
from metering.profile import Profile, ProfilePoint
from metering.text import Text

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
TYPES = ("u16", "i16", "u32", "i32", "f32", "u64", "i64", "f64")
LIKELY_FACTORS = {sign * Decimal(10) ** power for power in range(-9, 10) for sign in (1, -1)} | {
    Decimal(3600),
    Decimal(60),
}
"""By how much a scale is off where it is: a power of ten, the sign, hours for seconds."""


def number(wanted: Any) -> float | str | None:
    """Return a promised value as replayed ones come: a number as a double, a text as it is."""
    if wanted is None:
        return None
    try:
        return float(wanted)
    except ValueError:
        return str(wanted)


def shown(value: Value | None) -> float | str | None:
    if value is None:
        return None
    return value.text if value.text is not None else value.value


def near_miss(
    profile: Profile, reader: Driver, vector: Mapping[str, Any], name: str,
    expected: float | str | None, came: float | str | None,
) -> Text | None:  # fmt: skip
    """Return the one change of a point that would give what is expected, in words; None where none of the usual ones does."""
    point = profile.points.get(name)
    if point is None or expected is None:
        return None
    for change in _changes(point, profile, came, expected):
        changed = point.model_copy(update=change)
        if reader.fault(changed, profile) is not None:
            continue
        trial = profile.model_copy(update={"points": {name: changed}, "identity": {}})
        try:
            values = {value.point: shown(value) for value in reader.replay(trial, vector)}
        except MeteringError:
            continue
        if values.get(name) == expected:
            said = ", ".join(f"{key}: {_written(value, point)}" for key, value in change.items())
            return Text(f"写成 {said} 就相符", f"with {said} it fits")
    return None


def _changes(
    point: ProfilePoint, profile: Profile, came: float | str | None, expected: float | str
) -> Iterator[dict[str, Any]]:
    """Yield the slips of the pen, the likeliest first: each alone, then order and type together."""
    if isinstance(came, float) and isinstance(expected, float) and came and expected:
        factor = Decimal(repr(expected)) / Decimal(repr(came))
        if factor in LIKELY_FACTORS:
            yield {"scale": (point.scale * factor).normalize()}
    yield from ({"order": order} for order in ORDERS)
    if isinstance(point.address, int):
        yield from ({"address": point.address + step} for step in (-1, 1) if point.address + step >= 0)
        yield from ({"fc": code} for code in (3, 4))
    yield from ({"type": type_name} for type_name in TYPES)
    yield from ({"type": type_name, "order": order} for type_name in TYPES for order in ORDERS)
    if isinstance(point.address, int) and point.address >= 40001:
        yield {"address": point.address - 40001}
    if isinstance(point.address, int) and point.address >= 30001:
        yield {"address": point.address - 30001}


def _written(value: object, point: ProfilePoint) -> str:
    if isinstance(value, int):
        return str(value) if value < 0x100 else f"0x{value:04X} ({value})"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
