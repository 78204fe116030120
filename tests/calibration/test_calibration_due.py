from collections.abc import Callable
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.certificate import Certificate
from calibration.due import State, add_months, certificate_on, due, last_valid_day
from calibration.instrument import Instrument

MakeInstrument = Callable[..., Instrument]
MakeCertificate = Callable[..., Certificate]

DAYS = st.dates(date(2015, 1, 1), date(2035, 12, 31))


@pytest.mark.parametrize(
    ("done", "months", "last"),
    [
        ("2024-02-29", 12, "2025-02-27"),  # clamped to 2025-02-28, less a day: never later than a printed day
        ("2024-02-29", 48, "2028-02-28"),
        ("2024-01-31", 1, "2024-02-28"),
        ("2024-08-31", 6, "2025-02-27"),
        ("2024-12-01", 12, "2025-11-30"),
        ("2024-03-01", 12, "2025-02-28"),
        ("2024-05-15", 72, "2030-05-14"),
    ],
)
def test_the_last_valid_day_is_the_day_done_plus_calendar_months_less_a_day(
    instrument: MakeInstrument, certificate: MakeCertificate, done: str, months: int, last: str
) -> None:
    meter = instrument(cycle={"kind": "verification", "months": months})
    paper = certificate(done)
    assert last_valid_day(meter, [paper], paper) == date.fromisoformat(last)


def test_the_last_valid_day_is_still_valid_and_the_next_is_overdue(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    papers = [certificate("2024-05-15")]
    on_the_day = due(instrument(), papers, date(2025, 5, 14))
    assert (on_the_day.state, on_the_day.days_left, on_the_day.due) == (State.DUE_SOON, 0, date(2025, 5, 14))
    after = due(instrument(), papers, date(2025, 5, 15))
    assert (after.state, after.days_left) == (State.OVERDUE, -1)


def test_a_printed_day_overrides_the_computed_one_and_is_itself_valid(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    papers = [certificate("2024-05-15", valid_until="2025-06-30")]
    assert due(instrument(), papers, date(2025, 6, 30)).state is State.DUE_SOON
    assert due(instrument(), papers, date(2025, 7, 1)).state is State.OVERDUE


@pytest.mark.parametrize(
    ("left", "warning"), [(91, None), (90, 90), (31, 90), (30, 30), (8, 30), (7, 7), (0, 7), (-1, None)]
)
def test_warnings_come_90_30_and_7_days_before(
    instrument: MakeInstrument, certificate: MakeCertificate, left: int, warning: int | None
) -> None:
    state = due(instrument(), [certificate("2024-05-15")], date(2025, 5, 14) - timedelta(days=left))
    assert (state.days_left, state.warning) == (left, warning)


def test_a_belt_scale_has_a_first_period_of_six_months(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    scale = instrument(cycle={"kind": "verification", "months": 12, "first_months": 6})
    failed, first, second = (
        certificate("2024-01-05", result="failed"),
        certificate("2024-01-10"),
        certificate("2024-07-01"),
    )
    papers = [failed, first, second]
    assert last_valid_day(scale, papers, first) == date(2024, 7, 9)
    assert last_valid_day(scale, papers, second) == date(2025, 6, 30)


def test_a_failed_certificate_fails_the_instrument_from_its_day_until_a_passed_one(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    papers = [
        certificate("2024-01-10"),
        certificate("2024-09-01", result="failed", valid_until="2025-08-31"),
        certificate("2024-09-20"),
    ]
    assert due(instrument(), papers, date(2024, 8, 31)).state is State.VALID
    failed = due(instrument(), papers, date(2024, 9, 1))
    assert (failed.state, failed.due, failed.certificate) == (State.FAILED, None, papers[1])
    assert due(instrument(), papers, date(2024, 9, 19)).state is State.FAILED
    assert due(instrument(), papers, date(2024, 9, 20)).state is State.VALID


def test_of_two_certificates_of_one_day_the_later_issued_decides(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    adjusted = certificate("2024-09-01", number="B", issued="2024-09-05")
    as_found = certificate("2024-09-01", number="A", issued="2024-09-03", result="failed")
    assert certificate_on(instrument(), [adjusted, as_found], date(2024, 9, 1)) == adjusted


def test_a_limited_life_ends_and_nothing_extends_it(instrument: MakeInstrument, certificate: MakeCertificate) -> None:
    meter = instrument(cycle={"kind": "limited_life", "months": 120})
    papers = [
        certificate("2015-03-01", kind="limited_life"),
        certificate("2024-03-01", kind="limited_life"),
        certificate("2024-06-01", kind="calibration"),
    ]
    assert due(meter, papers, date(2025, 2, 28)).state is State.DUE_SOON
    expired = due(meter, papers, date(2025, 3, 1))
    assert (expired.state, expired.due) == (State.LIFE_EXPIRED, date(2025, 2, 28))
    failed = [*papers, certificate("2024-07-01", result="failed")]
    assert due(meter, failed, date(2024, 7, 1)).state is State.FAILED


def test_a_calibration_does_not_stand_in_for_a_verification_unless_it_fails(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    calibrated = certificate("2024-01-10", kind="calibration", result=None)
    assert due(instrument(), [calibrated], date(2024, 2, 1)).state is State.NO_CERTIFICATE
    assert last_valid_day(instrument(), [], calibrated) == date(2025, 1, 9)
    own_choice = instrument(cycle={"kind": "calibration", "months": 12})
    assert due(own_choice, [calibrated], date(2024, 2, 1)).state is State.VALID
    assert due(own_choice, [certificate("2024-01-10")], date(2024, 2, 1)).state is State.VALID
    found_bad = certificate("2024-01-20", kind="calibration", result="failed")
    assert due(instrument(), [certificate("2024-01-10"), found_bad], date(2024, 2, 1)).state is State.FAILED


def test_before_the_first_certificate_there_is_none(instrument: MakeInstrument, certificate: MakeCertificate) -> None:
    papers = [certificate("2024-01-10"), certificate("2023-01-10", instrument="other")]
    assert due(instrument(), papers, date(2024, 1, 9)).state is State.NO_CERTIFICATE


def test_a_certificate_entered_late_counts_from_the_day_it_was_done(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    known = [certificate("2023-01-10"), certificate("2025-01-10")]
    assert due(instrument(), known, date(2024, 6, 1)).state is State.OVERDUE
    assert due(instrument(), [*known, certificate("2024-01-05")], date(2024, 6, 1)).state is State.VALID


def test_out_of_service_holds_for_its_days_only(instrument: MakeInstrument, certificate: MakeCertificate) -> None:
    meter = instrument(out_of_service=[{"from": "2024-03-01", "to": "2024-03-10"}])
    states = [due(meter, [certificate("2024-01-10")], date(2024, 3, day)).state for day in (1, 9, 10)]
    assert states == [State.OUT_OF_SERVICE, State.OUT_OF_SERVICE, State.VALID]


def test_an_instrument_taken_down_for_good_is_replaced(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    meter = instrument(installations=[{"meter": "gas-main", "from": "2020-01-01", "to": "2024-03-01"}])
    papers = [certificate("2024-01-10")]
    assert due(meter, papers, date(2024, 2, 29)).state is State.VALID
    assert due(meter, papers, date(2024, 3, 1)).state is State.REPLACED
    assert due(instrument(installations=[]), papers, date(2024, 3, 1)).state is State.VALID


def test_each_state_is_told_in_both_languages_with_its_dates(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    papers = [certificate("2024-05-15")]
    overdue = due(instrument(), papers, date(2025, 5, 24))
    assert overdue.say("en") == "overdue by 10 days: was valid until 2025-05-14"
    assert overdue.say("zh") == "超期 10 天：有效期至 2025-05-14"
    failed = due(instrument(), [certificate("2024-05-15", result="failed")], date(2025, 5, 24))
    assert failed.say("en") == "failed since 2024-05-15 (certificate V-2024-05-15)"
    assert due(instrument(), [], date(2025, 5, 24)).say("en") == "no certificate that counts"
    for state in State:
        assert state.text.zh != state.text.en


@given(done=DAYS, months=st.integers(1, 600))
def test_months_are_added_to_the_same_day_or_the_end_of_the_month(done: date, months: int) -> None:
    later = add_months(done, months)
    assert later > done
    assert (later.year - done.year) * 12 + later.month - done.month == months
    assert later.day == done.day or (later.day < done.day and (later + timedelta(days=1)).day == 1)


@given(done=DAYS, months=st.integers(1, 120), printed=st.none() | st.integers(0, 2000))
def test_nothing_is_due_before_it_was_done(
    instrument: MakeInstrument, certificate: MakeCertificate, done: date, months: int, printed: int | None
) -> None:
    meter = instrument(cycle={"kind": "verification", "months": months})
    paper = certificate(done, valid_until=None if printed is None else done + timedelta(days=printed))
    last = last_valid_day(meter, [paper], paper)
    assert last is not None
    assert last >= done


@given(done=DAYS, months=st.integers(1, 60), ahead=st.integers(-10, 2500))
def test_the_states_of_one_certificate_follow_each_other(
    instrument: MakeInstrument, certificate: MakeCertificate, done: date, months: int, ahead: int
) -> None:
    order = [State.NO_CERTIFICATE, State.VALID, State.DUE_SOON, State.OVERDUE]
    meter, papers = instrument(cycle={"kind": "verification", "months": months}), [certificate(done)]
    today, tomorrow = (due(meter, papers, done + timedelta(days=ahead + step)) for step in (0, 1))
    assert order.index(today.state) <= order.index(tomorrow.state)
    assert (today.state is State.NO_CERTIFICATE) == (ahead < 0)
    assert (today.state is State.OVERDUE) == (today.days_left is not None and today.days_left < 0)
    assert (today.warning is not None) == (today.state is State.DUE_SOON)
