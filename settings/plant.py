"""`plant.yaml`: a simulated plant, its meters, the lines they hang on, and what is to go wrong when."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator

from metering.errors import SettingsFaults
from metering.fields import FieldError, Id, Strict
from metering.profile import Bilingual, Profile
from metering.text import Text
from settings.document import read
from settings.faults import nearest
from settings.plant_faults import AT_ONCE, LASTING, FaultKind, PlantFault, clock_time
from settings.plant_meters import (
    MODEL_LINES,
    NUMBER_DIGITS,
    UNITS,
    PlantLine,
    PlantMeter,
    Running,
    hourly,
    main_counter,
    number_of,
    places,
)

__all__ = ["LASTING", "FaultKind", "PlantFault", "PlantLine", "PlantMeter", "PlantSettings", "Shift", "read_plant"]


def _zone(value: Any) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(str(value))
    except (KeyError, ValueError, OSError) as error:
        text = Text("{value!r} 不是时区，例如 Asia/Shanghai", "{value!r} is not a time zone such as Asia/Shanghai")
        raise FieldError(text, value=value) from error


ClockTime = Annotated[dt.time, BeforeValidator(clock_time)]


class Shift(Strict):
    """From a time of day on, until the next shift's."""

    start: ClockTime = Field(alias="from")
    load: float = Field(ge=0, le=1.5)
    """Share of the full load; 1 is full."""
    name: Bilingual | None = None


@dataclass(frozen=True)
class Contradiction:
    """Two sections that do not fit: where, what, and the values named in it."""

    keys: tuple[str | int, ...]
    problem: Text
    values: Mapping[str, object]
    remedy: Text | None = None


class PlantSettings(Strict):
    """A plant with its meters, lines and faults."""

    timezone: Annotated[ZoneInfo, BeforeValidator(_zone)]
    seed: int = 1
    """Two plants with the same file and seed behave the same to the last digit."""
    since: dt.date
    """The day the counters began; they are functions of the time since then."""
    shifts: list[Shift] = Field(min_length=1)
    weekend: float = Field(default=0.75, ge=0, le=1.5)
    """The load of Saturday and Sunday, as a share of a working day's."""
    lines: dict[Id, PlantLine]
    meters: dict[Id, PlantMeter]
    faults: list[PlantFault] = []
    served_log: Path | None = None
    """Where each value served to a client is written, one JSON object a line; relative to the data folder."""

    @field_validator("shifts")
    @classmethod
    def _distinct(cls, shifts: list[Shift]) -> list[Shift]:
        twice = [start for start, times in Counter(shift.start for shift in shifts).items() if times > 1]
        if twice:
            raise FieldError(Text("两个班次都从 {at} 开始", "two shifts begin at {at}"), at=f"{twice[0]:%H:%M}")
        return sorted(shifts, key=lambda shift: shift.start)

    def contradictions(self) -> list[Contradiction]:
        """Return where sections do not fit each other; empty when they do."""
        found = [fault for name, meter in self.meters.items() for fault in self._meter_faults(name, meter)]
        if found and any(each.keys[-1] == "profile" for each in found):
            return found
        for number, fault in enumerate(self.faults):
            found += self._fault_faults(number, fault)
        return found or self._address_faults()

    def _meter_faults(self, name: str, meter: PlantMeter) -> Iterator[Contradiction]:
        line = self.lines.get(meter.line)
        if line is None:
            values = {"meter": name, "line": meter.line, "known": ", ".join(self.lines)}
            yield Contradiction(("meters", name, "line"), _NO_LINE, values)
        elif meter.model is not None and line.protocol not in MODEL_LINES[meter.model]:
            values = {"line": meter.line, "model": meter.model, "protocol": line.protocol}
            values["fitting"] = " / ".join(MODEL_LINES[meter.model])
            yield Contradiction(("meters", name, "line"), _WRONG_LINE, values)
        elif meter.profile is not None:
            yield from _profile_faults(name, meter, line)
        else:
            yield from _number_faults(("meters", name), meter, line)

    def _fault_faults(self, number: int, fault: PlantFault) -> Iterator[Contradiction]:
        meter = self.meters.get(fault.meter)
        if meter is None:
            values: dict[str, object] = {"meter": fault.meter, "known": ", ".join(self.meters)}
            yield Contradiction(("faults", number, "meter"), _NO_METER, values)
            return
        line = self.lines.get(meter.line)
        if line is None:
            return  # said already, at the meter
        if not line.wire.can_have(fault.fault):
            yield Contradiction(("faults", number, "fault"), NO_SUCH_FAULT, fault_values(fault, line))
        if fault.fault in AT_ONCE and meter.model is None and main_counter(meter.of_profile()) is None:
            yield Contradiction(("faults", number, "fault"), NO_COUNTER, {"fault": fault.fault, "meter": fault.meter})

    def _address_faults(self) -> list[Contradiction]:
        """Two meters must not answer to one address."""
        taken: dict[tuple[str, object], str] = {}
        found = []
        for name, meter in self.meters.items():
            opcua = self.lines[meter.line].protocol == "opcua"
            address = (meter.line, (meter.model or meter.profile) if opcua else self._address(meter))
            other = taken.setdefault(address, name)
            if other != name:
                values = {"line": meter.line, "meter": name, "other": other, "address": address[1]}
                found.append(Contradiction(("meters", name), _SAME_ADDRESS, values))
        return found

    def _address(self, meter: PlantMeter) -> object:
        line = self.lines[meter.line]
        if line.driver == "modbus" or (line.driver == "mbus" and meter.number is None):
            return meter.unit
        return meter.digits.zfill(32)


def fault_values(fault: PlantFault, line: PlantLine) -> dict[str, object]:
    """Return what is said of a fault that the line cannot have."""
    return {"fault": fault.fault, "protocol": line.protocol, "over": line.way, "known": ", ".join(line.wire.faults)}


def _profile_faults(name: str, meter: PlantMeter, line: PlantLine) -> Iterator[Contradiction]:
    """What does not fit between a meter, its profile and its line."""
    here = ("meters", name)
    try:
        profile = meter.whole_profile()
    except SettingsFaults as error:
        for fault in error.faults:
            text = Text("{place}：" + fault.problem.zh, "{place}: " + fault.problem.en)
            yield Contradiction((*here, "profile"), text, {**fault.values, "place": fault.place}, fault.remedy)
        return
    if meter.variant is not None and meter.variant not in profile.variants:
        values: dict[str, object] = {"variant": meter.variant, "profile": meter.profile}
        values |= {"known": ", ".join(profile.variants) or "-"}
        yield Contradiction((*here, "variant"), _NO_VARIANT, values)
        return
    if profile.protocol != line.driver:
        values = {"profile": meter.profile, "protocol": profile.protocol, "line": meter.line, "other": line.protocol}
        yield Contradiction((*here, "line"), _OTHER_PROTOCOL, values)
    yield from _number_faults(here, meter, line)
    yield from _shown_faults(here, meter, meter.of_profile())


def _number_faults(here: tuple[str, str], meter: PlantMeter, line: PlantLine) -> Iterator[Contradiction]:
    low, high = UNITS.get(line.protocol, (0, 255))
    if not low <= meter.unit <= high:
        yield Contradiction((*here, "unit"), _NO_UNIT, {"unit": meter.unit, "low": low, "high": high})
    longest = NUMBER_DIGITS.get(line.protocol)
    if longest is not None and not (meter.digits.isdigit() and len(meter.digits) <= longest):
        yield Contradiction((*here, "number"), _NO_NUMBER, {"number": meter.number, "digits": longest})


def _shown_faults(here: tuple[str, str], meter: PlantMeter, profile: Profile) -> Iterator[Contradiction]:
    known = places(meter)
    for shown in meter.shows:
        if shown not in known:
            near = nearest(shown, known)
            remedy = (
                Text("是不是 {near}？", "Did you mean {near}?") if near else Text("它有：{known}", "It has: {known}")
            )
            values = {"point": shown, "profile": meter.profile, "near": near, "known": ", ".join(known)}
            yield Contradiction((*here, "shows", shown), _NO_POINT, values, remedy)
            continue
        text = meter.shows[shown]
        if isinstance(text, str) and shown in profile.points and number_of(text) is None:
            yield Contradiction((*here, "shows", shown), _NO_NUMBER_SHOWN, {"point": shown, "text": text})
    rates = {name: shown.rate for name, shown in meter.shows.items() if isinstance(shown, Running)}
    main = main_counter(profile)
    if main is not None:
        flow = [amount for amount in (meter.idle, meter.full, meter.rate) if amount is not None]
        rates |= dict.fromkeys([main[0]], flow[0]) if flow else {}
    for name, rate in rates.items():
        point = profile.points.get(name)
        try:
            if point is None or point.role != "counter":
                raise FieldError(Text("{name} 不是计数器", "{name} is no counter"), name=name)
            hourly(rate, point)
        except FieldError as error:
            yield Contradiction((*here, "shows", name) if name in meter.shows else here, error.text, error.values)


def read_plant(path: Path) -> PlantSettings:
    """Return the plant of a `plant.yaml`.

    Raises:
        SettingsFaults: all that is wrong in it, each with its place.
    """
    document = read(path)
    settings = document.check(PlantSettings)
    settings = _with_paths(settings, path.absolute().parent)
    found = settings.contradictions()
    if found:
        raise document.faults([document.fault(f.keys, f.problem, f.remedy, **f.values) for f in found])
    return settings


def _with_paths(settings: PlantSettings, folder: Path) -> PlantSettings:
    """Return the settings with profiles of files taken from the folder of the plant's file."""
    meters = {
        name: meter.model_copy(update={"profile": str(folder / meter.profile)})
        if meter.profile is not None and meter.profile.endswith((".yaml", ".yml"))
        else meter
        for name, meter in settings.meters.items()
    }
    return settings.model_copy(update={"meters": meters})


_NO_METER = Text("没有仪表 {meter}；meters 中有 {known}", "there is no meter {meter}; meters has {known}")
_NO_LINE = Text("没有线路 {line}；lines 中有 {known}", "there is no line {line}; lines has {known}")
_WRONG_LINE = Text(
    "{model} 不能接在 {protocol} 线路 {line} 上，它要 {fitting}",
    "a {model} cannot hang on the {protocol} line {line}; it needs {fitting}",
)
_SAME_ADDRESS = Text(
    "线路 {line} 上 {meter} 与 {other} 的地址同为 {address}",
    "{meter} and {other} have the same address {address} on line {line}",
)
NO_SUCH_FAULT = Text(
    "{protocol}（{over}）上没有故障 {fault}；可用：{known}",
    "there is no fault {fault} on {protocol} over {over}; there are {known}",
)
NO_COUNTER = Text("{fault} 需要计数器，而 {meter} 没有", "{fault} needs a counter, and {meter} has none")
_NO_VARIANT = Text("{profile} 没有型式 {variant}；有 {known}", "{profile} has no variant {variant}; it has {known}")
_OTHER_PROTOCOL = Text(
    "{profile} 用协议 {protocol}，不能接在 {other} 线路 {line} 上",
    "{profile} speaks {protocol}; it cannot hang on the {other} line {line}",
)
_NO_NUMBER = Text("{number!r} 不是表号：至多 {digits} 位数字", "{number!r} is no meter number: {digits} digits at most")
_NO_UNIT = Text("{unit} 不是站号：{low} 到 {high}", "{unit} is no unit: {low} to {high}")
_NO_NUMBER_SHOWN = Text(
    "测点 {point} 显示数值，{text!r} 不是数", "the point {point} shows a number, and {text!r} is none"
)
_NO_POINT = Text("{profile} 没有测点 {point}", "{profile} has no point {point}")
