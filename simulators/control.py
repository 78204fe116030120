"""Ask the running simulators for a fault: line-JSON on the Unix socket `plant.sock` in their data folder.

    {"fault": "burst", "meter": "gas-main", "for": 60, "factor": 3}      begins now; `for` and `delay` in seconds or "2 min";
                                                                         without `for` it lasts 60 s; reset and rollover take none
    {"clear": "gas-main"} or {"clear": null}                             ends the faults of replies and lines, of one meter or all
    {"read": "gas-main"}                                                 what its points show now
    {"status": true}                                                     faults under way

Each line is answered by one: `{"ok": true, …}`, or `{"ok": false, "error": …}`.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from metering.errors import LineBusy
from metering.fields import FieldError
from settings.faults import faults_of
from settings.plant import PlantFault
from simulators.faults import Faults
from simulators.meters import Meter

SOCKET = "plant.sock"
PATIENCE_S = 5.0


class Control:
    """Answers commands."""

    def __init__(self, meters: Mapping[str, Meter], faults: Faults) -> None:
        self._meters = meters
        self._faults = faults
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def serve(self, data: Path) -> AsyncIterator[Path]:
        """Listen in the folder `data`.

        Raises:
            LineBusy: the socket cannot be made there (a path of more than about 100 bytes is too long).
        """
        path = data / SOCKET
        path.unlink(missing_ok=True)
        try:
            server = await asyncio.start_unix_server(self._client, path)
        except OSError as error:
            raise LineBusy(name=str(path), reason=str(error)) from error
        path.chmod(0o660)
        try:
            yield path
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            path.unlink(missing_ok=True)

    def answer(self, line: bytes) -> dict[str, Any]:
        """Do what one line asks and return the answer."""
        try:
            asked = json.loads(line)
            if not isinstance(asked, dict):
                return _no("a command is a JSON object")
            return self._do(asked)
        except ValidationError as error:
            faults = faults_of(error, PlantFault, asked)
            return _no("; ".join(fault.problem.say("en", **fault.values).removeprefix(": ") for fault in faults))
        except FieldError as error:
            return _no(error.say("en"))
        except ValueError:
            return _no("a command is one line of JSON")

    def _do(self, asked: dict[str, Any]) -> dict[str, Any]:
        meter = next((asked[key] for key in ("meter", "clear", "read") if asked.get(key) is not None), None)
        if meter is not None and meter not in list(self._meters):  # whatever JSON it is, hashable or not
            return _no(f"there is no meter {meter!r}; there are {', '.join(self._meters)}")
        if "fault" in asked:
            timed = {key: f"{value} s" for key, value in asked.items() if key in ("for", "delay") and _bare(value)}
            self._faults.begin(PlantFault.model_validate({**asked, **timed, "at": "0 s"}))
            return {"ok": True}
        if "clear" in asked:
            return {"ok": True, "cleared": self._faults.clear(meter)}
        if "read" in asked and meter is not None:
            return {"ok": True, **self._read(self._meters[meter])}
        if "status" in asked:
            under_way = [{"fault": w.kind, "meter": w.meter, "until": w.to_ms} for w in self._faults.under_way()]
            return {"ok": True, "faults": under_way}
        return _no("a command has fault, clear, read or status")

    def _read(self, meter: Meter) -> dict[str, Any]:
        now = self._faults.now()
        return {"t": now, "values": {point: meter.value(point, now) for point in meter.points}}

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            async for line in reader:
                writer.write(json.dumps(self.answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            return  # gone, or a line without end
        finally:
            self._writers.discard(writer)
            writer.close()


def ask(data: Path, command: Mapping[str, Any]) -> dict[str, Any]:
    """Send one command to the simulators that run in the folder `data` and return their answer.

    Raises:
        OSError: none run there.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE_S)
        line.connect(str(data / SOCKET))
        line.sendall(json.dumps(dict(command)).encode() + b"\n")
        with line.makefile("rb") as answers:
            answer = json.loads(answers.readline())
    return dict(answer)


def _bare(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _no(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}
