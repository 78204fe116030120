"""The owner of a line, in virtual time: who is asked when, and what each failure costs."""

import asyncio
import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.gaps import GapBook
from agent.line import LineOwner
from agent.wiring import Wiring
from metering.reading import Quality
from metering.wire import Gap

Wired = Callable[..., Wiring]


class Sink:
    def __init__(self) -> None:
        self.readings: list[tuple[str, int, str, float | None, int]] = []
        self.room = True

    def take(self, meter: Any, answers: Any) -> bool:
        for answer in answers:
            for value in answer.values:
                self.readings.append((meter.id, answer.measured_ms, value.point, value.value, int(value.quality)))
        return self.room

    def of(self, meter: str, point: str = "energy") -> list[int]:
        return [at for name, at, of, value, _ in self.readings if name == meter and of == point and value is not None]


class Bench:
    """One line in a world of tests."""

    def __init__(self, wiring: Wiring, world: Any, wire: Any, where: str = "meter:502") -> None:
        self.world, self.sink, self.gaps = world, Sink(), GapBook()
        world.lines[where] = wire
        self.owner = LineOwner(wiring.lines[0], world, self.sink, self.gaps)

    async def run(self, seconds: float) -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.owner.run(stop))
            await asyncio.sleep(seconds)
            stop.set()


@pytest.fixture
def bench(wired: Wired, world: Any) -> Callable[..., Bench]:
    def make(wire: Any, *args: str, where: str = "meter:502") -> Bench:
        return Bench(wired(*args), world, wire, where)

    return make


@pytest.fixture
def apart(tmp_path: Path) -> None:
    """Write apart.yaml: the profile with its second register far away."""
    (tmp_path / "apart.yaml").write_text(
        "vendor: x\nmodel: y\nkind: electricity\nprotocol: modbus\ndefaults: {fc: 3, type: f32}\n"
        "points:\n  energy: {address: 0, unit: kWh, role: counter}\n  power: {address: 500, unit: kW, role: gauge}\n"
        "source: {title: made up}\nstatus: unverified\n"
    )


TWO = """m1: {line: a, profile: profile.yaml, interval: 1 s, unit: 1}
m2: {line: a, profile: profile.yaml, interval: 1 s, unit: 2}"""


def test_meters_are_read_at_their_slots_on_the_wall_clock(bench, fakes, in_virtual_time) -> None:
    line = bench(
        fakes.Wire(lambda frame: [(0.01, fakes.modbus_reply(frame))]), 'a: {driver: modbus, tcp: "meter:502"}', TWO
    )
    in_virtual_time(line.run(10.2))
    assert [at % 1000 for at in line.sink.of("m1")] == [0] * 10
    assert [at % 1000 for at in line.sink.of("m2")] == [500] * 10, "spread over the interval"
    assert line.owner.meters["m1"].expected == line.owner.meters["m1"].read == 10


def test_a_silent_meter_never_stops_the_others(bench, fakes, in_virtual_time) -> None:
    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        return [(0.01, fakes.modbus_reply(frame))] if frame[6] == 1 else []

    line = bench(fakes.Wire(meter), 'a: {driver: modbus, tcp: "meter:502", timeout: 300 ms}', TWO)
    in_virtual_time(line.run(120.0))
    living, dead = line.owner.meters["m1"], line.owner.meters["m2"]
    assert living.read == living.expected
    assert living.read >= 119
    assert dead.read == 0
    assert dead.expected >= 119
    assert dead.missed["timeout"] + dead.missed["breaker"] == dead.expected
    assert dead.failures["timeout"] <= 3 + 7, "the breaker probes ever more rarely"


def test_a_meter_that_comes_back_ends_its_gap(bench, fakes, in_virtual_time) -> None:
    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        seconds = asyncio.get_running_loop().time() - 1000.0
        return [] if 4.5 < seconds < 6.5 else [(0.01, fakes.modbus_reply(frame))]

    line = bench(fakes.Wire(meter))
    in_virtual_time(line.run(20.5))
    [gap] = line.gaps.due(0.0)
    assert isinstance(gap, Gap)
    assert (gap.meter, gap.cause) == ("m1", "timeout")
    assert gap.missed * 1000 == gap.end - gap.start
    assert line.owner.meters["m1"].missed["timeout"] == gap.missed
    assert line.owner.meters["m1"].state == "ok"


def test_f21_a_late_reply_never_becomes_the_next_value(bench, fakes, in_virtual_time) -> None:
    """Each reply carries the number of its request; every fifth one comes after the time-out."""
    count = 0

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal count
        count += 1
        return [(0.7 if count % 5 == 0 else 0.01, fakes.modbus_reply(frame, (float(count), 0.0)))]

    wire = fakes.Wire(meter)
    line = bench(wire, 'a: {driver: modbus, tcp: "meter:502", timeout: 500 ms, framer: tcp}')
    in_virtual_time(line.run(60.5))
    values = [value for _, _, point, value, _ in line.sink.readings if point == "energy"]
    assert values == [float(n) for n in range(1, count + 1) if n % 5]
    assert wire.opened == 1 + (count - 1) // 5, "a new connection after each"


LATE_RTU = "a: {driver: modbus, serial: /dev/x, timeout: 300 ms}"
BLOCKS = {0: 100000.0, 500: 7.0}
"""Two registers too far apart for one request, whose replies look alike."""


def late_rtu_meter(late_s: float, fakes: Any) -> tuple[Any, list[float]]:
    """A gateway that answers in order; every fifth read of the second register by unit 1 takes `late_s`."""
    times: list[float] = []
    free_at = 0.0

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal free_at
        now, address = asyncio.get_running_loop().time(), int.from_bytes(frame[2:4], "big")
        slow = False
        if frame[0] == 1 and address == 500:
            times.append(now)
            slow = len(times) % 5 == 0
        free_at = max(free_at if frame[0] == 1 else now, now) + (late_s if slow else 0.02)
        return [(free_at - now, rtu_reply(frame, struct.pack(">f", BLOCKS[address])))]

    return fakes.Wire(meter), times


@pytest.mark.parametrize("late_s", [0.5, 0.8, 0.985, 1.2, 1.5, 2.2])
def test_f22_a_late_rtu_reply_never_becomes_another_registers_value(
    bench, fakes, in_virtual_time, apart, late_s
) -> None:
    wire, asked = late_rtu_meter(late_s, fakes)
    line = bench(wire, LATE_RTU, TWO.replace("profile.yaml", "apart.yaml"), where="/dev/x")
    in_virtual_time(line.run(60.5))
    good = [(point, value) for _, _, point, value, _ in line.sink.readings if value is not None]
    assert set(good) == {("energy", 100000.0), ("power", 7.0)}
    assert len(asked) > 20
    waited = [later - earlier for earlier, later in zip(asked[4::5], asked[5::5], strict=False)]
    assert all(wait >= 2.3 for wait in waited), "left alone after each time-out"
    first, second = line.owner.meters["m1"], line.owner.meters["m2"]
    assert second.read == second.expected, "the others go on"
    assert first.missed["timeout"] == first.expected - first.read > 0
    assert first.missed["breaker"] == 0


def test_f22_a_reply_that_names_its_request_needs_no_wait(bench, fakes, in_virtual_time) -> None:
    asked: list[float] = []

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        asked.append(asyncio.get_running_loop().time())
        return [] if len(asked) == 3 else [(0.01, fakes.modbus_reply(frame))]

    line = bench(fakes.Wire(meter))
    in_virtual_time(line.run(10.5))
    assert line.owner.meters["m1"].missed["timeout"] == 1


def test_f23_a_frame_that_is_not_the_answer_is_refused(bench, fakes, in_virtual_time) -> None:
    line = bench(fakes.Wire(lambda frame: [(0.01, b"\0\0" + fakes.modbus_reply(frame)[2:])]))
    in_virtual_time(line.run(2.5))
    assert line.sink.readings == []
    assert line.owner.meters["m1"].failures["bad_frame"] == 2


def test_f20_a_line_that_cannot_be_opened_costs_no_time(bench, fakes, in_virtual_time) -> None:
    wire = fakes.Wire(lambda frame: [(0.01, fakes.modbus_reply(frame))])
    wire.refuses = "refused"
    line = bench(wire)

    async def story() -> None:
        asyncio.get_running_loop().call_later(30.2, setattr, wire, "refuses", "")
        await line.run(45.5)

    in_virtual_time(story())
    counters = line.owner.meters["m1"]
    assert counters.missed["unreachable"] >= 30
    assert counters.read >= 5, "opened again within 10 s"
    assert counters.missed["breaker"] == 0, "no fault of the meter's"
    assert counters.expected == counters.read + counters.missed["unreachable"]


def test_a_connection_closed_while_idle_costs_no_reading(bench, fakes, in_virtual_time) -> None:
    wire = fakes.Wire(
        lambda frame: [(0.0, fakes.LOST)] if len(wire.requests) % 3 == 2 else [(0.01, fakes.modbus_reply(frame))]
    )
    line = bench(wire)
    in_virtual_time(line.run(10.5))
    assert line.owner.meters["m1"].read == line.owner.meters["m1"].expected == 10


def test_an_exception_reply_leaves_the_connection_alone(bench, fakes, in_virtual_time) -> None:
    wire = fakes.Wire(lambda frame: [(0.01, frame[:4] + b"\0\3" + frame[6:7] + b"\x83\x02")])
    line = bench(wire)
    in_virtual_time(line.run(2.5))
    assert line.owner.meters["m1"].missed["exception"] == 2
    assert wire.opened == 1


def test_a_line_too_slow_for_its_interval_counts_overruns(bench, fakes, in_virtual_time) -> None:
    line = bench(
        fakes.Wire(lambda frame: [(1.7, fakes.modbus_reply(frame))]),
        'a: {driver: modbus, tcp: "meter:502", timeout: 3 s}',
    )
    in_virtual_time(line.run(60.0))
    counters = line.owner.meters["m1"]
    assert counters.missed["overrun"] > 10
    assert counters.expected == counters.read + counters.missed["overrun"]
    times = line.sink.of("m1")
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 1700


def test_f17_a_fault_in_a_driver_is_the_meters_alone(bench, fakes, in_virtual_time, caplog) -> None:
    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        if frame[6] == 2:
            raise ZeroDivisionError("planted")
        return [(0.01, fakes.modbus_reply(frame))]

    line = bench(fakes.Wire(meter), 'a: {driver: modbus, tcp: "meter:502"}', TWO)
    in_virtual_time(line.run(30.2))
    assert line.owner.meters["m1"].read == 30
    assert line.owner.meters["m2"].missed["error"] >= 3
    assert sum("fault in the driver" in record.message for record in caplog.records) == 1


FAR_APART = "m1: {line: a, profile: apart.yaml, interval: 1 s}"


def test_f20_a_line_lost_between_two_requests_costs_the_second_only(bench, fakes, in_virtual_time, apart) -> None:
    """The gateway hangs up on every third read of the second register and is not there again for 0.4 s."""
    seconds = 0

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal seconds
        second = frame[8:10] != b"\0\0"
        seconds += second
        if second and seconds % 3 == 0:
            wire.refuses = "refused"
            asyncio.get_running_loop().call_later(0.4, setattr, wire, "refuses", "")
            return [(0.01, fakes.LOST)]
        return [(0.01, fakes.modbus_reply(frame))]

    wire = fakes.Wire(meter)
    line = bench(wire, 'a: {driver: modbus, tcp: "meter:502"}', FAR_APART)
    in_virtual_time(line.run(20.5))
    first = sum(frame[8:10] == b"\0\0" for _, frame in wire.requests)
    counters = line.owner.meters["m1"]
    marks = [quality for _, _, point, value, quality in line.sink.readings if point == "power" and value is None]
    assert counters.read == len(line.sink.of("m1")) == first
    assert len(marks) == counters.failures["unreachable"] == seconds // 3 > 3
    assert set(marks) == {int(Quality.BAD)}
    assert len(line.sink.of("m1", "power")) == first - len(marks)
    assert "no_value" not in counters.report(), "the last read had all"


def test_f17_a_fault_after_a_first_answer_leaves_marks_and_is_logged_once(
    bench, fakes, in_virtual_time, apart, caplog
) -> None:
    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        if frame[8:10] != b"\0\0":
            raise ZeroDivisionError("planted")
        return [(0.01, fakes.modbus_reply(frame))]

    line = bench(fakes.Wire(meter), 'a: {driver: modbus, tcp: "meter:502"}', FAR_APART)
    in_virtual_time(line.run(30.2))
    counters = line.owner.meters["m1"]
    assert counters.read == counters.failures["error"] == 30
    assert sum(point == "power" and value is None for _, _, point, value, _ in line.sink.readings) == 30
    assert counters.report()["no_value"] == {
        "count": 1, "points": {"power": {"zh": "ZeroDivisionError('planted')", "en": "ZeroDivisionError('planted')"}}
    }  # fmt: skip
    assert sum("fault in the driver" in record.message for record in caplog.records) == 1


def test_f17_a_fault_of_a_silent_meter_is_logged_once(bench, fakes, in_virtual_time, caplog) -> None:
    asked = 0

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise ZeroDivisionError("planted")
        return []

    line = bench(fakes.Wire(meter))
    in_virtual_time(line.run(60.2))
    assert line.owner.meters["m1"].missed["error"] > 3
    assert sum("fault in the driver" in record.message for record in caplog.records) == 1


def test_one_line_in_the_log_for_each_change(bench, fakes, in_virtual_time, caplog) -> None:
    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        seconds = asyncio.get_running_loop().time() - 1000.0
        return [] if 4.5 < seconds < 20.5 else [(0.01, fakes.modbus_reply(frame))]

    line = bench(fakes.Wire(meter))
    caplog.set_level("INFO")
    in_virtual_time(line.run(90.5))
    said = [record.message.split(":")[0] for record in caplog.records]
    assert said == ["meter m1 answers", "meter m1 is silent", "meter m1 is back"]


def test_no_room_for_a_reading_is_a_missed_slot(bench, fakes, in_virtual_time) -> None:
    line = bench(fakes.Wire(lambda frame: [(0.01, fakes.modbus_reply(frame))]))
    line.sink.room = False
    in_virtual_time(line.run(3.5))
    assert line.owner.meters["m1"].missed["no_room"] == 3


def test_serial_requests_keep_their_silence(bench, fakes, in_virtual_time) -> None:
    """Two meters due at the same moment on 1200 baud: t3.5 is 29 ms."""
    ends: list[float] = []

    def meter(frame: bytes) -> list[tuple[float, bytes]]:
        ends.append(asyncio.get_running_loop().time() + 0.1)
        return [(0.1, rtu_reply(frame))]

    wire = fakes.Wire(meter)
    both = TWO.replace("1 s", "500 ms")
    line = bench(wire, "a: {driver: modbus, serial: /dev/x, baud: 1200, frame: 8N1}", both, where="/dev/x")
    in_virtual_time(line.run(20.0))
    assert line.owner.meters["m1"].read > 10
    waits = [start - end for (start, _), end in zip(wire.requests[1:], ends, strict=False)]
    assert min(waits) >= 3.5 * 10 / 1200 - 1e-6


def rtu_reply(frame: bytes, payload: bytes = bytes(8)) -> bytes:
    data = frame[:2] + bytes([len(payload)]) + payload
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return data + crc.to_bytes(2, "little")


def test_a_stop_lets_the_read_under_way_finish(bench, fakes, in_virtual_time) -> None:
    line = bench(fakes.Wire(lambda frame: [(0.3, fakes.modbus_reply(frame))]))
    in_virtual_time(line.run(3.1))
    assert line.owner.meters["m1"].read == 3
