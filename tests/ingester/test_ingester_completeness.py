"""The ledger of slots from what is stored: it adds up, and is the same in whatever order things came."""

from itertools import count
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingester.completeness import Completeness
from ingester.grid import Grid as Calendar
from ingester.store.contract import Arrived, ImportedReading
from metering.reading import Quality
from metering.slots import Account
from metering.wire import Batch, ClockStep, Gap, Lost, Restart, Slots, Thinned, digest, encode

SHANGHAI = Calendar(900_000, ZoneInfo("Asia/Shanghai"))
DAY0 = 1_795_363_200_000
"""2026-11-23T00:00:00+08:00."""
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
STREAM = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
POINT = "main/energy"
NUMBERS = count(1)


def batch(
    times=(), events=(), q=0, seq=1, agent="agent-a", delay_ms=1000, point=POINT, boot="b", stream=STREAM
) -> Arrived:
    times = list(times)
    t0 = min(times, default=DAY0)
    made = Batch(
        site="demo", agent=agent, stream=stream, seq=seq, prev="", boot=boot, up=0, clock="synced", config="c",
        points=[(point, "kWh")], t0=t0, t=[at - t0 for at in times], p=[0] * len(times), x=[1.0] * len(times),
        q=[q] * len(times), events=list(events),
    )  # fmt: skip
    body = encode(made)
    return Arrived(made, body, digest(body), t0 + delay_ms)


def announced(since=DAY0, interval=MINUTE, phase=0, meters=("main",), boot="b"):
    return Slots(at=since, since=since, boot=boot, meters=dict.fromkeys(meters, (interval, phase)))


def minutes(first, end, after_ms=500):
    return [DAY0 + n * MINUTE + after_ms for n in range(first, end)]


@pytest.fixture
def ledger(series) -> Completeness:
    return Completeness(series, SHANGHAI)


def one(ledger, start=DAY0, end=DAY0 + HOUR, now=DAY0 + 2 * DAY) -> Account:
    (day,) = ledger.days(start, end, now)
    assert day.slots.expected == day.slots.there + sum(day.slots.missed.values())
    return day.slots


def test_an_hour_of_a_meter_is_accounted_for_slot_by_slot(series, ledger):
    gap = Gap(meter="main", start=DAY0 + 10 * MINUTE, end=DAY0 + 13 * MINUTE, cause="timeout", missed=3)
    series.commit([
        batch(minutes(0, 10), [announced()]), batch(minutes(13, 50), [gap], seq=2),
        batch(minutes(50, 60), seq=3, delay_ms=20 * MINUTE),
        batch([DAY0 + 11 * MINUTE], seq=4, q=8),
    ])  # fmt: skip
    assert one(ledger) == Account(60, 47, 10, 1, {"timeout": 2})


def test_days_are_those_of_the_site_and_the_future_is_not_expected(series, ledger):
    series.commit([batch(minutes(0, 60 * 25), [announced()])])
    days = ledger.days(DAY0 - DAY, DAY0 + 3 * DAY, DAY0 + 25 * HOUR)
    assert [(day.start_ms, day.end_ms, day.slots.expected) for day in days] == [
        (DAY0, DAY0 + DAY, 1440), (DAY0 + DAY, DAY0 + 25 * HOUR, 60)
    ]  # fmt: skip
    assert days[0].slots == Account(1440, 1440)
    assert (days[0].agent, days[0].interval_ms) == ("agent-a", MINUTE)


def test_a_meter_nobody_announced_has_no_slots(series, ledger):
    series.commit([batch(minutes(0, 60))])
    assert ledger.days(DAY0, DAY0 + HOUR, DAY0 + DAY) == []
    assert ledger.now(DAY0 + HOUR) == {}


def test_silence_is_unknown_once_it_could_have_been_told_of(series, ledger):
    series.commit([batch(minutes(0, 10), [announced()])])
    assert one(ledger, now=DAY0 + 11 * MINUTE) == Account(10, 10)
    assert one(ledger, now=DAY0 + 20 * MINUTE).missed == {"unknown": 8}


def test_a_gap_that_lasts_has_its_cause_until_it_is_told_that_it_ended(series, ledger):
    start = DAY0 + 10 * MINUTE
    series.commit([batch(minutes(0, 10), [announced()])])
    series.commit([batch(events=[Gap(meter="main", start=start, cause="unreachable", missed=2)], seq=2)])
    assert one(ledger, now=DAY0 + 30 * MINUTE).missed == {"unreachable": 18}
    ended = Gap(meter="main", start=start, end=DAY0 + 20 * MINUTE, cause="unreachable", missed=10)
    series.commit([batch(minutes(20, 60), [ended], seq=3)])
    assert one(ledger) == Account(60, 50, missed={"unreachable": 10})


def test_f44_the_word_that_a_gap_lasts_may_come_after_the_word_that_it_ended(open_series):
    start, end = DAY0 + 10 * MINUTE, DAY0 + 12 * MINUTE
    lasts = Gap(meter="main", start=start, cause="timeout", missed=1)
    ended = Gap(meter="main", start=start, end=end, cause="timeout", missed=2)
    store = open_series()
    store.commit([batch(minutes(0, 10), [announced()]), batch(minutes(12, 60), [ended], seq=3)])
    store.commit([batch(events=[lasts], seq=2)])
    assert [gap.end_ms for gap in store.gaps(DAY0, DAY0 + DAY)] == [end]
    assert one(Completeness(store, SHANGHAI)) == Account(60, 58, missed={"timeout": 2})
    store.close()
    assert [gap.end_ms for gap in open_series().gaps(DAY0, DAY0 + DAY)] == [end]


@pytest.mark.parametrize(
    ("boot", "clean", "cause"), [("b", True, "stopped"), ("b", False, "agent_down"), ("other", False, "power_loss")]
)
def test_an_agent_that_was_down_is_named_by_how_it_stopped(series, ledger, boot, clean, cause):
    back = DAY0 + 30 * MINUTE
    restart = Restart(at=back, stopped=DAY0 + 19 * MINUTE + 700, clean=clean)
    first = Restart(at=DAY0, stopped=None)
    series.commit([batch(minutes(0, 20), [first, announced()])])
    series.commit([batch(minutes(30, 60), [restart, announced(back, boot=boot)], seq=2, boot=boot)])
    assert one(ledger) == Account(60, 50, missed={cause: 10})


@pytest.mark.parametrize("kind", [Lost, Thinned])
def test_slots_of_batches_that_were_given_up_are_dropped(series, ledger, kind):
    lost = kind(stream=STREAM, from_seq=2, to_seq=5, sha256_of_b="b" * 64, readings=20, cause="full")
    kept = minutes(10, 11) if kind is Thinned else minutes(30, 40)
    series.commit([batch(minutes(0, 10), [announced()]), batch(kept, [lost], seq=6)])
    series.commit([batch(minutes(40, 50), seq=7)])
    found = one(ledger)
    assert found.missed == ({"dropped": 29, "unknown": 10} if kind is Thinned else {"dropped": 20, "unknown": 10})
    assert found.read == 60 - sum(found.missed.values())


def test_times_the_clock_was_set_past_were_missed_for_the_clock(series, ledger):
    step = ClockStep(at=DAY0 + 40 * MINUTE, before=DAY0 + 10 * MINUTE, after=DAY0 + 40 * MINUTE)
    series.commit([batch(minutes(0, 10), [announced()]), batch(minutes(40, 60), [step], seq=2)])
    assert one(ledger) == Account(60, 30, missed={"clock": 30})


def test_f37_a_run_that_began_in_1970_counts_from_when_its_clock_was_set(series, ledger):
    step = ClockStep(at=DAY0 + 30 * MINUTE, before=20_000, after=DAY0 + 30 * MINUTE)
    series.commit([batch(minutes(30, 60), [announced(since=10_000), step])])
    assert one(ledger) == Account(30, 30)


def test_an_interval_that_changed_counts_from_the_restart_on(series, ledger):
    series.commit([
        batch(minutes(0, 30), [announced()]),
        batch(minutes(30, 60), [announced(DAY0 + 30 * MINUTE, interval=10 * SECOND)], seq=2),
    ])  # fmt: skip
    assert one(ledger) == Account(30 + 180, 60, missed={"unknown": 150})


def test_a_meter_that_is_no_longer_read_is_no_longer_expected(series, ledger):
    series.commit([batch(minutes(0, 30), [announced()])])
    series.commit([batch(events=[announced(DAY0 + 30 * MINUTE, meters=["other"])], seq=2)])
    assert {day.meter: day.slots.expected for day in ledger.days(DAY0, DAY0 + HOUR, DAY0 + DAY)} == {
        "main": 30, "other": 30
    }  # fmt: skip


def test_what_another_agent_says_of_a_meter_is_not_believed(series, ledger):
    series.commit([batch(minutes(0, 60), [announced()])])
    foreign = Gap(meter="main", start=DAY0, end=DAY0 + HOUR, cause="timeout", missed=60)
    series.commit([batch(events=[announced(interval=1000), foreign], agent="agent-b")])
    assert one(ledger) == Account(60, 60)


def test_a_meter_that_was_bound_to_another_agent_keeps_its_past(series):
    half = DAY0 + 30 * MINUTE
    series.commit([batch(minutes(0, 30), [announced()])])
    series.commit([batch(minutes(30, 60), [announced(half, phase=20 * SECOND)], agent="agent-b")])
    ledger = Completeness(series, SHANGHAI, {"main": "agent-b"})
    (day,) = ledger.days(DAY0, DAY0 + HOUR, DAY0 + DAY)
    assert (day.agent, day.slots.expected, day.slots.read) == ("agent-b", 60, 59)
    assert ledger.days(DAY0, half, DAY0 + DAY)[0].slots == Account(30, 30)


def test_marks_of_a_stuck_meter_are_no_readings_and_imports_are_backfilled(series, ledger):
    series.commit([batch(minutes(0, 58), [announced()]), batch(minutes(58, 60), q=3, seq=2)])
    imported = [ImportedReading(POINT, DAY0 + 58 * MINUTE, 5.0, Quality.GOOD),
                ImportedReading(POINT, DAY0 + 59 * MINUTE, None, Quality.BAD)]  # fmt: skip
    series.import_rows("a.csv", "f" * 64, imported, [])
    assert one(ledger) == Account(60, 58, 0, 1, {"unknown": 1})


def test_what_arrives_later_is_seen_at_once(series, ledger):
    series.commit([batch(minutes(0, 30), [announced()])])
    assert one(ledger).read == 30
    series.commit([batch(minutes(30, 60), seq=2)])
    assert one(ledger) == Account(60, 60)
    series.commit([batch([DAY0 + HOUR - 100], seq=3)])
    series.commit([batch(minutes(61, 120), seq=4)])
    assert one(ledger, DAY0 + HOUR, DAY0 + 2 * HOUR) == Account(60, 60)


def test_the_hour_and_today_are_asked_again_every_five_seconds(series, ledger):
    now = DAY0 + 3 * HOUR + 30 * MINUTE
    series.commit([batch(minutes(0, 210), [announced()])])
    found = ledger.now(now)["main"]
    assert (found.hour, found.today) == (Account(30, 30), Account(210, 210))
    series.commit([batch(minutes(210, 211), seq=2)])
    assert ledger.now(now + 4 * SECOND)["main"] is found
    assert ledger.now(now + MINUTE)["main"].today.read == 211


# Whatever happens, it adds up

EVENTS = st.one_of(
    st.builds(
        lambda first, length, cause, lasts: Gap(
            meter="main", start=DAY0 + first * MINUTE, end=None if lasts else DAY0 + (first + length) * MINUTE,
            cause=cause, missed=length,
        ),
        st.integers(-5, 60), st.integers(0, 30), st.sampled_from(["timeout", "stopped", "power_loss"]), st.booleans(),
    ),
    st.builds(
        lambda at, before, clean: Restart(at=DAY0 + at * MINUTE, stopped=DAY0 + (at - before) * MINUTE, clean=clean),
        st.integers(0, 60), st.integers(-5, 30), st.booleans(),
    ),
    st.builds(
        lambda since, interval, phase, boot: announced(DAY0 + since * MINUTE, interval, phase % interval, boot=boot),
        st.integers(-5, 60), st.sampled_from([10 * SECOND, MINUTE, 7 * MINUTE]), st.integers(0, MINUTE),
        st.sampled_from(["b", "c"]),
    ),
    st.builds(
        lambda at, by: ClockStep(at=DAY0 + at * MINUTE, before=DAY0 + at * MINUTE, after=DAY0 + (at + by) * MINUTE),
        st.integers(0, 60), st.integers(-30, 30),
    ),
    st.builds(
        lambda first, more: Lost(
            stream=STREAM, from_seq=first, to_seq=first + more, sha256_of_b="b" * 64, readings=5, cause="full"
        ),
        st.integers(1, 12), st.integers(0, 4),
    ),
)  # fmt: skip
PARTS = st.lists(
    st.tuples(
        st.lists(st.integers(-2 * MINUTE, 62 * MINUTE), max_size=30), st.lists(EVENTS, max_size=3),
        st.sampled_from([0, 0, 2, 3, 8]), st.sampled_from([1000, 20 * MINUTE]),
    ),
    max_size=8,
)  # fmt: skip


def renamed(event, meter: str, stream: str):
    """Return an event as an agent of its own would tell it."""
    if isinstance(event, Gap):
        return msgspec.structs.replace(event, meter=meter)
    if isinstance(event, Slots):
        return msgspec.structs.replace(event, meters={meter: event.meters["main"]})
    return msgspec.structs.replace(event, stream=stream) if isinstance(event, Lost) else event


@given(PARTS, st.randoms(use_true_random=False), st.integers(-5, 70))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_adds_up_whatever_came_how_often_and_in_whatever_order(series, ledger, parts, random, now):
    parts = [([0, MINUTE], [announced()], 0, 1000), *parts]
    now_ms = DAY0 + now * MINUTE
    answers = []
    for _ in range(2):
        number = next(NUMBERS)
        agent, meter, stream = f"agent-{number}", f"m{number}", f"stream-{number}"
        sent = [
            batch(
                [DAY0 + at for at in sorted(times)], [renamed(event, meter, stream) for event in events], q, seq, agent,
                delay_ms, f"{meter}/energy", stream=stream,
            )
            for seq, (times, events, q, delay_ms) in enumerate(parts, 1)
        ]  # fmt: skip
        random.shuffle(sent)
        for arrived in [*sent, *random.sample(sent, len(sent) // 2)]:
            series.commit([arrived])
            found = ledger.days(DAY0 - HOUR, DAY0 + 2 * HOUR, now_ms, meter)
            assert all(day.slots.expected == day.slots.there + sum(day.slots.missed.values()) for day in found)
        assert Completeness(series, SHANGHAI).days(DAY0 - HOUR, DAY0 + 2 * HOUR, now_ms, meter) == found
        answers.append([(day.start_ms, day.slots.expected, day.slots.there) for day in found])
    assert answers[0] == answers[1]
