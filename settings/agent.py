"""`agent.yaml`: who the agent is, its broker, its outbox, its lines and its meters."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from metering.errors import SettingsError, SettingsFaults
from metering.fields import ByteSize, DurationS, Id, Number, OrEmpty, Strict, UnitName
from metering.profile import Bilingual, Order, Profile, ProfilePoint, Role
from metering.text import Text
from settings.document import Document, read
from settings.faults import nearest
from settings.mqtt import MqttSection
from settings.origin import with_environment
from settings.profiles import load_profile


class AgentSection(Strict):
    """Who the agent is."""

    id: Id = Field(examples=["workshop-1"])
    """Unique in its site; stands in its topics."""
    site: Id = Field(examples=["demo"])
    """The site its readings belong to; the same as in ingester.yaml."""
    name: Bilingual | None = None


class OutboxSection(Strict):
    """Where readings wait until the ingester has them. The control socket lives beside it."""

    path: Path = Path("data/outbox.db")
    max_size: ByteSize = 10**9
    """Bytes on disk; beyond them the oldest goes, and the loss is itself reported."""
    keep_delivered: DurationS = Field(default=7 * 86400.0, ge=0)
    """Seconds that delivered batches are kept while there is room, for an ingester that was restored."""


class LineSection(Strict):
    """One physical line or connection. What the driver needs beyond its name, the driver checks."""

    model_config = ConfigDict(extra="allow")

    driver: str = Field(examples=["modbus"])


class PointOverride(Strict):
    """What differs, on this meter, from its profile."""

    address: int | str | None = None
    unit: UnitName | None = None
    role: Role | None = None
    type: str | None = None
    fc: Literal[1, 2, 3, 4] | None = None
    """Modbus: the function code that reads it."""
    order: Order | None = None
    """Modbus: which byte of it comes when."""
    scale: Number | None = None
    digits: int | None = Field(default=None, ge=1, le=15)
    modulus: Number | None = None
    valid: tuple[Number, Number] | None = None

    def over(self, point: ProfilePoint) -> ProfilePoint:
        """Return the profile's point with what is given here in place of its own."""
        return point.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class MeterSection(Strict):
    """One meter on a line. What else stands in it (`unit`, `number`, …) is its address, checked by the driver."""

    model_config = ConfigDict(extra="allow")

    line: Id = Field(examples=["rs485-1"])
    profile: str = Field(examples=["generic/dlt645-2007"])
    """`vendor/model`, or a file (`*.yaml`), absolute after loading."""
    interval: DurationS = Field(default=10.0, ge=0.1, le=86400)
    """Seconds between two readings, aligned to the wall clock."""
    variant: str | None = None
    """Which edition of the model it is; None: found out by its probes at first contact, where the model has any."""
    order: Order | None = None
    """Modbus: the order of bytes set in this meter, where it is not the profile's default."""
    points: list[str] | dict[str, PointOverride | None] | None = None
    """The points to take, with what differs from the profile; None: all of the profile."""

    @property
    def address(self) -> dict[str, Any]:
        """What the driver's `meter_model` checks."""
        return dict(self.model_extra or {})

    def ordered(self, profile: Profile) -> Profile:
        """Return the profile with this meter's order of bytes in place of its default."""
        if self.order is None:
            return profile
        return profile.model_copy(update={"defaults": profile.defaults.model_copy(update={"order": self.order})})

    def of(self, profile: Profile) -> dict[str, ProfilePoint]:
        """Return the points to read, by name: those that the profile, or its edition given here, has."""
        if self.points is None:
            return dict(profile.points)
        overrides = self.points if isinstance(self.points, dict) else dict.fromkeys(self.points)
        return {
            name: override.over(profile.points[name]) if override else profile.points[name]
            for name, override in overrides.items()
            if name in profile.points
        }


class AgentSettings(Strict):
    """All of `agent.yaml`."""

    agent: AgentSection
    mqtt: MqttSection
    outbox: Annotated[OutboxSection, OrEmpty] = OutboxSection()
    lines: dict[Id, LineSection] = Field(min_length=1)
    meters: dict[Id, MeterSection] = Field(min_length=1)


def load_agent(path: Path, environ: Mapping[str, str]) -> tuple[AgentSettings, Document]:
    """Return the settings of an agent, with what the environment gives, and their document. Paths come out absolute.

    Raises:
        SettingsFaults: all that is wrong in the file, each with its place and remedy.
    """
    document = with_environment(read(path), "agent", environ)
    settings = _with_paths(document.check(AgentSettings), path.absolute().parent)
    faults = list(_cross_faults(settings, document))
    if faults:
        raise document.faults(faults)
    return settings, document


def _with_paths(settings: AgentSettings, folder: Path) -> AgentSettings:
    """Return the settings with relative paths taken from the folder of the file."""
    outbox = settings.outbox.model_copy(update={"path": folder / settings.outbox.path})
    ca = settings.mqtt.ca
    mqtt = settings.mqtt.model_copy(update={"ca": folder / ca}) if ca else settings.mqtt
    meters = {
        name: meter.model_copy(update={"profile": str(folder / meter.profile)})
        if meter.profile.endswith((".yaml", ".yml"))
        else meter
        for name, meter in settings.meters.items()
    }
    return settings.model_copy(update={"outbox": outbox, "mqtt": mqtt, "meters": meters})


def _cross_faults(settings: AgentSettings, document: Document) -> Iterator[SettingsError]:
    profiles: dict[str, Profile] = {}
    for id_, line in settings.lines.items():
        driver = _driver_meant(line.driver)
        if driver is not None and line.driver != driver:
            keys = ("lines", id_, "driver")
            yield document.fault(keys, _NO_DRIVER, _DID_YOU_MEAN, driver=line.driver, near=driver)
    for name, meter in settings.meters.items():
        here = ("meters", name)
        if meter.line not in settings.lines:
            near = nearest(meter.line, settings.lines)
            remedy = _DID_YOU_MEAN if near else _LINES
            known = ", ".join(settings.lines)
            yield document.fault((*here, "line"), _NO_LINE, remedy, meter=name, line=meter.line, near=near, known=known)
        try:
            if meter.profile not in profiles:
                profiles[meter.profile] = load_profile(meter.profile)
        except SettingsFaults as error:
            yield from _profile_faults(document, (*here, "profile"), meter.profile, error)
            continue
        yield from _meter_faults(settings, document, name, profiles[meter.profile])


def _driver_meant(word: str) -> str | None:
    """Return the driver that a word means; None where no such is known."""
    return _DRIVER_OF.get(word.lower().replace("_", "-"))


def _profile_faults(
    document: Document, keys: tuple[str, ...], profile: str, error: SettingsFaults
) -> Iterator[SettingsError]:
    """Say at the meter that a profile is not there, and in the profile's own file what is wrong there."""
    for fault in error.faults:
        if fault.place != profile:
            yield fault
        else:
            problem = Text("{profile}：" + fault.problem.zh, "{profile}: " + fault.problem.en)
            yield document.fault(keys, problem, fault.remedy, **{**fault.values, "profile": profile})


def _meter_faults(settings: AgentSettings, document: Document, name: str, profile: Profile) -> Iterator[SettingsError]:
    meter = settings.meters[name]
    line = settings.lines.get(meter.line)
    driver = _driver_meant(line.driver) if line is not None else None
    if line is not None and driver is not None and driver != profile.protocol:
        yield document.fault(
            ("meters", name, "profile"), _OTHER_PROTOCOL, _SAME_PROTOCOL,
            profile=meter.profile, protocol=profile.protocol, line=meter.line, driver=line.driver,
        )  # fmt: skip
    if profile.protocol != "modbus":
        yield from _only_of_modbus(document, name, meter, profile)
    if meter.variant is not None:
        if meter.variant not in profile.variants:
            yield _variant_fault(document, name, meter, profile)
            return
        profile = profile.variant(meter.variant)
    for index, point in enumerate(meter.points or ()):
        if point not in profile.points:
            near = nearest(point, profile.points)
            keys = ("meters", name, "points", point if isinstance(meter.points, dict) else index)
            known = ", ".join(profile.points)
            remedy = _DID_YOU_MEAN if near else _POINTS
            yield document.fault(keys, _NO_POINT, remedy, profile=meter.profile, point=point, near=near, known=known)


def _only_of_modbus(document: Document, name: str, meter: MeterSection, profile: Profile) -> Iterator[SettingsError]:
    if meter.order is not None:
        yield document.fault(("meters", name, "order"), _OF_MODBUS, None, key="order", protocol=profile.protocol)
    overrides = meter.points if isinstance(meter.points, dict) else {}
    for point, override in overrides.items():
        for key in ("order", "fc"):
            if override is not None and getattr(override, key) is not None:
                keys = ("meters", name, "points", point, key)
                yield document.fault(keys, _OF_MODBUS, None, key=key, protocol=profile.protocol)


def _variant_fault(document: Document, name: str, meter: MeterSection, profile: Profile) -> SettingsError:
    near = nearest(str(meter.variant), profile.variants)
    remedy = _DID_YOU_MEAN if near else _VARIANTS if profile.variants else _LEAVE_OUT
    return document.fault(
        ("meters", name, "variant"), _NO_VARIANT, remedy,
        profile=meter.profile, variant=meter.variant, near=near, known=", ".join(profile.variants),
    )  # fmt: skip


_DRIVER_OF = {
    **dict.fromkeys(("modbus", "modbus-rtu", "modbus-tcp", "modbus-ascii", "modbus-udp", "rtu", "tcp"), "modbus"),
    **dict.fromkeys(("dlt645", "dl/t645", "dlt-645", "dl/t-645", "dlt645-2007", "dlt645-1997", "645"), "dlt645"),
    **dict.fromkeys(("cjt188", "cj/t188", "cjt-188", "cj/t-188", "188"), "cjt188"),
    **dict.fromkeys(("mbus", "m-bus", "wired-mbus"), "mbus"),
    **dict.fromkeys(("iec62056", "iec62056-21", "iec-62056-21", "iec-62056", "iec1107"), "iec62056"),
    **dict.fromkeys(("opcua", "opc-ua", "opc.tcp", "ua"), "opcua"),
}
"""What people call a protocol: the way it goes is said by `tcp`, `udp` and `serial`, not by the driver's name."""
_NO_DRIVER = Text("没有驱动 {driver}", "there is no driver {driver}")
_DID_YOU_MEAN = Text("是不是 {near}？", "Did you mean {near}?")
_NO_LINE = Text("仪表 {meter} 所在的线路 {line} 未定义", "meter {meter} hangs on the line {line}, which is not defined")
_LINES = Text("已定义的线路：{known}", "Defined lines: {known}")
_OTHER_PROTOCOL = Text(
    "{profile} 用协议 {protocol}，而线路 {line} 的驱动是 {driver}",
    "{profile} speaks {protocol}, while the line {line} is driven by {driver}",
)
_SAME_PROTOCOL = Text("请换线路或换仪表模型", "Choose another line or another profile")
_NO_POINT = Text("{profile} 没有测点 {point}", "{profile} has no point {point}")
_OF_MODBUS = Text("{key} 只用于 modbus，这里是 {protocol}", "{key} is for modbus only; this is {protocol}")
_NO_VARIANT = Text("{profile} 没有型式 {variant}", "{profile} has no variant {variant}")
_VARIANTS = Text("它有：{known}；不写则首次通信时自动辨认", "It has: {known}; left out, it is found at first contact")
_LEAVE_OUT = Text("该型号不分型式，不用写 variant", "The model has no variants: leave it out")
_POINTS = Text("它有：{known}", "It has: {known}")
