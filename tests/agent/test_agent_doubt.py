"""Which counter value is not believed at once, and what a second read decides."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.doubt import Trail
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.wiring import Wiring
from metering.reading import Quality

Wired = Callable[..., Wiring]


def shown(values: list[float], step: float = 0.0, every_s: float = 1.0) -> Trail:
    trail = Trail(step)
    for at, value in enumerate(values):
        trail.learn(value, at * every_s)
    return trail


STEADY = [100.0 + n for n in range(20)]


def test_a_first_value_is_believed() -> None:
    assert not Trail(0.0).doubts(1e9, 0.0)


def test_f22_a_fall_is_doubted_and_jitter_within_the_resolution_is_not() -> None:
    assert shown(STEADY).doubts(118.0, 20.0)
    assert not shown(STEADY, step=1.0).doubts(118.0, 20.0)
    assert not shown([123456.7]).doubts(123456.7 * (1 - 2.0**-23), 1.0), "a float's own step"


def test_f22_a_rise_by_far_above_all_it_has_shown_is_doubted() -> None:
    trail = shown(STEADY)
    assert not trail.doubts(124.0, 20.0)
    assert trail.doubts(119.0 + 11.0, 20.0)
    assert not trail.doubts(119.0 + 500.0, 19.0 + 60.0), "after a minute of silence it may be more"


def test_a_low_resolution_counter_is_not_doubted_at_its_step() -> None:
    values = [float(n // 600) for n in range(6000)]
    trail = Trail(1.0)
    for at, value in enumerate(values):
        assert not trail.doubts(value, float(at))
        trail.learn(value, float(at))


def test_a_start_after_a_standstill_is_doubted_by_nothing() -> None:
    assert not shown([5.0] * 1000).doubts(50.0, 1000.0), "it has never shown its pace"


@given(st.lists(st.floats(0, 5), min_size=3, max_size=60))
def test_a_counter_that_varies_within_fivefold_is_never_doubted_once_it_is_known(rises: list[float]) -> None:
    trail, value, at = shown([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), 5.0, 5.0
    for rise in rises:
        value, at = value + rise, at + 1.0
        assert not trail.doubts(value, at)
        trail.learn(value, at)


def test_a_counter_that_often_falls_a_little_is_left_alone() -> None:
    trail = shown([100.0, 99.0])
    assert not trail.doubts(97.5, 2.0)
    assert shown([100.0, 0.0]).doubts(-1.0, 2.0), "a fall to the beginning teaches nothing"


def test_f22_a_long_gap_does_not_teach_a_large_step() -> None:
    trail = Trail(0.01, longest_s=2.5)
    for at, value in [*enumerate(STEADY), (1e6, 1e6), (1e6 + 1, 1e6 + 1)]:
        trail.learn(value, at)
    assert trail.doubts(1e6 + 1000.0, 1e6 + 2)


def test_f22_a_wrong_first_value_does_not_teach_a_large_step() -> None:
    assert shown([0.0, *STEADY]).doubts(300.0, 21.0)


def test_f22_an_exchanged_meter_is_learnt_anew() -> None:
    trail = shown([*STEADY, 80.0])
    assert trail.doubts(30.0, 21.0), "its fall is no jitter"
    assert not trail.doubts(5000.0, 21.0), "its pace is not known yet"


def test_after_a_quiet_night_a_slow_meter_loses_no_value() -> None:
    trail = shown([1000.0 + n / 10 for n in range(20)], every_s=5.0)
    assert trail.doubts(1007.0, 100.0)
    assert trail.agrees(1007.0, 100.0, 1008.6, 101.6), "it goes on at the pace of the jump"
    assert not trail.agrees(1007.0, 100.0, 1020.0, 101.6)


class Sink:
    def __init__(self) -> None:
        self.energy: list[tuple[int, float | None, int]] = []
        self.powers = 0

    def take(self, meter: Any, answers: Any) -> bool:
        for answer in answers:
            for value in answer.values:
                self.powers += value.point == "power" and value.value is not None
                if value.point == "energy":
                    self.energy.append((answer.measured_ms, value.value, int(value.quality)))
        return True


@pytest.fixture
def poll(wired: Wired, world: Any, fakes: Any, in_virtual_time: Any) -> Callable[..., tuple[LineOwner, Sink]]:
    """Poll a meter whose counter shows one number after the other, request by request."""

    def run(numbers: Iterator[float | None], seconds: float) -> tuple[LineOwner, Sink]:
        def meter(frame: bytes) -> list[tuple[float, bytes]]:
            number = next(numbers)
            return [] if number is None else [(0.01, fakes.modbus_reply(frame, (number, 1.0)))]

        world.lines["meter:502"] = fakes.Wire(meter)
        sink = Sink()
        owner = LineOwner(wired().lines[0], world, sink, GapBook())

        async def story() -> None:
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(owner.run(stop))
                await asyncio.sleep(seconds)
                stop.set()

        in_virtual_time(story())
        return owner, sink

    return run


def test_f22_what_a_second_read_does_not_confirm_is_never_delivered(poll: Any) -> None:
    owner, sink = poll(iter([*STEADY, 7.0, 120.0, 121.0]), 22.5)
    assert [value for _, value, _ in sink.energy] == [*STEADY, 120.0, 121.0]
    counters = owner.meters["m1"]
    assert (counters.reread, counters.disbelieved, counters.read) == (1, 1, 22)


def test_f22_a_jump_that_is_confirmed_is_delivered_once(poll: Any) -> None:
    owner, sink = poll(iter([*STEADY, 3.0, 3.0, 4.0]), 22.5)
    assert [value for _, value, _ in sink.energy] == [*STEADY, 3.0, 4.0]
    assert owner.meters["m1"].disbelieved == 0
    assert owner.meters["m1"].reread == 1


def test_f22_of_two_strange_values_none_is_delivered(poll: Any) -> None:
    owner, sink = poll(iter([*STEADY, 3.0, 1e6, 121.0]), 22.5)
    assert [value for _, value, _ in sink.energy] == [*STEADY, None, 121.0]
    assert sink.energy[20][2] == Quality.BAD
    assert owner.meters["m1"].disbelieved == 1


def test_f22_where_the_second_read_fails_all_but_the_jump_is_delivered(poll: Any) -> None:
    owner, sink = poll(iter([*STEADY, 3.0, None, 121.0, 122.0]), 23.5)
    assert [value for _, value, _ in sink.energy] == [*STEADY, None, 121.0, 122.0]
    assert sink.powers == 23
    counters = owner.meters["m1"]
    assert (counters.disbelieved, counters.failures["timeout"]) == (1, 1)
