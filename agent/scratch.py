"""Readings between the poll and the commit, so that a kill of the process costs none.

Each answer is noted as one line in a file beside the outbox, without fsync: that survives the end of the process, however
it ends, and wears no flash worth counting. After the commit the lines are dropped. What a run finds here on opening was
polled by the run before and never stored; what the outbox already has is left out. Two files take turns, so that lines
noted while a commit is under way are not dropped with it. A line that was torn, or fails its check sum, is passed over.
"""

import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from metering.errors import MalformedBatch
from metering.wire import Batch, decode_as, encode

log = logging.getLogger(__name__)

_MOST = 64 << 20
"""Bytes a file may grow to while a commit stalls."""


class Scratch:
    """The two files. A disk that refuses them costs the safety against a kill, nothing else."""

    def __init__(self, outbox: Path) -> None:
        self._paths = [Path(f"{outbox}.scratch-{number}") for number in (0, 1)]
        self._files = [-1, -1]
        self._sizes = [0, 0]
        self._turn = 0
        self._failing = False

    def left(self) -> list[Batch]:
        """Return what the run before noted and did not drop, then begin empty."""
        found = [batch for path in self._paths for batch in _noted(path)]
        found.sort(key=lambda batch: (batch.boot, batch.up))
        return found

    def open(self) -> None:
        """Begin empty."""
        for number, path in enumerate(self._paths):
            try:
                self._files[number] = os.open(
                    path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o640
                )
            except OSError as error:
                self._fail(error)

    def note(self, batch: Batch) -> None:
        """Keep one answer until it is committed."""
        file = self._files[self._turn]
        if file < 0 or self._sizes[self._turn] > _MOST:
            return
        body = encode(batch)
        try:
            self._sizes[self._turn] += os.write(file, b"%08x %b\n" % (zlib.crc32(body), body))
            self._failing = False
        except OSError as error:
            self._fail(error)

    def turn(self) -> None:
        """What was noted so far is about to be committed."""
        self._turn = 1 - self._turn

    def committed(self) -> None:
        """Drop what was noted before the last turn."""
        old = 1 - self._turn
        if self._files[old] >= 0 and self._sizes[old]:
            try:
                os.ftruncate(self._files[old], 0)
                self._sizes[old] = 0
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            log.warning("readings are not safe against a kill until they are stored: %s", error)
        self._failing = True

    def close(self) -> None:
        for number, file in enumerate(self._files):
            if file >= 0:
                os.close(file)
                self._files[number] = -1


def _noted(path: Path) -> Iterator[Batch]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        check, _, body = line.partition(b" ")
        if check == b"%08x" % zlib.crc32(body):
            try:
                yield decode_as(Batch, body)
            except MalformedBatch:
                continue


def not_stored(noted: list[Batch], stored: list[Batch]) -> list[Batch]:
    """Return the noted batches whose readings are not in the stored ones."""
    known = {
        (batch.points[p][0], batch.t0 + at) for batch in stored for at, p in zip(batch.t, batch.p, strict=True)
    }  # fmt: skip
    return [
        batch for batch in noted
        if any((batch.points[p][0], batch.t0 + at) not in known for at, p in zip(batch.t, batch.p, strict=True))
    ]  # fmt: skip
