"""The agent's own count: it adds up, and is what the ledger makes of the same gaps and readings."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.gaps import GapBook
from agent.tally import HOUR_MS, SlotTally
from agent.wording import health
from metering.slots import Grid, Seen, Told, account
from metering.wire import Gap

GRID = Grid(60_000, 5_000)
T0 = GRID.at(GRID.first(1_795_363_200_000))
"""The first slot of an hour."""


def slot(number: int) -> int:
    return T0 + number * GRID.interval_ms


def counts(tally: dict[str, Any]) -> tuple[int, int, int, dict[str, int]]:
    assert tally["expected"] == tally["read"] + tally["backfilled"] + sum(tally["missed"].values())
    return tally["expected"], tally["read"], tally["backfilled"], tally["missed"]


def test_fifty_nine_of_sixty() -> None:
    tally = SlotTally(GRID)
    for number in range(60):
        tally.missed(slot(30), 1, "timeout") if number == 30 else tally.read(slot(number), "clock")
    found = tally.report(slot(59))
    assert counts(found) == counts(found["hour"]) == (60, 59, 0, {"timeout": 1})
    assert (found["from"], found["hour"]["from"]) == (T0, T0 - 5_000)


def test_a_new_hour_begins_at_nothing_and_the_whole_goes_on() -> None:
    tally = SlotTally(GRID)
    tally.missed(slot(50), 20, "unreachable")
    tally.read(slot(70), "clock")
    found = tally.report(slot(70))
    assert counts(found) == (21, 1, 0, {"unreachable": 20})
    assert counts(found["hour"]) == (11, 1, 0, {"unreachable": 10})
    assert counts(tally.report(slot(70) + HOUR_MS)["hour"]) == (0, 0, 0, {})


def test_slots_the_clock_was_set_past_are_missed_and_those_it_showed_twice_count_once() -> None:
    tally = SlotTally(GRID)
    tally.read(slot(0), "clock")
    tally.read(slot(10), "clock")
    assert counts(tally.report(slot(10))) == (11, 2, 0, {"clock": 9})
    tally.read(slot(5), "clock")
    tally.missed(slot(6), 2, "timeout")
    tally.read(slot(11), "clock")
    assert counts(tally.report(slot(11))) == (12, 3, 0, {"clock": 9})


def test_a_slot_that_is_fetched_afterwards_is_missed_no_more_however_many_values_it_has() -> None:
    book = GapBook()
    book.follow("m", GRID)
    book.read("m", slot(0))
    book.missed("m", slot(1), "timeout", 0.0)
    book.missed("m", slot(2), "breaker", 0.0, 3)
    gap = book.read("m", slot(5))
    assert gap is not None
    book.fetched(gap, [slot(1), slot(1) + 10, slot(3), slot(5) + 1, slot(0) + 10])
    book.fetched(gap, [slot(3)])
    assert counts(book.slots("m", slot(5))["slots"]) == (6, 2, 2, {"timeout": 2})
    assert book.slots("other", slot(5)) == {}


def test_slots_a_gap_forgot_are_the_gaps() -> None:
    book = GapBook()
    book.follow("m", GRID)
    book.missed("m", slot(0), "power_loss", 0.0, 2)
    book.read("m", slot(9))
    assert counts(book.slots("m", slot(9))["slots"]) == (10, 1, 0, {"power_loss": 9})


def test_the_technician_reads_it_in_both_languages() -> None:
    tally = SlotTally(GRID)
    tally.read(slot(0), "clock")
    tally.missed(slot(1), 2, "no_room")
    meter = {"state": "ok", "missed": {}, "read": 1, "expected": 3, "last_good": T0, "slots": tally.report(slot(2))}
    said = health({"connected": True, "silent_since": None, "receipted": 1, "unreceipted": 0, "outbox_bytes": 0,
                   "alarms": [], "lines": {}, "meters": {"m": meter}})  # fmt: skip
    assert any("this hour 1 of 3 (no room 2)" in text.en for text in said)
    assert any("本小时应读 3 次，已读 1 次（无处存放 2）" in text.zh for text in said)


def steps(*jumps: int) -> st.SearchStrategy[list[tuple[str, int, str]]]:
    return st.lists(
        st.one_of(
            st.just(("read", 1, "")),
            st.tuples(st.just("missed"), st.integers(1, 40), st.sampled_from(["timeout", "breaker", "bad_frame"])),
            st.tuples(st.just("jump"), st.integers(*jumps), st.just("")),
        ),
        max_size=40,
    )


def told(taken: list[tuple[str, int, str]]) -> tuple[GapBook, list[int], list[Gap], int]:
    """Tell a book what happened; return it with the slots that were read, the gaps and the last slot."""
    book = GapBook()
    book.follow("m", GRID)
    at, read, gaps = 1, [0], []
    book.read("m", slot(0))
    for step, count, cause in [*taken, ("read", 1, "")]:
        if step == "jump":
            at = max(1, at + count)
        elif step == "missed":
            book.missed("m", slot(at), cause, 0.0, count)
            at += count
        else:
            gap = book.read("m", slot(at))
            read.append(at)
            gaps += [gap] if gap is not None else []
            at += 1
    return book, read, gaps, at


@given(steps(0, 100), st.lists(st.integers(0, 400), max_size=30))
def test_agent_and_ledger_count_the_same_whatever_happens(taken: list[tuple[str, int, str]], past: list[int]) -> None:
    book, read, gaps, end = told(taken)
    for gap in gaps:
        book.fetched(gap, [slot(number) for number in past])
    first = GRID.first(T0)
    inside = {n for n in past for gap in gaps if gap.start <= slot(n) < (gap.end or 0)}
    seen = [Seen("read", first + n, first + n) for n in read]
    seen += [Seen("backfilled", first + n, first + n) for n in inside]
    claims = [Told(gap.start, gap.end or 0, gap.cause, sure=True) for gap in gaps]
    found = account(GRID, T0, slot(end), seen, [*claims, Told(T0, slot(end), "clock")])
    own = counts(book.slots("m", slot(end))["slots"])
    assert own == (found.expected, found.read, found.backfilled, found.missed)


@given(steps(-100, 100))
def test_it_adds_up_also_where_the_clock_is_set_back(taken: list[tuple[str, int, str]]) -> None:
    book, read, _, _ = told(taken)
    expected, found, _, _ = counts(book.slots("m", slot(max(read)))["slots"])
    assert expected > max(read)
    assert 1 <= found <= len(set(read))
