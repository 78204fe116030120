"""The simulators as one program: `run` opens every line of a plant, `history` tells what its meters showed before.

In the data folder: `plant.json` (where everything listens, written when all of it does, gone after a clean stop),
`plant.sock` (see control.py), `plant-state.json` (what a restart must not forget), `lines/` (a link for each pty).
"""

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from metering.errors import LineBusy
from settings.plant import PlantLine, PlantSettings
from settings.plant_faults import FaultKind
from simulators import meters as faces
from simulators.buses import bus_of
from simulators.certificate import server_context
from simulators.control import Control
from simulators.effects import Memory, recall
from simulators.faults import Faults, wall_ms
from simulators.meters import Meter, build_meters
from simulators.serial_line import Bus, Pace, SerialLine
from simulators.served import ServedLog
from simulators.sockets import TcpServer, UdpServer

FILE = "plant.json"


async def run(settings: PlantSettings, data: Path, stop: asyncio.Event) -> None:
    """Run the plant until `stop` is set.

    Raises:
        LineBusy: a port or a path is not ours to use.
    """
    memory = _prepare(data)
    busy: LineBusy | None = None
    try:
        async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
            await _open(settings, memory, group, stack)
            await stop.wait()
            raise _Stopped  # ends what is still under way, such as a late reply
    except* _Stopped:
        _forget(data)
    except* LineBusy as failed:
        busy = next(error for error in failed.exceptions if isinstance(error, LineBusy))
    if busy is not None:
        raise busy


async def _open(
    settings: PlantSettings, memory: Memory, group: asyncio.TaskGroup, stack: contextlib.AsyncExitStack
) -> None:
    data = memory.path.parent
    meters = build_meters(settings, memory.state.effects)
    served = stack.enter_context(ServedLog(data / settings.served_log if settings.served_log else None))
    faults = Faults(settings, meters, memory)
    for meter in (meter for meter in meters.values() if meter.counter):
        meter.steps(meter.counter, faults.now())  # sums up all days since the first, so that no client waits for it
    house = _House(settings, meters, faults, served, memory, group)
    where = {name: await house.open(name, line, stack) for name, line in settings.lines.items()}
    control = await stack.enter_async_context(Control(meters, faults).serve(data))
    group.create_task(faults.keep())
    group.create_task(served.keep())
    _tell(data / FILE, {"pid": os.getpid(), "lines": where, "control": str(control)})


class _Stopped(Exception):
    """The stop event, as the task group sees it."""


def history(
    settings: PlantSettings,
    start_ms: int,
    end_ms: int,
    step_s: float,
    data: Path | None = None,
    points: frozenset[str] | None = None,
) -> Iterator[tuple[str, str, int, float]]:
    """Yield (meter, point, ms, value) of [start, end), as the meters would have answered.

    `data` is the folder of simulators that ran before, so that the bursts and set registers of theirs are in it.
    `points` (`gas-main/volume`, …) leaves the others out.
    """
    state = recall(data) if data is not None else None
    return faces.history(settings, start_ms, end_ms, step_s, state.effects if state else (), points)


class _House:
    """Opens lines."""

    def __init__(
        self,
        settings: PlantSettings,
        meters: dict[str, Meter],
        faults: Faults,
        served: ServedLog,
        memory: Memory,
        group: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._meters = meters
        self._faults = faults
        self._served = served
        self._memory = memory
        self._group = group

    async def open(self, name: str, line: PlantLine, stack: contextlib.AsyncExitStack) -> dict[str, Any]:
        """Open one line and return where it is, for `plant.json`."""
        if line.serial:
            path = self._memory.path.parent / "lines" / name
            serial = SerialLine(path, self._bus(name, line), line.pace, line.bits, self._group, _gap_s(line),
                                self._fault(name), constant=line.protocol != "iec62056")  # fmt: skip
            return {"serial": str(await stack.enter_async_context(serial.serve()))}
        port = await self._listen(name, line, stack)
        if line.protocol == "opcua":
            where = {"url": f"opc.tcp://127.0.0.1:{port}/tanbiao/"}
            return {**where, "certificate": str(self._opcua_certificate(name))} if line.secured else where
        where = {"udp" if line.way == "udp" else "tcp": f"127.0.0.1:{port}"}
        return {**where, "ca": str(self._certificate(name))} if line.way == "tls" else where

    def _certificate(self, name: str) -> Path:
        return self._memory.path.parent / "tls" / f"{name}.pem"

    def _opcua_certificate(self, name: str) -> Path:
        return self._memory.path.parent / "opcua" / f"{name}.der"

    def _fault(self, name: str) -> Callable[[], FaultKind | None]:
        return lambda: self._faults.of_line(name)

    def _bus(self, name: str, line: PlantLine) -> Bus:
        return bus_of(line, self._on(name), self._faults, self._served)

    async def _listen(self, name: str, line: PlantLine, stack: contextlib.AsyncExitStack) -> int:
        """Listen at the port given, or at a free one: the one of the last time if it is still free."""
        before = self._memory.state.ports.get(name, 0)
        try:
            port = await self._serve(name, line, line.port or before, stack)
        except OSError as error:
            if line.port:
                raise LineBusy(name=f"127.0.0.1:{line.port} ({name})", reason=error.strerror or str(error)) from error
            port = await self._serve(name, line, 0, stack)
        if not line.port and port != before:
            self._memory.state.ports[name] = port
            self._memory.save()
        return port

    async def _serve(self, name: str, line: PlantLine, port: int, stack: contextlib.AsyncExitStack) -> int:
        if line.protocol == "opcua":
            from simulators.opcua import (
                OpcUa,
            )  # asyncua takes a second to load; a plant without OPC UA needs none of it

            return await stack.enter_async_context(
                OpcUa(
                    name, line, self._opcua_certificate(name), self._on(name), self._faults, self._served, self._group
                ).serve(port)
            )
        bus = self._bus(name, line)
        if line.way == "udp":
            return await stack.enter_async_context(UdpServer(bus, self._group).serve(port))
        tls = _tls(name, self._certificate(name)) if line.way == "tls" else None
        paced = line.baud is not None and line.protocol != "modbus-tcp"
        pace = Pace(bus, line.pace, line.bits, _gap_s(line)) if paced else None
        server = TcpServer(bus, self._group, self._fault(name), tls, pace)
        return await stack.enter_async_context(server.serve(port))

    def _on(self, line: str) -> list[Meter]:
        return [meter for meter in self._meters.values() if meter.settings.line == line]


def _tls(line: str, path: Path) -> ssl.SSLContext:
    try:
        return server_context(path)
    except ModuleNotFoundError as error:
        raise LineBusy(name=line, reason="TLS needs cryptography: pip install 'tanbiao[opcua]'") from error


def _gap_s(line: PlantLine) -> float:
    """Return the silence a station keeps before it answers: Modbus RTU's 3.5 characters, 1.75 ms above 19200 baud."""
    if line.protocol != "modbus-rtu":
        return 0.0
    return 0.00175 if line.pace > 19200 else 3.5 * line.bits / line.pace


def _prepare(data: Path) -> Memory:
    data.mkdir(parents=True, exist_ok=True)
    _forget(data)
    return Memory.open(data.absolute(), wall_ms())


def _forget(data: Path) -> None:
    (data / FILE).unlink(missing_ok=True)


def _tell(path: Path, where: dict[str, Any]) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(where, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, path)
