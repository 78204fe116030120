"""Which registers are read together.

Promises
    * A read starts where a wanted value starts and ends where one ends, never inside (some meters refuse that).
    * It spans at most `limits.max_registers`, and at most `limits.gap` registers nobody asked for in a row.
    * Each wanted point is in exactly one read.
"""

import difflib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.contract import MeterPlan, Value
from drivers.measure import number_fault
from drivers.modbus.codec import TYPES, Field, register_field, words
from metering.profile import Place, Profile
from metering.text import Text


@dataclass(frozen=True, slots=True)
class Wanted:
    """One point with the profile's defaults filled in."""

    name: str
    point: Place
    fc: int
    address: int
    type: str
    order: str

    @property
    def end(self) -> int:
        return self.address + words(self.type)


@dataclass(frozen=True, slots=True)
class Block:
    """One read: `count` registers (bits with function codes 1 and 2) from `address`, and the points in them."""

    fc: int
    address: int
    count: int
    wanted: tuple[Wanted, ...]
    _layers: list[tuple[struct.Struct, list[Field]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_layers", [] if self.bits else _layers(self))

    @property
    def bits(self) -> bool:
        return self.fc <= 2

    @property
    def data_bytes(self) -> int:
        return -(-self.count // 8) if self.bits else 2 * self.count

    def values(self, data: bytes) -> list[Value]:
        """Return the value of each point in `data`, which is `data_bytes` long."""
        if self.bits:
            return [self._bit(wanted, data) for wanted in self.wanted]
        found: list[Value] = []
        for layer, fields in self._layers:
            for place, item in zip(fields, layer.unpack_from(data), strict=True):
                found.append(place.value(item, data))
        return found

    def _bit(self, wanted: Wanted, data: bytes) -> Value:
        index = wanted.address - self.address
        octet = data[index // 8]
        return Value(wanted.name, float(octet >> index % 8 & 1), raw=bytes([octet]))


def _layers(block: Block) -> list[tuple[struct.Struct, list[Field]]]:
    """One struct takes all values out at once; a point that overlaps another (two readings of one register) needs a second."""
    layers: list[list[Field]] = []
    for wanted in block.wanted:
        start = 2 * (wanted.address - block.address)
        place = register_field(wanted.name, start, wanted.point, wanted.type, wanted.order)
        free = next((layer for layer in layers if layer[-1].end <= start), None)
        if free is None:
            layers.append([place])
        else:
            free.append(place)
    return [(_struct(layer), layer) for layer in layers]


def _struct(layer: Sequence[Field]) -> struct.Struct:
    text, at = ">", 0
    for place in layer:
        text += f"{place.start - at}x{place.code}"
        at = place.end
    return struct.Struct(text)


def blocks(meter: MeterPlan) -> list[Block]:
    """Return the reads of one meter, by function code and address. Its points have no `fault`."""
    return blocks_of(wanted_of(meter.points, meter.profile), meter.profile)


def blocks_of(wanted: Sequence[Wanted], profile: Profile) -> list[Block]:
    found: list[Block] = []
    for fc in (1, 2, 3, 4):
        points = sorted((each for each in wanted if each.fc == fc), key=lambda each: (each.address, each.end))
        found += _joined(points, profile)
    return found


def wanted_of(points: Mapping[str, Place], profile: Profile) -> list[Wanted]:
    return [
        Wanted(
            name=name, point=point, fc=point.fc or profile.defaults.fc, address=register(point.address),
            type=type_of(point, profile), order=point.order or profile.defaults.order,
        )
        for name, point in points.items()
    ]  # fmt: skip


def _joined(points: Sequence[Wanted], profile: Profile) -> list[Block]:
    groups: list[list[Wanted]] = []
    for wanted in points:
        if groups and _fits(groups[-1], wanted, profile):
            groups[-1].append(wanted)
        else:
            groups.append([wanted])
    return [_block(group) for group in groups]


def _fits(group: Sequence[Wanted], wanted: Wanted, profile: Profile) -> bool:
    end = max(member.end for member in group)
    span = max(end, wanted.end) - group[0].address
    return wanted.address - end <= profile.limits.gap and span <= profile.limits.max_registers


def _block(group: Sequence[Wanted]) -> Block:
    address = group[0].address
    return Block(group[0].fc, address, max(wanted.end for wanted in group) - address, tuple(group))


def register(address: int | str) -> int:
    """Return the zero-based address on the wire; a text may be decimal or `0x…`."""
    return address if isinstance(address, int) else int(address, 0)


def type_of(point: Place, profile: Profile) -> str:
    fc = point.fc or profile.defaults.fc
    return point.type or ("bool" if fc <= 2 else profile.defaults.type or "")


def fault(point: Place, profile: Profile) -> Text | None:
    """Return what is wrong with a point, in words for the profile's author."""
    type_name = type_of(point, profile)
    if type_name not in TYPES:
        return _unknown_type(type_name)
    if (type_name == "bool") != ((point.fc or profile.defaults.fc) <= 2):
        return Text("bool 只用于功能码 1 和 2，其余类型只用于 3 和 4",
                    "bool goes with function codes 1 and 2, every other type with 3 and 4")  # fmt: skip
    return _address_fault(point, type_name, profile) or number_fault(point) or _pattern_fault(point, type_name)


def _unknown_type(type_name: str) -> Text:
    if not type_name:
        return Text("没有写 type，默认值里也没有", "there is no type, and none among the defaults")
    known = ", ".join(TYPES)
    near = difflib.get_close_matches(type_name, TYPES, n=1)
    zh, en = (f"。是否指 {near[0]}？", f". Did you mean {near[0]}?") if near else ("", "")
    return Text(f"没有类型 {type_name!r}，现有：{known}{zh}", f"no type {type_name!r}; there are {known}{en}")


def _address_fault(point: Place, type_name: str, profile: Profile) -> Text | None:
    try:
        end = register(point.address) + words(type_name)
    except ValueError:
        end = 0
    if not words(type_name) <= end <= 0x10000:
        return Text(f"{point.address!r} 不是 0 到 65535 的寄存器地址（从零算起）",
                    f"{point.address!r} is no register address from 0 to 65535 (counted from zero)")  # fmt: skip
    if words(type_name) > profile.limits.max_registers:
        return Text(f"{type_name} 需要 {words(type_name)} 个寄存器，而 limits.max_registers 更小",
                    f"{type_name} takes {words(type_name)} registers, more than limits.max_registers")  # fmt: skip
    return None


def _pattern_fault(point: Place, type_name: str) -> Text | None:
    """A bit pattern fits its type."""
    digits = 4 * words(type_name)
    for sentinel in point.sentinels:
        if isinstance(sentinel, str) and sentinel[:2] in ("0x", "0X") and len(sentinel) - 2 > digits:
            return Text(f"{sentinel} 比 {type_name} 长", f"{sentinel} is longer than a {type_name}")
    return None
