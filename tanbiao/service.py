"""Runs a service until SIGTERM, Ctrl-C or the end of its terminal, with its log on standard error."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from metering.errors import LineBusy
from metering.text import Text

PARENT = "TANBIAO_PARENT"
"""Set for the demo's children: they leave Ctrl-C and the terminal's end to the parent and die with it."""


async def until_told(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Await `run(stop)`; a signal sets `stop`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in signals_that_stop():
        loop.add_signal_handler(number, stop.set)
    log_to_stderr()
    try:
        await run(stop)
    except ExceptionGroup as group:
        raise _first(group) from group


def signals_that_stop() -> list[signal.Signals]:
    """Return what ends this process in order: SIGINT also where a shell has a background job ignore it, SIGHUP not under nohup."""
    if PARENT in os.environ:
        return [signal.SIGTERM]
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hangs_up else [])]


@contextlib.contextmanager
def alone(data: Path, name: str, reason: Text) -> Iterator[None]:
    """Hold the lock `name` of a data folder, which is made where it is missing.

    Raises:
        LineBusy: another process holds it; `reason` says which kind.
    """
    import fcntl

    data.mkdir(parents=True, exist_ok=True)
    with (data / name).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LineBusy(name=data, reason=reason) from error
        yield


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return what went wrong first: of a group of tasks the others were only cancelled."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, ExceptionGroup) else found


def log_to_stderr() -> None:
    """Log in English, one line per change, with UTC times; systemd's journal has its own clock beside it."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("asyncua", "amqtt", "transitions", "uvicorn", "httpx", "pymodbus", "apscheduler"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
