"""`plant.yaml`: a simulated plant, its meters, the lines they hang on, and what is to go wrong when."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from metering.errors import UnlikeUnits
from metering.fields import Amount, DurationS, FieldError, Id, Number, Strict, seconds
from metering.profile import Bilingual
from metering.quantity import Quantity, unit
from metering.text import Text
from settings.document import read

LineKind = Literal["modbus-tcp", "modbus-rtu", "dlt645", "opcua"]
Model = Literal["power-meter", "gas-corrector", "dlt645-power", "coriolis", "production-counter"]
FaultKind = Literal["silence", "checksum", "late", "reset", "rollover", "stuck", "burst"]

MODEL_LINES: dict[Model, tuple[LineKind, ...]] = {
    "power-meter": ("modbus-tcp", "modbus-rtu"),
    "gas-corrector": ("modbus-tcp", "modbus-rtu"),
    "dlt645-power": ("dlt645",),
    "coriolis": ("opcua",),
    "production-counter": ("opcua",),
}
"""The lines a model can hang on."""

MODEL_RATE: dict[Model, str] = {
    "power-meter": "kW",
    "gas-corrector": "m3/h",
    "dlt645-power": "kW",
    "coriolis": "kg/h",
    "production-counter": "t/h",
}
"""The unit of a model's consumption per hour; its counter counts this times an hour."""

LASTING: frozenset[FaultKind] = frozenset({"silence", "checksum", "late", "stuck", "burst"})
"""Faults with an end; the others happen at once."""


def _zone(value: Any) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(str(value))
    except (KeyError, ValueError, OSError) as error:
        text = Text("{value!r} 不是时区，例如 Asia/Shanghai", "{value!r} is not a time zone such as Asia/Shanghai")
        raise FieldError(text, value=value) from error


def _clock_time(value: Any) -> dt.time:
    if isinstance(value, dt.time):
        return value
    try:
        return dt.time.fromisoformat(str(value))
    except ValueError as error:
        text = Text(
            '{value!r} 不是时刻，例如 "08:00"（要加引号）', '{value!r} is not a time such as "08:00", in quotes'
        )
        raise FieldError(text, value=value) from error


def _when(value: Any) -> dt.time | float:
    """Read `70 s` (after the start) or `"14:30"` (each day, plant time)."""
    return _clock_time(value) if isinstance(value, dt.time) or ":" in str(value) else seconds(value)


def _port(value: int) -> int:
    if not 0 <= value <= 65535:
        raise FieldError(Text("端口须为 0 到 65535", "a port is 0 to 65535"))
    return value


ClockTime = Annotated[dt.time, BeforeValidator(_clock_time)]


class Shift(Strict):
    """From a time of day on, until the next shift's."""

    start: ClockTime = Field(alias="from")
    load: float = Field(ge=0, le=1.5)
    """Share of the full load; 1 is full."""
    name: Bilingual | None = None


class PlantLine(Strict):
    """A line or server the simulators open."""

    protocol: LineKind
    port: Annotated[int, AfterValidator(_port)] = 0
    """TCP port on 127.0.0.1; 0 takes a free one, and the same again after a restart."""
    baud: int = Field(default=9600, ge=300, le=115200)
    """The pace of a serial line; its bytes come no faster."""
    frame: Literal["8N1", "8E1", "8O1", "8N2", "7E1"] | None = None
    """Bits of a byte on a serial line; by default 8E1 for DL/T 645, else 8N1."""

    @property
    def serial(self) -> bool:
        return self.protocol in ("modbus-rtu", "dlt645")

    @property
    def bits(self) -> int:
        """Bits a byte takes on the line, start and stop included."""
        frame = self.frame or ("8E1" if self.protocol == "dlt645" else "8N1")
        return 1 + int(frame[0]) + (frame[1] != "N") + int(frame[2])


class PlantMeter(Strict):
    """One meter: where it hangs and how much flows through it."""

    line: str
    model: Model
    unit: int = Field(default=1, ge=1, le=247)
    """Modbus unit."""
    number: str | None = Field(default=None, pattern=r"^\d{12}$")
    """DL/T 645: the 12 digits of the meter."""
    idle: Amount
    """Consumption when nothing is produced, such as `500 kW` or `180 m3/h`."""
    full: Amount
    """Consumption at full load."""
    ratio: Number = Decimal(1)
    """CT times PT: the register counts consumption divided by this, and knows nothing of it."""
    start: Number = Decimal(0)
    """What the register shows at `since`."""

    def per_hour(self, amount: Quantity) -> float:
        """Return `amount` in the model's unit."""
        return float(amount.to(MODEL_RATE[self.model]).value)

    @model_validator(mode="after")
    def _possible(self) -> "PlantMeter":
        for amount in (self.idle, self.full):
            _check_rate(amount, MODEL_RATE[self.model])
        if self.ratio <= 0:
            raise FieldError(Text("ratio 必须大于 0", "ratio must be above 0"))
        if (self.model == "dlt645-power") != (self.number is not None):
            raise FieldError(
                Text("number 是且仅是 dlt645-power 的 12 位表号", "number is the 12 digits of a dlt645-power, and of no other")
            )  # fmt: skip
        return self


def _check_rate(amount: Quantity, wanted: str) -> None:
    try:
        amount.to(unit(wanted))
    except UnlikeUnits as error:
        raise FieldError(
            Text("{amount} 应以 {unit} 计", "{amount} should be in {unit}"), amount=amount, unit=wanted
        ) from error
    if amount.value < 0:
        raise FieldError(Text("{amount} 不能为负", "{amount} cannot be negative"), amount=amount)


class PlantFault(Strict):
    """One thing that goes wrong."""

    at: Annotated[dt.time | float, BeforeValidator(_when)]
    """`70 s` after the start of the simulators, or `"14:30"` each day in plant time."""
    duration_s: DurationS | None = Field(default=None, alias="for")
    """How long; by default 60 s. Not for reset and rollover."""
    fault: FaultKind
    meter: str
    factor: float = Field(default=2.5, ge=0)
    """burst: the consumption is multiplied by this."""
    delay: DurationS = 1.5
    """late: the reply comes this much later."""

    @model_validator(mode="after")
    def _lasting(self) -> "PlantFault":
        if self.duration_s is not None and self.fault not in LASTING:
            raise FieldError(Text("{fault} 没有持续时间 for", "{fault} has no duration `for`"), fault=self.fault)
        return self


@dataclass(frozen=True)
class Contradiction:
    """Two sections that do not fit: where, what, and the values named in it."""

    keys: tuple[str | int, ...]
    problem: Text
    values: Mapping[str, object]


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
        found = [fault for name, meter in self.meters.items() for fault in self._line_faults(name, meter)]
        for number, fault in enumerate(self.faults):
            if fault.meter not in self.meters:
                hint = {"meter": fault.meter, "known": ", ".join(self.meters)}
                found.append(Contradiction(("faults", number, "meter"), _NO_METER, hint))
        return found or self._address_faults()

    def _line_faults(self, name: str, meter: PlantMeter) -> Iterator[Contradiction]:
        line = self.lines.get(meter.line)
        values = {"meter": name, "line": meter.line, "model": meter.model, "known": ", ".join(self.lines)}
        if line is None:
            yield Contradiction(("meters", name, "line"), _NO_LINE, values)
        elif line.protocol not in MODEL_LINES[meter.model]:
            fitting = " / ".join(MODEL_LINES[meter.model])
            values |= {"protocol": line.protocol, "fitting": fitting}
            yield Contradiction(("meters", name, "line"), _WRONG_LINE, values)

    def _address_faults(self) -> list[Contradiction]:
        """Two meters must not answer to one address."""
        taken: dict[tuple[str, object], str] = {}
        found = []
        for name, meter in self.meters.items():
            opcua = self.lines[meter.line].protocol == "opcua"
            address = (meter.line, meter.model if opcua else meter.number or meter.unit)
            other = taken.setdefault(address, name)
            if other != name:
                values = {"line": meter.line, "meter": name, "other": other, "address": address[1]}
                found.append(Contradiction(("meters", name), _SAME_ADDRESS, values))
        return found


def read_plant(path: Path) -> PlantSettings:
    """Return the plant of a `plant.yaml`.

    Raises:
        SettingsFaults: all that is wrong in it, each with its place.
    """
    document = read(path)
    settings = document.check(PlantSettings)
    found = settings.contradictions()
    if found:
        raise document.faults([document.fault(f.keys, f.problem, **f.values) for f in found])
    return settings


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
