"""What is doubtful in a profile though a driver can read it: registers that two points share, a number that is the manual's.

A doubt is said and stops nothing. Registers are looked at in Modbus profiles only; elsewhere a place is not a range.
"""

from collections.abc import Iterator
from itertools import combinations

from drivers.modbus.codec import words
from drivers.modbus.plan import register, type_of
from metering.profile import Profile, ProfilePoint
from metering.text import Text

ON_THE_WIRE = "on the wire"
"""A profile whose addresses look like the manual's numbers and are none says this in the note of its source."""
COUNTED_FROM = {3: 40001, 4: 30001}
"""The number manuals give the first register that is read with a function code."""
MOST_COUNTED = 9999


def register_doubts(profile: Profile) -> Iterator[tuple[str, Text]]:
    """Yield the point and what is doubtful about its registers."""
    if profile.protocol != "modbus":
        return
    for (name, point), (other, beside) in combinations(profile.points.items(), 2):
        if _overlap(point, beside, profile):
            yield (
                other,
                Text(f"{other} 与 {name} 的寄存器部分重叠", f"{other} overlaps {name}: they share some registers"),
            )
    for name, point in profile.points.items():
        meant = None if ON_THE_WIRE in profile.source.note else _address_meant(point, profile)
        if meant is not None:
            yield (
                name,
                Text(
                    f"{name} 的地址 {point.address} 像手册里的编号；报文里的地址从零算起：{meant}？",
                    f"the address of {name} looks like the manual's number ({point.address}); on the wire it would be {meant}",
                ),
            )


def unproved_counters(profile: Profile) -> Iterator[str]:
    """Yield the counters that stand in no vector, and none with the same form (type, order, scale) does."""
    covered = {name for vector in profile.vectors for name in vector["expect"]}
    proved = [_form(point) for name, point in profile.points.items() if name in covered]
    for name, point in profile.points.items():
        if point.role == "counter" and name not in covered and _form(point) not in proved:
            yield name


def _form(point: ProfilePoint) -> tuple[object, ...]:
    return point.type, point.fc, point.order, point.scale, point.bits, len(point.plus), len(point.scale_from)


def _overlap(one: ProfilePoint, other: ProfilePoint, profile: Profile) -> bool:
    """Return whether two points share registers, and not all: a word whose bits they share is meant so."""
    same_table = (one.fc or profile.defaults.fc) == (other.fc or profile.defaults.fc)
    (start, end), (from_, to) = _span(one, profile), _span(other, profile)
    return same_table and (start, end) != (from_, to) and start < to and from_ < end and not (one.bits or other.bits)


def _span(point: ProfilePoint, profile: Profile) -> tuple[int, int]:
    start = register(point.address)
    return start, start + words(type_of(point, profile))


def _address_meant(point: ProfilePoint, profile: Profile) -> int | None:
    """Return the address of a register whose number in the manual, repeated in `doc`, stands in its place."""
    first = COUNTED_FROM.get(point.fc or profile.defaults.fc)
    if first is None or not isinstance(point.address, int) or str(point.address) not in point.doc:
        return None
    meant = point.address - first
    return meant if 0 <= meant < MOST_COUNTED else None
