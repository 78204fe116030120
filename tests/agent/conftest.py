"""A world of tests: a clock that only moves when told to (or when all wait), dice from a seed, no threads."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.books import OutboxSettings
from metering.wire import Batch, ClockState

START_MS = 1_763_884_800_000


class InlineWorker:
    async def run(self, call: Callable[..., Any], *args: object) -> Any:
        return call(*args)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer as soon as nothing else can run."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class TestWorld:
    """A `World` whose uptime is the running loop's time, or `elapsed_s` outside one."""

    __test__ = False

    def __init__(self, seed: int = 1) -> None:
        self.boot_id = "boot-1"
        self.random = random.Random(seed)
        self.elapsed_s = 0.0
        self.wall_offset_ms = START_MS
        self.clock: ClockState = "synced"
        self.ids = 0
        self.lines: dict[str, Any] = {}
        self.the_broker: Any = None

    def uptime(self) -> float:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self.elapsed_s
        base = loop.time() - 1000.0 if isinstance(loop, VirtualLoop) else 0.0
        return self.elapsed_s + base

    def now_ms(self) -> int:
        return self.wall_offset_ms + round(self.uptime() * 1000)

    def clock_state(self) -> ClockState:
        return self.clock

    def new_id(self) -> str:
        self.ids += 1
        return f"00000000-0000-4000-8000-{self.random.getrandbits(48):012x}"

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def open_tcp(self, host: str, port: int, timeout_s: float) -> Any:
        return await self.lines[f"{host}:{port}"].open()

    async def open_serial(self, path: str, baud: int, frame: str) -> Any:
        return await self.lines[path].open()

    @asynccontextmanager
    async def worker(self, name: str) -> AsyncIterator[InlineWorker]:
        yield InlineWorker()

    @asynccontextmanager
    async def broker(self, address: Any, subscriptions: tuple[str, ...], will: Any) -> AsyncIterator[Any]:
        self.the_broker.subscriptions, self.the_broker.will = subscriptions, will
        yield self.the_broker


@pytest.fixture
def world() -> TestWorld:
    return TestWorld()


@pytest.fixture
def in_virtual_time() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop whose time jumps."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        loop = VirtualLoop()
        try:
            return loop.run_until_complete(coroutine)
        finally:
            loop.close()

    return run


@pytest.fixture
def outbox_settings(tmp_path: Path) -> OutboxSettings:
    return OutboxSettings(tmp_path / "outbox.db", 8 << 20, 7 * 86400.0)


@pytest.fixture
def draft() -> Callable[..., Batch]:
    """Make a batch without an identity."""

    def make(readings: int = 20, at_ms: int = START_MS, seed: int = 0, points: int = 5) -> Batch:
        dice = random.Random(seed or at_ms)
        return Batch(
            site="demo", agent="workshop-1", stream="", seq=0, prev="", boot="boot-1", up=0, clock="synced",
            config="c0", points=[(f"meter-{n}/energy", "kWh") for n in range(points)], t0=at_ms,
            t=[n * 10 for n in range(readings)], p=[n % points for n in range(readings)],
            x=[dice.random() * 1e6 for _ in range(readings)], q=[0] * readings,
        )  # fmt: skip

    return make
