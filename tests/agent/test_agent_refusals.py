"""Places a meter refuses: found by halving, left out, remembered, tried again; in virtual time."""

import asyncio
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.contact import _compare
from agent.counters import MeterCounters
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.memory import Memory, fingerprint
from agent.refusals import AGAIN_MS
from agent.wiring import Wiring
from metering.reading import Quality

Wired = Callable[..., Wiring]
POINTS = 12


class Sink:
    def __init__(self) -> None:
        self.values: list[tuple[int, str, float | None, int]] = []

    def take(self, meter: Any, answers: Any) -> bool:
        for answer in answers:
            self.values += [(answer.measured_ms, v.point, v.value, int(v.quality)) for v in answer.values]
        return True


class Meter:
    """Holds register n at n; refuses every read that touches one of `lacking`."""

    def __init__(self, lacking: set[int], code: int = 2) -> None:
        self.lacking = lacking
        self.code = code
        self.reads: list[tuple[int, int]] = []

    def __call__(self, frame: bytes) -> list[tuple[float, bytes]]:
        address, count = struct.unpack(">HH", frame[8:12])
        self.reads.append((address, count))
        if self.lacking & set(range(address, address + count)):
            return [(0.005, frame[:4] + b"\0\3" + frame[6:7] + bytes([0x80 | frame[7], self.code]))]
        data = b"".join(struct.pack(">f", float(at)) for at in range(address, address + count, 2))
        return [(0.005, frame[:4] + struct.pack(">HBBB", 3 + len(data), frame[6], frame[7], len(data)) + data)]


@pytest.fixture
def twelve(tmp_path: Path) -> None:
    points = "".join(f"  p{n}: {{address: {2 * n}, unit: kW, role: gauge}}\n" for n in range(POINTS))
    (tmp_path / "twelve.yaml").write_text(
        "vendor: x\nmodel: y\nkind: electricity\nprotocol: modbus\ndefaults: {fc: 3, type: f32}\n"
        f"points:\n{points}source: {{title: made up}}\nstatus: unverified\n"
    )


@pytest.fixture
def poll(
    wired: Wired, world: Any, fakes: Any, in_virtual_time: Any, tmp_path: Path, twelve: None
) -> Callable[..., Any]:
    def run(meter: Meter, seconds: float, interval: str = "1 s") -> tuple[LineOwner, Sink]:
        world.lines["meter:502"] = fakes.Wire(meter)
        sink = Sink()
        wiring = wired(
            'a: {driver: modbus, tcp: "meter:502"}', f"m1: {{line: a, profile: twelve.yaml, interval: {interval}}}"
        )
        owner = LineOwner(wiring.lines[0], world, sink, GapBook(), memory=Memory(tmp_path / "meters.json"))

        async def story() -> None:
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(owner.run(stop))
                await asyncio.sleep(seconds)
                stop.set()

        in_virtual_time(story())
        return owner, sink

    return run


def test_f24_a_forbidden_place_is_found_and_the_rest_is_read_in_the_same_slot(poll: Any, caplog: Any) -> None:
    meter = Meter({10})
    owner, sink = poll(meter, 1.9)
    first = {point: (value, quality) for _, point, value, quality in sink.values}
    assert {point for point, (value, _) in first.items() if value is not None} == {f"p{n}" for n in range(POINTS)} - {
        "p5"
    }
    assert first["p5"] == (None, Quality.PROTOCOL_ERROR)
    assert owner.meters["m1"].exceptions == {2: 5}, "twelve halve to one in four steps"


def test_f24_it_is_not_asked_for_again_and_shown_and_logged_once(poll: Any, caplog: Any) -> None:
    meter = Meter({10})
    owner, _ = poll(meter, 20.5)
    counters = owner.meters["m1"]
    assert counters.read == counters.expected == 20
    assert sum(10 in range(address, address + count) for address, count in meter.reads[30:]) == 0
    assert "exception 2" in counters.report()["forbidden"]["p5"]
    assert sum("refuses" in record.message for record in caplog.records) == 1


def test_f24_it_is_remembered_over_a_restart_and_tried_again_after_a_while(
    poll: Any, world: Any, tmp_path: Path, caplog: Any
) -> None:
    poll(Meter({10}), 3.5)
    again = Meter({10})
    owner, _ = poll(again, 3.5)
    assert not [1 for address, count in again.reads if 10 in range(address, address + count)]
    assert "p5" in owner.meters["m1"].forbidden
    world.wall_offset_ms += AGAIN_MS[0]
    mended = Meter(set())
    caplog.set_level("INFO")
    owner, _ = poll(mended, 5.5)
    assert owner.meters["m1"].forbidden == {}
    assert any("readable again" in record.message for record in caplog.records)
    assert mended.reads[-1] == (0, 24), "read whole again"
    assert json.loads((tmp_path / "meters.json").read_text())["m1"]["forbidden"] == {}


def test_a_place_that_stays_refused_is_tried_ever_more_rarely(poll: Any) -> None:
    meter = Meter({10})
    poll(meter, 3000.0)
    tried = sum(10 in range(address, address + count) for address, count in meter.reads[30:])
    assert tried == 2, "after one minute and after ten more"


def test_what_had_been_readable_is_not_forbidden_by_a_passing_refusal(poll: Any, world: Any) -> None:
    class Passing(Meter):
        def __call__(self, frame: bytes) -> list[tuple[float, bytes]]:
            self.lacking = {10} if 20 < world.uptime() < 80 else set()
            return super().__call__(frame)

    owner, sink = poll(Passing(set()), 200.0)
    assert owner.meters["m1"].forbidden == {}
    assert len([1 for _, point, value, _ in sink.values if point == "p5" and value is not None]) in range(138, 142)


def test_what_another_meter_refused_says_nothing_of_the_one_in_its_place(
    poll: Any, wired: Wired, tmp_path: Path
) -> None:
    poll(Meter({10}), 3.5)
    [meter] = wired('a: {driver: modbus, tcp: "meter:502"}', "m1: {line: a, profile: twelve.yaml}").meters
    memory = Memory(tmp_path / "meters.json")
    known = memory.of(meter)
    assert known.forbidden
    for serial in ("1", "2"):
        _compare(meter, MeterCounters(), memory, {"serial": serial})
    assert memory.of(meter).forbidden == {}
    [moved] = wired('b: {driver: modbus, tcp: "meter:502"}', "m1: {line: b, profile: twelve.yaml}").meters
    assert fingerprint(moved) != fingerprint(meter), "another line, another meter"


def test_what_is_forbidden_is_forgotten_when_the_points_change(poll: Any, tmp_path: Path) -> None:
    poll(Meter({10}), 3.5)
    profile = tmp_path / "twelve.yaml"
    text = profile.read_text()
    profile.write_text(text.replace("p5: {address: 10,", "p5: {address: 30,"))
    _, sink = poll(Meter({10}), 1.9)
    profile.write_text(text)
    assert ("p5", 30.0) in [(point, value) for _, point, value, _ in sink.values]


@pytest.mark.parametrize("code", range(1, 12))
def test_f24_an_exception_to_everything_is_no_storm_and_no_disconnection(poll: Any, world: Any, code: int) -> None:
    meter = Meter(set(range(100)), code)
    owner, sink = poll(meter, 120.0)
    counters = owner.meters["m1"]
    assert counters.read == 0
    assert counters.cause == "exception"
    assert f"exception {code}" in counters.detail
    assert counters.forbidden == {}
    assert len(meter.reads) <= 11 * 24, (
        "at most a day's bisection for each of the few slots that the breaker lets through"
    )
    assert len(meter.reads) <= 11 or code in (2, 3)
    assert owner.counters.opened == 1
    assert [value for _, _, value, _ in sink.values if value is not None] == []


def test_a_damaged_memory_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "meters.json"
    path.write_text("{not json")
    Memory(path).save()
    assert json.loads(path.read_text()) == {}
