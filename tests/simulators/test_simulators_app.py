"""The simulators as a whole: start, stop, restart, and what is not theirs to use."""

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from metering.errors import LineBusy
from settings.places import config_dir
from settings.plant import PlantSettings, read_plant
from simulators.app import history, run

Simulated = Callable[[PlantSettings], AbstractAsyncContextManager[Any]]
MakePlant = Callable[..., PlantSettings]
READ_GAS_1 = "01 04 0000 0008 F1CC"
DEMO = config_dir() / "demo" / "plant.yaml"


async def volume(plant: Any) -> int:
    reply = await plant.pty("rtu-1", READ_GAS_1, 21)
    return int.from_bytes(reply[3:7])


async def test_a_restart_goes_on_where_the_counters_would_be(simulated: Simulated, make_plant: MakePlant) -> None:
    settings = make_plant("gas-main", "main-power")
    async with simulated(settings) as plant:
        await plant.ask(fault="reset", meter="gas-main")
        before = await volume(plant)
        where = plant.lines
        assert before < 1000
    assert not (plant.data / "plant.json").exists()
    assert not (plant.data / "lines" / "rtu-1").is_symlink()
    async with simulated(settings) as plant:
        after = await volume(plant)
        assert plant.lines == where, "the same free port again"
    assert before <= after < before + 2000
    rows = [line for line in plant.served() if line["point"] == "volume"]
    for row in rows:
        past = history(settings, row["t"], row["t"] + 1, 60, data=plant.data, points=frozenset({"gas-main/volume"}))
        assert [value for *_, value in past] == [row["value"]]


async def test_a_port_in_use_is_named(make_plant: MakePlant, tmp_path: Path) -> None:
    settings = make_plant("main-power")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lines = {"panel": settings.lines["panel"].model_copy(update={"port": port})}
        with pytest.raises(LineBusy, match=rf"127\.0\.0\.1:{port} \(panel\) cannot be used"):
            await run(settings.model_copy(update={"lines": lines}), tmp_path / "d", asyncio.Event())


async def test_a_free_port_taken_meanwhile_is_replaced(simulated: Simulated, make_plant: MakePlant) -> None:
    settings = make_plant("main-power")
    async with simulated(settings) as plant:
        before = plant.lines["panel"]["tcp"]
    with socket.create_server(("127.0.0.1", int(before.split(":")[1]))):
        async with simulated(settings) as plant:
            assert plant.lines["panel"]["tcp"] != before


async def test_a_file_in_the_place_of_a_line_stays(make_plant: MakePlant, tmp_path: Path) -> None:
    mine = tmp_path / "d" / "lines" / "rtu-1"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(LineBusy, match="there is a file of that name"):
        await run(make_plant("gas-main"), tmp_path / "d", asyncio.Event())
    assert mine.read_text() == "mine"


async def test_a_line_left_by_a_killed_run_is_replaced(
    simulated: Simulated, make_plant: MakePlant, tmp_path: Path
) -> None:
    (tmp_path / "d" / "lines").mkdir(parents=True)
    (tmp_path / "d" / "lines" / "rtu-1").symlink_to("/dev/pts/no-more")
    async with simulated(make_plant("gas-main")) as plant:
        assert await volume(plant)


async def test_the_control_socket_answers_line_by_line(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("gas-main")) as plant:
        reader, writer = await asyncio.open_unix_connection(plant.data / "plant.sock")
        writer.write(b'{"status": true}\nnonsense\n')
        assert json.loads(await reader.readline()) == {"ok": True, "faults": []}
        assert json.loads(await reader.readline())["ok"] is False
        writer.close()
        assert (plant.data / "plant.sock").stat().st_mode & 0o777 == 0o660


async def test_the_demo_plant_runs_on_little(simulated: Simulated) -> None:
    process = psutil.Process(os.getpid())
    async with simulated(read_plant(DEMO)) as plant:
        assert set(plant.lines) == {"panel", "rtu-1", "dlt-1", "plc-1"}
        begin, used = time.monotonic(), process.cpu_times()
        await asyncio.sleep(2)
        now = process.cpu_times()
        spent = (now.user + now.system - used.user - used.system) / (time.monotonic() - begin)
    assert spent < 0.05
