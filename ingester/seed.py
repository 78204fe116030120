"""What the configuration puts once into an empty record store: instruments and their certificates."""

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

SEEDED = AUTHOR = "seed"
BEGUN, DONE = {"state": "begun"}, {"state": "done"}
"""A start that was killed between the two puts the rest; what is there already is not written again."""


def seed(settings: IngesterSettings, document: Document, records: RecordStore, now_ms: int, today: date) -> None:
    """Put the seed's documents into a store that never had one.

    Raises:
        SettingsFaults: all that is wrong in the seed; nothing is put then.
    """
    state = records.documents(SEEDED)
    if state == [DONE] or (not state and records.version() > 0):
        return
    instruments, found = checked(settings, document, today)
    records.put(SEEDED, SEEDED, BEGUN, now_ms, AUTHOR)
    for instrument in instruments:
        records.put("instrument", instrument.id, instrument.model_dump(mode="json"), now_ms, AUTHOR)
    for certificate in found:
        records.put("certificate", certificate.number, certificate.model_dump(mode="json"), now_ms, AUTHOR)
    records.put(SEEDED, SEEDED, DONE, now_ms, AUTHOR)


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


def _placed(document: Document, keys: tuple[str | int, ...], error: MeteringError) -> list[SettingsError]:
    if isinstance(error, SettingsFaults):
        return error.faults
    causes = error.faults if isinstance(error, CertificateFaults) else [error]
    return [document.fault(keys, cause.sentence, **cause.values) for cause in causes]


_NO_INSTRUMENT = Text("证书 {number}：没有器具 {id}", "certificate {number}: there is no instrument {id}")
