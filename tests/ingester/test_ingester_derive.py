"""Deriving is a pure function of what is stored: order, repetition and interruption change nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.effect import Register
from ingester.accounts import Account, Accounts, FactorChoice, PointSpec
from ingester.derive import Deriver
from ingester.grid import Grid
from ingester.store.contract import Amount, FactorUse, ImportedReading, Result, SeriesStore
from ingester.store.duckdb_series import DuckdbSeries
from metering.emission import Ratio, direct_ratio
from metering.quantity import quantity, unit
from metering.reading import Quality
from metering.register import ExchangeOfMeter, RegisterSpec
from metering.text import Text

MINUTE = 60_000
T0 = 1_763_884_800_000
LATER = T0 + 1000 * MINUTE
GRID = Grid(15 * MINUTE, ZoneInfo("Asia/Shanghai"))
POINT = "main/energy"
SPEC = RegisterSpec(modulus=Decimal(10_000), resolution=Decimal("0.1"), max_per_hour=Decimal(6000))


def account(spec: RegisterSpec = SPEC, role: str = "counter") -> Account:
    point = PointSpec(POINT, unit("kWh"), role, spec)  # type: ignore[arg-type]
    choice = FactorChoice(
        direct_ratio(unit("kWh"), quantity("0.5306 tCO2/MWh")), (FactorUse("s", "1", "r", "default"),), ""
    )
    return Account(
        "grid", Text("电网", "grid"), ((1, point),), unit("kWh"), "purchased_electricity", choose=lambda _: choice
    )


def deriver(series: SeriesStore, *accounts: Account) -> Deriver:
    return Deriver(Accounts(accounts or [account()]), series, Register([], []), GRID)


@pytest.fixture
def series(tmp_path: Path) -> Iterator[DuckdbSeries]:
    store = DuckdbSeries(tmp_path / "series.duckdb")
    yield store
    store.close()


def bring(series: SeriesStore, readings: Sequence[tuple[int, float]], name: str = "a") -> None:
    rows = [ImportedReading(POINT, T0 + ms, value, Quality.GOOD) for ms, value in readings]
    series.import_rows(name, name, rows, [])


def known(series: SeriesStore) -> list[Result]:
    return series.results(0, 10**14)


def total(results: Sequence[Result]) -> Decimal:
    return sum((result.activity for result in results if result.activity is not None), Decimal(0))


def test_an_interval_closes_with_the_first_reading_after_its_end(series: DuckdbSeries) -> None:
    bring(series, [(0, 1.0), (10 * MINUTE, 2.0)])
    works = deriver(series)
    assert works.derive(T0 + 11 * MINUTE) == []
    assert [r.activity for r in works.open_results(T0 + 11 * MINUTE)] == [Decimal(1)]
    bring(series, [(20 * MINUTE, 4.0)], "b")
    (closed,) = works.derive(T0 + 21 * MINUTE)
    assert (closed.activity, closed.revision, closed.cause) == (Decimal(2), 1, "closed")


def test_an_interval_closes_by_the_grace_when_nothing_comes(series: DuckdbSeries) -> None:
    bring(series, [(0, 1.0), (10 * MINUTE, 2.0)])
    works = deriver(series)
    works.derive(T0 + 11 * MINUTE)
    (closed,) = works.derive(T0 + 46 * MINUTE)
    assert (closed.activity, closed.missing_ms) == (Decimal(1), 5 * MINUTE)


def test_what_was_open_at_a_stop_is_closed_after_the_start(series: DuckdbSeries) -> None:
    bring(series, [(0, 1.0), (10 * MINUTE, 2.0)])
    assert deriver(series).derive(T0 + 11 * MINUTE) == []
    assert [r.activity for r in deriver(series).derive(T0 + 100 * MINUTE)] == [Decimal(1)]


def test_a_late_reading_makes_a_revision_of_the_intervals_it_reaches_and_no_other(series: DuckdbSeries) -> None:
    bring(series, [(0, 0.0), (15 * MINUTE, 10.0), (60 * MINUTE, 40.0), (75 * MINUTE, 50.0)])
    works = deriver(series)
    works.derive(LATER)
    bring(series, [(30 * MINUTE, 30.0)], "late")
    late = works.derive(LATER)
    assert [((r.start_ms - T0) // MINUTE, r.activity, r.revision, r.cause) for r in late] == [
        (15, Decimal(20), 2, "late"), (30, Decimal(5), 2, "late"), (45, Decimal(5), 2, "late"),
    ]  # fmt: skip


def test_deriving_again_gives_no_new_revision(series: DuckdbSeries) -> None:
    bring(series, [(i * MINUTE, float(i)) for i in range(100)])
    works = deriver(series)
    works.derive(LATER)
    assert works.recompute(T0, T0 + 100 * MINUTE, LATER) == []


def test_a_changed_factor_restates_and_says_so(series: DuckdbSeries) -> None:
    bring(series, [(i * MINUTE, float(i)) for i in range(40)])
    deriver(series).derive(LATER)
    choice = FactorChoice(Ratio(direct_ratio(unit("kWh"), quantity("0.6 tCO2/MWh")).value), (), "")
    changed = replace(account(), choose=lambda _: choice, basis="new")
    restated = deriver(series, changed).recompute(T0, T0 + 40 * MINUTE, LATER)
    assert {(r.revision, r.cause) for r in restated} == {(2, "changed")}


def test_an_open_dip_is_judged_anew_when_the_register_comes_back(series: DuckdbSeries) -> None:
    bring(series, [(i * MINUTE, 100.0 + i) for i in range(31)])
    works = deriver(series)
    bring(series, [(i * MINUTE, 0.0) for i in range(31, 80)], "dip")
    works.derive(LATER)
    assert any("unresolved_decrease" in r.flags for r in known(series))
    bring(series, [(i * MINUTE, 100.0 + i) for i in range(80, 120)], "back")
    works.derive(LATER)
    assert not any("unresolved_decrease" in r.flags for r in known(series))
    assert total(known(series)) == 119


def test_an_amount_is_spread_over_its_intervals_and_kept_whole(series: DuckdbSeries) -> None:
    series.import_rows("bill", "bill", [], [Amount(POINT, T0, T0 + 70 * MINUTE, Decimal("100.1"))])
    deriver(series, account(RegisterSpec(), "quantity")).derive(LATER)
    assert total(known(series)) == Decimal("100.1")


events = st.lists(
    st.tuples(st.integers(1, 25), st.integers(0, 60), st.sampled_from(["", "", "", "", "jitter", "dip", "zero"])),
    min_size=2,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(events, st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_order_of_arrival_gives_the_results_of_all_at_once(
    steps: list[tuple[int, int, str]], dice: object, parts: int
) -> None:
    time, shown, readings = 0, 9_900.0, []
    for minutes, counted, trouble in steps:
        time, shown = time + minutes * MINUTE, (shown + counted) % 10_000
        seen = {"jitter": max(shown - 0.1, 0.0), "dip": shown / 2, "zero": 0.0}.get(trouble, shown)
        readings.append((time, round(seen, 1)))
    shuffled = list(readings)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    with TemporaryDirectory() as folder:
        at_once, piecewise = DuckdbSeries(Path(folder) / "a.duckdb"), DuckdbSeries(Path(folder) / "b.duckdb")
        bring(at_once, readings)
        deriver(at_once).derive(LATER)
        works = deriver(piecewise)
        for i in range(parts):
            bring(piecewise, shuffled[i::parts], f"part-{i}")
            works.derive(LATER)
            works = deriver(piecewise) if i % 2 else works
        assert _essence(piecewise) == _essence(at_once)
        at_once.close()
        piecewise.close()


def _essence(series: SeriesStore) -> list[Result]:
    return [replace(r, revision=1, cause="", derived_ms=0) for r in known(series) if r.activity is not None]


def test_a_changed_setting_restates_all_that_rests_on_it_once(series: DuckdbSeries) -> None:
    bring(series, [(i * MINUTE, float(i)) for i in range(40)])
    assert len(deriver(series).refresh(LATER)) == 3
    assert deriver(series).refresh(LATER) == []
    doubled = replace(account(), basis="new")
    restated = deriver(series, doubled)
    assert {(r.revision, r.cause) for r in restated.refresh(LATER)} == {(2, "changed")}
    assert deriver(series, doubled).refresh(LATER) == []


def test_a_year_without_a_factor_stops_nothing_and_is_flagged(series: DuckdbSeries) -> None:
    bring(series, [(i * MINUTE, float(i)) for i in range(20)])
    deriver(series, replace(account(), choose=lambda _: None)).derive(LATER)
    assert [(r.activity is not None, r.ratio, "no_factor" in r.flags) for r in known(series)] == [
        (True, None, True)
    ] * 2


def test_a_reading_years_before_the_others_is_worked_off_in_bounded_pieces(series: DuckdbSeries) -> None:
    bring(series, [(-90 * 24 * 60 * MINUTE, 1.0), (0, 901.0), (20 * MINUTE, 905.0)])
    works = deriver(series)
    first = works.step(LATER)
    assert first is not None
    assert len(first) <= 600
    works.derive(LATER)
    assert total(known(series)) == 904


def test_one_reading_alone_is_nothing_known_and_not_zero(series: DuckdbSeries) -> None:
    bring(series, [(5 * MINUTE, 7.0)])
    deriver(series).derive(LATER)
    assert all(result.activity is None for result in known(series))


def test_another_interval_restates_and_counts_nothing_twice(series: DuckdbSeries) -> None:
    bring(series, [(i * MINUTE, float(i)) for i in range(61)])
    deriver(series).derive(LATER)
    finer = Grid(MINUTE, GRID.zone)
    Deriver(Accounts([account()]), series, Register([], []), finer).derive(LATER)
    assert total([r for r in known(series) if finer.holds(r.start_ms, r.end_ms)]) == 60
    deriver(series).derive(LATER)
    assert total([r for r in known(series) if GRID.holds(r.start_ms, r.end_ms)]) == 60


def test_an_amount_that_ends_after_a_restart_is_finished(series: DuckdbSeries) -> None:
    series.import_rows("bill", "bill", [], [Amount(POINT, T0, T0 + 240 * MINUTE, Decimal(2400))])
    bought = account(RegisterSpec(), "quantity")
    deriver(series, bought).derive(T0 + 100 * MINUTE)
    assert total(known(series)) < 2400
    deriver(series, bought).derive(LATER)
    assert total(known(series)) == 2400


def test_a_meter_installed_with_a_known_reading_counts_from_it_however_it_is_derived(series: DuckdbSeries) -> None:
    spec = RegisterSpec(exchanges=(ExchangeOfMeter(T0, Decimal(0), Decimal(0)),))
    bring(series, [(60 * MINUTE, 60.0), (75 * MINUTE, 75.0)])
    deriver(series, account(spec)).derive(LATER)
    assert total(known(series)) == 75
    assert deriver(series, account(spec)).recompute(T0, T0 + 90 * MINUTE, LATER) == []


def test_an_exchange_to_come_books_nothing_ahead(series: DuckdbSeries) -> None:
    spec = RegisterSpec(exchanges=(ExchangeOfMeter(T0 + 10_000 * MINUTE, Decimal(900), Decimal(0)),))
    bring(series, [(0, 0.0), (15 * MINUTE, 15.0)])
    deriver(series, account(spec)).derive(LATER)
    assert total(known(series)) == 15


def test_a_register_that_falls_again_and_again_stays_cheap(series: DuckdbSeries) -> None:
    bring(series, [(i * MINUTE, 9000.0 - i) for i in range(400)])
    deriver(series).derive(LATER)
    assert max(len(r.evidence["points"][POINT]["knot"]["open"]) for r in known(series)) <= 32


def test_live_results_begin_where_stored_ones_end(series: DuckdbSeries) -> None:
    bring(series, [(i * MINUTE, float(i)) for i in range(16)])
    works = deriver(series)
    works.derive(T0 + 16 * MINUTE)
    bring(series, [(i * MINUTE, float(i)) for i in range(16, 33)], "next")
    opened = works.open_results(T0 + 33 * MINUTE)
    assert total(known(series)) + total(opened) == 32
