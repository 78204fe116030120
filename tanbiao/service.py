"""Runs a service until SIGTERM or Ctrl-C, with its log on standard error."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable

PARENT = "TANBIAO_PARENT"
"""Set for the demo's children: they leave Ctrl-C to the parent and die with it."""


async def until_told(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Await `run(stop)`; a signal sets `stop`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    log_to_stderr()
    try:
        await run(stop)
    except ExceptionGroup as group:
        raise _first(group) from group


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
