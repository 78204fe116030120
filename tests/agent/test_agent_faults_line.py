"""What faults of meters and drivers cost the others on their line; in virtual time, on a line that takes real bus time."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.backfill import Stand
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.wiring import Wiring
from drivers.contract import MeterPlan, Value
from metering.errors import MeterUnreachable
from metering.reading import Quality

Wired = Callable[..., Wiring]


class Sink:
    def __init__(self) -> None:
        self.answers: list[tuple[str, float, Any]] = []

    def take(self, meter: Any, answers: Any) -> bool:
        self.answers += [(meter.id, asyncio.get_running_loop().time(), answer) for answer in answers]
        return True

    def marks(self, meter: str) -> list[tuple[float, int]]:
        """Return when a point of a meter was handed on without a value, and its quality."""
        return [
            (at, int(value.quality))
            for name, at, answer in self.answers
            for value in answer.values
            if name == meter and value.value is None
        ]


def run(owner: LineOwner, seconds: float, in_virtual_time: Any) -> None:
    async def story() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(owner.run(stop))
            await asyncio.sleep(seconds)
            stop.set()

    in_virtual_time(story())


BAUD = 9600
BYTE_S = 10 / BAUD
DEVICE_S = 0.01
REGISTERS = 40


def bus(fakes: Any, dead: set[int]) -> Any:
    """Modbus RTU units on one pair of wires: each byte takes its time, a dead unit says nothing."""

    def unit(frame: bytes) -> list[tuple[float, bytes]]:
        if frame[0] in dead:
            return []
        count = struct.unpack(">H", frame[4:6])[0]
        reply = frame[:2] + bytes([2 * count]) + bytes(2 * count)
        reply += fakes.checksum(reply)
        return [(len(frame) * BYTE_S + DEVICE_S + len(reply) * BYTE_S, reply)]

    return fakes.Wire(unit)


def wide(tmp_path: Any) -> None:
    points = "".join(f"  p{n}: {{address: {2 * n}, unit: kW, role: gauge}}\n" for n in range(REGISTERS // 2))
    (tmp_path / "wide.yaml").write_text(
        "vendor: x\nmodel: y\nkind: electricity\nprotocol: modbus\ndefaults: {fc: 3, type: f32}\n"
        f"points:\n{points}source: {{title: made up}}\nstatus: unverified\n"
    )


def units(count: int, interval: str) -> str:
    return "\n".join(
        f"m{n}: {{line: a, profile: wide.yaml, interval: {interval}, unit: {n}}}" for n in range(1, count + 1)
    )


@pytest.mark.parametrize(("interval", "load"), [("3700 ms", 0.96), ("4 s", 0.88), ("5 s", 0.71), ("10 s", 0.35)])
def test_f20_of_32_units_at_9600_baud_with_4_dead_the_living_keep_their_slots(
    wired: Wired, world: Any, fakes: Any, in_virtual_time: Any, tmp_path: Any, interval: str, load: float
) -> None:
    """At least 95 % of them, over ten minutes from a cold start; the dead cost at most 5 % once they are known."""
    wide(tmp_path)
    dead = {5, 13, 21, 29}
    world.lines["/dev/x"] = bus(fakes, dead)
    owner = LineOwner(
        wired("a: {driver: modbus, serial: /dev/x, baud: 9600}", units(32, interval)).lines[0], world, Sink(), GapBook()
    )
    run(owner, 600.0, in_virtual_time)
    exchange_s = 3.5 * BYTE_S + 8 * BYTE_S + DEVICE_S + (5 + 2 * REGISTERS) * BYTE_S
    assert 32 * exchange_s / (owner.line.meters[0].interval_ms / 1000) == pytest.approx(load, abs=0.02), (
        "the load with all alive"
    )
    living = [owner.meters[f"m{n}"] for n in range(1, 33) if n not in dead]
    shares = [meter.read / meter.expected for meter in living]
    print(f"interval {interval}: the living keep {min(shares):.4f} to {max(shares):.4f} of their slots,"
          f" the dead cost {owner.counters.dead_s / 600:.3f} of the time")  # fmt: skip
    assert min(shares) >= 0.95
    assert owner.counters.dead_s / 600 <= 0.05 + 12 * 1.1 / 600, "and the three tries of each before it counts as dead"
    assert all(owner.meters[f"m{n}"].failures["timeout"] >= 4 for n in dead), "each is still probed"


def test_f20_after_an_outage_of_the_whole_line_all_are_back_soon(
    wired: Wired, world: Any, fakes: Any, in_virtual_time: Any, tmp_path: Any
) -> None:
    wide(tmp_path)
    dead = set(range(1, 17))
    world.lines["/dev/x"] = bus(fakes, dead)
    owner = LineOwner(
        wired("a: {driver: modbus, serial: /dev/x, baud: 9600}", units(16, "5 s")).lines[0], world, Sink(), GapBook()
    )

    async def story() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(owner.run(stop))
            await asyncio.sleep(300.0)
            dead.clear()
            await asyncio.sleep(75.0)
            stop.set()

    in_virtual_time(story())
    assert [meter.state for meter in owner.meters.values()] == ["ok"] * 16


def test_a_line_without_time_for_all_reads_each_of_its_meters(
    wired: Wired, world: Any, fakes: Any, in_virtual_time: Any, tmp_path: Any
) -> None:
    wide(tmp_path)
    world.lines["/dev/x"] = bus(fakes, set())
    owner = LineOwner(
        wired("a: {driver: modbus, serial: /dev/x, baud: 9600}", units(12, "1 s")).lines[0], world, Sink(), GapBook()
    )
    run(owner, 300.0, in_virtual_time)
    read = [meter.read for meter in owner.meters.values()]
    assert max(read) - min(read) <= 0.2 * max(read), "none is forgotten"
    assert owner.counters.overruns > 0
    assert owner.counters.utilisation > 0.9
    assert all(
        meter.expected == meter.read + meter.missed["starting"] + meter.missed["overrun"]
        for meter in owner.meters.values()
    )


class Stub:
    """A session driver whose meters do what they are told: `read` by meter id."""

    name = "stub"
    line_model = meter_model = SimpleNamespace
    resubscribed = 0

    def __init__(self, reads: dict[str, Callable[[], Any]]) -> None:
        self.reads = reads
        self.opened = 0
        self.closed = 0
        self.breaks: list[Exception] = []

    @asynccontextmanager
    async def open(self, line: Any, world: Any) -> AsyncIterator[Any]:
        self.opened += 1
        self.resubscribed = 0
        try:
            yield self
        finally:
            self.closed += 1

    async def read(self, plan: MeterPlan) -> Sequence[Value]:
        return await self.reads[plan.meter]()

    async def identify(self, plan: MeterPlan) -> Sequence[Value]:
        return []

    async def history(self, plan: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Value]:
        if self.breaks:
            raise self.breaks.pop()
        times = range(-(-from_ms // 60_000) * 60_000, to_ms, 60_000)
        return [Value("energy", 1.0, at_ms=at) for at in times if at > from_ms][:50]


async def well() -> list[Value]:
    await asyncio.sleep(0.01)
    return [Value("energy", 1.0), Value("power", 2.0)]


async def for_ever() -> list[Value]:
    await asyncio.Event().wait()
    return []


async def raises() -> list[Value]:
    raise RecursionError("planted")


TWO = """m1: {line: a, profile: profile.yaml, interval: 2 s, unit: 1}
m2: {line: a, profile: profile.yaml, interval: 2 s, unit: 2}"""


@pytest.fixture
def session(wired: Wired, world: Any) -> Callable[..., tuple[LineOwner, Sink, Stub]]:
    def make(**reads: Any) -> tuple[LineOwner, Sink, Stub]:
        stub, sink = Stub(reads), Sink()
        line = wired('a: {driver: modbus, tcp: "meter:502"}', TWO).lines[0]
        line = replace(line, driver=stub, settings=SimpleNamespace())  # type: ignore[arg-type]
        return LineOwner(line, world, sink, GapBook()), sink, stub

    return make


def test_f17_a_read_that_never_ends_marks_its_points_within_three_intervals(session: Any, in_virtual_time: Any) -> None:
    owner, sink, _ = session(m1=for_ever, m2=well)
    run(owner, 8.0, in_virtual_time)
    marks = sink.marks("m1")
    begun_s = 1000.0 + 2.0
    assert marks
    assert marks[0][0] - begun_s <= 3 * 2.0
    assert {quality for _, quality in marks} == {int(Quality.TIMEOUT)}
    assert owner.meters["m1"].state == "silent"


def test_f17_a_read_that_never_ends_does_not_stop_the_others_on_its_line(session: Any, in_virtual_time: Any) -> None:
    owner, sink, stub = session(m1=for_ever, m2=well)
    run(owner, 900.0, in_virtual_time)
    other = owner.meters["m2"]
    assert other.state == "ok"
    assert other.read / other.expected >= 0.9
    assert owner.meters["m1"].read == 0
    assert sink.marks("m2") == [], "and is not marked for the other's fault"
    assert stub.opened - stub.closed == 0, "no session is left behind"


def test_f17_a_driver_that_raises_costs_its_own_meter_only(session: Any, in_virtual_time: Any, caplog: Any) -> None:
    owner, _, _ = session(m1=raises, m2=well)
    run(owner, 60.5, in_virtual_time)
    assert owner.meters["m2"].read == owner.meters["m2"].expected == 30
    assert owner.meters["m1"].cause == "error"
    assert sum("fault in the driver" in record.message for record in caplog.records) == 1


def test_f17_the_points_of_a_meter_that_comes_back_are_good_again(session: Any, in_virtual_time: Any) -> None:
    answers = iter([for_ever, well, well, well])

    async def once_for_ever() -> list[Value]:
        return await next(answers, well)()

    owner, _, _ = session(m1=once_for_ever, m2=well)
    run(owner, 30.0, in_virtual_time)
    assert owner.meters["m1"].state == "ok"
    assert owner.meters["m1"].report().get("no_value") is None
    counters = owner.meters["m1"]
    assert counters.expected == counters.read + counters.missed.total()


async def deaf() -> list[Value]:
    """Swallow even the cancellation, for a minute."""
    for _ in range(60):
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            continue
    return []


def test_f17_a_driver_that_cannot_be_interrupted_holds_up_its_line_and_each_meter_says_so(
    session: Any, in_virtual_time: Any
) -> None:
    owner, sink, _ = session(m1=deaf, m2=well)
    run(owner, 58.0, in_virtual_time)
    assert sink.marks("m1")[0][0] <= 1002.0 + 3 * 2.0
    assert sink.marks("m2")[0][0] <= 1003.0 + 41.0


def test_a_day_of_history_comes_in_pieces_the_newest_first_even_where_the_connection_breaks_meanwhile(
    session: Any, in_virtual_time: Any, world: Any
) -> None:
    owner, sink, stub = session(m1=well, m2=well)
    stub.breaks = [MeterUnreachable("planted")]
    line, begin_ms = owner.line, world.now_ms() - 86_400_000
    gaps = GapBook()
    gaps.missed("m1", begin_ms + 2000, "stopped", world.uptime())
    owner = LineOwner(line, world, sink, gaps, former={"m1": Stand(begin_ms)})
    run(owner, 120.0, in_virtual_time)
    past = [
        answer.measured_ms
        for meter, _, answer in sink.answers
        for value in answer.values
        if meter == "m1" and value.quality == Quality.BACKFILLED
    ]
    minutes = range(-(-begin_ms // 60_000) * 60_000, world.wall_offset_ms + 2000, 60_000)
    assert sorted(past) == [at for at in minutes if begin_ms < at]
    assert max(past) in past[:60]
    assert all(meter.read == meter.expected for meter in owner.meters.values())
    assert sum(gap.backfilled for gap in gaps.due(0.0)) == len(past)


def test_what_a_server_told_anew_is_counted_over_its_sessions(session: Any, in_virtual_time: Any) -> None:
    reads = iter(range(1000))

    async def told_anew() -> list[Value]:
        if next(reads) == 3:
            raise MeterUnreachable("planted")
        stub.resubscribed += 1
        return await well()

    owner, _, stub = session(m1=told_anew, m2=well)
    run(owner, 21.0, in_virtual_time)
    assert stub.opened == 2
    assert owner.counters.report()["resubscribed"] == 3 + stub.resubscribed
