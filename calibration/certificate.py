"""The certificate of one verification or calibration, and what refuses it.

Fields after ISO/IEC 17025:2017, 7.8.2 and 7.8.4. `check` catches the common defects: a calibration without its
uncertainty, another instrument's serial number, days that cannot be.
"""

import unicodedata
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from itertools import pairwise

from pydantic import Field

from calibration.instrument import Instrument, Kind
from metering.errors import CertificateError, CertificateFaults
from metering.fields import Amount, Day, Id, Number, Strict, UnitName
from metering.text import Text


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"

    @property
    def text(self) -> Text:
        return _RESULTS[self]


_RESULTS = {Result.PASSED: Text("合格", "passed"), Result.FAILED: Text("不合格", "failed")}


class Uncertainty(Strict):
    """Expanded uncertainty U as printed."""

    value: Number = Field(gt=0)
    unit: UnitName
    """Of the measurand, or `%`."""
    k: Number = Field(gt=0)
    """Coverage factor as printed; 2 is about 95 %."""


class Point(Strict):
    """One line of the table of results."""

    at: Amount
    """Set point."""
    reference: Amount | None = None
    indicated: Amount | None = None
    error: Amount
    """Indicated less reference, or relative in %."""
    mpe: Amount | None = None
    """Maximum permissible error, either side."""
    uncertainty: Amount | None = None
    """U at this point, where it differs from the certificate's."""
    verdict: Result | None = None


class Certificate(Strict):
    """One certificate as it was printed."""

    number: str = Field(min_length=1)
    instrument: Id
    serial_number: str = Field(min_length=1)
    """As printed on the certificate."""
    kind: Kind
    laboratory: str = Field(min_length=1)
    accreditation: str = ""
    """Such as `CNAS L1234` or the legal authorisation."""
    received: Day | None = None
    calibrated: Day
    """The day it was done; all due dates count from it."""
    issued: Day | None = None
    valid_until: Day | None = None
    """As printed; that day is still valid. Overrides the computed day."""
    result: Result | None = None
    """A calibration without a statement of conformity has none."""
    uncertainty: Uncertainty | None = None
    as_found: list[Point] = []
    as_left: list[Point] = []
    document_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Of the document's bytes."""

    @property
    def failed(self) -> bool:
        return self.result is Result.FAILED


def check(certificate: Certificate, instrument: Instrument, today: date) -> None:
    """Refuse a certificate that cannot be right for `instrument`. `today` is the plant's day.

    Raises:
        CertificateFaults: with every reason.
    """
    faults = [
        CertificateError(
            Text(f"证书 {{number}}：{reason.zh}", f"certificate {{number}}: {reason.en}"),
            number=certificate.number,
            **values,
        )
        for reason, values in _faults(certificate, instrument, today)
    ]
    if faults:
        raise CertificateFaults(faults)


Fault = tuple[Text, dict[str, object]]


def _faults(certificate: Certificate, instrument: Instrument, today: date) -> Iterator[Fault]:
    yield from _wrong_instrument(certificate, instrument)
    yield from _impossible_days(certificate, today)
    if certificate.kind is Kind.CALIBRATION and not _states_uncertainty(certificate):
        yield Text("校准证书没有测量不确定度。请向实验室索取",
                   "a calibration without its measurement uncertainty. Ask the laboratory for it"), {}  # fmt: skip
    if certificate.kind is not Kind.CALIBRATION and certificate.result is None:
        yield Text("检定没有结论。请填写 result: passed 或 failed",
                   "a verification without its result. Give result: passed or failed"), {}  # fmt: skip


def _wrong_instrument(certificate: Certificate, instrument: Instrument) -> Iterator[Fault]:
    if certificate.instrument != instrument.id:
        yield Text("属于器具 {named}，不是 {id}", "belongs to instrument {named}, not {id}"), {
            "named": certificate.instrument, "id": instrument.id}  # fmt: skip
    if _as_on_plate(certificate.serial_number) != _as_on_plate(instrument.serial_number):
        yield Text("出厂编号 {printed} 与器具 {id} 的 {plate} 不符",
                   "serial number {printed} is not {plate} of instrument {id}"), {
            "printed": certificate.serial_number, "id": instrument.id, "plate": instrument.serial_number}  # fmt: skip


def _as_on_plate(serial: str) -> str:
    """Drop what a typist changes: spaces, case, full-width letters."""
    return "".join(unicodedata.normalize("NFKC", serial).split()).upper()


_DAYS = {
    "received": Text("接收日期", "day received"),
    "calibrated": Text("检定/校准日期", "day calibrated"),
    "issued": Text("签发日期", "day issued"),
}


def _impossible_days(certificate: Certificate, today: date) -> Iterator[Fault]:
    days = [(_DAYS[name], day) for name in _DAYS if (day := getattr(certificate, name)) is not None]
    for (before, earlier), (after, later) in pairwise(days):
        if later < earlier:
            yield Text(f"{after.zh} {{later}} 早于{before.zh} {{earlier}}",
                       f"{after.en} {{later}} is before {before.en} {{earlier}}"), {
                "later": later, "earlier": earlier}  # fmt: skip
    for name, day in days:
        if day > today:
            yield Text(f"{name.zh} {{day}} 在将来（今天 {{today}}）",
                       f"{name.en} {{day}} is in the future (today is {{today}})"), {
                "day": day, "today": today}  # fmt: skip
    if certificate.valid_until is not None and certificate.valid_until < certificate.calibrated:
        yield Text("有效期至 {until} 早于检定/校准日期 {done}", "valid until {until} is before day calibrated {done}"), {
            "until": certificate.valid_until, "done": certificate.calibrated}  # fmt: skip


def _states_uncertainty(certificate: Certificate) -> bool:
    points = certificate.as_left or certificate.as_found
    of_all_points = bool(points) and all(point.uncertainty is not None for point in points)
    return certificate.uncertainty is not None or of_all_points
