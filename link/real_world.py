"""The real world: this machine's clocks, dice, threads, lines and broker."""

import asyncio
import ctypes
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from link import mqtt, threads
from link.fine_sleep import SHORT_S, FineSleep
from link.rfc2217 import SCHEME, open_rfc2217
from link.serial_port import open_serial
from link.tcp import open_tcp
from link.tls import open_tls
from link.udp import open_udp
from link.world import Broker, BrokerAddress, Channel, TlsFiles, Will, Worker
from metering.wire import ClockState

T = TypeVar("T")

STA_UNSYNC = 0x0040
"""adjtimex(2): nothing disciplines the clock. chrony clears it only with `rtcsync`, as Debian configures it."""


class RealWorld:
    """The `World` of a running service. Made inside the running event loop."""

    def __init__(self) -> None:
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._random = random.Random(random.SystemRandom().getrandbits(256))  # noqa: S311 - jitter, not secrets
        self._was_synced = False
        self._fine = FineSleep()

    @property
    def boot_id(self) -> str:
        return self._boot_id

    @property
    def random(self) -> random.Random:
        return self._random

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def uptime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def clock_state(self) -> ClockState:
        if kernel_says_synced():
            self._was_synced = True
            return "synced"
        return "holdover" if self._was_synced else "unsynced"

    def new_id(self) -> str:
        return str(uuid.uuid4())

    async def sleep(self, seconds: float) -> None:
        await (self._fine.sleep(seconds) if 0 < seconds < SHORT_S else asyncio.sleep(seconds))

    async def open_tcp(self, host: str, port: int, timeout_s: float, tls: TlsFiles | None = None) -> Channel:
        if tls is not None:
            return await open_tls(host, port, timeout_s, tls)
        return await open_tcp(host, port, timeout_s)

    async def open_udp(self, host: str, port: int) -> Channel:
        return await open_udp(host, port)

    async def open_serial(self, path: str, baud: int, frame: str) -> Channel:
        if path.startswith(SCHEME):
            return await open_rfc2217(path, baud, frame)
        return await open_serial(path, baud, frame)

    async def in_own_thread(self, name: str, call: Callable[[], T]) -> T:
        return await threads.in_own_thread(name, call)

    def worker(self, name: str) -> AbstractAsyncContextManager[Worker]:
        return _worker(name)

    def broker(
        self, address: BrokerAddress, subscriptions: tuple[str, ...], will: Will
    ) -> AbstractAsyncContextManager[Broker]:
        return mqtt.connection(address, subscriptions, will, self._random)


class _Timex(ctypes.Structure):
    """The head of struct timex; the padding covers the rest of it on every architecture."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


_libc = ctypes.CDLL(None, use_errno=True)


def kernel_says_synced() -> bool:
    """Ask the kernel whether something disciplines the wall clock. Not allowed to ask counts as no."""
    timex = _Timex()
    answered: int = _libc.adjtimex(ctypes.byref(timex))
    return answered >= 0 and not timex.status & STA_UNSYNC


class _Thread:
    """A `Worker`. A caller that is cancelled leaves; its call still runs, in its turn."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor

    async def run(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._executor, call, *args))


@asynccontextmanager
async def _worker(name: str) -> AsyncIterator[Worker]:
    """Give one thread. On leaving, what was queued is run to its end."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
    try:
        yield _Thread(executor)
    finally:
        executor.shutdown(wait=False)
        await asyncio.shield(asyncio.to_thread(executor.shutdown, wait=True))
