"""What a line does for each of its meters when there is not enough of it, in virtual time."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agent.gaps import GapBook
from agent.line import LineOwner
from agent.wiring import Wiring

Wired = Callable[..., Wiring]


class Sink:
    def __init__(self) -> None:
        self.values: list[tuple[str, str, float | None]] = []

    def take(self, meter: Any, answers: Any) -> bool:
        self.values += [(meter.id, value.point, value.value) for answer in answers for value in answer.values]
        return True


@pytest.fixture
def owner_of(wired: Wired, world: Any, fakes: Any) -> Callable[..., LineOwner]:
    """Return the owner of a line with meters; `meter(frame)` says what comes back."""

    def make(meter: Callable[[bytes], Any], meters: str, line: str = 'tcp: "meter:502"') -> LineOwner:
        world.lines |= dict.fromkeys(("meter:502", "/dev/x"), fakes.Wire(meter))
        wiring = wired(f"a: {{driver: modbus, {line}, timeout: 1 s}}", meters)
        return LineOwner(wiring.lines[0], world, Sink(), GapBook())

    return make


@pytest.fixture
def run(in_virtual_time: Any) -> Callable[[LineOwner, float], None]:
    def run(owner: LineOwner, seconds: float) -> None:
        async def story() -> None:
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(owner.run(stop))
                await asyncio.sleep(seconds)
                stop.set()

        in_virtual_time(story())

    return run


def units(count: int, interval: str, first: int = 1) -> str:
    return "\n".join(
        f"m{unit}: {{line: a, profile: profile.yaml, interval: {interval}, unit: {unit}}}"
        for unit in range(first, first + count)
    )


def share(owner: LineOwner, *meters: str) -> list[float]:
    return [owner.meters[meter].read / owner.meters[meter].expected for meter in meters]


def test_f21_what_was_asked_before_a_restart_is_not_taken_for_the_first_reply(
    owner_of: Any, run: Any, fakes: Any
) -> None:
    """A unit answers late, in order, to whoever is there."""

    def reply(value: float) -> bytes:
        data = bytes([1, 3, 8]) + struct.pack(">2f", value, value)
        return data + fakes.checksum(data)

    asked = 0

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal asked
        asked += 1
        return [(0.05, reply(7.0))]

    owner = owner_of(meter, units(1, "2 s"), "serial: /dev/x")
    wire = owner._world.lines["/dev/x"]

    class Late:
        async def open(self) -> Any:
            end = await wire.open()
            asyncio.get_running_loop().call_later(0.04, end._arrived.put_nowait, reply(100.0))
            return end

    owner._world.lines["/dev/x"] = Late()  # type: ignore[attr-defined]
    run(owner, 9.0)
    assert asked == 4
    assert {value for _, _, value in owner._sink.values} == {7.0}  # type: ignore[attr-defined]
    assert owner.counters.stale_frames == 1


@pytest.mark.parametrize("fast", [14, 20])
def test_a_line_with_too_much_to_do_reads_each_meter_its_share(owner_of: Any, run: Any, fakes: Any, fast: int) -> None:
    meters = units(fast, "1 s") + "\n" + units(1, "10 s", 50) + "\n" + units(1, "60 s", 60)
    owner = owner_of(lambda frame: [(0.075, fakes.modbus_reply(frame))], meters)
    run(owner, 900.0)
    load = fast * 0.075 + 0.0088
    shares = share(owner, *owner.meters)
    assert load > 1.05
    assert min(shares) > 0.9 / load, shares
    assert min(share(owner, "m50", "m60")) > 0.9


def refusal(frame: bytes, code: int) -> bytes:
    return frame[:4] + b"\0\3" + frame[6:7] + bytes([frame[7] | 0x80, code])


@pytest.mark.parametrize("kind", ["silent", "no reply, says the gateway", "hangs up", "noise"])
def test_half_the_meters_dead_cost_the_living_little_whatever_the_gateway_says_of_them(
    owner_of: Any, run: Any, fakes: Any, kind: str
) -> None:
    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        if frame[6] > 16:
            return [(0.05, fakes.modbus_reply(frame))]
        return {
            "silent": [],
            "no reply, says the gateway": [(0.9, refusal(frame, 11))],
            "hangs up": [(0.9, fakes.LOST)],
            "noise": [(0.9, b"\xaa" * 9)],
        }[kind]

    owner = owner_of(meter, units(32, "10 s"))
    run(owner, 1800.0)
    living = [owner.meters[f"m{unit}"] for unit in range(17, 33)]
    assert sum(meter.read for meter in living) >= 0.95 * sum(meter.expected for meter in living)


def test_meters_that_answer_one_request_in_three_cost_the_others_little(owner_of: Any, run: Any, fakes: Any) -> None:
    asked = dict.fromkeys(range(1, 33), 0)

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        asked[frame[6]] += 1
        return [(0.1, fakes.modbus_reply(frame))] if frame[6] > 12 or asked[frame[6]] % 3 == 0 else []

    owner = owner_of(meter, units(32, "10 s"))
    run(owner, 1800.0)
    assert min(share(owner, *(f"m{unit}" for unit in range(13, 33)))) >= 0.9


def test_a_slow_history_does_not_keep_a_line_busy(owner_of: Any, run: Any, fakes: Any) -> None:
    """The slots that it costs are no gap to be filled."""
    asked = histories = 0

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal asked
        asked += 1
        return [] if 10 < asked < 13 else [(0.02, fakes.modbus_reply(frame))]

    async def slow(*_: object) -> AsyncIterator[Any]:
        nonlocal histories
        histories += 1
        await asyncio.sleep(3.0)
        return
        yield

    owner = owner_of(meter, units(1, "2 s"))
    owner._wire.history = slow
    run(owner, 600.0)
    assert histories == 1, "of the silence"
    assert min(share(owner, "m1")) > 0.97


def test_errands_of_a_line_that_is_never_idle_do_not_pile_up(owner_of: Any, run: Any, fakes: Any) -> None:
    asked = 0

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal asked
        asked += 1
        return [] if asked % 11 == 0 else [(0.15, fakes.modbus_reply(frame))]

    owner = owner_of(meter, units(12, "1 s"))
    run(owner, 600.0)
    assert len(owner._errands) <= 3 * 12, "each kind once a meter"
    assert all(polled.counters.unlike is None and not polled.unintroduced for polled in owner._polled)


def test_a_slot_that_never_ends_is_given_up_and_counted(owner_of: Any, run: Any, fakes: Any) -> None:
    asked = 0
    owner = owner_of(lambda frame: [(0.01, fakes.modbus_reply(frame))], units(2, "1 s"))
    falls_silent = owner._wire._port._fall_silent

    async def hangs(channel: Any) -> None:
        nonlocal asked
        asked += 1
        if asked == 20:
            await asyncio.get_running_loop().create_future()
        await falls_silent(channel)

    owner._wire._port._fall_silent = hangs
    run(owner, 1000.5)
    for meter in ("m1", "m2"):
        counters = owner.meters[meter]
        assert counters.state == "ok"
        assert counters.expected == counters.read + counters.missed.total() == 1000
        assert 295 < counters.missed.total() < 310
    assert sum(gap.missed for gap in owner._gaps.due(0.0)) == sum(m.missed.total() for m in owner.meters.values())


def test_why_a_meter_is_silent_is_said_in_both_languages(owner_of: Any, run: Any) -> None:
    owner = owner_of(lambda frame: [], units(1, "2 s"))
    run(owner, 5.0)
    said = owner.meters["m1"].report()["said"]
    assert said == {"zh": "没有应答：1 秒内没有应答", "en": "no reply: nothing came within 1 s"}
