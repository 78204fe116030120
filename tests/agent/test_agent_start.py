"""What a run tells of the one before it."""

from collections.abc import Callable
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
from metering.wire import ConfigChanged, Event, Gap, Restart

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
    begin_gaps(former, clean, boot, wired().meters, book, now_ms, 0.0)
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
