"""Every slot has one end, and they add up, whatever was told."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.slots import LATE_MS, Account, Grid, Seen, Told, account

MINUTE = 60_000
T0 = 1_763_884_800_000
GRID = Grid(MINUTE, 7_000)
FIRST = GRID.first(T0)


def told(first: int, end: int, cause: str, sure: bool = False) -> Told:
    """Speak of the slots [first, end) of the hour."""
    return Told(GRID.at(FIRST + first), GRID.at(FIRST + end), cause, sure)


def seen(kind: str, first: int, last: int) -> Seen:
    return Seen(kind, FIRST + first, FIRST + last)  # type: ignore[arg-type]


def hour(runs: list[Seen], claims: list[Told], due: int | None = None) -> Account:
    due_ms = None if due is None else GRID.at(FIRST + due)
    return account(GRID, T0, T0 + 60 * MINUTE, runs, claims, due_ms)


def test_an_hour_that_was_read_is_whole():
    assert hour([seen("read", 0, 59)], []) == Account(60, 60)
    assert hour([seen("read", 0, 59)], []).share == 1.0


def test_fifty_nine_of_sixty_and_why():
    found = hour([seen("read", 0, 29), seen("read", 31, 59)], [told(30, 31, "timeout", sure=True)])
    assert found == Account(60, 59, missed={"timeout": 1})
    assert (found.there, found.expected) == (59, 60)


def test_what_nobody_accounts_for_is_unknown():
    assert hour([seen("read", 0, 9)], []).missed == {"unknown": 50}


def test_slots_that_cannot_have_been_told_of_are_not_expected_yet():
    assert hour([seen("read", 0, 9), seen("read", 58, 58)], [], due=11) == Account(13, 11, missed={"unknown": 2})


def test_late_and_backfilled_stand_apart_and_count_as_there():
    found = hour(
        [seen("read", 0, 9), seen("late", 10, 19), seen("backfilled", 20, 29)], [told(20, 60, "timeout", True)]
    )
    assert found == Account(60, 10, 10, 10, {"timeout": 30})
    assert found.there == 30


def test_what_the_agent_missed_is_missed_though_a_value_of_a_long_read_lies_there():
    assert hour([seen("read", 0, 59)], [told(5, 6, "overrun", sure=True)]) == Account(60, 59, missed={"overrun": 1})


def test_a_stop_takes_only_what_has_no_reading():
    assert hour([seen("read", 0, 29)], [told(20, 40, "crashed")]).missed == {"crashed": 10, "unknown": 20}


def test_the_first_that_speaks_of_a_slot_is_believed():
    claims = [told(0, 30, "power_loss"), told(10, 40, "clock"), told(0, 60, "dropped")]
    assert hour([], claims).missed == {"power_loss": 30, "clock": 10, "dropped": 20}


@pytest.mark.parametrize(
    ("measured_ms", "number"), [(0, 0), (-1, 0), (-15_000, 0), (-15_001, -1), (30_000, 0), (44_999, 0), (45_000, 1)]
)
def test_a_reading_counts_for_the_slot_that_began_last_or_is_about_to(measured_ms, number):
    assert Grid(MINUTE).counts_for(10 * MINUTE + measured_ms) == 10 + number


GRIDS = st.builds(
    lambda interval, share: Grid(interval, share % interval), st.integers(1, 86_400_000), st.integers(0, 86_400_000)
)


@given(GRIDS, st.integers(0, 4_000_000_000_000))
def test_the_first_slot_at_or_after_a_time_is_the_next_one(grid, ms):
    number = grid.first(ms)
    assert grid.at(number - 1) < ms <= grid.at(number)
    assert grid.counts_for(grid.at(number)) == number


NUMBERS = st.integers(-5, 70)
SEEN = st.lists(st.builds(seen, st.sampled_from(["read", "late", "backfilled"]), NUMBERS, NUMBERS), max_size=30)
TOLD = st.lists(
    st.builds(
        told, NUMBERS, NUMBERS, st.sampled_from(["timeout", "stopped", "power_loss", "clock", "dropped"]), st.booleans()
    ),
    max_size=30,
)


def by_hand(runs: list[Seen], claims: list[Told], due: int | None) -> Account:
    """Settle slot by slot, as the head of metering/slots.py says it."""
    ends: list[str | None] = []
    for slot in range(60):
        at_ms = GRID.at(FIRST + slot)
        kinds = {run.kind for run in runs if run.first <= FIRST + slot <= run.last}
        about = [one for one in claims if one.start_ms <= at_ms < one.end_ms]
        sure = min((one for one in about if one.sure), key=lambda one: one.start_ms, default=None)
        loose = next((one.cause for one in about if not one.sure), None)
        live = "read" if "read" in kinds else "late" if "late" in kinds else None
        end = "backfilled" if "backfilled" in kinds else "!" if sure else live or loose or "unknown"
        ends.append(None if end == "unknown" and due is not None and slot > due else end)
    return Account(
        expected=sum(end is not None for end in ends),
        read=ends.count("read"), late=ends.count("late"), backfilled=ends.count("backfilled"),
        missed={"all": sum(end not in (None, "read", "late", "backfilled") for end in ends)},
    )  # fmt: skip


@given(SEEN, TOLD, st.none() | st.integers(-1, 61))
def test_the_ends_of_all_slots_add_up_to_the_slots_expected(runs, claims, due):
    found = hour(runs, claims, due)
    assert found.expected == found.read + found.late + found.backfilled + sum(found.missed.values())
    assert all(count > 0 for count in found.missed.values())
    expected = by_hand(runs, claims, due)
    assert (found.expected, found.backfilled, found.read + found.late, sum(found.missed.values())) == (
        expected.expected, expected.backfilled, expected.read + expected.late, expected.missed["all"]
    )  # fmt: skip


@given(SEEN, TOLD, st.lists(st.integers(0, 60 * MINUTE), max_size=5))
def test_an_account_is_the_sum_of_its_parts(runs, claims, cuts):
    edges = sorted({T0, T0 + 60 * MINUTE, *(T0 + cut for cut in cuts)})
    parts = [account(GRID, a, b, runs, claims) for a, b in pairwise(edges)]
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    assert (whole.expected, whole.there) == (60, hour(runs, claims).there)
    assert whole == hour(runs, claims)


def test_late_is_more_than_five_minutes():
    assert LATE_MS == 5 * MINUTE
