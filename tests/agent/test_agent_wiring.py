from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent.wiring import Wiring, wire
from drivers.catalogue import driver
from drivers.contract import ExchangeLine
from metering.errors import SettingsFaults
from settings.agent import load_agent

Wired = Callable[..., Wiring]
AgentFile = Callable[..., Path]


def faults(path: Path) -> list[str]:
    with pytest.raises(SettingsFaults) as caught:
        wire(*load_agent(path, {}))
    return [str(fault).replace(str(path), path.name) for fault in caught.value.faults]


def test_settings_become_lines_and_meters(wired: Wired) -> None:
    wiring = wired()
    [line] = wiring.lines
    [meter] = line.meters
    assert isinstance(line.settings, ExchangeLine)
    assert line.settings.tcp == "meter:502"
    assert (meter.id, meter.interval_ms, meter.plan.address) == ("m1", 1000, {"unit": 1})
    assert wiring.points == (("m1/energy", "kWh"), ("m1/power", "kW"))
    assert meter.counters == {"energy"}


def test_only_the_points_asked_for_are_taken(wired: Wired) -> None:
    wiring = wired('a: {driver: modbus, tcp: "meter:502"}', "m1: {line: a, profile: profile.yaml, points: [power]}")
    assert [point for point, _ in wiring.points] == ["m1/power"]


def test_the_order_of_bytes_set_in_a_meter_is_written_at_the_meter(wired: Wired) -> None:
    [meter] = wired('a: {driver: modbus, tcp: "meter:502"}', "m1: {line: a, profile: profile.yaml, order: CDAB}").meters
    assert meter.plan.profile.defaults.order == "CDAB"
    assert meter.plan.address == {"unit": 1}


def test_a_point_is_read_with_another_order_and_function_code(wired: Wired) -> None:
    [meter] = wired('a: {driver: modbus, tcp: "meter:502"}',
                    "m1: {line: a, profile: profile.yaml, points: {power: {order: CDAB, fc: 4}}}").meters  # fmt: skip
    assert (meter.points["power"].order, meter.points["power"].fc) == ("CDAB", 4)


@pytest.mark.parametrize("setting", ["order: CDAB", "points: {energy_import: {fc: 3}}"])
def test_order_and_function_code_are_for_modbus_only(agent_file: AgentFile, setting: str) -> None:
    said = faults(agent_file('a: {driver: dlt645, serial: "/dev/ttyUSB0"}',
                             f'm1: {{line: a, profile: generic/dlt645-2007, number: "000000000001", {setting}}}'))  # fmt: skip
    assert any("modbus" in fault and "dlt645" in fault for fault in said)


def phases(wired: Wired, line: str, count: int, interval: str) -> list[int]:
    meters = "\n".join(
        f"m{n}: {{line: a, profile: profile.yaml, interval: {interval}, unit: {n}}}" for n in range(1, count + 1)
    )
    return [meter.phase_ms for meter in wired(f"a: {{driver: modbus, {line}}}", meters).meters]


def test_meters_of_one_line_and_interval_are_read_back_to_back(wired: Wired) -> None:
    assert phases(wired, 'tcp: "meter:502"', 5, "10 s") == [0, 0, 0, 0, 0]
    assert phases(wired, "serial: /dev/ttyUSB0", 5, "10 s") == [0, 0, 0, 0, 0]


def test_meters_with_a_short_interval_are_spread_over_it(wired: Wired) -> None:
    assert phases(wired, 'tcp: "meter:502"', 4, "1 s") == [0, 250, 500, 750]


def test_meters_that_take_long_are_spread_over_their_interval(wired: Wired) -> None:
    assert phases(wired, "serial: /dev/ttyUSB0, baud: 300", 4, "10 s") == [0, 2500, 5000, 7500]


def test_lines_are_spread_against_each_other(wired: Wired) -> None:
    lines = "\n".join(f'a{n}: {{driver: modbus, tcp: "meter-{n}:502"}}' for n in range(32))
    meters = "\n".join(
        f"m{n}: {{line: a{n // 2}, profile: profile.yaml, interval: 10 s, unit: {n + 1}}}" for n in range(64)
    )
    found = [meter.phase_ms for meter in wired(lines, meters).meters]
    assert sorted(set(found)) == [0, 2500, 5000, 7500]
    assert found[::2] == found[1::2]


def test_an_unknown_driver_is_named_with_the_nearest(agent_file: AgentFile) -> None:
    [fault] = faults(agent_file('a: {driver: modbuss, tcp: "meter:502"}'))[:1]
    assert fault.startswith("agent.yaml:")
    assert "modbus" in fault


def test_the_drivers_own_settings_are_checked_at_their_place(agent_file: AgentFile) -> None:
    [fault] = faults(agent_file('a: {driver: modbus, tcp: "meter:502", framerr: tcp}'))
    assert fault.startswith("agent.yaml:5:")
    assert "framer" in fault


def test_a_meters_address_is_checked_at_its_place(agent_file: AgentFile) -> None:
    path = agent_file('a: {driver: modbus, tcp: "meter:502"}', "m1: {line: a, profile: profile.yaml, unit: 300}")
    [fault] = faults(path)
    assert fault.startswith("agent.yaml:7:")
    assert "300" in fault


def test_two_meters_with_one_address_on_a_line_are_refused(agent_file: AgentFile) -> None:
    meters = """m1: {line: a, profile: profile.yaml, unit: 3}
    m2: {line: a, profile: profile.yaml, unit: 3}"""
    [fault] = faults(agent_file('a: {driver: modbus, tcp: "meter:502"}', meters))
    assert fault.startswith("agent.yaml:8:")
    assert "same address as the meter m1" in fault


def test_two_lines_on_one_port_are_refused(agent_file: AgentFile) -> None:
    lines = """a: {driver: modbus, serial: /dev/ttyUSB0}
    b: {driver: modbus, serial: /dev/ttyUSB0}"""
    meters = """m1: {line: a, profile: profile.yaml}
    m2: {line: b, profile: profile.yaml}"""
    [fault] = faults(agent_file(lines, meters))
    assert fault.startswith("agent.yaml:6:")
    assert "already used by the line a" in fault


def test_all_faults_come_at_once_in_the_order_of_the_file(agent_file: AgentFile) -> None:
    lines = """a: {driver: modbus}
    b: {driver: modbus, tcp: "meter:502", nonsense: 1}"""
    meters = """m1: {line: a, profile: profile.yaml, unit: 400}
    m2: {line: b, profile: profile.yaml, unit: 256}"""
    found = faults(agent_file(lines, meters))
    assert [fault.split(":")[1] for fault in found] == ["5", "6", "8", "9"]


def test_a_serial_line_takes_what_it_leaves_open_from_the_profile(agent_file: AgentFile) -> None:
    path = agent_file("a: {driver: modbus, serial: /dev/ttyUSB0}")
    profile = path.parent / "profile.yaml"
    profile.write_text(profile.read_text() + "line: {baud: 2400, frame: 8E1}\n")
    [line] = wire(*load_agent(path, {})).lines
    assert isinstance(line.settings, ExchangeLine)
    assert (line.settings.baud, line.settings.frame) == (2400, "8E1")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("timeout: 0 s", "0 s is out of range: 0.01 s to 60 s"),
        ("timeout: 2 min", "120 s is out of range: 0.01 s to 60 s"),
        ("turnaround: 5 h", "18000 s is out of range: 0 s to 10 s"),
    ],
)
def test_a_time_no_line_can_work_with_is_refused(agent_file: AgentFile, setting: str, said: str) -> None:
    [fault] = faults(agent_file(f'a: {{driver: modbus, tcp: "meter:502", {setting}}}'))
    assert setting.split(":")[0] in fault
    assert said in fault


@pytest.mark.parametrize("name", ["modbus", "mbus", "dlt645", "cjt188", "iec62056"])
def test_each_drivers_own_timeout_has_the_same_bounds(name: str) -> None:
    with pytest.raises(ValidationError, match="out of range"):
        driver(name).line_model(driver=name, tcp="meter:502", timeout="0 s")
