"""When an instrument is due, and the state it was in on any day.

Promises
    * Every state is a function of the records and a day; nothing asks the clock. A certificate entered late counts from
      the day it was done.
    * Months are calendar months, clamped to the month's end. The last valid day is the day done plus the months less one
      day, or `valid_until` as printed; that day is still valid.
    * A failed certificate fails the instrument from the day it was done until a passed one.
    * Only what meets the need counts: a calibration does not stand in for a verification, nothing extends a limited life.
"""

from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from calibration.certificate import Certificate
from calibration.instrument import Instrument, Kind, Status
from metering.text import Lang, Text

WARNING_DAYS = (90, 30, 7)
"""Days before the last valid day at which people are warned; from the first of them the state is due soon."""


class State(StrEnum):
    VALID = "valid"
    DUE_SOON = "due_soon"
    OVERDUE = "overdue"
    FAILED = "failed"
    OUT_OF_SERVICE = "out_of_service"
    LIFE_EXPIRED = "life_expired"
    REPLACED = "replaced"
    NO_CERTIFICATE = "no_certificate"

    @property
    def text(self) -> Text:
        return _STATES[self][0]


_STATES = {
    State.VALID: (Text("有效", "valid"), Text("有效期至 {due}", "valid until {due}")),
    State.DUE_SOON: (
        Text("即将到期", "due soon"),
        Text("即将到期：有效期至 {due}，还剩 {left} 天", "due soon: valid until {due}, {left} days left"),
    ),
    State.OVERDUE: (
        Text("超期", "overdue"),
        Text("超期 {late} 天：有效期至 {due}", "overdue by {late} days: was valid until {due}"),
    ),
    State.FAILED: (
        Text("不合格", "failed"),
        Text("自 {done} 起不合格（证书 {number}）", "failed since {done} (certificate {number})"),
    ),
    State.OUT_OF_SERVICE: (Text("停用", "out of service"), Text("停用", "out of service")),
    State.LIFE_EXPIRED: (
        Text("使用期限已到", "service life expired"),
        Text("使用期限已过 {late} 天（至 {due}）：应更换", "service life expired {late} days ago ({due}): replace it"),
    ),
    State.REPLACED: (Text("已更换", "replaced"), Text("已更换", "replaced")),
    State.NO_CERTIFICATE: (Text("无证书", "no certificate"), Text("没有有效的证书", "no certificate that counts")),
}


@dataclass(frozen=True, slots=True)
class DueState:
    """The state of an instrument on one day."""

    state: State
    certificate: Certificate | None = None
    """The one in force that day."""
    due: date | None = None
    """The last valid day; None where no certificate gives one."""
    days_left: int | None = None
    """Until the last valid day: 0 on that day, negative after it."""

    @property
    def warning(self) -> int | None:
        """The nearest warning reached: 90, 30 or 7 days; None before the first and after the last valid day."""
        if self.state is not State.DUE_SOON or self.days_left is None:
            return None
        return min(days for days in WARNING_DAYS if self.days_left <= days)

    def say(self, lang: Lang) -> str:
        """Return the state with its dates, for a person."""
        left = self.days_left or 0
        values: dict[str, object] = {"due": self.due, "left": left, "late": -left}
        if self.certificate is not None:
            values |= {"done": self.certificate.calibrated, "number": self.certificate.number}
        return _STATES[self.state][1].say(lang, **values)


def due(instrument: Instrument, certificates: Iterable[Certificate], on: date) -> DueState:
    """Return the state of `instrument` on the day `on`. Others' certificates are passed over."""
    history = certificates_of(instrument, certificates)
    certificate = certificate_on(instrument, history, on)
    if instrument.replaced_on(on):
        return DueState(State.REPLACED, certificate)
    if instrument.status_on(on) is Status.OUT_OF_SERVICE:
        return DueState(State.OUT_OF_SERVICE, certificate)
    if certificate is None:
        return DueState(State.NO_CERTIFICATE)
    last = last_valid_day(instrument, history, certificate)
    if last is None:
        return DueState(State.FAILED, certificate)
    left = (last - on).days
    return DueState(_dated_state(instrument, left), certificate, last, left)


def _dated_state(instrument: Instrument, days_left: int) -> State:
    if days_left > WARNING_DAYS[0]:
        return State.VALID
    if days_left >= 0:
        return State.DUE_SOON
    return State.LIFE_EXPIRED if instrument.cycle.kind is Kind.LIMITED_LIFE else State.OVERDUE


_MEETS = {
    Kind.VERIFICATION: {Kind.VERIFICATION, Kind.LIMITED_LIFE},
    Kind.CALIBRATION: {Kind.CALIBRATION, Kind.VERIFICATION, Kind.LIMITED_LIFE},
    Kind.LIMITED_LIFE: {Kind.LIMITED_LIFE},
}


def certificates_of(instrument: Instrument, certificates: Iterable[Certificate]) -> list[Certificate]:
    """Return the certificates that count for `instrument`, in the order done: of a kind that meets its need, or failed."""
    counting = [
        certificate
        for certificate in certificates
        if certificate.instrument == instrument.id
        and (certificate.failed or certificate.kind in _MEETS[instrument.cycle.kind])
    ]
    return sorted(
        counting, key=lambda certificate: (certificate.calibrated, certificate.issued or certificate.calibrated)
    )


def certificate_on(instrument: Instrument, certificates: Iterable[Certificate], day: date) -> Certificate | None:
    """Return the certificate that decides on `day`: the last one done by then, of a limited life the first passed."""
    done = [certificate for certificate in certificates_of(instrument, certificates) if certificate.calibrated <= day]
    if not done:
        return None
    if instrument.cycle.kind is Kind.LIMITED_LIFE and not done[-1].failed:
        return next(certificate for certificate in done if not certificate.failed)
    return done[-1]


def last_valid_day(
    instrument: Instrument, certificates: Iterable[Certificate], certificate: Certificate
) -> date | None:
    """Return the last day `certificate` is good for; None for a failed one.

    The first period holds for the first passed certificate on record.
    """
    if certificate.failed or certificate.valid_until is not None:
        return None if certificate.failed else certificate.valid_until
    cycle = instrument.cycle
    passed = (one for one in certificates_of(instrument, certificates) if not one.failed)
    is_first = next(passed, None) == certificate
    months = cycle.first_months if is_first and cycle.first_months is not None else cycle.months
    return add_months(certificate.calibrated, months) - timedelta(days=1)


def add_months(day: date, months: int) -> date:
    """Return `day` so many calendar months later, clamped to the end of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
