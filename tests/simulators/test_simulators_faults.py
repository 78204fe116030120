"""The timetable and requests: what begins when, what the log says, and what is refused."""

import datetime as dt
import json
import logging
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from settings.plant import PlantFault, PlantSettings
from simulators.control import Control
from simulators.effects import Burst, Memory, State
from simulators.faults import Faults
from simulators.meters import build_meters

MakePlant = Callable[..., PlantSettings]
START = 1_783_483_200_000
"""2026-07-08T12:00+08:00."""


class Stage:
    """Faults of a plant under a clock of the test's own."""

    def __init__(self, settings: PlantSettings, folder: Path, fresh: bool = True) -> None:
        self.ms = START
        self.meters = build_meters(settings)
        self.memory = Memory(folder / "state.json", State(START), fresh)
        self.faults = Faults(settings, self.meters, self.memory, now=lambda: self.ms)
        self.control = Control(self.meters, self.faults)

    def at(self, seconds: float) -> Faults:
        self.ms = START + round(seconds * 1000)
        self.faults.step()
        return self.faults

    def ask(self, **command: object) -> dict[str, object]:
        return self.control.answer(json.dumps(command).encode())


@pytest.fixture
def stage(make_plant: MakePlant, tmp_path: Path) -> Callable[..., Stage]:
    def make(timetable: str = "", fresh: bool = True) -> Stage:
        more = f"faults:\n{timetable}" if timetable else ""
        return Stage(make_plant("gas-main", "gas-2", "main-power", more=more), tmp_path, fresh)

    return make


def test_a_fault_of_the_timetable_begins_and_ends(
    stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plant = stage("  - {at: 70 s, for: 30 s, fault: silence, meter: gas-main}")
    assert not plant.at(69.9).silent("gas-main")
    assert plant.at(70).silent("gas-main")
    assert not plant.faults.silent("gas-2")
    assert plant.at(99.9).silent("gas-main")
    assert not plant.at(100).silent("gas-main")
    assert caplog.messages == ["fault: silence of gas-main begins for 30 s", "fault: silence of gas-main ends"]


def test_a_fault_by_the_clock_comes_each_day(stage: Callable[..., Stage]) -> None:
    plant = stage('  - {at: "14:30", for: 1 min, fault: checksum, meter: gas-main}')
    for day in range(3):
        begin = (day * 24 + 2.5) * 3600
        assert not plant.at(begin - 1).corrupt("gas-main")
        assert plant.at(begin + 1).corrupt("gas-main")
        assert not plant.at(begin + 61).corrupt("gas-main")


def test_a_burst_of_the_timetable_is_kept_for_the_next_start(stage: Callable[..., Stage]) -> None:
    plant = stage("  - {at: 70 s, for: 5 min, fault: burst, meter: gas-main, factor: 3}")
    calm = plant.meters["gas-main"].rate(START + 80_000)
    plant.at(70)
    assert plant.meters["gas-main"].rate(START + 80_000) == pytest.approx(3 * calm)
    assert plant.memory.state.effects == [Burst("gas-main", START + 70_000, START + 370_000, 3)]


def test_bursts_of_one_meter_do_not_pile_up(stage: Callable[..., Stage]) -> None:
    plant = stage()
    for at, length in ((0, 60), (30, 20), (40, 60)):
        plant.at(at)
        assert plant.ask(fault="burst", meter="gas-main", factor=3, **{"for": length})["ok"]
    assert plant.memory.state.effects == [
        Burst("gas-main", START, START + 60_000, 3),
        Burst("gas-main", START + 60_000, START + 100_000, 3),
    ]


def test_a_rollover_of_the_timetable_is_no_jump(stage: Callable[..., Stage]) -> None:
    gas = stage("  - {at: 20 s, fault: rollover, meter: gas-main}").meters["gas-main"]
    shown = [gas.value("volume", START + second * 1000) for second in range(-600, 31)]
    assert shown[0] < shown[-12] < 1_000_000
    assert shown[-12] > 999_999
    assert shown[-10] < 1
    assert all(later - earlier < 1 for earlier, later in pairwise(shown) if later > earlier)


def test_a_planned_rollover_is_not_planned_again_at_a_restart(stage: Callable[..., Stage]) -> None:
    timetable = "  - {at: 20 s, fault: rollover, meter: gas-main}"
    assert len(stage(timetable).memory.state.effects) == 1
    assert stage(timetable, fresh=False).memory.state.effects == []


def test_late_says_how_late(stage: Callable[..., Stage]) -> None:
    plant = stage("  - {at: 1 s, for: 10 s, fault: late, meter: gas-2, delay: 800 ms}")
    assert plant.faults.delay_s("gas-2") == 0
    assert plant.at(1).delay_s("gas-2") == 0.8
    assert plant.faults.mark("gas-2") == "late"
    assert plant.faults.mark("gas-main") is None


@pytest.mark.parametrize("fault", ["reset", "rollover", "stuck", "burst"])
def test_a_request_changes_the_counter_from_then_on(stage: Callable[..., Stage], fault: str) -> None:
    plant = stage()
    gas = plant.meters["gas-main"]
    ahead = gas.value("volume", START + 60_000)
    past = gas.value("volume", START - 1000)
    assert plant.ask(fault=fault, meter="gas-main") == {"ok": True}
    assert gas.value("volume", START + 59_000) != pytest.approx(ahead, abs=0.01)
    assert gas.value("volume", START - 1000) == past
    assert len(plant.memory.state.effects) == 1


def test_a_request_takes_bare_seconds(stage: Callable[..., Stage]) -> None:
    plant = stage()
    assert plant.ask(fault="silence", meter="gas-main", **{"for": 2.5})["ok"]
    assert plant.ask(status=True)["faults"] == [{"fault": "silence", "meter": "gas-main", "until": START + 2500}]
    assert plant.ask(clear=None) == {"ok": True, "cleared": 1}
    assert plant.ask(status=True)["faults"] == []


def test_a_request_may_read_the_truth(stage: Callable[..., Stage]) -> None:
    plant = stage()
    answer = plant.ask(read="gas-main")
    gas = plant.meters["gas-main"]
    assert answer == {"ok": True, "t": START, "values": {point: gas.value(point, START) for point in gas.dials}}


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b"nonsense", "one line of JSON"),
        (b"[1]", "a JSON object"),
        (b"{}", "has fault, clear, read or status"),
        (b'{"fault": "silence", "meter": "gas-9"}', "there is no meter 'gas-9'; there are gas-main"),
        (b'{"fault": "flood", "meter": "gas-main"}', "fault"),
        (b'{"fault": "silence"}', "meter"),
        (b'{"fault": "reset", "meter": "gas-main", "for": 5}', "no duration"),
        (b'{"fault": "silence", "meter": "gas-main", "for": "long"}', "not a duration"),
        (b'{"fault": "silence", "meter": ["gas-main"]}', "meter"),
        (b'{"clear": {}}', "meter"),
    ],
)
def test_a_wrong_request_is_answered_with_its_mistake(stage: Callable[..., Stage], line: bytes, part: str) -> None:
    answer = stage().control.answer(line)
    assert answer["ok"] is False
    assert part in str(answer["error"])


def test_a_fault_at_a_time_that_is_now_waits_for_tomorrow(stage: Callable[..., Stage]) -> None:
    plant = stage('  - {at: "12:00", for: 1 min, fault: silence, meter: gas-main}')
    assert not plant.at(1).silent("gas-main")
    assert plant.at(24 * 3600 + 1).silent("gas-main")


def test_faults_of_one_file_are_plain_data() -> None:
    fault = PlantFault.model_validate({"at": "14:30", "for": "5 min", "fault": "burst", "meter": "gas", "factor": 3})
    assert (fault.at, fault.duration_s, fault.factor) == (dt.time(14, 30), 300.0, 3.0)
