"""An RS-485 line as a pty: a client opens the slave at a stable path, the stations on the line answer at its pace.

Promises
    * Bytes take the time of the line: a request is heard when its last bit would have come, and no byte of a reply
      arrives before its own last bit would have; the last one within a fifth of a millisecond of it on average.
    * The line is one: replies leave one after another, a late one between others.
    * Bytes nobody reads are lost, as on a wire.
    * Whoever has set another speed than the line's is heard as garbage, and hears only garbage. A pty has no parity and no
      stop bits: that a client has set others is not noticed.
"""

import asyncio
import contextlib
import errno
import logging
import os
import termios
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

from metering.errors import LineBusy
from settings.plant_faults import FaultKind
from simulators.spoil import MOST_ENDLESS, NOISE, Reply
from simulators.wait import Timer

log = logging.getLogger(__name__)
CHUNK_S = 0.008
"""Bytes of this time are handed over together, as a USB adapter does."""
MOST = 4096
WATCH_S = 0.05
CHANGE_S = 0.25
"""What a station waits before it goes on at another speed (IEC 62056-21, 6.5: 200 to 1500 ms)."""
_SPEEDS = {
    getattr(termios, f"B{baud}"): baud
    for baud in (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
}  # fmt: skip


class Heard(Protocol):
    """What a line needs of a reply."""

    @property
    def frame(self) -> bytes: ...

    @property
    def delay_s(self) -> float: ...


class Bus(Protocol):
    """The stations on a line, as bytes in and bytes out."""

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next whole request out of `received`, and the noise before it; None when there is none."""
        ...

    def answer(self, request: bytes) -> Heard | None:
        """Return what comes back; None for silence."""
        ...


def _never() -> FaultKind | None:
    return None


class Pace:
    """The one pair of wires: how long bytes take on it, and whose turn it is."""

    def __init__(self, bus: Bus, baud: int, bits: int, gap_s: float = 0.0) -> None:
        """`gap_s` is the silence a station keeps before it answers."""
        self.bus = bus
        self.baud = self._first = baud
        self._bits = bits
        self._gap_s = gap_s
        self._sending = asyncio.Lock()
        self._free = 0.0
        """When the last reply had passed."""

    @property
    def byte_s(self) -> float:
        return self._bits / self.baud

    async def request(self, timer: Timer, request: bytes, heard: float) -> tuple[Heard | None, float]:
        """Let a request pass; return the reply, and the time from which on it may leave."""
        end = heard + len(request) * self.byte_s
        await timer.until(end)
        return self.bus.answer(request), end + self._gap_s

    async def send(self, reply: Heard, start: float, put: Callable[[bytes], Awaitable[None] | None]) -> None:
        """Hand a reply's bytes over as they would come, from `start` on or when the line is free."""
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
            start = asyncio.get_running_loop().time()
        async with self._sending:
            with Timer.opened() as timer:
                start = max(start, self._free)
                await self._bytes(timer, reply.frame, start, put)
                if isinstance(reply, Reply) and reply.goes_on is not None:
                    await self._endless(timer, reply.goes_on, start + len(reply.frame) * self.byte_s, put)
            self._free = asyncio.get_running_loop().time()
        if not isinstance(reply, Reply):
            return
        if reply.baud is not None:
            self.baud = reply.baud or self._first
        if reply.then is not None:
            await self.send(reply.then, self._free + CHANGE_S, put)

    async def _bytes(
        self, timer: Timer, frame: bytes, start: float, put: Callable[[bytes], Awaitable[None] | None]
    ) -> None:
        byte_s = self.byte_s
        chunk = max(1, int(CHUNK_S / byte_s))
        for first in range(0, len(frame), chunk):
            part = frame[first : first + chunk]
            last = first + len(part) == len(frame)
            await timer.until(start + (first + len(part)) * byte_s, exact=last)
            done = put(part)
            if done is not None:
                await done

    async def _endless(
        self, timer: Timer, goes_on: Callable[[], bool], start: float, put: Callable[[bytes], Awaitable[None] | None]
    ) -> None:
        sent, part = 0, NOISE * 4
        while goes_on() and sent < MOST_ENDLESS:
            await self._bytes(timer, part, start + sent * self.byte_s, put)
            sent += len(part)


class SerialLine:
    """One line; `serve` opens it."""

    def __init__(
        self,
        path: Path,
        bus: Bus,
        baud: int,
        bits: int,
        group: asyncio.TaskGroup,
        gap_s: float = 0.0,
        fault: Callable[[], FaultKind | None] = _never,
        constant: bool = True,
    ) -> None:
        """`fault` says what is wrong with the whole line: `vanish` or `permission`. Where the speed is not `constant`, a
        client may have changed its own before a request is heard, so only what it hears depends on it.
        """
        self._constant = constant
        self._path = path
        self._pace = Pace(bus, baud, bits, gap_s)
        self._group = group
        self._fault = fault
        self._master = self._slave = -1
        self._received = bytearray()
        self._heard = asyncio.Event()
        self._heard_at = 0.0

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Path]:
        """Open the line and yield the path a client opens.

        Raises:
            LineBusy: there is a file at the path that is no link of ours.
        """
        self._plug()
        tasks = [self._group.create_task(self._listen()), self._group.create_task(self._watch())]
        try:
            yield self._path
        finally:
            for task in tasks:
                task.cancel()
            self._unplug()

    def _plug(self) -> None:
        """Make the port. Our own hold on the slave keeps the line up while no client has it open."""
        self._master, self._slave = os.openpty()
        try:
            tty.setraw(self._slave)
            self._set_speed()
            os.set_blocking(self._master, False)
            _link(self._path, os.ttyname(self._slave))
        except BaseException:
            self._close()
            raise
        asyncio.get_running_loop().add_reader(self._master, self._hear)

    def _unplug(self) -> None:
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        self._path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    async def _watch(self) -> None:
        """Follow the faults of the whole line: an unplugged port (F27), one nobody may open (F28)."""
        while True:
            wrong = self._fault()
            if wrong is not None:
                self._unplug()
            if wrong == "permission":
                self._plug()
                os.fchmod(self._slave, 0)
            if wrong is not None:
                log.info("%s: %s", self._path, "unplugged" if wrong == "vanish" else "permission lost")
                await self._over()
                self._unplug()
                self._plug()
                log.info("%s is there again", self._path)
            await asyncio.sleep(WATCH_S)

    async def _over(self) -> None:
        while self._fault() is not None:  # noqa: ASYNC110 - a fault ends by the clock, and tells nobody
            await asyncio.sleep(WATCH_S)

    def _hear(self) -> None:
        if not self._received:
            self._heard_at = asyncio.get_running_loop().time()
        with contextlib.suppress(BlockingIOError):
            part = os.read(self._master, MOST)
            self._received += _garbage(part) if self._constant and self._is_unlike else part
        self._heard.set()

    async def _listen(self) -> None:
        with Timer.opened() as timer:
            while True:
                await self._heard.wait()
                self._heard.clear()
                while (request := self._pace.bus.cut(self._received)) is not None:
                    reply, start = await self._pace.request(timer, request, self._heard_at)
                    self._respond(reply, start)
                if self._received and not await self._more():
                    self._received.clear()

    async def _more(self) -> bool:
        """Wait for the rest of a frame; return False when the line has gone quiet in the middle of it."""
        byte_s = self._pace.byte_s
        try:
            async with asyncio.timeout(max(0.02, 4 * byte_s) + len(self._received) * byte_s):
                await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def _respond(self, reply: Heard | None, start: float) -> None:
        if reply is not None:
            self._group.create_task(self._pace.send(reply, start, self._put))

    def _put(self, part: bytes) -> None:
        if self._master < 0:
            return
        if self._is_unlike:
            part = _garbage(part)
        try:
            os.write(self._master, part)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EBADF):
                raise

    @property
    def _is_unlike(self) -> bool:
        """Whether the client has set another speed than the line's."""
        theirs = _SPEEDS.get(termios.tcgetattr(self._slave)[5])
        return theirs is not None and self._pace.baud in _SPEEDS.values() and theirs != self._pace.baud

    def _set_speed(self) -> None:
        """Begin at the line's own speed, for clients that set none."""
        attributes = termios.tcgetattr(self._slave)
        attributes[4] = attributes[5] = getattr(termios, f"B{self._pace.baud}", attributes[5])
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)


def _garbage(part: bytes) -> bytes:
    """Return what bytes look like at another speed."""
    return bytes(byte ^ 0x55 for byte in part)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_symlink():
        raise LineBusy(name=str(path), reason="there is a file of that name")
    path.unlink(missing_ok=True)
    path.symlink_to(target)
