"""What a run tells of the one before it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.answer import Answer
from agent.backfill import Stand
from agent.batch import Collector, Origin
from agent.gaps import GapBook
from agent.outbox import open_outbox
from agent.start import Former, begin_gaps, first_events, former_run
from agent.wiring import Wiring
from drivers.contract import Value
from metering.reading import Quality
from metering.wire import Batch, ConfigChanged, Event, Gap, Restart

T = 1_763_884_800_000


@pytest.fixture
def leave(world: Any, wired: Callable[..., Wiring], outbox_settings: Any) -> Callable[..., Any]:
    """Fill the outbox with readings up to a second, and an event."""

    async def fill(last_s: int, *events: Event) -> None:
        wiring = wired()
        collector = Collector(Origin("demo", "workshop-1", "c0", wiring.points), world)
        async with open_outbox(outbox_settings, world) as outbox:
            for second in range(last_s + 1):
                meter = next(wiring.meters)
                collector.take(meter, [Answer(T + second * 1000 + 7, [Value("energy", 1.0)])])
                await outbox.put(collector.drafts())
            collector.tell(events)
            if events:
                await outbox.put(collector.drafts())

    return fill


async def gap_after(
    world: Any, wired: Any, outbox_settings: Any, clean: bool, boot: str, now_ms: int
) -> tuple[Former, list[Gap]]:
    book = GapBook()
    async with open_outbox(outbox_settings, world) as outbox:
        former = await former_run(outbox, {"m1": 1000})
    begin_gaps(former, clean, boot, "c0", wired().meters, book, now_ms, 0.0)
    book.read("m1", now_ms + 500)
    return former, book.due(0.0)


@pytest.mark.parametrize(
    ("clean", "boot", "cause"),
    [(True, "boot-1", "stopped"), (False, "boot-1", "crashed"), (False, "boot-2", "power_loss")],
)
async def test_a_stop_becomes_a_gap_with_its_cause(
    clean: bool, boot: str, cause: str, world: Any, wired: Any, outbox_settings: Any, leave: Any
) -> None:
    await leave(5)
    former, gaps = await gap_after(world, wired, outbox_settings, clean, boot, T + 20_500)
    assert former.stopped_ms == T + 5007
    assert gaps == [Gap(meter="m1", start=T + 6000, end=T + 21_000, cause=cause, missed=15)]


async def test_a_restart_between_two_slots_costs_nothing(
    world: Any, wired: Any, outbox_settings: Any, leave: Any
) -> None:
    await leave(5)
    _, gaps = await gap_after(world, wired, outbox_settings, True, "boot-1", T + 5900)
    assert gaps == []


async def test_a_gap_that_was_open_goes_on_under_its_own_cause(
    world: Any, wired: Any, outbox_settings: Any, leave: Any
) -> None:
    world.elapsed_s = 9.0
    await leave(5, Gap(meter="m1", start=T + 6000, cause="timeout", missed=4))
    _, [gap] = await gap_after(world, wired, outbox_settings, False, "boot-2", T + 20_500)
    assert (gap.start, gap.end, gap.cause, gap.missed) == (T + 6000, T + 21_000, "timeout", 4 + 11)


async def test_a_meter_that_is_read_rarely_is_found_behind_many_batches_of_another(
    world: Any, wired: Any, outbox_settings: Any
) -> None:
    wiring = wired(
        'a: {driver: modbus, tcp: "meter:502"}',
        """fast: {line: a, profile: profile.yaml, interval: 1 s, unit: 1}
        slow: {line: a, profile: profile.yaml, interval: 15 min, unit: 2}
        dead: {line: a, profile: profile.yaml, interval: 1 s, unit: 3}""",
    )
    fast, slow, _ = wiring.meters
    collector = Collector(Origin("demo", "workshop-1", "c0", wiring.points), world)
    async with open_outbox(outbox_settings, world) as outbox:
        collector.take(slow, [Answer(T, [Value("energy", 8.5), Value("power", 1.0)])])
        for second in range(800):
            collector.take(fast, [Answer(T + second * 1000, [Value("energy", 1.0)])])
            await outbox.put(collector.drafts())
        former = await former_run(outbox, {meter.id: meter.interval_ms for meter in wiring.meters})
    assert former.stands["slow"] == Stand(T, {"energy": 8.5, "power": 1.0})
    assert former.stands["fast"].at_ms == T + 799_000
    assert "dead" not in former.stands


async def test_the_first_run_of_all_has_no_gap(world: Any, wired: Any, outbox_settings: Any) -> None:
    former, gaps = await gap_after(world, wired, outbox_settings, False, "boot-1", T)
    assert (former.stopped_ms, gaps) == (None, [])


def test_the_first_batch_tells_of_the_restart_and_of_a_changed_configuration() -> None:
    former = Former(boot="b", config="old", stopped_ms=T - 1)
    assert first_events(former, True, T, "old", "text") == [Restart(at=T, stopped=T - 1, clean=True)]
    assert first_events(former, False, T, "new", "text") == [
        Restart(at=T, stopped=T - 1, clean=False),
        ConfigChanged(at=T, sha256="new", text="text"),
    ]


def stored(meter: str, at_ms: int, x: float | None = 1.0, q: int = 0, events: list[Event] | None = None) -> Batch:
    return Batch(
        site="demo", agent="workshop-1", stream="", seq=0, prev="", boot="boot-1", up=0, clock="synced", config="c0",
        points=[(f"{meter}/energy", "kWh")], t0=at_ms, t=[0], p=[0], x=[x], q=[q], events=events or [],
    )  # fmt: skip


@pytest.fixture
def gaps_of(world: Any, wired: Callable[..., Wiring], outbox_settings: Any) -> Callable[..., Any]:
    """Return the open gaps of m1 (1 s) and slow (1 min) after a crash, by the batches in the outbox."""

    async def gaps(batches: list[Batch], now_ms: int, config: str = "c0") -> list[tuple[str, int, str, int]]:
        meters = """m1: {line: a, profile: profile.yaml, interval: 1 s, unit: 1}
        slow: {line: a, profile: profile.yaml, interval: 1 min, unit: 2}"""
        wiring = wired('a: {driver: modbus, tcp: "meter:502"}', meters)
        meters_of = [replace(meter, phase_ms=0) for meter in wiring.meters]
        book = GapBook()
        async with open_outbox(outbox_settings, world) as outbox:
            for batch in batches:
                await outbox.put([batch])
            former = await former_run(outbox, {meter.id: meter.interval_ms for meter in meters_of})
        begin_gaps(former, False, "boot-1", config, meters_of, book, now_ms, 0.0)
        return [(gap.meter, gap.start - T, gap.cause, gap.missed) for gap in book.still_open()]

    return gaps


async def test_a_gap_last_told_long_before_the_kill_counts_every_slot(gaps_of: Any) -> None:
    told = Gap(meter="m1", start=T + 1000, cause="timeout", missed=60)
    batches = [stored("m1", T), stored("slow", T + 60_000, events=[told]), stored("slow", T + 110_000)]
    assert ("m1", 1000, "timeout", 120) in await gaps_of(batches, T + 120_000)


async def test_marks_of_a_meter_that_was_stuck_are_no_readings(gaps_of: Any) -> None:
    batches = [stored("m1", T), stored("slow", T), stored("m1", T + 40_000, None, int(Quality.TIMEOUT))]
    assert await gaps_of(batches, T + 50_000) == [("m1", 1000, "crashed", 50)]


async def test_a_meter_behind_too_many_batches_of_another_has_a_gap_from_the_oldest_that_was_looked_at(
    gaps_of: Any,
) -> None:
    batches = [stored("slow", T), *(stored("m1", T + 60_000 + 400 * n) for n in range(1, 801))]
    found = {meter: (start, missed) for meter, start, _, missed in await gaps_of(batches, T + 3_600_000)}
    assert found["slow"][0] in range(60_000, 240_001, 60_000)
    assert found["slow"][1] == (3_600_000 - found["slow"][0]) // 60_000 + 1
    other = {meter for meter, *_ in await gaps_of([], T + 3_600_000, config="another")}
    assert other == {"m1"}, "it may be new"


async def test_a_last_reading_by_a_clock_at_its_zero_makes_no_gap_of_decades(gaps_of: Any) -> None:
    assert await gaps_of([stored("m1", 20_000), stored("slow", 20_000)], T) == []
