from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.answer import Answer
from agent.batch import READINGS, Collector, Origin
from agent.outbox import open_outbox
from agent.wiring import Meter, Wiring
from drivers.contract import Value
from metering.reading import Quality
from metering.wire import ClockStep, decode_batch, unpack

T = 1_763_884_800_000


@pytest.fixture
def meter(wired: Callable[..., Wiring]) -> Meter:
    return next(wired().meters)


@pytest.fixture
def collector(world: Any, wired: Callable[..., Wiring]) -> Collector:
    return Collector(Origin("demo", "workshop-1", "c0", wired().points), world)


def answer(at_ms: int, energy: Any = 1.5, power: Any = 2.5, **more: Any) -> Answer:
    return Answer(at_ms, [Value("energy", energy, raw=b"\x01\x02", **more), Value("power", power, raw=b"\x03")])


def test_readings_travel_in_columns(collector: Collector, meter: Meter) -> None:
    collector.take(meter, [answer(T + 40)])
    collector.take(meter, [answer(T, 7.0)])
    [draft] = collector.drafts()
    assert draft.points == [("m1/energy", "kWh"), ("m1/power", "kW")]
    assert (draft.t0, draft.t, draft.p) == (T, [40, 40, 0, 0], [0, 1, 0, 1])
    assert (draft.x, draft.q) == ([1.5, 2.5, 7.0, 2.5], [0, 0, 0, 0])
    assert collector.drafts() == []


def test_a_batch_holds_few_enough_readings(collector: Collector, meter: Meter) -> None:
    for n in range(600):
        collector.take(meter, [answer(T + n)])
    drafts = collector.drafts()
    assert sum(len(draft.t) for draft in drafts) == 1200
    assert all(len(draft.t) <= READINGS + 1 for draft in drafts)


def test_counters_keep_their_bytes_at_the_first_and_the_last_read_of_each_minute(
    collector: Collector, meter: Meter
) -> None:
    for second in range(150):
        collector.take(meter, [answer(T + second * 1000 + 7)])
    [draft] = collector.drafts()
    assert draft.raw == dict.fromkeys(("0", "118", "120", "238", "240"), "0102")


def test_each_counter_keeps_its_own_bytes_in_whichever_request_it_is_read(
    world: Any, wired: Callable[..., Wiring]
) -> None:
    wiring = wired()
    meter = replace(next(wiring.meters), counters=frozenset({"energy", "power"}))
    collector = Collector(Origin("demo", "workshop-1", "c0", wiring.points), world)
    for second in range(3):
        collector.take(meter, [Answer(T + second * 1000, [Value("energy", 1.0, raw=b"\x01")])])
        collector.take(meter, [Answer(T + second * 1000, [Value("power", 2.0, raw=b"\x02")])])
    [draft] = collector.drafts()
    assert draft.raw == {"0": "01", "1": "02"}


def test_values_of_the_past_keep_no_bytes_and_cost_no_reading_its_own(collector: Collector, meter: Meter) -> None:
    collector.take(meter, [answer(T)])
    collector.take(meter, [Answer(T - 600_000, [Value("energy", 0.5, Quality.BACKFILLED, raw=b"\x09")])])
    collector.take(meter, [answer(T + 1000)])
    [draft] = collector.drafts()
    assert draft.raw == {"0": "0102"}


def test_an_answer_with_an_unknown_point_leaves_the_columns_as_they_were(collector: Collector, meter: Meter) -> None:
    collector.take(meter, [answer(T)])
    with pytest.raises(KeyError):
        collector.take(meter, [Answer(T + 1000, [Value("energy", 2.0), Value("unknown", 3.0)])])
    collector.take(meter, [answer(T + 2000, 7.0, 8.0)])
    [draft] = collector.drafts()
    assert (draft.t, draft.p, draft.x) == ([0, 0, 2000, 2000], [0, 1, 0, 1], [1.5, 2.5, 7.0, 8.0])


def test_a_clock_that_is_set_ends_the_batch(collector: Collector, meter: Meter, world: Any) -> None:
    collector.take(meter, [answer(world.now_ms())])
    world.wall_offset_ms -= 3_600_000
    collector.take(meter, [answer(world.now_ms())])
    before, after = collector.drafts()
    assert (before.t0, after.t0) == (T, T - 3_600_000)
    [event] = after.events
    assert isinstance(event, ClockStep)
    assert event.before - event.after == 3_600_000
    assert before.up == after.up == 0


def test_a_clock_set_between_request_and_reply_leaves_the_true_uptime(
    collector: Collector, meter: Meter, world: Any
) -> None:
    world.elapsed_s = 99.0
    collector.take(meter, [Answer(world.now_ms(), [Value("energy", 0.0)], asked_s=99.0)])
    world.elapsed_s = 100.0
    asked_ms = world.now_ms()
    world.elapsed_s = 100.3
    world.wall_offset_ms -= 3_600_000
    collector.take(meter, [Answer(asked_ms, [Value("energy", 1.0, source_ms=asked_ms)], asked_s=100.0)])
    world.elapsed_s = 100.6
    collector.take(meter, [Answer(world.now_ms(), [Value("energy", 2.0)], asked_s=100.6)])
    before, after = collector.drafts()
    assert [before.up + t for t in before.t] == [99_000]
    assert [after.up + t for t in after.t] == [100_000, 100_600]
    assert after.t0 == T - 3_600_000 + 100_000
    assert after.s == [3_600_000, 0], "the source's time stays what it was"
    assert [type(event) for event in after.events] == [ClockStep]


@pytest.mark.parametrize(("earlier", "later"), [("synced", "holdover"), ("unsynced", "synced"), ("synced", "unsynced")])
def test_a_clock_whose_state_changes_ends_the_batch(
    collector: Collector, meter: Meter, world: Any, earlier: Any, later: Any
) -> None:
    world.clock = earlier
    collector.take(meter, [answer(world.now_ms())])
    world.clock = later
    for _ in range(3):
        collector.take(meter, [answer(world.now_ms())])
    before, after = collector.drafts()
    assert (before.clock, after.clock) == (earlier, later)
    assert (len(before.t), len(after.t)) == (2, 6)
    marked = {"unsynced": {Quality.UNSYNCED}}
    assert set(before.q) == marked.get(earlier, {Quality.GOOD})
    assert set(after.q) == marked.get(later, {Quality.GOOD})
    assert not after.events


def test_a_clock_that_is_slewed_does_not(collector: Collector, meter: Meter, world: Any) -> None:
    for _ in range(100):
        world.wall_offset_ms += 5
        collector.take(meter, [answer(world.now_ms())])
    assert len(collector.drafts()) == 1


def test_good_values_of_an_unsynced_clock_are_marked(world: Any, meter: Meter, wired: Callable[..., Wiring]) -> None:
    world.clock = "unsynced"
    collector = Collector(Origin("demo", "workshop-1", "c0", wired().points), world)
    collector.take(meter, [Answer(T, [Value("energy", 1.0), Value("power", None, Quality.BAD)])])
    [draft] = collector.drafts()
    assert draft.clock == "unsynced"
    assert draft.q == [Quality.UNSYNCED, Quality.BAD]


async def test_f33_what_is_no_number_is_bad_and_large_integers_keep_their_digits(
    collector: Collector, meter: Meter, world: Any, outbox_settings: Any
) -> None:
    collector.take(
        meter, [answer(T, float("nan"), float("inf")), answer(T, 2**53 + 1, -(2.0**70)), answer(T, 1e308, -0.0)]
    )
    async with open_outbox(outbox_settings, world) as outbox:
        [row] = await outbox.put(collector.drafts())
    batch = decode_batch(unpack(row.payload))
    assert batch.x == [None, None, "9007199254740993", "-1180591620717411303424", 1e308, 0.0]
    assert batch.q[:2] == [Quality.BAD, Quality.BAD]


def test_the_sources_own_time_travels_beside_ours(collector: Collector, meter: Meter) -> None:
    collector.take(meter, [Answer(T, [Value("energy", 1.0, source_ms=T - 12), Value("power", 2.0)])])
    [draft] = collector.drafts()
    assert draft.s == [-12, 0]


def test_f11_a_stalled_disk_fills_memory_only_so_far(collector: Collector, meter: Meter) -> None:
    many = [answer(T) for _ in range(READINGS)]
    taken = 0
    while collector.take(meter, many):
        taken += 1
    assert taken == 1000
    collector.drafts()
    assert collector.take(meter, many)
