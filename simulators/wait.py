"""Waiting to a fraction of a millisecond, which the event loop's own timers cannot: they round up to whole ones."""

import asyncio
import contextlib
import ctypes
import os
import time
from collections.abc import Iterator

SPIN_S = 0.00015
"""The last bit of a wait is passed without sleeping: a sleeper wakes about so much late."""
_CLOCK_MONOTONIC = 1
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class Timer:
    """A timer of the kernel (Linux timerfd) that the event loop watches. One waiter at a time."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = int(self._libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS))
        if self._handle < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    @staticmethod
    @contextlib.contextmanager
    def opened() -> Iterator["Timer"]:
        timer = Timer()
        try:
            yield timer
        finally:
            os.close(timer._handle)

    async def until(self, moment: float, exact: bool = False) -> None:
        """Wait until the loop's clock shows `moment`; `exact`: within some microseconds, at the price of a short spin."""
        wake = moment - SPIN_S if exact else moment
        if wake > time.monotonic():
            await self._sleep_until(wake)
        if exact:
            while time.monotonic() < moment:
                pass

    async def _sleep_until(self, moment: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.create_future()
        seconds, rest = divmod(moment, 1)
        at = _Itimerspec(_Timespec(0, 0), _Timespec(int(seconds), int(rest * 1e9)))
        loop.add_reader(self._handle, self._ring, due)
        try:
            if self._libc.timerfd_settime(self._handle, 1, ctypes.byref(at), None) < 0:
                raise OSError(ctypes.get_errno(), "timerfd_settime")
            await due
        finally:
            loop.remove_reader(self._handle)

    def _ring(self, due: "asyncio.Future[None]") -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._handle, 8)
        if not due.done():
            due.set_result(None)
