"""First contact, variants, and the past after a gap; in virtual time, with a driver made here."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.backfill import EDGE_MS, LONGEST_BACK_MS, Stand
from agent.exchange import ExchangeWire
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.memory import Memory
from agent.wiring import Line, Wiring
from drivers.contract import ExchangeLine, MeterPlan, Value
from metering.errors import MeterRefused
from metering.reading import Quality

Wired = Callable[..., Wiring]

PROFILE = """
vendor: x
model: y
kind: electricity
protocol: modbus
defaults: {fc: 3, type: f32}
points:
  energy: {address: 0, unit: kWh, role: counter}
  power: {address: 2, unit: kW, role: gauge}
identity:
  serial: {address: 100, type: u32}
variants:
  standard:
    name: standard
    probe: {voltage: {address: 50, within: [80, 300]}}
  swapped:
    name: swapped
    probe: {voltage_b: {address: 60, within: [80, 300]}}
    points: {power: {address: 4, unit: W}}
    without: [energy]
source: {title: made up}
status: unverified
"""


@dataclass
class Asked:
    """A request whose reply the stub meter gives by name."""

    points: tuple[str, ...]
    meter: "StubMeter"
    label: str = "asked"
    request_bytes: int = 4
    reply_bytes: int = 4
    longest_reply: int = 100
    replies_are_distinct: bool = True

    def request(self) -> bytes:
        return ",".join(self.points).encode()

    def length_of(self, received: bytes) -> int | None:
        return len(received)

    def decode(self, reply: bytes) -> Sequence[Value]:
        return self.meter.values(self.points)

    def halves(self) -> Sequence[Any]:
        return ()


class StubMeter:
    """A meter and its driver: what it `holds`, and what it recorded each quarter of a minute."""

    name = "stub"

    def __init__(self) -> None:
        self.holds: dict[str, Any] = {"energy": 1.0, "power": 2.0, "serial": 7.0, "voltage": 230.0}
        self.silent = False
        self.busy = 0
        """The code with which it refuses everything."""
        self.asked: list[str] = []
        self.histories: list[tuple[int, int]] = []
        self.shown_then = 1.0

    def values(self, points: Sequence[str]) -> list[Value]:
        if self.busy:
            raise MeterRefused("busy", self.busy)
        if points and points[0].startswith("history"):
            return self.recorded(int(points[0].split("-")[1]), int(points[0].split("-")[2]))
        if not any(point in self.holds for point in points):
            raise MeterRefused("no such place", 2)
        return [self.value(point) for point in points]

    def value(self, point: str) -> Value:
        held = self.holds[point]
        return Value(point, None, text=held) if isinstance(held, str) else Value(point, held)

    def recorded(self, from_ms: int, to_ms: int) -> list[Value]:
        times = range((from_ms // 15_000) * 15_000 - 15_000, to_ms + 15_000, 15_000)
        found = [Value("energy", self.shown_then, Quality.BACKFILLED, at_ms=at) for at in times]
        return [*found, *found[:3]]

    def wire(self, frame: bytes) -> list[tuple[float, bytes]]:
        self.asked.append(frame.decode())
        return [] if self.silent else [(0.01, frame)]

    # -- as a driver

    def silence_s(self, line: Any) -> float:
        return 0.0

    def plan(self, line: Any, meter: MeterPlan) -> Sequence[Any]:
        return [Asked(tuple(meter.points), self)] if meter.points else []

    def identify(self, line: Any, meter: MeterPlan) -> Sequence[Any]:
        return [Asked(("maker", "firmware"), self)]

    def history(self, line: Any, meter: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Any]:
        self.histories.append((from_ms, to_ms))
        return [Asked((f"history-{from_ms}-{to_ms}",), self)]


class Sink:
    def __init__(self) -> None:
        self.values: list[tuple[int, str, float | None, int]] = []

    def take(self, meter: Any, answers: Any) -> bool:
        for answer in answers:
            self.values += [(answer.measured_ms, v.point, v.value, int(v.quality)) for v in answer.values]
        return True


@pytest.fixture
def stub() -> StubMeter:
    return StubMeter()


@pytest.fixture
def poll(
    wired: Wired, world: Any, fakes: Any, in_virtual_time: Any, stub: StubMeter, tmp_path: Path
) -> Callable[..., tuple[LineOwner, Sink, GapBook]]:
    """Poll the stub for some seconds; `story` may change it meanwhile: seconds -> what happens then."""

    def run(
        seconds: float,
        story: dict[float, Callable[[], None]] | None = None,
        profile: str = "",
        meter: str = "",
        former: Stand | None = None,
    ) -> tuple[LineOwner, Sink, GapBook]:
        (tmp_path / "stub.yaml").write_text(
            profile or PROFILE.split("variants:")[0] + PROFILE[PROFILE.index("source:") :]
        )
        wiring = wired(
            'a: {driver: modbus, tcp: "meter:502"}', f"m1: {{line: a, profile: stub.yaml, interval: 1 s{meter}}}"
        )
        line: Line = replace(
            wiring.lines[0],
            driver=stub,  # type: ignore[arg-type]
            settings=ExchangeLine.model_validate({"driver": "stub", "tcp": "meter:502", "timeout": "300 ms"}),
        )
        world.lines["meter:502"] = fakes.Wire(stub.wire)
        sink, gaps = Sink(), GapBook()
        memory, known = Memory(tmp_path / "meters.json"), {} if former is None else {"m1": former}
        if former is not None:
            gaps.missed("m1", former.at_ms + 1000, "crashed", world.uptime())
        owner = LineOwner(line, world, sink, gaps, memory=memory, former=known)

        async def go() -> None:
            stop = asyncio.Event()
            for at_s, happens in (story or {}).items():
                asyncio.get_running_loop().call_later(at_s, happens)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(owner.run(stop))
                await asyncio.sleep(seconds)
                stop.set()

        in_virtual_time(go())
        return owner, sink, gaps

    return run


def test_at_first_contact_a_meter_says_which_device_it_is(poll: Any, stub: StubMeter) -> None:
    stub.holds |= {"maker": "Ａcme\x00 ", "firmware": "1.2"}
    owner, sink, _ = poll(5.5)
    assert owner.meters["m1"].report()["identity"] == {"serial": "7", "maker": "Ａcme", "firmware": "1.2"}
    assert {point for _, point, _, _ in sink.values} == {"energy", "power"}, "the identity is not polled"
    assert stub.asked.count("serial") == 1
    assert owner.meters["m1"].read == 5


def test_another_serial_number_than_before_is_told(poll: Any, stub: StubMeter, caplog: Any) -> None:
    poll(2.5)
    stub.holds["serial"] = 8.0
    owner, _, _ = poll(2.5)
    assert owner.meters["m1"].report()["replaced"] == ["7", "8"]
    assert sum("replaced?" in record.message for record in caplog.records) == 1
    owner, _, _ = poll(2.5)
    assert "replaced" not in owner.meters["m1"].report()


def test_a_meter_replaced_during_a_silence_is_noticed(poll: Any, stub: StubMeter) -> None:
    def goes() -> None:
        stub.silent = True

    def comes() -> None:
        stub.silent = False
        stub.holds["serial"] = 9.0

    owner, _, _ = poll(40.0, {3.5: goes, 12.5: comes})
    assert owner.meters["m1"].replaced == ("7", "9")


def test_a_meter_that_keeps_silent_about_itself_is_not_asked_so_again(
    poll: Any, stub: StubMeter, tmp_path: Path
) -> None:
    heard = stub.wire
    stub.wire = lambda frame: [] if frame == b"maker,firmware" else heard(frame)  # type: ignore[method-assign]
    for contact in (1, 2):
        owner, _, _ = poll(5.5)
        assert owner.meters["m1"].read == owner.meters["m1"].expected
        assert json.loads((tmp_path / "meters.json").read_text())["m1"]["unanswered"] == contact
    stub.asked.clear()
    stub.wire = heard  # type: ignore[method-assign]
    poll(5.5)
    assert "maker,firmware" not in stub.asked


def test_a_slow_meter_has_the_time_of_its_line_to_say_who_it_is(
    stub: StubMeter, wired: Wired, world: Any, fakes: Any, in_virtual_time: Any, tmp_path: Path
) -> None:
    stub.holds |= {"maker": "Acme", "firmware": "1"}
    world.lines["meter:502"] = fakes.Wire(lambda frame: [(1.5, frame)])
    line = wired().lines[0]
    settings = ExchangeLine.model_validate({"driver": "stub", "tcp": "meter:502", "timeout": "2 s"})
    never_read = ExchangeWire(line, stub, settings, world)  # type: ignore[arg-type]

    async def asked() -> list[Any]:
        return [answer async for answer in never_read.identify(line.meters[0])]

    [answer] = in_virtual_time(asked())
    assert [value.text for value in answer.values] == ["Acme", "1"]


PROBED = """probe:
  voltage: {address: 50, within: [80, 300]}
  code: {address: 60, among: [1, 2]}
  extra: {address: 70, absent: true}
"""


def probed() -> str:
    return PROFILE.split("identity:")[0] + PROBED + PROFILE[PROFILE.index("source:") :]


def test_a_meter_that_is_not_of_its_model_says_so_once_and_is_read_all_the_same(
    poll: Any, stub: StubMeter, caplog: Any
) -> None:
    stub.holds |= {"voltage": 12.3, "code": 2.0, "extra": 4.0}
    owner, sink, _ = poll(60.0, silence(stub, 20.5, 30.5), profile=probed())
    unlike = owner.meters["m1"].report()["unlike"]
    assert unlike["en"] == (
        "this does not look like a y: voltage read 12.3, expected 80..300; extra read 4, expected no such place"
    )
    assert unlike["zh"] == "不像 y：voltage 读到 12.3，应为 80..300；extra 读到 4，应为 没有此项"
    assert sum("does not look like" in record.message for record in caplog.records) == 1
    assert sum(asked == "voltage" for asked in stub.asked) == 2, "it may have been exchanged in the silence"
    assert owner.meters["m1"].state == "ok"
    assert {point for _, point, value, _ in sink.values if value is not None} == {"energy", "power"}


def test_a_meter_of_its_model_is_not_told_of_and_a_probe_without_an_answer_tells_nothing(
    poll: Any, stub: StubMeter
) -> None:
    stub.holds["code"] = 1.0
    owner, _, _ = poll(20.0, profile=probed())
    assert "unlike" not in owner.meters["m1"].report()
    del stub.holds["voltage"]
    owner, _, _ = poll(20.0, profile=probed())
    assert "unlike" not in owner.meters["m1"].report()


def test_the_only_variant_that_fits_is_used(poll: Any, stub: StubMeter, wired: Wired) -> None:
    del stub.holds["voltage"]
    stub.holds["voltage_b"] = 231.0
    owner, sink, _ = poll(3.5, profile=PROFILE)
    assert owner.meters["m1"].report()["variant"] == "swapped"
    assert {point for _, point, _, _ in sink.values} == {"power"}
    assert wired('a: {driver: modbus, tcp: "meter:502"}', "m1: {line: a, profile: stub.yaml}").points == (
        ("m1/energy", "kWh"), ("m1/power", "kW"), ("m1/power", "W"),
    )  # fmt: skip


def test_until_the_variant_is_known_no_value_is_delivered_and_the_cause_says_what_was_read(
    poll: Any, stub: StubMeter
) -> None:
    stub.holds["voltage"] = 12.3

    def mended() -> None:
        stub.holds["voltage"] = 229.0

    owner, sink, _ = poll(2.5, profile=PROFILE)
    counters = owner.meters["m1"]
    assert sink.values == []
    assert counters.cause == "variant"
    assert "voltage = 12.3, standard has [80..300]; voltage_b = -, swapped has [80..300]" in counters.detail
    owner, sink, _ = poll(90.0, {2.5: mended}, profile=PROFILE)
    assert owner.meters["m1"].variant == "standard"
    assert owner.meters["m1"].state == "ok"


def test_a_meter_that_was_exchanged_during_a_silence_is_read_as_the_edition_it_is_now(
    poll: Any, stub: StubMeter
) -> None:
    def exchanged() -> None:
        del stub.holds["voltage"]
        stub.holds |= {"voltage_b": 231.0, "power": 77.0}
        stub.silent = False

    story = {4.5: lambda: setattr(stub, "silent", True), 5.5: exchanged}
    owner, sink, _ = poll(20.0, story, profile=PROFILE)
    assert owner.meters["m1"].variant == "swapped"
    assert [point for _, point, value, _ in sink.values if value is not None].count("energy") == 4, (
        "none of the new one's"
    )
    assert 77.0 in [value for _, _, value, _ in sink.values]


def test_a_busy_meter_has_not_said_that_it_lacks_a_place(poll: Any, stub: StubMeter) -> None:
    stub.busy = 6
    owner, sink, _ = poll(2.5, profile=PROFILE)
    assert owner.meters["m1"].cause == "exception"
    assert sink.values == []
    owner, _, _ = poll(30.0, {2.5: lambda: setattr(stub, "busy", 0)}, profile=PROFILE)
    assert owner.meters["m1"].variant == "standard"


def test_a_variant_that_is_given_is_not_asked_for(poll: Any, stub: StubMeter) -> None:
    _, sink, _ = poll(2.5, profile=PROFILE, meter=", variant: swapped")
    assert {point for _, point, _, _ in sink.values} == {"power"}
    assert "voltage" not in ",".join(stub.asked)


def test_a_silent_probe_is_silence(poll: Any, stub: StubMeter) -> None:
    stub.silent = True
    owner, _, _ = poll(3.5, profile=PROFILE)
    assert owner.meters["m1"].cause == "timeout"


def silence(stub: StubMeter, from_s: float, to_s: float) -> dict[float, Callable[[], None]]:
    return {from_s: lambda: setattr(stub, "silent", True), to_s: lambda: setattr(stub, "silent", False)}


def test_after_a_gap_the_past_is_fetched_once_and_marked(poll: Any, stub: StubMeter, world: Any) -> None:
    owner, sink, gaps = poll(180.0, silence(stub, 10.5, 70.5))
    [(from_ms, to_ms)] = stub.histories
    past = [(at, value) for at, _, value, quality in sink.values if quality == Quality.BACKFILLED]
    assert [at for at, _ in past] == [
        at for at in range(from_ms // 15_000 * 15_000, to_ms, 15_000) if from_ms < at < to_ms
    ]
    assert len(past) == len(set(past)) >= 4
    assert owner.meters["m1"].backfilled == len(past)
    ended, told = [gap for gap in gaps.due(0.0) if gap.end is not None]
    assert (ended.start, ended.end, ended.missed) == (told.start, told.end, told.missed)
    assert (ended.backfilled, told.backfilled) == (0, len(past))
    assert not {at for at, _ in past} & {at for at, _, _, quality in sink.values if quality == Quality.GOOD}


def test_as_far_back_as_daily_freezes_go_the_past_is_asked_for(poll: Any, stub: StubMeter, world: Any) -> None:
    def jump() -> None:
        world.elapsed_s += 100 * 86_400

    poll(120.0, silence(stub, 10.5, 20.5) | {15.2: jump})
    [(from_ms, to_ms)] = stub.histories
    assert to_ms - from_ms == LONGEST_BACK_MS == 62 * 86_400_000


def test_after_a_stop_of_the_agent_the_past_is_asked_for_from_the_last_stored_reading_on(
    poll: Any, stub: StubMeter, world: Any
) -> None:
    last_ms = world.now_ms() - 3 * 86_400_000
    _, sink, _ = poll(5.5, former=Stand(last_ms, {"energy": 1.0}))
    assert stub.histories == [(last_ms, world.now_ms() + 1000)]
    past = [at for at, _, _, quality in sink.values if quality == Quality.BACKFILLED]
    assert last_ms < min(past) <= last_ms + 15_000
    assert len(past) == 3 * 86_400 // 15


@pytest.mark.parametrize(("shown", "near"), [(0.9, "begin"), (1.1, "end")])
def test_near_an_end_of_a_gap_a_counter_that_a_foreign_clock_moved_past_it_is_left_out(
    shown: float, near: str, poll: Any, stub: StubMeter, world: Any
) -> None:
    stub.shown_then = shown
    last_ms = world.now_ms() - 86_400_000
    _, sink, _ = poll(5.5, former=Stand(last_ms, {"energy": 1.0}))
    past = [at for at, _, _, quality in sink.values if quality == Quality.BACKFILLED]
    ends = min(past) - last_ms, world.now_ms() + 1000 - max(past)
    assert (ends[0] >= EDGE_MS, ends[1] >= EDGE_MS) == (near == "begin", near == "end")


def test_values_the_server_dates_itself_travel_with_their_own_time_and_quality(
    poll: Any, stub: StubMeter, world: Any
) -> None:
    then = world.now_ms() - 5000
    stub.values = lambda points: [  # type: ignore[method-assign]
        Value("energy", 1.0, Quality.UNCERTAIN, at_ms=then), Value("energy", 2.0, at_ms=then + 100), Value("power", 3.0)
    ]  # fmt: skip
    _, sink, _ = poll(1.5)
    assert sink.values[:3] == [
        (then, "energy", 1.0, Quality.UNCERTAIN), (then + 100, "energy", 2.0, Quality.GOOD),
        (world.now_ms() + 1000, "power", 3.0, Quality.GOOD),
    ]  # fmt: skip
