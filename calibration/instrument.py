"""The instruments of a plant: the ledger's columns after GB 17167, and where each one hung from when to when.

Promises
    * A record answers for the past: out of service and installed are periods, so no change of today rewrites yesterday.
    * Periods are half open days. On the day of an exchange the new instrument measures.
    * A stored `Instrument` carries its own months; a later edition of the interval table moves no due date.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from enum import StrEnum
from itertools import combinations
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from metering.errors import CertificateError, CertificateFaults
from metering.fields import Day, FieldError, Id, Strict
from metering.profile import Bilingual
from metering.text import Text


class Level(StrEnum):
    """Where in the plant's energy balance an instrument stands (GB 17167)."""

    ENTERING = "entering"
    SUB_UNIT = "sub_unit"
    EQUIPMENT = "equipment"
    OTHER = "other"

    @property
    def text(self) -> Text:
        return _LEVELS[self]


_LEVELS = {
    Level.ENTERING: Text("进出用能单位", "entering the plant"),
    Level.SUB_UNIT: Text("主要次级用能单位", "main sub-unit"),
    Level.EQUIPMENT: Text("主要用能设备", "main equipment"),
    Level.OTHER: Text("其他", "other"),
}


class Status(StrEnum):
    """The ledger's status column: 合格, 准用, 停用."""

    QUALIFIED = "qualified"
    PERMITTED = "permitted"
    OUT_OF_SERVICE = "out_of_service"

    @property
    def text(self) -> Text:
        return _STATUSES[self]


_STATUSES = {
    Status.QUALIFIED: Text("合格", "qualified"),
    Status.PERMITTED: Text("准用", "permitted with limits"),
    Status.OUT_OF_SERVICE: Text("停用", "out of service"),
}


class Kind(StrEnum):
    """What keeps an instrument fit, and what a certificate is a record of."""

    VERIFICATION = "verification"
    """Legal: passed or failed, at most so many months."""
    CALIBRATION = "calibration"
    """A result with its uncertainty; the interval is the user's choice."""
    LIMITED_LIFE = "limited_life"
    """Verified once, used for a limited life, then replaced; never verified again."""

    @property
    def text(self) -> Text:
        return _KINDS[self]


_KINDS = {
    Kind.VERIFICATION: Text("检定", "verification"),
    Kind.CALIBRATION: Text("校准", "calibration"),
    Kind.LIMITED_LIFE: Text("首次检定，限期使用", "initial verification, limited service life"),
}


class Cycle(Strict):
    """What an instrument needs, and how often."""

    kind: Kind
    months: int = Field(ge=1, le=600)
    """Calendar months between two certificates, or the whole service life."""
    first_months: int | None = Field(default=None, ge=1, le=600)
    """Calendar months of the first period, where the rule has a special one (belt scale: 6)."""


class Period(Strict):
    """Days from `start` until before `end`; open where `end` is None. Written `{from: …, to: …}`."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    start: Day = Field(alias="from")
    end: Day | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise FieldError(Text("to 必须晚于 from", "to must be later than from"))
        return self

    def covers(self, day: date) -> bool:
        return self.start <= day and (self.end is None or day < self.end)

    def overlaps(self, other: "Period") -> bool:
        return self.covers(other.start) or other.covers(self.start)


class Installation(Period):
    """The days an instrument served a meter's figures."""

    meter: Id
    """The metering point: the meter id of `ingester.yaml`."""
    part: Id = "meter"
    """Its part in the measurement: the meter itself, or what the figure also rests on, such as `ct` or `pressure`."""


class LedgerRow(Strict):
    """The columns of the GB 17167 instrument ledger."""

    id: Id
    name: Bilingual
    model: str
    serial_number: str = Field(min_length=1)
    """出厂编号, as on the plate; a certificate must name the same."""
    level: Level
    own_number: str = ""
    """用能单位管理编号."""
    accuracy_class: str = ""
    """As on the certificate in force, such as `0.5S` or `1.5`."""
    range: str = ""
    maker: str = ""
    place: str = ""
    purpose: str = ""
    permitted_only: bool = False
    """准用: fit for a part of its range or purpose only."""
    out_of_service: list[Period] = []
    """停用: the days it must not be used."""
    installations: list[Installation] = []
    rule: Id | None = None
    """The row of the interval table it follows."""

    def status_on(self, day: date) -> Status:
        if any(period.covers(day) for period in self.out_of_service):
            return Status.OUT_OF_SERVICE
        return Status.PERMITTED if self.permitted_only else Status.QUALIFIED

    def replaced_on(self, day: date) -> bool:
        """Whether it was installed once, and every installation had ended by `day`."""
        ends = [installation.end for installation in self.installations]
        return bool(ends) and all(end is not None and end <= day for end in ends)


class Instrument(LedgerRow):
    """An instrument as it is stored: its cycle is its own."""

    cycle: Cycle


class InstrumentEntry(LedgerRow):
    """An instrument as a person enters it: a `rule` of the interval table, a `cycle` of its own, or both.

    With both, the own cycle decides and the rule says what it departs from.
    """

    cycle: Cycle | None = None

    @model_validator(mode="after")
    def _has_a_cycle(self) -> Self:
        if self.cycle is None and self.rule is None:
            raise FieldError(
                Text("要有 rule（周期表的一行）或 cycle", "needs a rule (a row of the interval table) or a cycle")
            )
        return self


def check_instruments(instruments: Iterable[Instrument]) -> None:
    """Refuse instruments that cannot all be true: one id twice, one plate twice, two in one place.

    Raises:
        CertificateFaults: with every reason.
    """
    faults = [fault for one, other in combinations(instruments, 2) for fault in _pair_faults(one, other)]
    if faults:
        raise CertificateFaults(faults)


def _pair_faults(one: Instrument, other: Instrument) -> Iterator[CertificateError]:
    if one.id == other.id:
        yield CertificateError(Text("器具 {id} 出现两次", "instrument {id} stands twice"), id=one.id)
        return
    plate = (one.maker, one.model, one.serial_number)
    if plate == (other.maker, other.model, other.serial_number):
        yield CertificateError(
            Text("器具 {one} 与 {other} 的厂家、型号和出厂编号 {serial} 相同",
                 "instruments {one} and {other} have the same maker, model and serial number {serial}"),
            one=one.id, other=other.id, serial=one.serial_number,
        )  # fmt: skip
    for here in one.installations:
        for there in other.installations:
            if (here.meter, here.part) == (there.meter, there.part) and here.overlaps(there):
                yield CertificateError(
                    Text("器具 {one} 与 {other} 自 {day} 起同时装在 {meter}（{part}）。请填写先前那台的拆除日期",
                         "instruments {one} and {other} are both installed at {meter} ({part}) from {day}. "
                         "Give the day the earlier one was removed"),
                    one=one.id, other=other.id, meter=here.meter, part=here.part, day=max(here.start, there.start),
                )  # fmt: skip
