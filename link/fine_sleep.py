"""Short sleeps to a tenth of a millisecond.

The event loop waits in whole milliseconds (epoll), rounded up: too coarse for the silence of a fast serial line, of which it
would waste a tenth. A timer of the system (timerfd) wakes it when it should.
"""

import asyncio
import contextlib
import ctypes
import os

SHORT_S = 0.02
"""Longer sleeps are the event loop's own: a millisecond is little of them."""
_libc = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "after_s", "after_ns")]


class FineSleep:
    """Sleeps of one event loop after another; a timer is used again and again."""

    def __init__(self) -> None:
        self._idle: list[int] = []

    async def sleep(self, seconds: float) -> None:
        timer = self._idle.pop() if self._idle else _timer()
        if timer < 0:
            await asyncio.sleep(seconds)
            return
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        loop.add_reader(timer, _settle, over)
        _set(timer, seconds)
        try:
            await over
        finally:
            loop.remove_reader(timer)
            _set(timer, 0.0)
            self._idle.append(timer)

    def __del__(self) -> None:
        for timer in self._idle:
            with contextlib.suppress(OSError):
                os.close(timer)


def _timer() -> int:
    """Return a timer, or -1 where the system has none to give."""
    created: int = _libc.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)  # CLOCK_MONOTONIC
    return created


def _set(timer: int, seconds: float) -> None:
    """Let the timer go off once after so many seconds, a nanosecond at least; 0 stops it and takes back what went off."""
    nanoseconds = max(1, round(seconds * 1e9)) if seconds > 0 else 0
    spec = _Spec(0, 0, nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)
    _libc.timerfd_settime(timer, 0, ctypes.byref(spec), None)


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
