"""`ingester.yaml`: one site, its stores, meters, sources, products and rules."""

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from metering.errors import SettingsError, SettingsFaults
from metering.factor import FactorSet
from metering.fields import Amount, DurationS, FieldError, Id, OrEmpty, Strict
from metering.profile import Bilingual
from metering.quantity import Quantity, quantity, unit
from metering.text import Text
from settings.crosscheck import CrossCheck
from settings.document import Document, read
from settings.factors import load_factor_set
from settings.meters import MeterSection
from settings.mqtt import MqttSection
from settings.origin import with_environment
from settings.rules import RuleSection
from settings.sources import ProductSection, SourceSection
from settings.syntax import Keys


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        text = Text("{value!r} 不是时区，例如 Asia/Shanghai", "{value!r} is not a time zone such as Asia/Shanghai")
        raise FieldError(text, value=value) from error
    return value


def _whole_part_of_a_day(value: float) -> float:
    if value < 60 or 86400 % value:
        raise FieldError(
            Text("区间应整除一天且不短于 1 min，例如 1min、15min、1 h",
                 "an interval should part a day evenly, at least 1 min: 1min, 15min, 1 h"))  # fmt: skip
    return value


def _pressure(value: Quantity) -> Quantity:
    if value.unit.dimensions != unit("kPa").dimensions or not 50 <= value.to("kPa").value <= 110:
        raise FieldError(
            Text("{value} 不是大气压，例如 101.325 kPa", "{value} is no atmospheric pressure such as 101.325 kPa"),
            value=value,
        )  # fmt: skip
    return value


def _loopback(host: str) -> str:
    try:
        safe = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        safe = False
    if not safe:
        raise FieldError(
            Text("{host!r} 会把页面开放给网络，而它还没有账户。请写 127.0.0.1，远程用 SSH 隧道查看",
                 "{host!r} would open the page to the network, and it has no accounts yet. Write 127.0.0.1, "
                 "and look from afar through an SSH tunnel"), host=host,
        )  # fmt: skip
    return host


LAST_YEAR = 2026
"""The year whose clock changes are looked at; the rules of zones change seldom."""
_SHORTER = Text(
    "{zone} 有夏令时，interval 最长 1 h，否则区间会跨过午夜；例如 15 min",
    "clocks change in {zone}: interval is at most 1 h there, or intervals would straddle midnight; such as 15 min",
)


class SiteSection(Strict):
    """The site these settings are for."""

    id: Id = Field(examples=["demo"])
    timezone: Annotated[str, AfterValidator(_zone)] = Field(examples=["Asia/Shanghai"])
    """Where a day begins, and which data year a grid factor is for."""
    name: Bilingual | None = None
    interval: Annotated[DurationS, AfterValidator(_whole_part_of_a_day)] = 900.0
    """Seconds of one interval: the unit of activities, emissions and reports."""
    atmospheric_pressure: Annotated[Amount, AfterValidator(_pressure)] = quantity("101.325 kPa")

    @model_validator(mode="after")
    def _hours_where_clocks_change(self) -> "SiteSection":
        """A longer interval would straddle midnight on half the days of such a zone."""
        offsets = {datetime(LAST_YEAR, month, 1, tzinfo=self.zone).utcoffset() for month in range(1, 13)}
        if self.interval > 3600 and len(offsets) > 1:
            raise FieldError(_SHORTER, zone=self.timezone)
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class StoreSection(Strict):
    """Where series and records are kept."""

    series: Path = Field(examples=["data/series.duckdb"])
    records: Path = Field(examples=["data/records.db"])


class SeedSection(Strict):
    """What is put once into an empty store. The ingester checks it against its own models."""

    instruments: list[dict[str, Any]] = []
    certificates: list[dict[str, Any]] = []


class PageSection(Strict):
    """Where page and API listen."""

    host: Annotated[str, AfterValidator(_loopback)] = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)


class IngesterSettings(Strict):
    """All of `ingester.yaml`."""

    site: SiteSection
    store: StoreSection
    mqtt: MqttSection | None = None
    """Only `run` needs it."""
    factors: list[str] = Field(min_length=1, examples=["[cn-ndrc-other, cn-grid-mee-nbs]"])
    """Sets by name or file; absolute after loading."""
    meters: dict[Id, MeterSection] = Field(min_length=1)
    sources: dict[Id, SourceSection] = Field(min_length=1)
    products: Annotated[dict[Id, ProductSection], OrEmpty] = {}
    rules: Annotated[dict[Id, RuleSection], OrEmpty] = {}
    seed: Annotated[SeedSection, OrEmpty] = SeedSection()
    page: Annotated[PageSection, OrEmpty] = PageSection()

    def factor_sets(self) -> dict[str, FactorSet]:
        """Return the sets under `factors`, by their id.

        Raises:
            SettingsFaults: a set is not there, or is wrong.
        """
        loaded = [load_factor_set(name) for name in self.factors]
        return {factors.id: factors for factors in loaded}

    @model_validator(mode="after")
    def _sets_once(self) -> "IngesterSettings":
        twice = next((name for name in self.factors if self.factors.count(name) > 1), None)
        if twice:
            raise FieldError(Text("因子集 {name} 写了两次", "the factor set {name} is listed twice"), name=twice)
        return self


def load_ingester(path: Path, environ: Mapping[str, str]) -> tuple[IngesterSettings, Document]:
    """Return the settings of a site, with what the environment gives, and their document. Paths come out absolute.

    Raises:
        SettingsFaults: all that is wrong in the file, each with its place and remedy.
    """
    document = with_environment(read(path), "ingester", environ)
    settings = _with_paths(document.check(IngesterSettings), path.absolute().parent)
    sets, faults = _sets(settings, document)
    check = CrossCheck(document, sets, not faults, settings.meters, settings.sources, settings.products, settings.rules)
    faults += check.faults()
    if faults:
        raise document.faults(faults)
    return settings, document


def _with_paths(settings: IngesterSettings, folder: Path) -> IngesterSettings:
    """Return the settings with relative paths taken from the folder of the file."""
    store = settings.store.model_copy(
        update={"series": folder / settings.store.series, "records": folder / settings.store.records}
    )
    mqtt = settings.mqtt
    if mqtt is not None and mqtt.ca is not None:
        mqtt = mqtt.model_copy(update={"ca": folder / mqtt.ca})
    factors = [str(folder / name) if name.endswith((".yaml", ".yml")) else name for name in settings.factors]
    return settings.model_copy(update={"store": store, "mqtt": mqtt, "factors": factors})


def _sets(settings: IngesterSettings, document: Document) -> tuple[dict[str, FactorSet], list[SettingsError]]:
    sets: dict[str, FactorSet] = {}
    faults: list[SettingsError] = []
    for index, name in enumerate(settings.factors):
        keys: Keys = ("factors", index)
        try:
            factors = load_factor_set(name)
        except SettingsFaults as error:
            faults += [_at_the_list(document, keys, name, fault) for fault in error.faults]
            continue
        if factors.id in sets:
            faults.append(document.fault(keys, _SAME_ID, _OTHER_ID, name=factors.id))
        sets[factors.id] = factors
    return sets, faults


def _at_the_list(document: Document, keys: Keys, name: str, fault: SettingsError) -> SettingsError:
    """Say at the list that a set is not there; what is wrong inside one stands in its own file."""
    if fault.place != name:
        return fault
    problem = Text("{factor_set}：" + fault.problem.zh, "{factor_set}: " + fault.problem.en)
    return document.fault(keys, problem, fault.remedy, **{**fault.values, "factor_set": name})


_SAME_ID = Text("因子集 {name} 已由另一文件给出", "the factor set {name} is already given by another file")
_OTHER_ID = Text("请改其中一个的 id", "Change the id of one of them")
