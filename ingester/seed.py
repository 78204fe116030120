"""What the configuration puts into the record store: instruments and certificates that are not in it yet.

Promises
    * A record that is in the store is never changed by the file, whoever wrote it.
    * A record added to the file is put at the next start; all of the seed is checked before any is put.
"""

import difflib
import logging
from datetime import date

from calibration import certificate as certificates
from calibration.certificate import Certificate
from calibration.effect import Register
from calibration.instrument import Instrument, InstrumentEntry, check_instruments
from calibration.intervals import UsualIntervals
from ingester.store.contract import RecordStore
from metering.errors import CertificateError, CertificateFaults, MeteringError, SettingsError, SettingsFaults
from metering.text import Text
from settings.document import Document, read
from settings.ingester import IngesterSettings
from settings.places import config_dir

log = logging.getLogger(__name__)

AUTHOR = "seed"


def seed(settings: IngesterSettings, document: Document, records: RecordStore, now_ms: int, today: date) -> None:
    """Put what of the seed is not in the store.

    Raises:
        SettingsFaults: all that is wrong in the seed; nothing is put then.
    """
    if not settings.seed.instruments and not settings.seed.certificates:
        return
    instruments, found = checked(settings, document, today)
    stored = {row["id"] for row in records.documents("instrument")}
    numbers = {row["number"] for row in records.documents("certificate")}
    new = [("instrument", row.id, row.model_dump(mode="json")) for row in instruments if row.id not in stored]
    new += [("certificate", row.number, row.model_dump(mode="json")) for row in found if row.number not in numbers]
    for kind, key, record in new:
        records.put(kind, key, record, now_ms, AUTHOR)
    if new:
        log.info("put into the records out of the seed: %s", ", ".join(f"{kind} {key}" for kind, key, _ in new))


def checked(settings: IngesterSettings, document: Document, today: date) -> tuple[list[Instrument], list[Certificate]]:
    """Return the seed's records.

    Raises:
        SettingsFaults: all that is wrong in it, each with its place.
    """
    faults: list[SettingsError] = []
    intervals = read(config_dir() / "calibration-intervals.yaml").check(UsualIntervals)
    instruments: dict[str, Instrument] = {}
    for i in range(len(settings.seed.instruments)):
        keys = ("seed", "instruments", i)
        try:
            entry = document.check(InstrumentEntry, keys)
            faults += _unknown_meters(settings, document, keys, entry)
            instruments[entry.id] = intervals.adopt(entry)
        except (SettingsFaults, CertificateError) as error:
            faults += _placed(document, keys, error)
    found: list[Certificate] = []
    for i in range(len(settings.seed.certificates)):
        keys = ("seed", "certificates", i)
        try:
            certificate = document.check(Certificate, keys)
            _check(certificate, instruments, today)
            found.append(certificate)
        except (SettingsFaults, CertificateError) as error:
            faults += _placed(document, keys, error)
    try:
        check_instruments(instruments.values())
    except CertificateFaults as error:
        faults += _placed(document, ("seed", "instruments"), error)
    if faults:
        raise document.faults(faults)
    return list(instruments.values()), found


def register_of(records: RecordStore) -> Register:
    """Return the instruments and certificates in force."""
    instruments = [Instrument.model_validate(document) for document in records.documents("instrument")]
    found = [Certificate.model_validate(document) for document in records.documents("certificate")]
    return Register(instruments, found)


def _check(certificate: Certificate, instruments: dict[str, Instrument], today: date) -> None:
    if certificate.instrument not in instruments:
        raise CertificateError(_NO_INSTRUMENT, number=certificate.number, id=certificate.instrument)
    certificates.check(certificate, instruments[certificate.instrument], today)


def _unknown_meters(
    settings: IngesterSettings, document: Document, keys: tuple[str | int, ...], entry: InstrumentEntry
) -> list[SettingsError]:
    """Return the installations at meters that are not configured: no certificate would ever reach a figure."""
    faults = []
    for i, installation in enumerate(entry.installations):
        if installation.meter not in settings.meters:
            near = difflib.get_close_matches(installation.meter, settings.meters, n=1, cutoff=0.0)
            place = (*keys, "installations", i, "meter")
            faults.append(
                document.fault(place, _NO_METER, _NEAREST, given=installation.meter, near=near[0] if near else "")
            )
    return faults


def _placed(document: Document, keys: tuple[str | int, ...], error: MeteringError) -> list[SettingsError]:
    if isinstance(error, SettingsFaults):
        return error.faults
    causes = error.faults if isinstance(error, CertificateFaults) else [error]
    return [document.fault(keys, cause.sentence, **cause.values) for cause in causes]


_NO_METER = Text("没有配置仪表 {given}", "meter {given} is not configured")
_NEAREST = Text("最接近的是 {near}", "The nearest is {near}")
_NO_INSTRUMENT = Text("证书 {number}：没有器具 {id}", "certificate {number}: there is no instrument {id}")
