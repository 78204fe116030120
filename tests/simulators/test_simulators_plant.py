"""The physics: streams that follow shifts, and totals that are exact integrals of them."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settings.plant import PlantSettings
from simulators.plant import HOUR_MS, KNOT_MS, Plant, Stream

SHIFTS = [{"from": "00:00", "load": 0.4}, {"from": "08:00", "load": 1.0}, {"from": "16:00", "load": 0.7}]


def plant(zone: str = "Asia/Shanghai", seed: int = 7, since: str = "2026-06-01", weekend: float = 0.5) -> Plant:
    return Plant(
        PlantSettings.model_validate(
            {"timezone": zone, "seed": seed, "since": since, "shifts": SHIFTS, "weekend": weekend, "lines": {}, "meters": {}}
        )
    )  # fmt: skip


def at(text: str, zone: str = "Asia/Shanghai") -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


PLANT = plant()
STREAM = Stream(PLANT, "gas", 100, 600)
MOMENTS = st.integers(PLANT.start_ms - HOUR_MS, PLANT.start_ms + 60 * 24 * HOUR_MS)


@given(MOMENTS, st.integers(0, 3 * HOUR_MS))
def test_a_total_never_decreases(ms: int, later: int) -> None:
    assert STREAM.total(ms + later) >= STREAM.total(ms)


@settings(max_examples=20)
@given(st.integers(PLANT.start_ms, PLANT.start_ms + 60 * 24 * HOUR_MS))
def test_a_total_is_the_integral_of_its_rate(ms: int) -> None:
    step = 250
    middle = sum(STREAM.rate(ms + step // 2 + n * step) for n in range(KNOT_MS // step)) * step / HOUR_MS
    assert STREAM.total(ms + KNOT_MS) - STREAM.total(ms) == pytest.approx(middle, rel=1e-5)


def test_the_same_seed_gives_the_same_plant_in_any_order_of_asking() -> None:
    moments = [PLANT.start_ms + n * 7_654_321 for n in range(200)]
    forward = [STREAM.total(ms) for ms in moments]
    other = Stream(plant(), "gas", 100, 600)
    assert [other.total(ms) for ms in reversed(moments)] == forward[::-1]


def test_another_seed_gives_another_plant() -> None:
    ms = at("2026-06-10T10:00")
    assert Stream(plant(seed=8), "gas", 100, 600).total(ms) != STREAM.total(ms)


def test_streams_of_one_plant_differ_by_name() -> None:
    ms = at("2026-06-10T10:00")
    assert Stream(PLANT, "oil", 100, 600).total(ms) != STREAM.total(ms)


def mean_rate(stream: Stream, begin: str, end: str) -> float:
    first, last = at(begin), at(end)
    return (stream.total(last) - stream.total(first)) / ((last - first) / HOUR_MS)


def test_shifts_show_in_plant_time() -> None:
    night = mean_rate(STREAM, "2026-06-10T01:00", "2026-06-10T07:00")
    day = mean_rate(STREAM, "2026-06-10T09:00", "2026-06-10T15:00")
    evening = mean_rate(STREAM, "2026-06-10T17:00", "2026-06-10T23:00")
    assert night == pytest.approx(100 + 500 * 0.4, rel=0.08)
    assert day == pytest.approx(100 + 500 * 1.0, rel=0.08)
    assert evening == pytest.approx(100 + 500 * 0.7, rel=0.08)


def test_the_weekend_is_quieter() -> None:
    saturday = mean_rate(STREAM, "2026-06-13T09:00", "2026-06-13T15:00")
    assert saturday == pytest.approx(100 + 500 * 0.5, rel=0.08)


def test_before_the_first_day_nothing_has_flowed() -> None:
    assert STREAM.total(PLANT.start_ms) == STREAM.total(0) == 0


@pytest.mark.parametrize(("day", "quarters"), [("2026-03-29", 92), ("2026-10-25", 100), ("2026-10-26", 96)])
def test_a_day_of_a_changing_clock_has_its_own_length(day: str, quarters: int) -> None:
    berlin = plant("Europe/Berlin", since="2026-03-01")
    found = berlin.day_at(at(f"{day}T12:00", "Europe/Berlin"))
    assert len(found.loads) == quarters + 1
    assert found.end_ms - found.start_ms == quarters * KNOT_MS


def test_rates_run_on_over_midnight() -> None:
    midnight = at("2026-06-11T00:00")
    assert STREAM.rate(midnight - 1) == pytest.approx(STREAM.rate(midnight), rel=1e-3)
