"""The ground truth: every value served to a client, one JSON object a line.

    {"t": 1763884800123, "meter": "gas-main", "point": "volume", "raw": 281034567, "value": 281034.567}

`t` is Unix ms of the answer, `raw` the steps in the register. `fault` names the fault of replies that was under way
(`checksum`, `late`, …): of most of them no client may have accepted it. `past` is true of what was served as history; `t` is
then the time it was recorded for. Lines are flushed at least each half second.
"""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import TextIO

import msgspec

FLUSH_S = 0.5


class ServedLog:
    """Writes what was served; with no path it forgets it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._dirty = False

    def __enter__(self) -> "ServedLog":
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def kept(self) -> bool:
        """Whether what is noted goes anywhere."""
        return self._path is not None

    def note(self, ms: int, meter: str, point: str, steps: int, value: float, fault: str | None = None) -> None:
        """Record one value that leaves for a client."""
        self._write(ms, meter, point, steps, value, {} if fault is None else {"fault": fault})

    def note_past(self, ms: int, meter: str, point: str, steps: int, value: float) -> None:
        """Record one value of a history that leaves for a client."""
        self._write(ms, meter, point, steps, value, {"past": True})

    def _write(self, ms: int, meter: str, point: str, steps: int, value: float, more: dict[str, object]) -> None:
        if self._file is None:
            return
        line = {"t": ms, "meter": meter, "point": point, "raw": steps, "value": value} | more
        self._file.write(msgspec.json.encode(line).decode() + "\n")
        self._dirty = True

    async def keep(self) -> None:
        """Flush twice a second until cancelled."""
        while self._file is not None:
            await asyncio.sleep(FLUSH_S)
            self.flush()

    def flush(self) -> None:
        if self._dirty and self._file is not None:
            self._file.flush()
            self._dirty = False
