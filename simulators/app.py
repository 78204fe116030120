"""The simulators as one program: `run` opens every line of a plant, `history` tells what its meters showed before.

In the data folder: `plant.json` (where everything listens, written when all of it does, gone after a clean stop),
`plant.sock` (see control.py), `plant-state.json` (what a restart must not forget), `lines/` (a link for each pty).
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metering.errors import LineBusy
from settings.plant import PlantLine, PlantSettings
from simulators import meters as faces
from simulators.control import Control
from simulators.dlt645 import Dlt645Bus
from simulators.effects import Memory, recall
from simulators.faults import Faults, wall_ms
from simulators.meters import Meter, build_meters
from simulators.modbus_rtu import RtuBus
from simulators.modbus_tcp import ModbusTcp
from simulators.registers import ModbusUnit
from simulators.serial_line import SerialLine
from simulators.served import ServedLog

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
    for meter in meters.values():
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
            bus = self._bus(name, line)
            serial = SerialLine(path, bus, line.baud, line.bits, self._group)
            return {"serial": str(await stack.enter_async_context(serial.serve()))}
        port = await self._listen(name, line, stack)
        return {"tcp": f"127.0.0.1:{port}"} if line.protocol == "modbus-tcp" else {
            "url": f"opc.tcp://127.0.0.1:{port}/tanbiao/"
        }  # fmt: skip

    def _bus(self, name: str, line: PlantLine) -> RtuBus | Dlt645Bus:
        meters = self._on(name)
        if line.protocol == "dlt645":
            return Dlt645Bus(meters, self._faults, self._served)
        return RtuBus(ModbusUnit(meter, self._faults, self._served) for meter in meters)

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
        if line.protocol == "modbus-tcp":
            units = [ModbusUnit(meter, self._faults, self._served) for meter in self._on(name)]
            return await stack.enter_async_context(ModbusTcp(units, self._group).serve(port))
        from simulators.opcua import OpcUa  # asyncua takes a second to load; a plant without OPC UA needs none of it

        return await stack.enter_async_context(
            OpcUa(self._on(name), self._faults, self._served, self._group).serve(port)
        )

    def _on(self, line: str) -> list[Meter]:
        return [meter for meter in self._meters.values() if meter.settings.line == line]


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
