"""The DL/T 645 driver: one exchange for each value as every meter answers it, or for each block where the meter can."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from drivers.contract import MeterPlan, Request, Send, Value
from drivers.dlt645.codec import ANY_METER, EDITIONS, ERROR, READ_ADDRESS, Edition, Frame
from drivers.dlt645.freeze import MAX_FREEZES, FreezeRead, frozen, midnights
from drivers.dlt645.read import AddressRead, BlockRead, DataRead, Exchange, Item, refused
from drivers.dlt645.settings import Dlt645Line, Dlt645Meter
from drivers.dlt645.table import Layout, block_of, layout
from drivers.measure import measure, number_fault, sentinel_numbers
from drivers.refusal import refuse_point
from metering.errors import MeteringError, UnknownUnit
from metering.profile import Place, Profile, ProfilePoint
from metering.quantity import EXACT, convert, unit
from metering.text import Text

SILENCE_S = 0.02
"""Silence before a request; 3.5 characters at 2400 baud are 16 ms."""
_NAMEPLATE = {
    2007: {"address": "04000401", "serial": "04000402", "asset": "04000403", "model": "0400040B",
           "firmware": "04800001", "maker": "04800003"},
    1997: {"serial": "C032", "asset": "C034"},
}  # fmt: skip
"""What a meter says of itself, by edition."""


class Dlt645Driver:
    """Meters that speak DL/T 645-2007 or -1997."""

    name = "dlt645"
    line_model: type[BaseModel] = Dlt645Line
    meter_model: type[BaseModel] = Dlt645Meter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        di = str(point.address)
        if isinstance(point.address, int) or not re.fullmatch(r"[0-9A-F]{8}|[0-9A-F]{4}", di):
            return Text(f'{point.address!r} 不是数据标识：八位（1997 版四位）十六进制，加引号，如 "00010000"',
                        f'{point.address!r} is no DI: eight (edition 1997: four) hexadecimal digits in quotes, such as '
                        '"00010000"')  # fmt: skip
        edition = profile.meter.get("edition")
        if edition in EDITIONS and len(di) != 2 * EDITIONS[edition].di_size:
            return Text(f"数据标识 {di} 不属于 {edition} 版", f"DI {di} is not of the edition of {edition}")
        if point.plus or point.scale_from:
            return Text("DL/T 645 测点不支持 plus 和 scale_from", "a DL/T 645 point takes neither plus nor scale_from")
        found = layout(di, point.type)
        return _untyped(di, point.type) if found is None else _kind_fault(point, found)

    def replay(self, profile: Profile, vector: Mapping[str, Any]) -> Sequence[Value]:
        """Return the values in `{reply: "68 …"}`, or in a dialogue `{reply: ["68 …", "68 …"]}`: the data frame and those
        that follow it."""
        replies = _frames(vector)
        first = Frame.of(replies[0])
        edition = next((one for one in EDITIONS.values() if first.control & 0x1F == one.read), None)
        if edition is None:
            raise MeteringError(_NO_DATA, frame=replies[0].hex(" ").upper())
        if first.control & ERROR:
            raise refused(first.data, edition)
        di = first.data[: edition.di_size][::-1].hex().upper()
        exchange = Exchange(first.number, edition, 0)
        items = [_item(name, point) for name, point in {**profile.identity, **profile.points}.items()
                 if self.fault(point, profile) is None]  # fmt: skip
        read = _read_of(exchange, di, items)
        for reply in replies:
            found = read.decode(reply)
            if not isinstance(found, Send):
                return found
        raise MeteringError(_UNFINISHED)

    def silence_s(self, line: BaseModel) -> float:
        return max(SILENCE_S, Dlt645Line.model_validate(line).turnaround)

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return one read for each point, or for those of a block where the meter has `blocks`.

        Raises:
            MeteringError: a point has a `fault`, or is not of the meter's edition.
        """
        told, edition = _told(line, meter)
        items = [self._checked(meter, name, point, edition) for name, point in meter.points.items()]
        exchange = Exchange(told.number, edition, told.preamble)
        return list(_in_blocks(exchange, items) if told.blocks else _one_by_one(exchange, items))

    def _checked(self, meter: MeterPlan, name: str, point: Place, edition: Edition) -> Item:
        wrong = self.fault(point, meter.profile)
        if wrong is None and len(str(point.address)) != 2 * edition.di_size:
            wrong = Text(f"数据标识 {point.address} 不属于 {edition.year} 版",
                         f"DI {point.address} is not of the edition of {edition.year}")  # fmt: skip
        refuse_point(meter, name, wrong)
        return _item(name, point)

    def identify(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        told, edition = _told(line, meter)
        nameplate = dict(_NAMEPLATE[edition.year])
        reads: list[Request] = []
        if told.number == ANY_METER and edition.year == 2007:
            reads.append(AddressRead(told.number, told.preamble, READ_ADDRESS))
            del nameplate["address"]
        exchange = Exchange(told.number, edition, told.preamble)
        return reads + [DataRead(exchange.another(), _item(name, Place(address=di))) for name, di in nameplate.items()]

    def history(self, line: BaseModel, meter: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Request]:
        """Return one dialogue for each midnight between the two times, the oldest first, for the counters that a meter of
        2007 freezes daily. A meter of 1997 freezes nothing."""
        told, edition = _told(line, meter)
        items = [_item(name, point) for name, point in meter.points.items()
                 if isinstance(point, ProfilePoint) and point.role == "counter" and frozen(str(point.address))]  # fmt: skip
        if edition.year != 2007 or not items:
            return []
        zone = ZoneInfo(told.timezone)
        exchange = Exchange(told.number, edition, told.preamble)
        days = list(midnights(from_ms, to_ms, zone))[:MAX_FREEZES]
        return [FreezeRead(exchange.another(), day, items, zone, (from_ms, to_ms)) for day in reversed(days)]


def _told(line: BaseModel, meter: MeterPlan) -> tuple[Dlt645Meter, Edition]:
    told = Dlt645Meter.model_validate(dict(meter.address))
    return told, EDITIONS[told.edition or Dlt645Line.model_validate(line).edition]


def _item(name: str, point: Place) -> Item:
    """Return what is wanted of a place without fault."""
    di = str(point.address)
    found = layout(di, point.type)
    if found is None:
        raise MeteringError(_NO_DATA, frame=di)
    if not found.is_number:
        return Item(name, di, found, None)
    scale = EXACT.multiply(EXACT.multiply(point.scale, found.step), _in_its_unit(point, found))
    return Item(name, di, found, measure(name, point, sentinel_numbers(point), scale), point.bits)


def _in_its_unit(point: Place, found: Layout) -> Decimal:
    """Return how many of the point's unit one of the meter's is."""
    if not isinstance(point, ProfilePoint) or found.unit is None:
        return Decimal(1)
    return convert(Decimal(1), unit(found.unit), unit(point.unit))


def _one_by_one(exchange: Exchange, items: Sequence[Item]) -> Iterator[Request]:
    """Read each DI once, though several points may be bits of it."""
    of: dict[tuple[str, Layout], list[Item]] = {}
    for item in items:
        of.setdefault((item.di, item.layout), []).append(item)
    return (DataRead(exchange.another(), *same) for same in of.values())


def _in_blocks(exchange: Exchange, items: Sequence[Item]) -> Iterator[Request]:
    """Read together what one block holds in one layout, the rest one by one; what the profile has first comes first."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(_block(item) or item.di, []).append(item)
    for block, members in groups.items():
        at = {place[1]: item for item in members if (place := block_of(item.di))}
        if len(members) > 1 and len(at) == len(members):
            yield BlockRead(exchange.another(), block, at)
        else:
            yield from _one_by_one(exchange, members)


def _block(item: Item) -> str:
    """Return the block an item may be read in, or nothing where its profile gave it a type of its own."""
    place = block_of(item.di)
    return place[0] if place and layout(item.di, None) == item.layout else ""


def _read_of(exchange: Exchange, di: str, items: Sequence[Item]) -> DataRead | BlockRead:
    same = [item for item in items if item.di == di]
    if same:
        return DataRead(exchange, *same)
    at = {place[1]: item for item in items if (place := block_of(item.di)) and place[0] == di}
    if not at:
        raise MeteringError(_NO_POINT, di=di)
    return BlockRead(exchange, di, at)


def _frames(vector: Mapping[str, Any]) -> list[bytes]:
    given = vector.get("reply")
    texts = [given] if isinstance(given, str) else given
    try:
        frames = [bytes.fromhex(text) for text in texts or ()]
    except (TypeError, ValueError) as error:
        raise MeteringError(_NO_VECTOR) from error
    if not frames:
        raise MeteringError(_NO_VECTOR)
    return frames


def _untyped(di: str, type_name: str | None) -> Text:
    if type_name is None:
        return Text(
            f"表中没有数据标识 {di}，请写 type，如 bcd4.2",
            f"DI {di} is not in the table: give a type such as bcd4.2",
        )
    return Text(f"没有类型 {type_name!r}，应如 bcd4.2、sbcd3.4（字节数.小数位，s 表示带符号）、u2、digits6、text32",
                f"no type {type_name!r}: write bcd4.2 or sbcd3.4 (bytes.decimals, s for a sign), u2, digits6 or text32")  # fmt: skip


def _kind_fault(point: Place, found: Layout) -> Text | None:
    if not found.is_number and isinstance(point, ProfilePoint):
        return Text(f"数据标识 {point.address} 不是数，只能写在 identity 中",
                    f"DI {point.address} is no number; it can only stand under identity")  # fmt: skip
    if point.bits is not None and found.kind != "word":
        return Text("bits 只用于状态字（类型 u1、u2）", "bits are taken from words only (types u1, u2)")
    if isinstance(point, ProfilePoint) and found.unit is not None and not _alike(found.unit, point.unit):
        return Text(f"数据标识 {point.address} 的单位是 {found.unit}，不能换算为 {point.unit}",
                    f"DI {point.address} is in {found.unit}, which cannot be converted to {point.unit}")  # fmt: skip
    return number_fault(point)


def _alike(theirs: str, ours: str) -> bool:
    try:
        return unit(theirs).like(unit(ours))
    except UnknownUnit:  # apparent energy, of which there is no unit here
        return False


_NO_VECTOR = Text(
    '样例应为 reply: "68 …"，或后续帧的列表', 'a vector is reply: "68 …", or a list of such for follow-up frames'
)
_NO_DATA = Text("{frame} 不是读数据的应答", "{frame} is no answer to a read of data")
_NO_POINT = Text("模型中没有数据标识 {di} 的测点", "the profile has no point at DI {di}")
_UNFINISHED = Text("样例缺少后续帧", "the vector lacks the frames that follow")
