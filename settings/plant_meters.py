"""The lines and meters of a simulated plant: what carries a protocol, which meter hangs there, and what it shows."""

from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from metering.errors import UnlikeUnits
from metering.fields import Amount, FieldError, Number, Strict, decimal
from metering.profile import Place, Profile, ProfilePoint
from metering.quantity import Quantity, unit
from metering.text import Text
from settings.meters import per_time
from settings.plant_faults import Wire
from settings.profiles import load_profile

LineKind = Literal["modbus-tcp", "modbus-rtu", "modbus-ascii", "dlt645", "cjt188", "mbus", "iec62056", "opcua"]
Way = Literal["serial", "tcp", "udp", "tls"]
Model = Literal["power-meter", "gas-corrector", "dlt645-power", "coriolis", "production-counter"]

WAYS: dict[LineKind, tuple[Way, ...]] = {
    "modbus-tcp": ("tcp", "udp", "tls"),
    "modbus-rtu": ("serial", "tcp", "udp", "tls"),
    "modbus-ascii": ("serial", "tcp", "udp"),
    "dlt645": ("serial", "tcp"),
    "cjt188": ("serial", "tcp"),
    "mbus": ("serial", "tcp"),
    "iec62056": ("serial", "tcp"),
    "opcua": ("tcp",),
}
"""What can carry a protocol; the first where nothing is said."""
PACE: dict[LineKind, int] = {"dlt645": 2400, "cjt188": 2400, "mbus": 2400, "iec62056": 300}
"""Baud rates as meters leave the factory; others have 9600."""
BITS: dict[LineKind, str] = {"dlt645": "8E1", "cjt188": "8E1", "mbus": "8E1", "iec62056": "7E1"}
NUMBER_DIGITS: dict[LineKind, int] = {"dlt645": 12, "cjt188": 14, "mbus": 8}
"""The longest number of a meter, in digits."""
UNITS: dict[LineKind, tuple[int, int]] = {"modbus-rtu": (1, 247), "modbus-ascii": (1, 247), "mbus": (0, 250)}
"""The units a line can have, where not 0 to 255."""
MODBUS: frozenset[LineKind] = frozenset({"modbus-tcp", "modbus-rtu", "modbus-ascii"})

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


def _port(value: int) -> int:
    if not 0 <= value <= 65535:
        raise FieldError(Text("端口须为 0 到 65535", "a port is 0 to 65535"))
    return value


def _one_modbus(value: Any) -> Any:
    if value == "modbus":
        raise FieldError(Text("{value!r} 说得不全：modbus-rtu、modbus-tcp 还是 modbus-ascii？",
                              "{value!r} is not said in full: did you mean modbus-rtu, modbus-tcp or modbus-ascii?"),
                         value=value)  # fmt: skip
    return value


class PlantLine(Strict):
    """A line or server the simulators open."""

    protocol: Annotated[LineKind, BeforeValidator(_one_modbus)]
    over: Way | None = None
    """What carries it: `serial` (a pseudo terminal), `tcp` (RTU over TCP, a serial server), `udp`, `tls`. By default
    serial, and tcp for modbus-tcp and opcua."""
    port: Annotated[int, AfterValidator(_port)] = 0
    """TCP or UDP port on 127.0.0.1; 0 takes a free one, and the same again after a restart."""
    baud: int | None = Field(default=None, ge=300, le=115200)
    """The pace of a serial line; its bytes come no faster. By default 9600, 2400 for DL/T 645, CJ/T 188 and M-Bus, 300 for
    IEC 62056-21."""
    frame: Literal["8N1", "8E1", "8O1", "8N2", "7E1"] | None = None
    """Bits of a byte on a serial line; by default 8N1, 8E1 for DL/T 645, CJ/T 188 and M-Bus, 7E1 for IEC 62056-21."""

    secured: bool = False
    """OPC UA: also offers the three security policies, with a certificate of its own."""
    user: str | None = None
    """OPC UA: the only user; by default anybody."""
    password: str | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _carried(self) -> "PlantLine":
        if self.way not in WAYS[self.protocol]:
            raise FieldError(Text("{protocol} 不能走 {over}，可用 {ways}", "{protocol} cannot go over {over}; it takes {ways}"),
                             protocol=self.protocol, over=self.way, ways=" / ".join(WAYS[self.protocol]))  # fmt: skip
        return self

    @property
    def way(self) -> Way:
        return self.over or WAYS[self.protocol][0]

    @property
    def serial(self) -> bool:
        return self.way == "serial"

    @property
    def pace(self) -> int:
        """Bits a second."""
        return self.baud or PACE.get(self.protocol, 9600)

    @property
    def bits(self) -> int:
        """Bits a byte takes on the line, start and stop included."""
        frame = self.frame or BITS.get(self.protocol, "8N1")
        return 1 + int(frame[0]) + (frame[1] != "N") + int(frame[2])

    @property
    def driver(self) -> str:
        """The protocol as profiles name it."""
        return "modbus" if self.protocol in MODBUS else self.protocol

    @property
    def wire(self) -> Wire:
        return Wire(self.protocol, self.way)


class Running(Strict):
    """A counter of its own: how fast it counts, and from where."""

    rate: Amount
    start: Number = Decimal(0)


Shown = tuple[Decimal, Decimal] | str | Running | None


def _shown(value: Any) -> Any:
    """Read a value, a band `[low, high]`, a text, `{rate: 3 kW}`, or null (not available)."""
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise FieldError(Text("范围写作 [低, 高]", "a band is [low, high]"))
        return decimal(value[0]), decimal(value[1])
    return value if value is None or isinstance(value, dict | Running) else str(value)


class PlantMeter(Strict):
    """One meter: where it hangs, what it is, and how much flows through it."""

    line: str
    model: Model | None = None
    """A bundled meter; or `profile`."""
    profile: str | None = None
    """Any meter model, `vendor/model` of the shipped profiles or a file (`*.yaml`); or `model`."""
    variant: str | None = None
    """The edition of the profile; by default the first where it has several."""
    unit: int = Field(default=1, ge=0, le=255)
    """Modbus unit, or primary address on M-Bus."""
    number: str | None = Field(default=None, pattern=r"^[0-9A-Za-z ]{1,32}$", examples=["202611230001"])
    """The number on the meter: 12 digits for DL/T 645, 14 for CJ/T 188 (the maker's four first), 8 for M-Bus, the device
    address of IEC 62056-21. By default the unit, with zeros in front."""
    idle: Amount | None = None
    """Consumption when nothing is produced, such as `500 kW` or `180 m3/h`."""
    full: Amount | None = None
    """Consumption at full load."""
    rate: Amount | None = None
    """Consumption at all times, in place of idle and full. A profile's meter without any has one that suits its unit."""
    ratio: Number = Decimal(1)
    """CT times PT: the register counts consumption divided by this, and knows nothing of it."""
    start: Number = Decimal(0)
    """What the counter shows at `since`."""
    shows: dict[str, Annotated[Shown, BeforeValidator(_shown)]] = {}
    """What other points, identity and probes show: a value in their unit, a band `[low, high]` it drifts in, a text, `{rate:
    3 kW}` for a counter, or null for `not available`. What is not named shows something that suits its unit."""
    max_registers: int = Field(default=125, ge=1, le=125)
    """Modbus: the most registers it answers in one reply; more is exception 3."""
    forbidden: list[int | tuple[int, int]] = []
    """Modbus: registers, or first and last of some, that are exception 2."""
    max_data: int = Field(default=190, ge=1, le=230)
    """DL/T 645, M-Bus: the most bytes of data in one frame; a longer answer comes in several."""
    mode: Literal["A", "B", "C"] = "C"
    """IEC 62056-21: A data at once, B data at once at `fast`, C after an acknowledgement at `fast`."""
    fast: Literal[300, 600, 1200, 2400, 4800, 9600, 19200] = 9600
    """IEC 62056-21: the speed the meter proposes, baud."""
    whole_values: bool = False
    """Modbus: whether a read that begins or ends inside a value is exception 2, as with some makers."""

    @property
    def digits(self) -> str:
        """The number on the meter, where none is given its unit."""
        return self.number or str(self.unit)

    @model_validator(mode="after")
    def _possible(self) -> "PlantMeter":
        if (self.model is None) == (self.profile is None):
            raise FieldError(Text("model 与 profile 二者写其一", "give one of model and profile"))
        if (self.idle is None) != (self.full is None) or (self.idle is not None and self.rate is not None):
            raise FieldError(Text("写 idle 与 full，或只写 rate", "give idle and full, or rate"))
        if self.ratio <= 0:
            raise FieldError(Text("ratio 必须大于 0", "ratio must be above 0"))
        for amount in (self.idle, self.full, self.rate):
            if amount is not None and amount.value < 0:
                raise FieldError(Text("{amount} 不能为负", "{amount} cannot be negative"), amount=amount)
        if self.model is not None:
            self._bundled(self.model)
        return self

    def _bundled(self, model: Model) -> None:
        if self.idle is None and self.rate is None:
            raise FieldError(Text("缺少 idle 与 full", "idle and full are missing"))
        for amount in (self.idle, self.full, self.rate):
            if amount is not None:
                _check_rate(amount, MODEL_RATE[model])
        if (model == "dlt645-power") != (self.number is not None and len(self.number) == 12 and self.number.isdigit()):
            raise FieldError(
                Text("number 是且仅是 dlt645-power 的 12 位表号", "number is the 12 digits of a dlt645-power, and of no other")
            )  # fmt: skip
        if self.variant is not None or self.shows:
            raise FieldError(Text("variant 与 shows 只用于 profile", "variant and shows go with profile only"))

    def whole_profile(self) -> Profile:
        """Return the profile with all its editions.

        Raises:
            SettingsFaults: there is no such profile, or it is wrong.
        """
        return _profile(str(self.profile))

    def of_profile(self) -> Profile:
        """Return the profile as the meter's edition has it.

        Raises:
            SettingsFaults: as `whole_profile`.
        """
        edition = self.edition
        return self.whole_profile().variant(edition) if edition else self.whole_profile()

    @property
    def edition(self) -> str | None:
        """The variant of its profile; None where that has none."""
        return self.variant or next(iter(self.whole_profile().variants), None)


@cache
def _profile(name: str) -> Profile:
    return load_profile(name)


def _check_rate(amount: Quantity, wanted: str) -> None:
    try:
        amount.to(unit(wanted))
    except UnlikeUnits as error:
        raise FieldError(
            Text("{amount} 应以 {unit} 计", "{amount} should be in {unit}"), amount=amount, unit=wanted
        ) from error


def main_counter(profile: Profile) -> tuple[str, ProfilePoint] | None:
    """Return the counter that follows the plant's consumption: the first of the profile that is not of what flows back;
    None where it has no counter."""
    counters = [(name, point) for name, point in profile.points.items() if point.role == "counter"]
    return next((each for each in counters if not flows_back(each[0])), counters[0] if counters else None)


def number_of(shown: str | None) -> float | None:
    """Return the number that is shown; None where it is none."""
    try:
        return None if shown is None else float(decimal(shown))
    except FieldError:
        return None


def flows_back(point: str) -> bool:
    """Whether a point's name says that it counts what flows back."""
    return any(word in point for word in ("export", "reverse", "returned", "backward"))


def places(meter: PlantMeter) -> dict[str, Place]:
    """Return all a profile's meter shows: its points, what is read once (`identity.serial`), and the probes of the model
    and of the meter's edition (`probe.x`)."""
    profile = meter.of_profile()
    found: dict[str, Place] = dict(profile.points)
    found |= {f"identity.{name}": place for name, place in profile.identity.items()}
    probes = dict(profile.probe)
    edition = meter.edition
    if edition:
        probes |= meter.whole_profile().variants[edition].probe
    return found | {f"probe.{name}": place for name, place in probes.items()}


def hourly(amount: Quantity, point: ProfilePoint) -> float:
    """Return a rate in the point's unit per hour.

    Raises:
        FieldError: it is no rate of that unit.
    """
    return float(per_time(amount, unit(point.unit)))
