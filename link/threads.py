"""Blocking calls in threads of their own, for what the system may keep for minutes: a name server, a stuck port.

asyncio's own threads are few and waited for at the end; these are neither, so that one dead name server blocks nothing
else and no stop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(name: str, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise its error. Whoever is cancelled leaves; the thread ends when it can."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            settled = _settle_with(done, call())
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            settled = _fail_with(done, error)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settled)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


def _settle_with(done: asyncio.Future[T], result: T) -> Callable[[], None]:
    return lambda: None if done.done() else done.set_result(result)


def _fail_with(done: asyncio.Future[T], error: Exception) -> Callable[[], None]:
    return lambda: None if done.done() else done.set_exception(error)
