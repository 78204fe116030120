"""An RS-485 line as a pty: a client opens the slave at a stable path, the stations on the line answer at its pace.

Promises
    * Bytes take the time of the line: a request is heard when its last bit would have come, and no byte of a reply
      arrives before its own last bit would have.
    * The line is one: replies leave one after another, a late one between others.
    * Bytes nobody reads are lost, as on a wire.
"""

import asyncio
import contextlib
import errno
import logging
import os
import tty
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from metering.errors import LineBusy

log = logging.getLogger(__name__)
CHUNK_S = 0.008
"""Bytes of this time are handed over together, as a USB adapter does."""
MOST = 4096


class Reply(Protocol):
    """What a station sends back."""

    @property
    def frame(self) -> bytes: ...

    @property
    def delay_s(self) -> float:
        """How much later than it should."""
        ...


class Bus(Protocol):
    """The stations on a line, as bytes in and bytes out."""

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next whole request out of `received`, and the noise before it; None when there is none."""
        ...

    def answer(self, request: bytes) -> Reply | None:
        """Return what comes back; None for silence."""
        ...


class SerialLine:
    """One line; `serve` opens it."""

    def __init__(self, path: Path, bus: Bus, baud: int, bits: int, group: asyncio.TaskGroup) -> None:
        self._path = path
        self._bus = bus
        self._byte_s = bits / baud
        self._idle_s = max(0.02, 4 * self._byte_s)
        self._group = group
        self._master = -1
        self._received = bytearray()
        self._heard = asyncio.Event()
        self._sending = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Path]:
        """Open the line and yield the path a client opens.

        Raises:
            LineBusy: there is a file at the path that is no link of ours.
        """
        self._master, slave = os.openpty()
        loop = asyncio.get_running_loop()
        try:
            tty.setraw(slave)
            os.set_blocking(self._master, False)
            _link(self._path, os.ttyname(slave))
            loop.add_reader(self._master, self._hear)
            listening = self._group.create_task(self._listen())
            try:
                yield self._path
            finally:
                listening.cancel()
                loop.remove_reader(self._master)
                self._path.unlink(missing_ok=True)
        finally:
            # our own hold on the slave keeps the line up while no client has it open
            os.close(slave)
            os.close(self._master)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._received += os.read(self._master, MOST)
        self._heard.set()

    async def _listen(self) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            while (request := self._bus.cut(self._received)) is not None:
                await asyncio.sleep(len(request) * self._byte_s)
                self._respond(self._bus.answer(request))
            if self._received and not await self._more():
                self._received.clear()

    async def _more(self) -> bool:
        """Wait for the rest of a frame; return False when the line has gone quiet in the middle of it."""
        try:
            async with asyncio.timeout(self._idle_s + len(self._received) * self._byte_s):
                await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def _respond(self, reply: Reply | None) -> None:
        if reply is not None:
            self._group.create_task(self._send(reply.frame, reply.delay_s))

    async def _send(self, frame: bytes, delay_s: float) -> None:
        if delay_s:
            await asyncio.sleep(delay_s)
        async with self._sending:
            loop = asyncio.get_running_loop()
            start = loop.time()
            chunk = max(1, int(CHUNK_S / self._byte_s))
            for first in range(0, len(frame), chunk):
                part = frame[first : first + chunk]
                await asyncio.sleep(start + (first + len(part)) * self._byte_s - loop.time())
                self._put(part)

    def _put(self, part: bytes) -> None:
        try:
            os.write(self._master, part)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EBADF):
                raise


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_symlink():
        raise LineBusy(name=str(path), reason="there is a file of that name")
    path.unlink(missing_ok=True)
    path.symlink_to(target)
