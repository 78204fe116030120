"""A world of tests: a clock that only moves when told to (or when all wait), dice from a seed, no threads."""

import asyncio
import heapq
import random
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.books import OutboxSettings
from agent.wiring import Wiring, wire
from link.world import Connected, Disconnected
from metering.errors import MeterUnreachable
from metering.wire import Batch, ClockState, decode_batch, unpack
from settings.agent import load_agent

START_MS = 1_763_884_800_000


class InlineWorker:
    async def run(self, call: Callable[..., Any], *args: object) -> Any:
        return call(*args)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer as soon as nothing else can run."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self._timer_cancelled_count = 0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            handle = heapq.heappop(timers)
            handle._scheduled = False  # type: ignore[attr-defined]
            self._timer_cancelled_count = max(0, self._timer_cancelled_count - 1)
        if not self._ready and timers:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, timers[0].when())
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

    async def open_tcp(self, host: str, port: int, timeout_s: float, tls: Any = None) -> Any:
        return await self.lines[f"{host}:{port}"].open()

    async def open_udp(self, host: str, port: int) -> Any:
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


class Wire:
    """A line of tests: `meter(frame)` says what comes back, as (seconds later, bytes); nothing for silence."""

    def __init__(self, meter: Callable[[bytes], list[tuple[float, bytes]]]) -> None:
        self.meter = meter
        self.opened = 0
        self.requests: list[tuple[float, bytes]] = []
        self.refuses = ""
        self.speeds: list[int] = []
        """The speeds it was set to on the way."""

    async def open(self) -> "WireEnd":
        if self.refuses:
            raise MeterUnreachable(self.refuses)
        self.opened += 1
        return WireEnd(self)


class WireEnd:
    """One opening of a `Wire`: a `Channel`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False

    async def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        refusal = no_identification(data)
        if refusal:
            loop.call_later(0.01, self._arrived.put_nowait, refusal)
            return
        self._wire.requests.append((loop.time(), data))
        for after_s, reply in self._wire.meter(data):
            loop.call_later(after_s, self._arrived.put_nowait, reply)

    async def read(self, timeout_s: float) -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                data = await self._arrived.get()
        except TimeoutError:
            return b""
        if data == LOST:
            raise MeterUnreachable("lost")
        return data

    async def set_speed(self, baud: int) -> None:
        self._wire.speeds.append(baud)

    def drain(self) -> int:
        dropped = 0
        while not self._arrived.empty():
            dropped += len(self._arrived.get_nowait())
        return dropped

    async def close(self) -> None:
        self.closed = True


LOST = b"\0lost"


def no_identification(frame: bytes) -> bytes:
    """Refuse a request for device identification (43/14), as many meters do; nothing for another request."""
    if frame[7:9] == b"\x2b\x0e":
        return frame[:4] + b"\0\3" + frame[6:7] + b"\xab\1"
    if len(frame) == 7 and frame[1:3] == b"\x2b\x0e":
        reply = frame[:1] + b"\xab\1"
        return reply + checksum(reply)
    return b""


def checksum(data: bytes) -> bytes:
    """CRC-16 of Modbus RTU."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def modbus_reply(frame: bytes, values: Sequence[float] = (1234.5, 7.25)) -> bytes:
    """Answer a Modbus TCP read of 32-bit floats."""
    count = struct.unpack(">H", frame[10:12])[0]
    data = struct.pack(f">{len(values)}f", *values)[: 2 * count]
    return frame[:4] + struct.pack(">HBBB", 3 + len(data), frame[6], frame[7], len(data)) + data


PROFILE = """
vendor: x
model: y
kind: electricity
protocol: modbus
defaults: {fc: 3, type: f32}
points:
  energy: {address: 0, unit: kWh, role: counter}
  power: {address: 2, unit: kW, role: gauge}
source: {title: made up}
status: unverified
"""


@pytest.fixture
def agent_file(tmp_path: Path) -> Callable[..., Path]:
    """Write an agent.yaml with its profile; lines and meters as YAML."""

    def write(
        lines: str = 'a: {driver: modbus, tcp: "meter:502", timeout: 500 ms}',
        meters: str = "m1: {line: a, profile: profile.yaml, interval: 1 s}",
        url: str = "mqtt://127.0.0.1:1",
        more: str = "",
    ) -> Path:
        (tmp_path / "profile.yaml").write_text(PROFILE)
        path = tmp_path / "agent.yaml"
        path.write_text(
            f'agent: {{id: workshop-1, site: demo}}\nmqtt: {{url: "{url}"}}\noutbox: {{path: data/outbox.db}}\n{more}'
            f"lines:\n{indent(lines)}\nmeters:\n{indent(meters)}\n"
        )
        return path

    return write


def indent(text: str) -> str:
    return "\n".join("  " + line.strip() for line in text.strip().splitlines())


@pytest.fixture
def wired(agent_file: Callable[..., Path]) -> Callable[..., Wiring]:
    def make(*args: str) -> Wiring:
        return wire(*load_agent(agent_file(*args), {}))

    return make


class FakeBroker:
    """A broker in memory: `published` is what came, `say` speaks to the agent, `loses` the next publishes."""

    def __init__(self) -> None:
        self.connected = True
        self.published: list[tuple[str, bytes, bool]] = []
        self.on_publish: Callable[[str, bytes], None] = lambda topic, payload: None
        self.subscriptions: tuple[str, ...] = ()
        self.will: Any = None
        self._events: asyncio.Queue[Any] = asyncio.Queue()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        if not self.connected:
            return False
        self.published.append((topic, payload, retain))
        self.on_publish(topic, payload)
        await asyncio.sleep(0.001)
        return True

    def begin_anew(self) -> None:
        """Serve another event loop."""
        self._events = asyncio.Queue()

    def say(self, event: Any) -> None:
        self._events.put_nowait(event)

    def connect(self) -> None:
        self.connected = True
        self.say(Connected())

    def disconnect(self) -> None:
        self.connected = False
        self.say(Disconnected("test"))

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield await self._events.get()

    def batches(self) -> list[Batch]:
        return [decode_batch(unpack(payload)) for topic, payload, _ in self.published if topic.endswith("/data")]


@pytest.fixture
def fakes() -> SimpleNamespace:
    """The classes and functions of this file, for tests that make several."""
    return SimpleNamespace(
        Wire=Wire, Broker=FakeBroker, World=TestWorld, LOST=LOST, modbus_reply=modbus_reply,
        no_identification=no_identification, checksum=checksum,
    )  # fmt: skip


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
