"""What meters show: whole steps, rollovers, what faults leave behind, and a past that fits the present."""

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from metering.profile import Profile
from settings.document import read
from settings.places import config_dir
from settings.plant import PlantSettings
from simulators.app import history
from simulators.dlt645 import DATA
from simulators.effects import Burst, Memory, Set, State, Stuck, recall
from simulators.meters import DIALS, Meter, build_meters
from simulators.opcua import NODES
from simulators.registers import MAPS

MakePlant = Callable[..., PlantSettings]
NOON = 1_783_483_200_000
"""2026-07-08T12:00+08:00, a Wednesday."""
MINUTE = 60_000
HOUR = 3_600_000
PROFILES = config_dir() / "profiles"


@pytest.fixture
def gas(make_plant: MakePlant) -> Meter:
    return build_meters(make_plant("gas-main"))["gas-main"]


def used(meter: Meter, start: int, end: int) -> float:
    return meter.value(meter.counter, end) - meter.value(meter.counter, start)


def test_a_counter_begins_at_its_start(make_plant: MakePlant) -> None:
    settings = make_plant()
    meters = build_meters(settings)
    first_day = 1_735_660_800_000  # 2025-01-01T00:00+08:00
    shown = {name: meter.value(meter.counter, first_day) for name, meter in meters.items()}
    assert shown == {name: float(meter.start) for name, meter in settings.meters.items()}


def test_a_value_is_its_steps_times_the_resolution(make_plant: MakePlant) -> None:
    for meter in build_meters(make_plant()).values():
        for point, dial in meter.dials.items():
            assert Decimal(repr(meter.value(point, NOON))) == meter.steps(point, NOON) * dial.resolution


def test_a_secondary_register_counts_by_the_ratio(make_plant: MakePlant) -> None:
    power = build_meters(make_plant("main-power"))["main-power"]
    assert 2000 < power.rate(NOON) < 4000, "kW at noon of a working day"
    assert used(power, NOON, NOON + HOUR) == pytest.approx(power.rate(NOON) / 1000, rel=0.2)
    assert power.value("power", NOON) == pytest.approx(power.rate(NOON), abs=0.06), "1000 W over a ratio of 1000"


def test_a_sub_meter_stays_below_its_main_meter(make_plant: MakePlant) -> None:
    meters = build_meters(make_plant())
    for ms in range(NOON, NOON + 7 * 24 * HOUR, 37 * MINUTE):
        assert meters["workshop-power"].rate(ms) < meters["main-power"].rate(ms) / 2


def test_a_counter_rolls_over_at_its_modulus(gas: Meter) -> None:
    gas.suffer(gas.past_for_rollover(NOON))
    assert gas.value("volume", NOON - 100) > 999_999
    assert gas.value("volume", NOON + 100) < 1
    assert used(gas, NOON - MINUTE, NOON - 1) == pytest.approx(used(gas, NOON + 1000, NOON + MINUTE), rel=0.1)


def test_a_requested_rollover_comes_when_it_was_said(gas: Meter) -> None:
    gas.suffer(Set("gas-main", NOON, gas.steps_before_rollover(NOON, 10)))
    assert gas.value("volume", NOON + 9_900) > 999_999
    assert gas.value("volume", NOON + 10_200) < 1


def test_a_burst_multiplies_the_consumption_while_it_lasts(gas: Meter, make_plant: MakePlant) -> None:
    calm = build_meters(make_plant("gas-main"))["gas-main"]
    gas.suffer(Burst("gas-main", NOON, NOON + 10 * MINUTE, 3))
    assert used(gas, NOON - HOUR, NOON) == used(calm, NOON - HOUR, NOON)
    assert used(gas, NOON, NOON + 10 * MINUTE) == pytest.approx(3 * used(calm, NOON, NOON + 10 * MINUTE), abs=0.01)
    assert used(gas, NOON + 10 * MINUTE, NOON + HOUR) == pytest.approx(
        used(calm, NOON + 10 * MINUTE, NOON + HOUR), abs=0.01
    )
    assert gas.value("flow", NOON + MINUTE) == pytest.approx(3 * calm.value("flow", NOON + MINUTE), abs=0.2)


def test_a_reset_counter_starts_at_zero_and_goes_on(gas: Meter) -> None:
    before = used(gas, NOON, NOON + MINUTE)
    gas.suffer(Set("gas-main", NOON, 0))
    assert gas.value("volume", NOON) == 0
    assert gas.value("volume", NOON + MINUTE) == pytest.approx(before, abs=0.002)
    assert gas.value("volume", NOON - 1) > 1000, "the past stays as it was"


def test_a_stuck_meter_shows_what_it_showed_and_then_catches_up(gas: Meter) -> None:
    truth = {point: gas.value(point, NOON + MINUTE) for point in gas.dials}
    gas.suffer(Stuck("gas-main", NOON, NOON + MINUTE))
    for point in gas.dials:
        assert gas.value(point, NOON + MINUTE - 1) == gas.value(point, NOON)
        assert gas.value(point, NOON + MINUTE) == truth[point]


def test_an_effect_of_another_meter_changes_nothing(gas: Meter) -> None:
    before = gas.value("volume", NOON + MINUTE)
    gas.suffer(Set("gas-2", NOON, 0))
    assert gas.value("volume", NOON + MINUTE) == before


def test_history_is_what_the_meters_would_have_shown(make_plant: MakePlant) -> None:
    settings = make_plant()
    meters = build_meters(settings)
    rows = list(history(settings, NOON, NOON + 10 * MINUTE, 60))
    assert len(rows) == 10 * sum(len(meter.dials) for meter in meters.values())
    assert all(value == meters[name].value(point, ms) for name, point, ms, value in rows)


def test_history_may_be_of_chosen_points_only(make_plant: MakePlant) -> None:
    rows = list(history(make_plant(), NOON, NOON + 1, 60, points=frozenset({"gas-main/volume", "line-1/tonnes"})))
    assert [(name, point) for name, point, _, _ in rows] == [("gas-main", "volume"), ("line-1", "tonnes")]


def test_history_knows_what_earlier_runs_did(make_plant: MakePlant, tmp_path: Path) -> None:
    settings = make_plant("gas-main")
    Memory(tmp_path / "plant-state.json", State(NOON), fresh=True).add([Set("gas-main", NOON, 0)])
    rows = list(history(settings, NOON, NOON + 1, 60, data=tmp_path, points=frozenset({"gas-main/volume"})))
    assert rows == [("gas-main", "volume", NOON, 0.0)]


def test_a_week_of_minutes_is_there_at_once(make_plant: MakePlant) -> None:
    settings = make_plant()
    points = frozenset(
        f"{name}/{point}" for name, m in settings.meters.items() for point in list(DIALS[str(m.model)])[:2]
    )
    begin = time.perf_counter()
    rows = sum(1 for _ in history(settings, NOON, NOON + 7 * 24 * HOUR, 60, points=points))
    assert rows == 12 * 7 * 24 * 60
    assert time.perf_counter() - begin < 3


def test_a_state_that_cannot_be_read_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "plant-state.json").write_text("{")
    memory = Memory.open(tmp_path, NOON)
    assert memory.fresh
    assert (tmp_path / "plant-state.json.bad").exists()
    assert "counters start anew" in caplog.text


def test_a_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path, NOON)
    memory.add([Burst("a", 1, 2, 3.5), Stuck("b", 4, 5), Set("c", 6, 7)])
    assert recall(tmp_path) == State(NOON, [Burst("a", 1, 2, 3.5), Stuck("b", 4, 5), Set("c", 6, 7)])


def profile(name: str) -> Profile:
    return read(PROFILES / name).check(Profile)


@pytest.mark.parametrize("model", ["power-meter", "gas-corrector"])
def test_the_registers_are_where_the_profile_says(model: str) -> None:
    said = profile(f"demo/{model}.yaml")
    function, registers = MAPS[model]
    words = {"u16": 1, "u32": 2, "i32": 2, "f32": 2}
    for name, point in said.points.items():
        assert (point.fc or said.defaults.fc) == function
        assert registers[name][:2] == (point.address, words[str(point.type)])
        if point.type != "f32":
            assert point.scale == DIALS[model][name].resolution


@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("demo/power-meter.yaml", "power-meter"),
        ("demo/gas-corrector.yaml", "gas-corrector"),
        ("demo/production-counter.yaml", "production-counter"),
        ("generic/opcua-flow.yaml", "coriolis"),
        ("generic/dlt645-2007.yaml", "dlt645-power"),
    ],
)
def test_the_counters_have_the_digits_of_the_profile(file: str, model: str) -> None:
    said = profile(file)
    name, dial = next(iter(DIALS[model].items()))
    assert said.points[name].resolution == dial.resolution
    assert 10 ** int(said.points[name].digits or 0) == Decimal(dial.modulus or 0) * dial.resolution


def test_the_names_of_other_protocols_are_those_of_the_profiles() -> None:
    oil = profile("generic/opcua-flow.yaml").points
    tonnes = profile("demo/production-counter.yaml").points
    assert all(f"ns=2;s={NODES['coriolis'][name]}" == point.address for name, point in oil.items())
    assert all(f"ns=2;s={NODES['production-counter'][name]}" == point.address for name, point in tonnes.items())
    grid = {str(point.address): name for name, point in profile("generic/dlt645-2007.yaml").points.items()}
    assert {di: name for di, (name, _) in DATA.items() if di in grid} == {di: grid[di] for di in DATA if di in grid}
