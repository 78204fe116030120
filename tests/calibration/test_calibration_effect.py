from collections.abc import Callable
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.certificate import Certificate
from calibration.due import State, due
from calibration.effect import FLAG_TEXTS, FLAGS, NOTHING, Register, Standing
from calibration.instrument import Instrument

MakeInstrument = Callable[..., Instrument]
MakeCertificate = Callable[..., Certificate]

FIRST = date(2024, 1, 1)
DAYS = st.integers(0, 900).map(lambda days: FIRST + timedelta(days=days))


def test_a_figure_names_instrument_and_certificate_of_its_day(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    register = Register([instrument()], [certificate("2024-05-15"), certificate("2025-06-01")])
    assert register.on("gas-main", date(2024, 5, 14)) == Standing("gas-1", None, State.NO_CERTIFICATE)
    assert register.on("gas-main", date(2024, 5, 15)) == Standing("gas-1", "V-2024-05-15", State.VALID)
    assert register.on("gas-main", date(2025, 5, 14)) == Standing("gas-1", "V-2024-05-15", State.DUE_SOON)
    assert register.on("gas-main", date(2025, 5, 15)) == Standing("gas-1", "V-2024-05-15", State.OVERDUE)
    assert register.on("gas-main", date(2025, 6, 1)) == Standing("gas-1", "V-2025-06-01", State.VALID)


def test_flags_name_the_defects_and_due_soon_is_none() -> None:
    assert {state: Standing("i", "c", state).flag for state in State} == {
        State.VALID: None,
        State.DUE_SOON: None,
        State.REPLACED: None,
        State.OVERDUE: "overdue_instrument",
        State.LIFE_EXPIRED: "overdue_instrument",
        State.FAILED: "failed_instrument",
        State.OUT_OF_SERVICE: "out_of_service_instrument",
        State.NO_CERTIFICATE: "no_certificate",
    }
    assert set(FLAG_TEXTS) == set(FLAGS.values())


def test_an_exchange_in_between_changes_the_instrument_on_its_day(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    old = instrument(installations=[{"meter": "gas-main", "from": "2020-01-01", "to": "2024-03-01"}])
    new = instrument(id="gas-2", serial_number="2", installations=[{"meter": "gas-main", "from": "2024-03-01"}])
    register = Register([old, new], [certificate("2022-01-01"), certificate("2024-02-01", instrument="gas-2")])
    assert register.on("gas-main", date(2024, 2, 29)) == Standing("gas-1", "V-2022-01-01", State.OVERDUE)
    assert register.on("gas-main", date(2024, 3, 1)) == Standing("gas-2", "V-2024-02-01", State.VALID)


def test_a_meter_without_an_instrument_has_no_certificate(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    meter = instrument(installations=[{"meter": "gas-main", "from": "2024-03-01", "to": "2024-04-01"}])
    register = Register([meter], [certificate("2024-02-01")])
    assert register.on("water", date(2024, 3, 1)) == NOTHING
    assert register.on("gas-main", date(2024, 2, 29)) == NOTHING
    assert register.on("gas-main", date(2024, 4, 1)) == NOTHING


def test_a_meter_is_as_good_as_its_worst_part(instrument: MakeInstrument, certificate: MakeCertificate) -> None:
    transformer = instrument(
        id="ct", serial_number="2", installations=[{"meter": "gas-main", "from": "2020-01-01", "part": "ct"}]
    )
    papers = [certificate("2024-02-01"), certificate("2022-02-01", instrument="ct", number="CT")]
    assert Register([instrument(), transformer], papers).on("gas-main", date(2024, 3, 1)) == Standing(
        "ct", "CT", State.OVERDUE
    )
    assert Register([transformer], [papers[1]]).on("gas-main", date(2022, 3, 1)) == NOTHING


def test_the_due_list_has_the_worst_and_earliest_first_and_nothing_replaced(
    instrument: MakeInstrument, certificate: MakeCertificate
) -> None:
    gone = instrument(id="gone", installations=[{"meter": "x", "from": "2020-01-01", "to": "2021-01-01"}])
    others = [instrument(id=name) for name in ("bare", "fresh", "late", "later", "soon")]
    done = {"fresh": "2024-05-01", "late": "2023-01-01", "later": "2022-01-01", "soon": "2023-07-01"}
    papers = [certificate(day, instrument=name) for name, day in done.items()]
    listed = [(one.id, state.state) for one, state in Register([gone, *others], papers).due(date(2024, 6, 1))]
    assert listed == [
        ("later", State.OVERDUE),
        ("late", State.OVERDUE),
        ("bare", State.NO_CERTIFICATE),
        ("soon", State.DUE_SOON),
        ("fresh", State.VALID),
    ]


@settings(max_examples=30, deadline=None)
@given(
    papers=st.lists(
        st.tuples(DAYS, st.sampled_from(["passed", "failed"]), st.none() | st.integers(0, 400)), max_size=4
    ),
    months=st.integers(1, 12),
    first_months=st.none() | st.integers(1, 12),
    kind=st.sampled_from(["verification", "limited_life"]),
    stopped=st.tuples(DAYS, st.integers(1, 90)),
    removed=DAYS,
)
def test_spans_say_on_every_day_what_due_says(
    instrument: MakeInstrument,
    certificate: MakeCertificate,
    papers: list[tuple[date, str, int | None]],
    months: int,
    first_months: int | None,
    kind: str,
    stopped: tuple[date, int],
    removed: date,
) -> None:
    meter = instrument(
        cycle={"kind": kind, "months": months, "first_months": first_months},
        installations=[{"meter": "gas-main", "from": "2024-01-01", "to": removed + timedelta(days=1)}],
        out_of_service=[{"from": stopped[0], "to": stopped[0] + timedelta(days=stopped[1])}],
    )
    history = [
        certificate(done, kind=kind, result=result, valid_until=None if ahead is None else done + timedelta(days=ahead))
        for done, result, ahead in papers
    ]
    register = Register([meter], history)
    for day in (FIRST + timedelta(days=step) for step in range(1400)):
        state = due(meter, history, day)
        standing = register.on("gas-main", day)
        if day > removed:
            assert (state.state, standing) == (State.REPLACED, NOTHING)
        else:
            number = state.certificate.number if state.certificate else None
            assert standing == Standing("gas-1", number, state.state)
