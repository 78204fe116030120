"""What an author meant who wrote a point almost right: the one change with which its vector fits.

Tried are the slips of the pen that are common, the likeliest first: a power of ten, the sign, the word order, another type of
the same length, the address beside, the other function code, an address written as the manual numbers registers; last a type
of another length, which often fits by chance only.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from drivers.contract import Driver, Value
from drivers.measure import nearest
from metering.errors import MeteringError
from metering.profile import Profile, ProfilePoint
from metering.text import Text

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
LENGTHS = (("u16", "i16"), ("u32", "i32", "f32"), ("u64", "i64", "f64"))
"""Types by their length; in each the whole numbers first, of which one is often written for the other."""
LIKELY_FACTORS = {sign * Decimal(10) ** power for power in range(-9, 10) for sign in (1, -1)} | {
    Decimal(3600),
    Decimal(60),
}
"""By how much a scale is off where it is: a power of ten, the sign, hours for seconds."""


def number(wanted: Any) -> float | str | None:
    """Return a promised value as replayed ones come: a number as a double, a whole one beyond doubles as it is, and so a
    text."""
    if wanted is None:
        return None
    try:
        return nearest(Decimal(str(wanted)))
    except (ArithmeticError, ValueError):
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
    alike, others = _types(point.type or profile.defaults.type)
    yield from ({"type": type_name} for type_name in alike[:1])
    yield from ({"order": order} for order in ORDERS)
    yield from ({"type": type_name} for type_name in alike[1:])
    yield from ({"type": type_name, "order": order} for type_name in alike for order in ORDERS)
    if isinstance(point.address, int):
        yield from ({"address": point.address + step} for step in (-1, 1) if point.address + step >= 0)
        yield from ({"fc": code} for code in (3, 4))
        yield from ({"address": point.address - first} for first in (40001, 30001) if point.address >= first)
    yield from ({"type": type_name} for type_name in others)
    yield from ({"type": type_name, "order": order} for type_name in others for order in ORDERS)


def _types(type_name: str | None) -> tuple[list[str], list[str]]:
    """Return the other types of a type's length, the likeliest first, and those of another length."""
    own = next((names for names in LENGTHS if type_name in names), ())
    alike = [name for name in own if name != type_name]
    return alike, [name for names in LENGTHS for name in names if names is not own]


def _written(value: object, point: ProfilePoint) -> str:
    if isinstance(value, int):
        return str(value) if value < 0x100 else f"0x{value:04X} ({value})"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
