"""The rules of a register: each promise of metering/register.py, by example and by property."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.activity import Multiplier, activity, coverage, joined
from metering.register import (
    ExchangeOfMeter,
    RegisterEventKind,
    RegisterSpec,
    Track,
    amounts_track,
    register_track,
)

HOUR = 3_600_000


def hourly(*values: float, spec: RegisterSpec | None = None) -> Track:
    return register_track([(i * HOUR, value) for i, value in enumerate(values)], spec or RegisterSpec())


def counted(track: Track) -> Decimal:
    whole = track.counted(-HOUR, 10_000 * HOUR)
    assert whole is not None
    return whole


def kinds(track: Track) -> list[RegisterEventKind]:
    return [event.kind for event in track.events]


def test_the_first_reading_books_nothing() -> None:
    assert hourly(123456.5).counted(0, HOUR) is None
    assert counted(hourly(123456.5, 123457.0)) == Decimal("0.5")


def test_a_rollover_counts_as_consumption() -> None:
    track = hourly(999_990, 10, 30, spec=RegisterSpec(modulus=Decimal(10**6)))
    assert counted(track) == 40
    assert kinds(track) == [RegisterEventKind.ROLLOVER]


def test_a_decrease_without_a_modulus_is_never_a_rollover() -> None:
    track = hourly(999_990, 10, 30)
    assert counted(track) == 20
    assert kinds(track) == [RegisterEventKind.UNRESOLVED]


def test_a_rollover_at_an_impossible_rate_is_not_one() -> None:
    spec = RegisterSpec(modulus=Decimal(10**6), max_per_hour=Decimal(100))
    track = hourly(500_000, 3, 8, spec=spec)
    assert counted(track) == 5
    assert kinds(track) == [RegisterEventKind.UNRESOLVED]


def test_a_reset_far_from_the_top_is_not_a_rollover_even_without_a_known_rate() -> None:
    track = hourly(500_000, 3, 8, spec=RegisterSpec(modulus=Decimal(10**6)))
    assert counted(track) == 5


def test_one_step_back_is_jitter_and_not_a_reset() -> None:
    track = hourly(215.7, 215.6, 215.9, spec=RegisterSpec(resolution=Decimal("0.1")))
    assert counted(track) == Decimal("0.2")
    assert kinds(track) == []


def test_jitter_of_a_32_bit_float_is_its_last_place() -> None:
    track = hourly(6e7, 6e7 - 4, 6e7 + 8, spec=RegisterSpec(float32=True))
    assert counted(track) == 8
    assert kinds(track) == []


@pytest.mark.parametrize("garbage", [0.0, 7.0, -7e-3, 1.8e21])
def test_a_plateau_of_garbage_is_never_booked_whatever_its_length(garbage: float) -> None:
    track = hourly(100, 110, *[garbage] * 50, 115, 120)
    assert counted(track) == 20


def test_a_glitch_to_zero_near_the_top_is_no_rollover() -> None:
    track = hourly(999_980, 999_990, 0, 999_995, spec=RegisterSpec(modulus=Decimal(10**6)))
    assert counted(track) == 15
    assert kinds(track) == [RegisterEventKind.DIP]


def test_a_spike_that_falls_right_back_is_taken_back() -> None:
    assert counted(hourly(100, 5e9, 101, 102)) == 2
    assert counted(hourly(100, 110, 5000, 5000, 112, 113, spec=RegisterSpec(max_per_hour=Decimal(50)))) == 13


def test_an_impossible_rise_that_stays_is_booked_and_marked_not_dropped() -> None:
    track = hourly(100, 110, 5000, 5010, spec=RegisterSpec(max_per_hour=Decimal(50)))
    assert counted(track) == 4910
    assert kinds(track) == [RegisterEventKind.IMPLAUSIBLE]


def test_an_impossible_rise_from_the_very_first_reading_begins_anew() -> None:
    track = hourly(0, 54_321, 54_331, spec=RegisterSpec(max_per_hour=Decimal(50)))
    assert counted(track) == 10


def test_what_was_counted_across_an_outage_is_kept() -> None:
    track = register_track([(0, 100.0), (48 * HOUR, 2000.0)], RegisterSpec(max_per_hour=Decimal(50)))
    assert counted(track) == 1900
    assert kinds(track) == []


def test_after_a_reset_counting_goes_on_and_the_step_stays_unassigned() -> None:
    track = hourly(100, 110, 120, 3, 8, 15)
    assert counted(track) == 32
    assert [(event.before, event.after) for event in track.events] == [(120, 3)]


def test_a_reset_register_that_climbs_past_its_old_value_has_really_counted() -> None:
    track = hourly(100, *range(0, 130, 3))
    assert counted(track) == 129


def test_an_exchange_joins_the_old_and_the_new_meter() -> None:
    exchange = ExchangeOfMeter(HOUR + HOUR // 2, Decimal(115), Decimal(2))
    track = hourly(100, 110, 3, 8, spec=RegisterSpec(exchanges=(exchange,)))
    assert counted(track) == 5 + 10 + 6
    assert kinds(track) == [RegisterEventKind.EXCHANGE]


def test_an_exchange_whose_old_final_is_below_the_last_reading_is_left_to_judgement() -> None:
    exchange = ExchangeOfMeter(HOUR + HOUR // 2, Decimal(90), Decimal(2))
    track = hourly(100, 110, 3, 8, spec=RegisterSpec(exchanges=(exchange,)))
    assert counted(track) == 10 + 6
    assert RegisterEventKind.UNRESOLVED in kinds(track)


def test_a_new_meter_with_a_known_initial_reading_counts_from_it() -> None:
    exchange = ExchangeOfMeter(-HOUR, Decimal(0), Decimal(50))
    track = register_track([(0, 60.0)], RegisterSpec(exchanges=(exchange,)))
    assert counted(track) == 10


def test_an_amount_is_spread_evenly_over_its_own_time() -> None:
    track = amounts_track([(0, 4 * HOUR, Decimal(100))])
    assert track.counted(HOUR, 2 * HOUR) == 25
    assert track.counted(5 * HOUR, 6 * HOUR) is None


def test_a_multiplier_changes_on_its_day() -> None:
    track = hourly(0, 10, 20)
    steps = (Multiplier(0, Decimal(100)), Multiplier(HOUR, Decimal(200)))
    assert activity(track, 0, 2 * HOUR, steps, HOUR).value == 10 * 100 + 10 * 200


def test_time_without_readings_is_missing_and_not_zero() -> None:
    known = activity(hourly(0, 10), 2 * HOUR, 3 * HOUR, (), HOUR)
    assert known.value is None
    assert known.coverage.missing_ms == HOUR


def test_a_gap_across_an_edge_is_apportioned_and_inside_a_longer_row_measured() -> None:
    track = register_track([(0, 0.0), (4 * HOUR, 40.0)], RegisterSpec())
    hours = [(i * HOUR, (i + 1) * HOUR, coverage(track, i * HOUR, (i + 1) * HOUR, HOUR)) for i in range(4)]
    assert all(part.apportioned_ms == HOUR for _, _, part in hours)
    assert joined(hours).measured_ms == 4 * HOUR
    assert joined(hours[:3]).apportioned_ms == 3 * HOUR


def test_the_readings_at_an_edge_are_named_for_the_trace() -> None:
    assert hourly(1, 2, 3).neighbours(HOUR + 1) == ((HOUR, Decimal(2)), (2 * HOUR, Decimal(3)))
    assert hourly(1, 2, 3).neighbours(HOUR) == ((HOUR, Decimal(2)),)


counts = st.lists(st.integers(min_value=0, max_value=5_000), min_size=2, max_size=60)
edges = st.lists(st.integers(min_value=-HOUR, max_value=80 * HOUR), min_size=2, max_size=40, unique=True)
spacing = st.lists(st.integers(min_value=1, max_value=3 * HOUR), min_size=60, max_size=60)


@given(counts, spacing, edges, st.integers(0, 4), st.sampled_from([None, 5, 6]))
def test_activities_add_up_to_last_minus_first_over_any_partition_and_rollover(
    steps: list[int], gaps: list[int], cuts: list[int], places: int, digits: int | None
) -> None:
    modulus = Decimal(10**digits) if digits else None
    scale = Decimal(1).scaleb(-places)
    total, time, readings = Decimal(0), 0, []
    for step, gap in zip(steps, gaps, strict=False):
        shown = total * scale % modulus if modulus else total * scale
        readings.append((time, float(shown)))
        total += step
        time += gap
    track = register_track(readings, RegisterSpec(modulus=modulus))
    expected = (total - steps[min(len(steps), len(gaps)) - 1]) * scale
    lines = sorted({-HOUR, *cuts, 200 * HOUR})
    parts = [activity(track, start, end, (), HOUR).value for start, end in pairwise(lines)]
    assert sum((part for part in parts if part is not None), Decimal(0)) == expected


@given(counts, spacing, edges)
def test_the_times_of_an_interval_add_up_to_its_length(steps: list[int], gaps: list[int], cuts: list[int]) -> None:
    time, value, readings = 0, 0, []
    for step, gap in zip(steps, gaps, strict=False):
        readings.append((time, float(value)))
        time, value = time + gap, value + step
    track = register_track(readings, RegisterSpec())
    lines = sorted(cuts)
    for start, end in pairwise(lines):
        known = coverage(track, start, end, HOUR)
        assert known.measured_ms + known.apportioned_ms + known.missing_ms == end - start
        assert min(known.measured_ms, known.apportioned_ms, known.missing_ms) >= 0


@given(st.lists(st.tuples(st.integers(0, 10**7), st.floats(allow_nan=False, allow_infinity=True)), max_size=50))
def test_whatever_a_register_shows_nothing_negative_is_booked(readings: list[tuple[int, float]]) -> None:
    ordered = sorted({time: (time, value) for time, value in readings}.values())
    track = register_track(ordered, RegisterSpec(modulus=Decimal(10**8), max_per_hour=Decimal(10**6)))
    for segment in track.segments:
        values = [segment.count(i) for i in range(len(segment.times))]
        assert values == sorted(values)
