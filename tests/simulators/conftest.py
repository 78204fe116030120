"""A small plant, run as the demo runs it, and clients that know nothing of our code."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import serial

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Send, Value
from metering.errors import MeterRefused, MeterSilent
from metering.profile import Place
from settings.plant import PlantFault, PlantSettings, read_plant
from simulators.app import run
from simulators.buses import bus_of
from simulators.control import ask
from simulators.effects import Memory, State
from simulators.faults import Faults
from simulators.meters import build_meters
from simulators.served import ServedLog

HEAD = """
timezone: Asia/Shanghai
seed: 7
since: 2025-01-01
shifts:
  - {from: "00:00", load: 0.4}
  - {from: "08:00", load: 1.0}
  - {from: "16:00", load: 0.7}
weekend: 0.5
"""
LINES = {
    "panel": "{protocol: modbus-tcp}",
    "rtu-1": "{protocol: modbus-rtu, baud: 9600}",
    "dlt-1": "{protocol: dlt645, baud: 2400}",
    "plc-1": "{protocol: opcua}",
}
METERS = {
    "main-power": "{line: panel, model: power-meter, idle: 500 kW, full: 3000 kW, ratio: 1000, start: 100}",
    "gas-main": "{line: rtu-1, model: gas-corrector, unit: 1, idle: 100 m3/h, full: 600 m3/h, start: 281034.567}",
    "gas-2": "{line: rtu-1, model: gas-corrector, unit: 2, idle: 20 m3/h, full: 100 m3/h}",
    "workshop-power": '{line: dlt-1, model: dlt645-power, number: "202611230001", idle: 70 kW, full: 250 kW, ratio: 80}',
    "oil-burner": "{line: plc-1, model: coriolis, idle: 25 kg/h, full: 150 kg/h, start: 81234.567}",
    "line-1": "{line: plc-1, model: production-counter, idle: 0.2 t/h, full: 11.5 t/h}",
}

PlantText = Callable[..., str]
MakePlant = Callable[..., PlantSettings]


class Running:
    """Simulators under way."""

    def __init__(self, data: Path, where: dict[str, Any]) -> None:
        self.data = data
        self.lines = where["lines"]

    async def ask(self, **command: Any) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.data, command)

    async def tcp(self, line: str, request: str, wait_s: float = 2.0) -> bytes:
        """Send hex bytes on a connection of their own; return what comes back within the wait."""
        host, port = self.lines[line]["tcp"].split(":")
        return await asyncio.to_thread(_tcp, host, int(port), bytes.fromhex(request), wait_s)

    async def pty(self, line: str, request: str, expected: int = 64, wait_s: float = 2.0) -> bytes:
        """Send hex bytes on a serial line; return up to `expected` bytes that come within the wait."""
        return await asyncio.to_thread(_pty, self.lines[line]["serial"], bytes.fromhex(request), expected, wait_s)

    def served(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.data / "served.jsonl").read_text().splitlines()]


def _tcp(host: str, port: int, request: bytes, wait_s: float) -> bytes:
    with socket.create_connection((host, port), timeout=wait_s) as connection:
        connection.sendall(request)
        try:
            head = _exactly(connection, 6)
            return head + _exactly(connection, int.from_bytes(head[4:]))
        except TimeoutError:
            return b""


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            return data
        data += part
    return data


def _pty(path: str, request: bytes, expected: int, wait_s: float) -> bytes:
    baud = 2400 if path.endswith("dlt-1") else 9600
    with serial.Serial(path, baud, timeout=wait_s, exclusive=True) as port:
        port.write(request)
        return bytes(port.read(expected))


@pytest.fixture(scope="session")
def plant_text() -> PlantText:
    """Return a maker of plant.yaml texts with some of the meters, and more lines at the end."""

    def make(*names: str, more: str = "") -> str:
        chosen = names or tuple(METERS)
        lines = "".join(f"  {name}: {text}\n" for name, text in LINES.items())
        meters = "".join(f"  {name}: {METERS[name]}\n" for name in chosen)
        return f"{HEAD}lines:\n{lines}meters:\n{meters}{more}\n"

    return make


@pytest.fixture(scope="session")
def make_plant(plant_text: PlantText, tmp_path_factory: pytest.TempPathFactory) -> MakePlant:
    """Return a maker of plants; lines without a meter are left out."""

    def make(*names: str, more: str = "") -> PlantSettings:
        path = tmp_path_factory.mktemp("plant") / "plant.yaml"
        path.write_text(plant_text(*names, more=more), encoding="utf-8")
        settings = read_plant(path)
        used = {meter.line for meter in settings.meters.values()}
        return settings.model_copy(
            update={"lines": {name: line for name, line in settings.lines.items() if name in used}}
        )

    return make


@pytest.fixture(scope="session")
def start_plant() -> Callable[[PlantSettings, Path], AbstractAsyncContextManager[Running]]:
    """Return a context that runs a plant in a data folder."""

    @contextlib.asynccontextmanager
    async def start(settings: PlantSettings, data: Path) -> AsyncIterator[Running]:
        stop = asyncio.Event()
        task = asyncio.create_task(run(settings.model_copy(update={"served_log": Path("served.jsonl")}), data, stop))
        while not (data / "plant.json").exists() and not task.done():
            await asyncio.sleep(0.01)
        try:
            if not task.done():
                yield Running(data, json.loads((data / "plant.json").read_text()))
        finally:
            stop.set()
            async with asyncio.timeout(2):
                await task

    return start


@pytest.fixture
def simulated(
    start_plant: Callable[[PlantSettings, Path], AbstractAsyncContextManager[Running]], tmp_path: Path
) -> Callable[[PlantSettings], AbstractAsyncContextManager[Running]]:
    """Return a context that runs a plant, in the same data folder each time."""
    return lambda settings: start_plant(settings, tmp_path / "d")


NOON = 1_783_483_200_000
"""2026-07-08T12:00+08:00."""


def one_meter(meter: dict[str, Any], line: dict[str, Any]) -> PlantSettings:
    """Return a plant of one meter `m` on one line `line`."""
    head = {"timezone": "Asia/Shanghai", "since": date(2025, 1, 1), "shifts": [{"from": "00:00", "load": 0.5}]}
    given = {key: value for key, value in meter.items() if value is not None or key == "shows"}
    settings = PlantSettings.model_validate(
        {**head, "lines": {"line": line}, "meters": {"m": {"line": "line", **given}}}
    )
    assert settings.contradictions() == []
    return settings


class Desk:
    """One meter and its driver, face to face: requests go over as bytes, with no socket between."""

    def __init__(self, meter: dict[str, Any], line: dict[str, Any], folder: Path) -> None:
        self.settings = one_meter(meter, line)
        self.meter = build_meters(self.settings)["m"]
        self.ms = NOON
        memory = Memory(folder / "state.json", State(NOON), fresh=True)
        self.faults = Faults(self.settings, {"m": self.meter}, memory, now=lambda: self.ms)
        self.bus = bus_of(self.settings.lines["line"], [self.meter], self.faults, ServedLog(None))
        self.profile = self.meter.settings.of_profile()
        self.driver: Any = driver(self.profile.protocol)
        protocol = self.settings.lines["line"].protocol
        framer = {"modbus-rtu": "rtu", "modbus-ascii": "ascii", "modbus-tcp": "tcp"}.get(protocol)
        where = {"tcp": "h:1", "framer": framer} if framer else {"serial": "/dev/null"}
        self.line = self.driver.line_model.model_validate({"driver": self.profile.protocol, **where})

    def fault(self, kind: str, **more: Any) -> None:
        """Let a fault begin, for a minute."""
        self.faults.begin(PlantFault.model_validate({"at": "0 s", "fault": kind, "meter": "m", **more}))

    def plan(self, places: Mapping[str, Place]) -> MeterPlan:
        number = self.meter.settings.digits
        own = {"modbus": {"unit": self.meter.settings.unit}, "dlt645": {"number": number.zfill(12)},
               "cjt188": {"number": number.zfill(14)}, "mbus": {"primary": self.meter.settings.unit},
               "iec62056": {}}[self.profile.protocol]  # fmt: skip
        address = self.driver.meter_model.model_validate({**self.profile.meter, **own}).model_dump()
        return MeterPlan("m", address, self.profile, places)

    def read(self, places: Mapping[str, Place]) -> list[Value]:
        """Read places as the agent would.

        Raises:
            MeterError: as the driver.
        """
        return [value for request in self.driver.plan(self.line, self.plan(places)) for value in self.ask(request)]

    def ask(self, request: Any) -> list[Value]:
        """Lead one request's dialogue to its end.

        Raises:
            MeterError: as the driver; MeterSilent where nothing comes.
        """
        step = Send(request.request())
        for _ in range(40):
            received = self.answer(step.frame)
            length = request.length_of(received) if received else None
            if length is None:
                raise MeterSilent
            found = request.decode(received[:length])
            if not isinstance(found, Send):
                return list(found)
            step = found
        raise AssertionError("the dialogue does not end")

    def answer(self, frame: bytes) -> bytes:
        """Return what the line gives back."""
        waiting = bytearray(frame)
        request = self.bus.cut(waiting)
        reply = self.bus.answer(request) if request is not None else None
        said = b""
        while reply is not None:
            said, reply = said + reply.frame, reply.then
        return said

    def probe(self, name: str, place: Place) -> Value | None:
        """Return what is found at a probe; None where the meter says there is nothing."""
        try:
            return self.read({name: place})[0]
        except MeterRefused:
            return None


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., Desk]:
    return lambda meter, line: Desk(meter, line, tmp_path)


@pytest.fixture(scope="session")
def desk_settings() -> Callable[..., PlantSettings]:
    return one_meter
