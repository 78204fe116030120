"""The agent's line owner reads simulated meters over each protocol and each way; the served log is the ground truth."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, cast

import pytest

from agent.exchange import ExchangeWire
from agent.wiring import wire
from drivers.contract import ExchangeDriver, ExchangeLine
from link.real_world import RealWorld
from metering.reading import Quality
from settings.agent import load_agent
from settings.plant import PlantSettings, read_plant

Simulated = Callable[[PlantSettings], AbstractAsyncContextManager[Any]]

WAYS: dict[str, tuple[str, str, str, str]] = {
    # line of the plant, line of the agent, profile, address in both
    "mb-tcp": ("protocol: modbus-tcp", "driver: modbus", "eastron/sdm630", "unit: 3"),
    "mb-udp": ("protocol: modbus-tcp, over: udp", "driver: modbus", "eastron/sdm630", "unit: 3"),
    "mb-tls": ("protocol: modbus-tcp, over: tls", "driver: modbus", "eastron/sdm630", "unit: 3"),
    "mb-rtu": ("protocol: modbus-rtu, baud: 19200", "driver: modbus, baud: 19200", "eastron/sdm630", "unit: 3"),
    "mb-rtu-tcp": ("protocol: modbus-rtu, over: tcp", "driver: modbus, framer: rtu", "eastron/sdm630", "unit: 3"),
    "mb-ascii": ("protocol: modbus-ascii, baud: 19200", "driver: modbus, framer: ascii, baud: 19200", "eastron/sdm630",
                 "unit: 3"),
    "dlt": ("protocol: dlt645, baud: 9600", "driver: dlt645, baud: 9600", "generic/dlt645-2007", 'number: "202611230001"'),
    "dlt-97": ("protocol: dlt645, over: tcp", "driver: dlt645, edition: 1997", "generic/dlt645-1997",
               'number: "202611230002"'),
    "cjt": ("protocol: cjt188", "driver: cjt188", "generic/cjt188-water", 'number: "2611230003"'),
    "mbus": ("protocol: mbus", "driver: mbus", "generic/mbus-heat", "unit: 5"),
    "iec": ("protocol: iec62056", "driver: iec62056", "generic/iec62056-electricity", "unit: 1"),
}  # fmt: skip
HEAD = "timezone: Asia/Shanghai\nsince: 2026-01-01\nshifts: [{from: '00:00', load: 0.5}]\n"
AGENT = "agent: {id: a, site: s}\nmqtt: {url: 'mqtt://127.0.0.1:1'}\n"


def plant(folder: Path, name: str) -> PlantSettings:
    ours, _, profile, address = WAYS[name]
    path = folder / "plant.yaml"
    meter = f"{{line: {name}, profile: {profile}, {address}}}"
    path.write_text(f"{HEAD}lines: {{{name}: {{{ours}}}}}\nmeters: {{{name}: {meter}}}\n", encoding="utf-8")
    return read_plant(path)


def agent(folder: Path, name: str, where: dict[str, str]) -> Path:
    """Write the agent's settings for a line of `plant.json`."""
    _, line, profile, address = WAYS[name]
    at = dict(where)
    ca = at.pop("ca", None)
    tls = f", tls: {{ca: {ca}, server_name: localhost}}" if ca else ""
    way, place = next(iter(at.items()))
    own = {"mbus": "primary: 5", "iec": 'address: ""'}.get(name, address)
    meter = f"{{line: {name}, profile: {profile}, {own}}}"
    path = folder / "agent.yaml"
    lines = f"lines: {{{name}: {{{line}, {way}: '{place}'{tls}}}}}\n"
    path.write_text(f"{AGENT}{lines}meters: {{{name}: {meter}}}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", list(WAYS))
async def test_the_agent_reads_what_was_served(simulated: Simulated, tmp_path: Path, name: str) -> None:
    settings = plant(tmp_path, name)
    async with simulated(settings) as running:
        found = await poll(agent(tmp_path, name, running.lines[name]))
    served = {(line["point"], line["value"]) for line in running.served()}
    points = set(settings.meters[name].of_profile().points)
    assert {point for point, _ in found} == points, "every point has a good value"
    assert found <= served


async def poll(path: Path) -> set[tuple[str, float | None]]:
    """Read a meter once, with all the agent does on the way; return its good values."""
    world = RealWorld()
    (line,) = wire(*load_agent(path, {})).lines
    owner = ExchangeWire(line, cast(ExchangeDriver, line.driver), cast(ExchangeLine, line.settings), world)
    try:
        answers = [answer async for answer in owner.poll(line.meters[0])]
    finally:
        await owner.close()
    assert [answer.error for answer in answers if answer.error] == []
    return {
        (value.point, value.value) for answer in answers for value in answer.values if value.quality == Quality.GOOD
    }
