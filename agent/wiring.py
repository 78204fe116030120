"""From the settings to lines and meters that can be polled: drivers, addresses, profiles and points, all checked.

Nothing here touches the network. All that is wrong is found in one go, each fault at its place in the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from pydantic import BaseModel

from agent.pace import meter_s
from drivers.catalogue import driver as driver_named
from drivers.contract import Driver, ExchangeDriver, ExchangeLine, MeterPlan
from metering.errors import MeteringError, SettingsError, SettingsFaults
from metering.profile import Profile, ProfilePoint
from metering.text import Text
from settings.agent import AgentSettings, MeterSection
from settings.document import Document
from settings.profiles import load_profile


@dataclass(frozen=True)
class Meter:
    """One meter as its line polls it."""

    id: str
    line: str
    plan: MeterPlan
    points: Mapping[str, ProfilePoint]
    interval_ms: int
    phase_ms: int
    """Its slots lie this long after the multiples of the interval."""
    indices: Mapping[str, int]
    """Point name -> index into `Wiring.points`."""
    counters: frozenset[str]
    """Points whose bytes are kept now and then."""
    variants: Mapping[str, "Meter"] = field(default_factory=dict)
    """The meter as each edition of its model; which one it is, its probes tell before it is read. None: no editions."""


@dataclass(frozen=True)
class Line:
    """One physical line: its driver, the checked settings, its meters in the order of the file."""

    id: str
    driver: Driver
    settings: BaseModel
    meters: tuple[Meter, ...]


@dataclass(frozen=True)
class Wiring:
    lines: tuple[Line, ...]
    points: tuple[tuple[str, str], ...]
    """(`meter/point`, unit) of everything that is read."""

    @property
    def meters(self) -> Iterator[Meter]:
        return (meter for line in self.lines for meter in line.meters)


def wire(settings: AgentSettings, document: Document) -> Wiring:
    """Return the lines with their meters.

    Raises:
        SettingsFaults: all that is wrong, in the order of the file.
    """
    wiring = _Wirer(settings, document)
    lines = tuple(wiring.lines())
    if wiring.faults:
        raise document.faults(wiring.faults)
    return Wiring(_in_phase(lines), tuple(wiring.points))


def line_faults(document: Document) -> list[SettingsError]:
    """Return what the drivers find wrong with the lines of a file whose other sections are wrong themselves."""
    found: list[SettingsError] = []
    lines = document.value(("lines",))
    for id_, line in lines.items() if isinstance(lines, dict) else ():
        try:
            model = driver_named(str(line["driver"])).line_model
            document.check(model, ("lines", id_), line)
        except SettingsFaults as error:
            found += error.faults
        except (MeteringError, LookupError, TypeError):
            continue  # said elsewhere: no such driver, no section
    return found


class _Wirer:
    def __init__(self, settings: AgentSettings, document: Document) -> None:
        self._settings = settings
        self._document = document
        self.faults: list[SettingsError] = []
        self.points: dict[tuple[str, str], int] = {}
        self._ports: dict[str, str] = {}
        self._profiles: dict[str, Profile] = {}

    def lines(self) -> Iterator[Line]:
        for id_ in self._settings.lines:
            meters = {name: meter for name, meter in self._settings.meters.items() if meter.line == id_}
            profiles = {name: self._profile_of(meter) for name, meter in meters.items()}
            driver = self._driver(id_)
            if driver is None:
                continue
            line = self._line(id_, driver, profiles)
            wired = tuple(self._meters(driver, meters, profiles))
            if line is not None:
                self._check_port(id_, line)
                for meter in wired:
                    self._check_plan(driver, line, meter)
                yield Line(id_, driver, line, wired)

    def _profile_of(self, meter: MeterSection) -> Profile:
        """Return a meter's profile, or the edition of it that is given."""
        if meter.profile not in self._profiles:
            self._profiles[meter.profile] = load_profile(meter.profile)
        profile = meter.ordered(self._profiles[meter.profile])
        return profile.variant(meter.variant) if meter.variant is not None else profile

    def _driver(self, line: str) -> Driver | None:
        try:
            return driver_named(self._settings.lines[line].driver)
        except SettingsFaults:
            raise
        except MeteringError as error:
            self.faults.append(self._document.fault(("lines", line, "driver"), error.sentence, **error.values))
            return None

    def _line(self, id_: str, driver: Driver, profiles: Mapping[str, Profile]) -> BaseModel | None:
        """Return the line's settings; what it leaves open on a serial line comes from its meters' profiles."""
        given = dict(self._document.data["lines"][id_])
        if "serial" in given:
            for profile in profiles.values():
                given = {**profile.line, **given}
        if "pki" in driver.line_model.model_fields:
            given["line"] = id_
            given.setdefault("pki", self._settings.outbox.path.parent / "opcua")
        if "driver" not in driver.line_model.model_fields:
            given.pop("driver", None)
        line = self._checked(driver.line_model, ("lines", id_), given)
        return None if line is None else _with_paths(line, self._document.path.absolute().parent)

    def _checked(self, model: type[BaseModel], keys: tuple[str, ...], data: Mapping[str, object]) -> BaseModel | None:
        try:
            return self._document.check(model, keys, data)
        except SettingsFaults as error:
            self.faults += error.faults
            return None

    def _check_port(self, id_: str, line: BaseModel) -> None:
        if not isinstance(line, ExchangeLine):
            return
        kind = "tcp" if line.tcp else "udp" if line.udp else "serial"
        port = line.where
        other = self._ports.setdefault(port, id_)
        if other != id_:
            self._fault(("lines", id_, kind), _SAME_PORT, _ONE_OWNER, port=port, other=other)

    def _check_plan(self, driver: Driver, line: BaseModel, meter: Meter) -> None:
        """Find out now what a driver would say of a meter on this very line when it is first asked."""
        if self.faults or not isinstance(line, ExchangeLine):
            return
        try:
            for edition in (meter.variants or {"": meter}).values():
                cast(ExchangeDriver, driver).plan(line, edition.plan)
        except MeteringError as error:
            section = self._settings.meters[meter.id]
            keys = [key for key in ("unit", "number", "primary", "secondary") if key in section.address]
            self._fault(("meters", meter.id, *keys[:1]), error.sentence, None, **error.values)

    def _meters(
        self, driver: Driver, meters: Mapping[str, MeterSection], profiles: Mapping[str, Profile]
    ) -> Iterator[Meter]:
        addresses: dict[str, str] = {}
        for name, meter in meters.items():
            given = {**profiles[name].meter, **meter.address}
            checked = self._checked(driver.meter_model, ("meters", name), given)
            if checked is None:
                continue
            address = checked.model_dump()
            other = addresses.setdefault(repr(sorted(address.items())), name)
            if other != name and address:
                self._fault(("meters", name), _SAME_ADDRESS, _OTHER_ADDRESS, other=other, line=meter.line)
            yield self._meter(driver, name, address, profiles[name])

    def _meter(self, driver: Driver, name: str, address: Mapping[str, object], profile: Profile) -> Meter:
        """Return a meter, with what it is as each edition of its profile."""
        section = self._settings.meters[name]
        points = section.of(profile)
        variants = {
            variant: self._meter(driver, name, address, profile.variant(variant)) for variant in profile.variants
        }
        if not variants:
            self._check_points(driver, name, profile, points)
        return Meter(
            id=name, line=section.line, plan=MeterPlan(name, address, profile, points), points=points,
            interval_ms=round(section.interval * 1000), phase_ms=0,
            indices={} if variants else self._indices(name, points),
            counters=frozenset(point for point, of in points.items() if of.role == "counter"), variants=variants,
        )  # fmt: skip

    def _indices(self, name: str, points: Mapping[str, ProfilePoint]) -> dict[str, int]:
        return {
            point: self.points.setdefault((f"{name}/{point}", of.unit), len(self.points))
            for point, of in points.items()
        }

    def _check_points(self, driver: Driver, name: str, profile: Profile, points: Mapping[str, ProfilePoint]) -> None:
        for point, of in points.items():
            wrong = driver.fault(of, profile)
            if wrong is not None:
                section = self._settings.meters[name]
                self._fault(
                    ("meters", name, "profile"), _BAD_POINT, None, profile=section.profile, point=point, wrong=wrong
                )

    def _fault(self, keys: tuple[str, ...], problem: Text, remedy: Text | None, **values: object) -> None:
        self.faults.append(self._document.fault(keys, problem, remedy, **values))


def _with_paths(settings: BaseModel, folder: Path) -> BaseModel:
    """Return settings with relative paths taken from the folder of the file."""
    found: dict[str, object] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path):
            found[name] = folder / value
        elif isinstance(value, BaseModel):
            found[name] = _with_paths(value, folder)
    return settings.model_copy(update=found) if found else settings


_TOGETHER = 8
"""Lines of one slot, so that a commit is worth its page."""
_SLOTS_PER_S = 25
_BACK_TO_BACK_MS = 2000
_BACK_TO_BACK = 0.25
"""Of the interval: where reading them all takes longer, a few silent meters would make the others late."""


def _in_phase(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return the lines with a time in the interval for each of their meters.

    Of one interval, the lines are spread over it some at a time. A line's meters are read back to back from there on, so that
    they are stored together and the line rests: a commit for each would wear a card out. Where the interval is short or
    would not leave a line enough time, they are spread over it too. So neither a line nor the processor is hit at once, and what
    is stored together is worth a write to the disk.
    """
    phases: dict[str, int] = {}
    for interval_ms in {meter.interval_ms for line in lines for meter in line.meters}:
        alike = [(line, [meter for meter in line.meters if meter.interval_ms == interval_ms]) for line in lines]
        alike = [(line, meters) for line, meters in alike if meters]
        slots = max(1, min(len(alike) // _TOGETHER, interval_ms * _SLOTS_PER_S // 1000))
        for place, (line, meters) in enumerate(alike):
            begin_ms = place * slots // len(alike) * interval_ms // slots
            apart_ms = 0 if _is_back_to_back(line, meters, interval_ms) else interval_ms
            for at, meter in enumerate(meters):
                phases[meter.id] = (begin_ms + at * apart_ms // len(meters)) % interval_ms
    return tuple(
        replace(line, meters=tuple(replace(meter, phase_ms=phases[meter.id]) for meter in line.meters))
        for line in lines
    )


def _is_back_to_back(line: Line, meters: Sequence[Meter], interval_ms: int) -> bool:
    if interval_ms < _BACK_TO_BACK_MS:
        return False
    takes_s = sum(
        max(meter_s(line.driver, line.settings, one.plan) for one in (meter.variants or {"": meter}).values())
        for meter in meters
    )
    return takes_s * 1000 <= _BACK_TO_BACK * interval_ms


_SAME_PORT = Text("{port} 已由线路 {other} 使用", "{port} is already used by the line {other}")
_ONE_OWNER = Text("一个端口只能有一条线路：把仪表都写在那条线路上", "One port, one line: hang the meters on that line")
_SAME_ADDRESS = Text(
    "与线路 {line} 上的仪表 {other} 地址相同", "has the same address as the meter {other} on the line {line}"
)
_OTHER_ADDRESS = Text("检查仪表上的地址", "Check the address at the meter itself")
_BAD_POINT = Text("{profile} 的测点 {point}：{wrong}", "point {point} of {profile}: {wrong}")
