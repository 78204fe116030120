"""What is wrong with a place in a profile, in words for the profile's author."""

import difflib
import re
from collections.abc import Iterator

from drivers.measure import number_fault
from drivers.modbus.codec import CODES, TYPES, is_text, is_whole, known, words
from drivers.modbus.plan import register, type_of
from metering.errors import MeteringError
from metering.profile import Place, Profile, ProfilePoint, ScaleFrom
from metering.quantity import unit
from metering.text import Text


def fault(place: Place, profile: Profile) -> Text | None:
    """Return the first thing that is wrong with a place, or None."""
    return next(_faults(place, profile), None)


def _faults(place: Place, profile: Profile) -> Iterator[Text]:
    type_name = type_of(place, profile)
    order = place.order or profile.defaults.order
    if not known(type_name):
        yield _unknown_type(type_name)
        return
    if (type_name == "bool") != ((place.fc or profile.defaults.fc) <= 2):
        yield Text("bool 只用于功能码 1 和 2，其余类型只用于 3 和 4",
                   "bool goes with function codes 1 and 2, every other type with 3 and 4")  # fmt: skip
        return
    yield from _address_faults(place.address, type_name, profile)
    yield from _order_faults(place, type_name, order)
    yield from _kind_faults(place, type_name)
    yield from _bits_faults(place, type_name)
    yield from _parts_faults(place, type_name, profile)
    for scale in place.scale_from:
        yield from _scale_faults(place, scale, profile)
    if len([scale for scale in place.scale_from if scale.units is not None]) > 1:
        yield Text("scale_from 只能有一个带 units", "one register of scale_from can have units, and no more")
    wrong = number_fault(place)
    if wrong is not None:
        yield wrong
    yield from _pattern_faults(place, type_name)


_ELSEWHERE = {
    "uint16": ["u16"], "word": ["u16"], "int16": ["i16"], "int": ["i16"], "short": ["i16"],
    "uint32": ["u32"], "dword": ["u32"], "int32": ["i32"], "dint": ["i32"], "long": ["i32"],
    "uint64": ["u64"], "int64": ["i64"], "float": ["f32"], "float32": ["f32"], "real": ["f32"],
    "float64": ["f64"], "double": ["f64"], "string": ["str20"], "bcd": ["bcd8"],
}  # fmt: skip
"""What manuals and other programs call our types."""


def _unknown_type(type_name: str) -> Text:
    if not type_name:
        return Text("没有写 type，默认值里也没有", "there is no type, and none among the defaults")
    names = ", ".join((*TYPES[:-1], "strN"))
    text = re.fullmatch(r"(?:string|char|ascii|text)[\[(_ ]?(\d+)[\])]?", type_name.lower())
    own = [f"str{text[1]}"] if text else _ELSEWHERE.get(type_name.lower())
    near = own or difflib.get_close_matches(type_name, TYPES, n=1)
    zh, en = (f"。是否指 {near[0]}？", f". Did you mean {near[0]}?") if near else ("", "")
    return Text(f"没有类型 {type_name!r}，现有：{names}{zh}", f"no type {type_name!r}; there are {names}{en}")


def _address_faults(address: int | str, type_name: str, profile: Profile) -> Iterator[Text]:
    try:
        end = register(address) + words(type_name)
    except ValueError:
        end = 0
    if not words(type_name) <= end <= 0x10000:
        yield Text(f"{address!r} 不是 0 到 65535 的寄存器地址（从零算起）",
                   f"{address!r} is no register address from 0 to 65535 (counted from zero)")  # fmt: skip
    if words(type_name) > profile.limits.max_registers:
        yield Text(f"{type_name} 需要 {words(type_name)} 个寄存器，而 limits.max_registers 更小",
                   f"{type_name} takes {words(type_name)} registers, more than limits.max_registers")  # fmt: skip


def _order_faults(place: Place, type_name: str, order: str) -> Iterator[Text]:
    if len(order) == 8 and words(type_name) != 4 and (place.order or type_name in CODES) and words(type_name) > 1:
        yield Text(f"{order} 只用于 64 位的值，{type_name} 不是",
                   f"{order} is an order of 64-bit values, and {type_name} is none")  # fmt: skip


def _kind_faults(place: Place, type_name: str) -> Iterator[Text]:
    if is_text(type_name) and isinstance(place, ProfilePoint):
        yield Text(f"{type_name} 是文字，不是读数，请写在 identity 里",
                   f"{type_name} is a text and no reading: it stands under identity")  # fmt: skip
    if (is_text(type_name) or type_name == "bool") and (place.plus or place.scale_from or place.scale != 1):
        yield Text(f"{type_name} 不能换算：去掉 scale、scale_from 和 plus",
                   f"a {type_name} is not scaled: leave out scale, scale_from and plus")  # fmt: skip


def _bits_faults(place: Place, type_name: str) -> Iterator[Text]:
    if place.bits is None:
        return
    low, high = place.bits
    if not is_whole(type_name):
        yield Text(
            f"bits 只用于整数类型，{type_name} 不是", f"bits are taken from whole numbers, and {type_name} is none"
        )
    elif not 0 <= low <= high < 16 * words(type_name):
        yield Text(f"bits: [{low}, {high}] 不在 {type_name} 之内（0 为最低位）",
                   f"bits: [{low}, {high}] do not lie in a {type_name} (0 is the lowest)")  # fmt: skip


def _parts_faults(place: Place, type_name: str, profile: Profile) -> Iterator[Text]:
    ends = [(place.address, type_name)]
    for part in place.plus:
        own = part.type or type_name
        if not known(own) or own == "bool" or is_text(own):
            yield _unknown_type(own) if not known(own) else Text(f"{own} 不能相加", f"a {own} cannot be added")
            return
        yield from _address_faults(part.address, own, profile)
        ends.append((part.address, own))
    if place.plus and _span(ends) > profile.limits.max_registers:
        yield Text("plus 的各部分相距太远，一次请求读不下（limits.max_registers）",
                   "the parts of plus lie too far apart for one request (limits.max_registers)")  # fmt: skip


def _span(ends: list[tuple[int | str, str]]) -> int:
    try:
        starts = [register(address) for address, _ in ends]
    except ValueError:
        return 0
    return max(start + words(own) for start, (_, own) in zip(starts, ends, strict=True)) - min(starts)


def _scale_faults(place: Place, scale: ScaleFrom, profile: Profile) -> Iterator[Text]:
    own = scale.type or "i16"
    if not is_whole(own):
        yield Text(f"scale_from 的类型要是整数，{own} 不是", f"scale_from takes a whole number, and {own} is none")
        return
    yield from _address_faults(scale.address, own, profile)
    if scale.units is None:
        return
    if not isinstance(place, ProfilePoint):
        yield Text("只有测点才有单位，可用 scale_from.units", "scale_from.units is for points, which have a unit")
        return
    for symbol in scale.units.values():
        if not _converts(symbol, place.unit):
            yield Text(f"{symbol} 不能换算为 {place.unit}", f"{symbol} cannot be converted to {place.unit}")


def _converts(source: str, target: str) -> bool:
    try:
        return unit(source).like(unit(target)) or {source, target} == {"C", "K"}
    except MeteringError:
        return False


def _pattern_faults(place: Place, type_name: str) -> Iterator[Text]:
    """A bit pattern fits its type."""
    digits = 4 * words(type_name)
    for sentinel in place.sentinels:
        if isinstance(sentinel, str) and sentinel[:2] in ("0x", "0X") and len(sentinel) - 2 > digits:
            yield Text(f"{sentinel} 比 {type_name} 长", f"{sentinel} is longer than a {type_name}")
