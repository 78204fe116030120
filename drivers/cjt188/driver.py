"""The CJ/T 188 driver: all a water, gas or heat meter has comes in one answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from drivers.cjt188.codec import ANY, Frame
from drivers.cjt188.read import AddressRead, DataRead, Item
from drivers.cjt188.settings import Cjt188Line, Cjt188Meter
from drivers.cjt188.table import CLOCK, STATUS, Field, factors, fields_of
from drivers.contract import MeterPlan, Request, Value
from drivers.measure import Measure, measure, number_fault, sentinel_numbers
from drivers.refusal import refuse_point
from metering.errors import MeteringError
from metering.profile import Place, Profile, ProfilePoint
from metering.quantity import EXACT, unit
from metering.text import Text

SILENCE_S = 0.02
"""Silence before a request; 3.5 characters at 2400 baud are 16 ms."""
_TYPES = {"water": "10", "heat": "20", "gas": "30"}
"""Kind of a profile -> kind of a meter, where nothing else is said."""


class Cjt188Driver:
    """Meters that speak CJ/T 188-2004 or -2018."""

    name = "cjt188"
    line_model: type[BaseModel] = Cjt188Line
    meter_model: type[BaseModel] = Cjt188Meter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        fields = _fields(profile, _type(profile, None))
        field = fields.get(str(point.address))
        if field is None:
            return Text(f"没有数据 {point.address!r}，此类仪表有：{'、'.join(fields)}",
                        f"no data {point.address!r}; such a meter has {', '.join(fields)}")  # fmt: skip
        if point.type or point.plus or point.scale_from:
            return Text("CJ/T 188 测点不用 type、plus、scale_from，单位由仪表给出",
                        "a CJ/T 188 point takes no type, plus or scale_from: the meter says its unit")  # fmt: skip
        if point.address == CLOCK and isinstance(point, ProfilePoint):
            return Text("clock 不是数，只能写在 identity 中", "clock is no number; it can only stand under identity")
        if point.bits is not None and point.address != STATUS:
            return Text("bits 只用于 status", "bits are taken from status only")
        return _unit_fault(point, field) or number_fault(point)

    def replay(self, profile: Profile, vector: Mapping[str, Any]) -> Sequence[Value]:
        """Return the values in `{reply: "68 …"}`, read as the profile's `meter:` says."""
        reply = _reply(vector)
        lenient = profile.meter.get("checksum") == "lenient"
        frame = Frame.of(reply, lenient=lenient)
        try:
            told = Cjt188Meter.model_validate({**profile.meter, "number": frame.number})
        except ValueError as error:
            raise MeteringError(Text("样例中的表号 {number} 无效", "the meter number {number} of the vector is none"),
                                number=frame.number) from error  # fmt: skip
        places = dict(profile.points) | {
            name: at for name, at in profile.identity.items() if name not in profile.points
        }
        read = self._read(
            MeterPlan("", told.model_dump(), profile, places), told, frame.data[2] if frame.data[2:] else 0
        )
        return read.decode(reply)

    def silence_s(self, line: BaseModel) -> float:
        return max(SILENCE_S, Cjt188Line.model_validate(line).turnaround)

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return the one read that has all points.

        Raises:
            MeteringError: a point has a `fault`, or a meter of its type has no such data.
        """
        return [self._read(meter, Cjt188Meter.model_validate(dict(meter.address)))] if meter.points else []

    def _read(self, meter: MeterPlan, told: Cjt188Meter, serial: int = 0) -> DataRead:
        meter_type = _type(meter.profile, told.type)
        fields = _fields(meter.profile, meter_type)
        items = [self._item(meter, fields, name, point) for name, point in meter.points.items()]
        return DataRead(told, meter_type, fields, items, serial)

    def _item(self, meter: MeterPlan, fields: Mapping[str, Field], name: str, point: Place) -> Item:
        wrong = self.fault(point, meter.profile)
        if wrong is None and point.address not in fields:
            wrong = Text(f"此类型仪表没有数据 {point.address}", f"a meter of its type has no {point.address}")
        refuse_point(meter, name, wrong)
        field = str(point.address)
        return Item(name, field, _measures(name, point, fields[field]), point.bits)

    def identify(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return the question for the address: the number as text `serial`, with the maker's code before it."""
        told = Cjt188Meter.model_validate(dict(meter.address))
        return [AddressRead(told, _type(meter.profile, told.type))]

    def history(self, line: BaseModel, meter: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Request]:
        """Return none: the months a meter keeps (D120 to D12B) do not say when they ended."""
        return []


def _type(profile: Profile, told: str | None) -> str:
    """Return the kind of meter: as told, as the profile says, or as its own kind implies."""
    return told or str(profile.meter.get("type") or _TYPES.get(profile.kind, ANY)).upper()


def _fields(profile: Profile, meter_type: str) -> dict[str, Field]:
    """Return what such a meter sends; of any kind: what the profile's kind does."""
    return fields_of(_TYPES.get(profile.kind, "10") if meter_type == ANY else meter_type)


def _unit_fault(point: Place, field: Field) -> Text | None:
    if not isinstance(point, ProfilePoint):
        if not field.coded:
            return None
        return Text(f"{point.address} 有单位，只能作测点", f"{point.address} has a unit; it can only be a point")
    wanted = unit(point.unit)
    if field.coded and not unit(field.unit).like(wanted.at(None) if wanted.reference else wanted):
        return Text(f"{point.address} 不能以 {point.unit} 计", f"{point.address} cannot be counted in {point.unit}")
    if not field.coded and str(wanted) != field.unit:
        return Text(f"{point.address} 的单位是 {field.unit}", f"{point.address} is in {field.unit}")
    return None


def _measures(name: str, point: Place, field: Field) -> dict[int | None, Measure]:
    scale = EXACT.multiply(point.scale, field.step)
    sentinels = sentinel_numbers(point)
    if not field.coded or not isinstance(point, ProfilePoint):
        return {None: measure(name, point, sentinels, scale)}
    return {
        code: measure(name, point, sentinels, EXACT.multiply(scale, factor))
        for code, factor in factors(unit(point.unit)).items()
    }


def _reply(vector: Mapping[str, Any]) -> bytes:
    try:
        return bytes.fromhex(vector["reply"])
    except (KeyError, TypeError, ValueError) as error:
        raise MeteringError(Text('样例应为 reply: "68 …"', 'a vector is reply: "68 …"')) from error
