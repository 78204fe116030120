from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from calibration.certificate import Certificate, Result, check
from calibration.instrument import Instrument, InstrumentEntry, Kind, Level, Status, check_instruments
from calibration.intervals import UsualIntervals
from metering.errors import CertificateError, CertificateFaults
from settings.places import config_dir

MakeInstrument = Callable[..., Instrument]
MakeCertificate = Callable[..., Certificate]

TODAY = date(2024, 6, 1)
TABLE = config_dir() / "calibration-intervals.yaml"


@pytest.fixture(scope="module")
def table() -> UsualIntervals:
    return UsualIntervals.model_validate(YAML(typ="safe").load(TABLE))


def reasons(certificate: Certificate, instrument: Instrument) -> list[str]:
    with pytest.raises(CertificateFaults) as caught:
        check(certificate, instrument, TODAY)
    return [str(fault) for fault in caught.value.faults]


def test_a_full_certificate_is_accepted_and_survives_json(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    point = {"at": "100 m3/h", "reference": "50.00 m3", "indicated": "50.15 m3", "error": "0.3 %", "mpe": "1.5 %",
             "uncertainty": "0.2 %", "verdict": "passed"}  # fmt: skip
    full = certificate(
        "2024-05-15", received="2024-05-10", issued="2024-05-20", valid_until="2025-05-14", accreditation="CNAS L1234",
        uncertainty={"value": 0.2, "unit": "%", "k": 2}, as_found=[point], as_left=[point], document_sha256="0f" * 32,
    )  # fmt: skip
    check(full, instrument(), TODAY)
    assert Certificate.model_validate_json(full.model_dump_json()) == full


def test_all_may_happen_on_one_day_even_today(instrument: MakeInstrument, certificate: MakeCertificate) -> None:
    check(certificate(TODAY, received=TODAY, issued=TODAY, valid_until=TODAY), instrument(), TODAY)


def test_a_calibration_without_uncertainty_is_refused(instrument: MakeInstrument, certificate: MakeCertificate) -> None:
    bare = certificate("2024-05-15", kind="calibration", result=None)
    assert reasons(bare, instrument()) == [
        "certificate V-2024-05-15: a calibration without its measurement uncertainty. Ask the laboratory for it"
    ]
    per_point = bare.model_copy(update={"as_left": certificate(
        "2024-05-15", as_left=[{"at": "1 m3/h", "error": "0.1 %", "uncertainty": "0.2 %"}]).as_left})  # fmt: skip
    check(per_point, instrument(), TODAY)


@pytest.mark.parametrize("kind", ["verification", "limited_life"])
def test_a_verification_without_its_result_is_refused(
    instrument: MakeInstrument, certificate: MakeCertificate, kind: str
) -> None:
    assert "without its result" in reasons(certificate("2024-05-15", kind=kind, result=None), instrument())[0]


def test_a_wrong_serial_number_is_refused_but_not_its_typing(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    assert reasons(certificate("2024-05-15", serial_number="T-0043"), instrument()) == [
        "certificate V-2024-05-15: serial number T-0043 is not T-0042 of instrument gas-1"
    ]
    check(certificate("2024-05-15", serial_number=" ｔ-00 42"), instrument(), TODAY)


def test_every_reason_is_given_at_once_in_both_languages(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    wrong = certificate(
        "2024-07-01", number="X{1}", instrument="gas-2", serial_number="1", result=None,
        received="2024-07-03", issued="2024-06-01", valid_until="2024-01-01",
    )  # fmt: skip
    with pytest.raises(CertificateFaults) as caught:
        check(wrong, instrument(), TODAY)
    assert str(caught.value).split("\n") == [
        "certificate X{1}: belongs to instrument gas-2, not gas-1",
        "certificate X{1}: serial number 1 is not T-0042 of instrument gas-1",
        "certificate X{1}: day calibrated 2024-07-01 is before day received 2024-07-03",
        "certificate X{1}: day issued 2024-06-01 is before day calibrated 2024-07-01",
        "certificate X{1}: day received 2024-07-03 is in the future (today is 2024-06-01)",
        "certificate X{1}: day calibrated 2024-07-01 is in the future (today is 2024-06-01)",
        "certificate X{1}: valid until 2024-01-01 is before day calibrated 2024-07-01",
        "certificate X{1}: a verification without its result. Give result: passed or failed",
    ]
    chinese = caught.value.say("zh").split("\n")
    assert len(chinese) == 8
    assert chinese[1] == "证书 X{1}：出厂编号 1 与器具 gas-1 的 T-0042 不符"


@pytest.mark.parametrize(
    "wrong",
    [
        {"calibrated": "2024-02-30"},
        {"calibrated": 1704067200},
        {"calibrated": datetime(2024, 1, 1, 8, tzinfo=UTC)},
        {"kind": "inspection"},
        {"number": ""},
        {"document_sha256": "abc"},
        {"uncertainty": {"value": 0, "unit": "%", "k": 2}},
        {"uncertainty": {"value": 1, "unit": "parsec", "k": 2}},
        {"uncertainty": {"value": 1, "unit": "%"}},
        {"colour": "red"},
    ],
)
def test_a_certificate_of_the_wrong_shape_is_refused(certificate: MakeCertificate, wrong: dict[str, Any]) -> None:
    right = certificate("2024-05-15").model_dump(mode="json")
    with pytest.raises(ValidationError):
        Certificate.model_validate(right | wrong)


def test_an_instrument_survives_json_with_its_periods_as_written(instrument: MakeInstrument) -> None:
    meter = instrument(out_of_service=[{"from": "2024-03-01", "to": "2024-03-10"}])
    text = meter.model_dump_json()
    assert '{"from":"2024-03-01","to":"2024-03-10"}' in text
    assert Instrument.model_validate_json(text) == meter


def test_a_period_that_ends_before_it_starts_is_refused(instrument: MakeInstrument) -> None:
    with pytest.raises(ValidationError, match="to must be later than from"):
        instrument(installations=[{"meter": "gas-main", "from": "2024-03-01", "to": "2024-03-01"}])


def test_the_status_column_follows_the_day(instrument: MakeInstrument) -> None:
    meter = instrument(permitted_only=True, out_of_service=[{"from": "2024-03-01"}])
    assert [meter.status_on(date(2024, month, 1)) for month in (2, 3)] == [Status.PERMITTED, Status.OUT_OF_SERVICE]
    assert instrument().status_on(TODAY) is Status.QUALIFIED


def test_two_instruments_in_one_place_are_refused(instrument: MakeInstrument) -> None:
    old = instrument()
    new = instrument(id="gas-2", serial_number="2", installations=[{"meter": "gas-main", "from": "2024-03-01"}])
    with pytest.raises(CertificateFaults, match=r"gas-1 and gas-2 .* gas-main \(meter\) from 2024-03-01") as caught:
        check_instruments([old, new])
    assert "拆除日期" in caught.value.say("zh")
    taken_down = instrument(installations=[{"meter": "gas-main", "from": "2020-01-01", "to": "2024-03-01"}])
    thermometer = instrument(
        id="t-1", serial_number="3", installations=[{"meter": "gas-main", "from": "2020-01-01", "part": "temperature"}]
    )
    check_instruments([taken_down, new, thermometer])


def test_one_id_or_one_plate_twice_is_refused(instrument: MakeInstrument) -> None:
    with pytest.raises(CertificateFaults, match="gas-1 stands twice"):
        check_instruments([instrument(), instrument(serial_number="2")])
    with pytest.raises(CertificateFaults, match="same maker, model and serial number T-0042"):
        check_instruments([instrument(), instrument(id="gas-2", installations=[])])


def test_every_row_of_the_interval_table_is_named_in_both_languages_with_rule_and_trust(table: UsualIntervals) -> None:
    assert len(table.intervals) == 29
    for row in table.intervals.values():
        assert row.name.zh != row.name.en
        assert row.rule is None or row.rule.startswith("JJG ")
    assert table.intervals["belt-scale"].cycle.first_months == 6
    life = {key for key, row in table.intervals.items() if row.cycle.kind is Kind.LIMITED_LIFE}
    assert life == {"diaphragm-natural-gas", "diaphragm-other-gas", "ultrasonic-domestic"}


def entry(instrument: Instrument, **given: Any) -> InstrumentEntry:
    return InstrumentEntry.model_validate(instrument.model_dump(exclude={"cycle"}) | given)


def test_an_instrument_takes_the_months_of_its_rule_unless_it_has_its_own(
    instrument: MakeInstrument, table: UsualIntervals
) -> None:
    by_rule = table.adopt(entry(instrument(), rule="turbine"))
    assert (by_rule.cycle.months, by_rule.rule) == (24, "turbine")
    assert by_rule.installations == instrument().installations
    own = table.adopt(entry(instrument(), rule="turbine", cycle={"kind": "calibration", "months": 6}))
    assert (own.cycle.months, own.rule) == (6, "turbine")
    assert table.adopt(entry(instrument(), cycle={"kind": "calibration", "months": 6})).rule is None


def test_an_unknown_rule_is_refused_with_the_nearest(instrument: MakeInstrument, table: UsualIntervals) -> None:
    with pytest.raises(CertificateError, match=r"instrument gas-1: no rule turbin in the interval table \(turbine\?\)"):
        table.adopt(entry(instrument(), rule="turbin"))
    with pytest.raises(CertificateError, match=r"no rule qqq in the interval table$"):
        table.adopt(entry(instrument(), rule="qqq"))


def test_an_instrument_without_rule_and_cycle_is_refused(instrument: MakeInstrument) -> None:
    with pytest.raises(ValidationError, match="needs a rule"):
        entry(instrument())


def test_every_word_of_the_ledger_exists_in_both_languages() -> None:
    for word in [*Level, *Status, *Kind, *Result]:
        assert word.text.zh != word.text.en
