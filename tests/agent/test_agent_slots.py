from hypothesis import given
from hypothesis import strategies as st

from agent.slots import Due, first, following
from metering.slots import Grid

GRIDS = st.builds(
    lambda interval, share: Grid(interval, share % interval), st.integers(100, 86_400_000), st.integers(0, 86_400_000)
)
TIMES = st.integers(0, 4_000_000_000_000)


@given(GRIDS, TIMES)
def test_the_next_slot_is_the_first_one_later_on_the_grid(grid: Grid, wall: int) -> None:
    slot = grid.after(wall)
    assert wall < slot <= wall + grid.interval_ms
    assert (slot - grid.phase_ms) % grid.interval_ms == 0


@given(GRIDS, TIMES, st.integers(0, 10**9))
def test_slots_between_two_times_are_counted(grid: Grid, wall: int, later: int) -> None:
    slot = grid.after(wall)
    assert grid.between(slot, slot + later) == later // grid.interval_ms
    assert grid.between(slot, slot - later) == 0


def test_slots_lie_on_the_wall_clock() -> None:
    assert Grid(10_000).after(1_763_884_803_500) == 1_763_884_810_000
    assert Grid(10_000, 2_500).after(1_763_884_803_500) == 1_763_884_812_500


def test_a_poll_in_time_is_followed_by_the_next_slot() -> None:
    due, missed = following(Grid(1000), Due(5000, 50.0), 5040, 50.04)
    assert (due.slot_ms, round(due.at_s, 3), missed) == (6000, 51.0, 0)


def test_a_slot_that_can_still_be_started_is_not_missed() -> None:
    due, missed = following(Grid(1000), Due(5000, 50.0), 6300, 51.3)
    assert (due.slot_ms, missed) == (6000, 0)
    assert due.at_s < 51.3, "it is due at once"


def test_f18_a_freeze_costs_slots_and_is_not_made_up_for() -> None:
    due, missed = following(Grid(1000), Due(5000, 50.0), 65_700, 110.7)
    assert (due.slot_ms, missed) == (66_000, 60)


@given(GRIDS, TIMES, st.integers(0, 10**8))
def test_every_slot_is_either_polled_or_missed(grid: Grid, wall: int, took_ms: int) -> None:
    before = first(grid, wall, 0.0)
    elapsed = (before.slot_ms - wall + took_ms) / 1000
    after, missed = following(grid, before, before.slot_ms + took_ms, elapsed)
    assert (after.slot_ms - before.slot_ms) // grid.interval_ms == missed + 1


@given(st.integers(-(10**12), 10**12).filter(lambda step: abs(step) > 600))
def test_f36_a_clock_that_is_set_costs_no_slot_and_keeps_the_pace(step_ms: int) -> None:
    grid = Grid(1000)
    wall = 2_000_000_005_040 + step_ms
    due, missed = following(grid, Due(2_000_000_005_000, 50.0), wall, 50.04)
    assert missed == 0
    assert 0 < due.at_s - 50.04 <= 1.0
    assert due.slot_ms == grid.after(wall)
