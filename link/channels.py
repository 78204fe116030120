"""Bytes to and from one file descriptor of the system, a socket's or a serial port's, on the event loop.

Promises
    * A read costs one future and one timer: no task, no thread, no stream object.
    * A lost line (end of file, reset, adapter unplugged, the far end of a pseudo-terminal gone) is MeterUnreachable, on
      that call and on every one after it. What had arrived before is still given out first.
    * `drain` also empties what the system holds, so that a late reply cannot become the next reply.
    * A device that never stops talking fills 64 KiB and no more.
"""

import asyncio
import errno
import os
from collections.abc import Callable

from metering.errors import MeterUnreachable
from metering.text import Text

CHUNK = 64 * 1024
"""Bytes taken at once, and the most that waits unread."""
WRITE_STALL_S = 10.0
"""Longest time without a byte accepted. The slowest frame, 260 bytes at 300 baud, takes 9 s."""


class FileChannel:
    """A `Channel` over one non-blocking file descriptor, a socket's or a port's. Closes it through `close_file`."""

    _may_end = True
    """Whether reading nothing means the end."""
    _longest_drain = 64
    """Reads thrown away in one go: a device that never stops must not hold the loop."""

    def __init__(self, fd: int, name: str, end: Text, close_file: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._name = name
        self._end = end
        self._close_file = close_file
        self._arrived = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._lost: Text | None = None
        self._closed = False
        self._listening = False
        self._listen()

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self._lost is not None:
                raise MeterUnreachable(self._lost)
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                self._lose(error)

    async def read(self, timeout_s: float) -> bytes:
        if not self._arrived and self._lost is None:
            await self._wait(timeout_s)
        if self._arrived:
            return self._take()
        if self._lost is not None:
            raise MeterUnreachable(self._lost)
        return b""

    async def set_speed(self, baud: int) -> None:
        """Do nothing: a network has no speed of its own."""

    def drain(self) -> int:
        return len(self.take_all())

    def take_all(self) -> bytes:
        """Return what has arrived and was not read, without waiting: from the system's buffer too."""
        arrived = self._empty()
        for _ in range(self._longest_drain):
            if not (self._listening and self._receive()):
                break
            arrived += self._empty()
        return arrived

    async def close(self) -> None:
        if self._closed:
            return
        self._lose(None)
        self._closed = True
        self._close_file()

    def _listen(self) -> None:
        if not self._listening and self._lost is None:
            self._loop.add_reader(self._fd, self._receive)
            self._listening = True

    def _deafen(self) -> None:
        if self._listening:
            self._loop.remove_reader(self._fd)
            self._listening = False

    def _receive(self) -> bool:
        """Take what the system holds; return whether there was any."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error)
            return False
        if not data and self._may_end:
            self._lose(None)
            return False
        self._keep(data)
        self._wake()
        return True

    def _keep(self, data: bytes) -> None:
        self._arrived += data
        if len(self._arrived) >= CHUNK:
            self._deafen()

    def _take(self) -> bytes:
        """Return what one read gives."""
        return self._empty()

    def _empty(self) -> bytes:
        data = bytes(self._arrived)
        self._arrived.clear()
        self._listen()
        return data

    async def _wait(self, timeout_s: float) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None:
            _settle(self._waiter)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._fd, _settle, ready)
        try:
            async with asyncio.timeout(WRITE_STALL_S):
                await ready
        except TimeoutError:
            raise MeterUnreachable(stalled(self._name)) from None
        finally:
            if not self._closed:
                self._loop.remove_writer(self._fd)

    def _lose(self, error: OSError | None) -> None:
        self._deafen()
        self._lost = self._lost or self._loss(error)
        self._wake()

    def _loss(self, error: OSError | None) -> Text:
        if error is None or error.errno == errno.EIO:
            return self._end
        return Text(
            f"{self._name} 的连接中断（{error.strerror}）", f"the connection to {self._name} broke: {error.strerror}"
        )


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def stalled(name: str) -> Text:
    """Return what to say of a line that takes nothing any more."""
    return Text(f"{name} 已有 {WRITE_STALL_S:.0f} 秒不接收数据", f"{name} took no byte for {WRITE_STALL_S:.0f} s")
