"""The whole agent: in virtual time against a broker in memory, and as a process against mosquitto."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent import app, commands
from agent.app import without_secrets
from link.world import BrokerAddress, Connected, Message, Will
from metering.errors import StoreBusy
from metering.wire import (
    AgentStatus,
    ConfigChanged,
    Gap,
    IngesterStatus,
    Receipt,
    Restart,
    Topics,
    decode_as,
    decode_batch,
    encode,
    unpack,
)  # fmt: skip
from settings.agent import load_agent

AgentFile = Callable[..., Path]
TOPICS = Topics("demo")


class Story:
    """An agent in virtual time, with one meter and a broker that answers like an ingester."""

    def __init__(self, path: Path, world: Any, fakes: Any) -> None:
        self.path, self.world, self.fakes = path, world, fakes
        world.lines["meter:502"] = self.wire = fakes.Wire(lambda frame: [(0.01, fakes.modbus_reply(frame))])
        self.broker = world.the_broker = fakes.Broker()
        self.receipts = True
        self.stop = asyncio.Event()

    async def run(self, seconds: float, then: Callable[[], Any] | None = None) -> None:
        self.broker.on_publish = self._commit
        self.stop = asyncio.Event()
        self.broker.begin_anew()
        settings, document = load_agent(self.path, {})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(app.run(settings, document, self.world, self.stop))
            await asyncio.sleep(seconds)
            if then is not None:
                await then()
            self.stop.set()

    def _commit(self, topic: str, payload: bytes) -> None:
        if self.receipts and topic.endswith("/data"):
            batch = decode_batch(unpack(payload))
            receipt = Receipt(stream=batch.stream, through=0, also=[batch.seq])
            self.broker.say(Message(TOPICS.receipt("workshop-1"), encode(receipt)))

    def statuses(self) -> list[AgentStatus]:
        topic = TOPICS.status("workshop-1")
        return [
            decode_as(AgentStatus, unpack(body)) for at, body, retain in self.broker.published if at == topic and retain
        ]

    def times(self) -> list[int]:
        """When the energy was read, from all that was published."""
        return sorted({batch.t0 + at for batch in self.broker.batches() for at, p in zip(batch.t, batch.p, strict=True)
                       if batch.points[p][0] == "m1/energy"})  # fmt: skip

    def events(self, kind: type) -> list[Any]:
        return [event for batch in self.broker.batches() for event in batch.events if isinstance(event, kind)]


@pytest.fixture
def story(agent_file: AgentFile, world: Any, fakes: Any) -> Story:
    return Story(agent_file(), world, fakes)


def test_what_is_polled_is_published_and_receipted(story: Story, in_virtual_time: Any) -> None:
    in_virtual_time(story.run(20.5))
    times = story.times()
    assert len(times) == 20
    assert all(at % 1000 == 0 for at in times)
    last = story.statuses()[-1]
    assert not last.online, "the goodbye"
    online = [status for status in story.statuses() if status.online]
    assert len(online) >= 4
    assert online[-1].meters["m1"]["state"] == "ok"
    assert online[-1].unreceipted <= 2


def test_a_reading_leaves_within_milliseconds_of_its_reply(story: Story, in_virtual_time: Any) -> None:
    late_ms = when_published(story, in_virtual_time)
    assert len(late_ms) >= 20
    assert max(late_ms) <= 10 + 5, "the meter's 10 ms, and those of the gathering"


def test_readings_of_a_line_that_never_rests_leave_after_a_quarter_of_a_second(
    agent_file: AgentFile, world: Any, fakes: Any, in_virtual_time: Any
) -> None:
    path = agent_file(
        'a: {driver: modbus, tcp: "meter:502", timeout: 500 ms}',
        "\n".join(f"m{n}: {{line: a, profile: profile.yaml, interval: 1 s, unit: {n}}}" for n in range(1, 101)),
    )
    late_ms = when_published(Story(path, world, fakes), in_virtual_time)
    assert 100 < max(late_ms) <= 10 + 250 + 5


def when_published(story: Story, in_virtual_time: Any) -> list[int]:
    """Return how long after its request each reading of 20 s was published, ms."""
    late_ms: list[int] = []

    def note(topic: str, payload: bytes) -> None:
        if topic.endswith("/data"):
            batch = decode_batch(unpack(payload))
            late_ms.extend(story.world.now_ms() - batch.t0 - at for at in batch.t)
        commit(topic, payload)

    commit, story._commit = story._commit, note  # type: ignore[method-assign]
    in_virtual_time(story.run(20.5))
    return late_ms


def test_a_restart_begins_a_stream_and_shows_the_stop_as_a_gap(story: Story, in_virtual_time: Any) -> None:
    in_virtual_time(story.run(10.5))
    stopped_at = story.times()[-1]
    story.world.elapsed_s += 60.0
    in_virtual_time(story.run(10.5))
    assert len({batch.stream for batch in story.broker.batches()}) == 2
    seqs = [batch.seq for batch in story.broker.batches()]
    assert sorted(set(seqs)) == list(range(1, max(seqs) + 1))
    [gap] = [gap for gap in story.events(Gap) if gap.end is not None]
    assert gap.cause == "stopped"
    assert gap.start == stopped_at + 1000
    assert gap.end == next(at for at in story.times() if at > stopped_at)
    assert gap.missed * 1000 == gap.end - gap.start
    first, second = story.events(Restart)
    assert (first.stopped, second.clean) == (None, True)
    [config] = story.events(ConfigChanged)
    assert config.sha256 == story.broker.batches()[-1].config


def test_an_ingester_that_is_away_costs_nothing(story: Story, in_virtual_time: Any) -> None:
    async def back() -> None:
        assert [status for status in story.statuses() if status.silent_since], "said in the status"
        story.receipts = True
        story.broker.say(
            Message(TOPICS.ingester_status, b'{"ingester":"i","epoch":"e2","since":0,"heartbeat":0,"online":true}')
        )
        await asyncio.sleep(40)

    story.receipts = False
    in_virtual_time(story.run(300.0, back))
    times = story.times()
    assert times == list(range(times[0], times[-1] + 1000, 1000))
    assert len(times) >= 338


def test_secrets_never_travel() -> None:
    data = {"mqtt": {"url": "mqtt://h", "password": "p"}, "lines": [{"api_token": 1, "driver": "x"}]}
    assert without_secrets(data) == {
        "mqtt": {"url": "mqtt://h", "password": "***"},
        "lines": [{"api_token": "***", "driver": "x"}],
    }


def test_a_stop_takes_five_seconds_at_most_even_with_a_hanging_meter(story: Story, in_virtual_time: Any) -> None:
    story.wire.meter = lambda frame: []
    story.path.write_text(story.path.read_text().replace("500 ms", "60 s"))

    async def timed() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await story.run(3.2)
        return loop.time() - start - 3.2

    assert in_virtual_time(timed()) <= 5.0


def test_a_stop_takes_five_seconds_at_most_even_where_closing_a_line_hangs(
    story: Story, in_virtual_time: Any, fakes: Any
) -> None:
    class Hanging:
        def __init__(self, end: Any) -> None:
            self._end = end

        def __getattr__(self, name: str) -> Any:
            return getattr(self._end, name)

        async def close(self) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(60)

    class Wire(fakes.Wire):  # type: ignore[misc]
        async def open(self) -> Any:
            return Hanging(await super().open())

    story.world.lines["meter:502"] = Wire(story.wire.meter)

    async def timed() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await story.run(3.2)
        return loop.time() - start - 3.2

    assert in_virtual_time(timed()) <= 5.0
    assert len(story.times()) == 3
    assert not story.statuses()[-1].online


def test_the_end_of_a_gap_is_stored_with_the_reading_that_ended_it(story: Story, in_virtual_time: Any) -> None:
    answers = story.wire.meter
    story.wire.meter = lambda frame: answers(frame) if not 2 <= story.world.uptime() < 4.5 else []
    in_virtual_time(story.run(60.5))
    [end] = [gap.end for gap in story.events(Gap) if gap.end is not None]
    [batch] = [
        batch for batch in story.broker.batches() if any(isinstance(event, Gap) and event.end for event in batch.events)
    ]
    assert end in [batch.t0 + at for at in batch.t]


@pytest.mark.parametrize("behind_ms", [1_700_000_000_000, 3_590_000], ids=["at 1970", "saved at the stop"])
def test_a_stop_is_as_long_as_the_clock_says_once_it_is_set(story: Story, in_virtual_time: Any, behind_ms: int) -> None:
    async def set_clock() -> None:
        story.world.wall_offset_ms += behind_ms
        story.world.clock = "synced"
        await asyncio.sleep(5)

    in_virtual_time(story.run(10.5))
    last = story.times()[-1]
    story.world.boot_id, story.world.clock = "boot-2", "unsynced"
    story.world.elapsed_s += 3600.0
    story.world.wall_offset_ms -= behind_ms
    in_virtual_time(story.run(10.5, set_clock))
    gaps = [gap for gap in story.events(Gap) if gap.end is not None and gap.cause in ("stopped", "power_loss")]
    whole = max(gaps, key=lambda gap: gap.missed)
    assert whole.end - last > 3_600_000
    assert whole.missed * 1000 == whole.end - whole.start
    before = max(at for at in story.times() if at < whole.start)
    assert whole.start == before + 1000


def test_a_second_agent_is_refused(story: Story, in_virtual_time: Any, fakes: Any) -> None:
    async def second() -> None:
        with pytest.raises(StoreBusy, match=str(os.getpid())):
            await app.run(*load_agent(story.path, {}), story.world, asyncio.Event())

    in_virtual_time(story.run(2.0, second))


# -- as a process

AGENT = """
import asyncio, os, signal, sys
from pathlib import Path
from agent import commands
from link.real_world import RealWorld

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await commands.run(Path(sys.argv[1]), {}, RealWorld(), stop)

asyncio.run(main())
"""


class Served:
    """A Modbus TCP meter whose energy counts its replies: what was served is known exactly."""

    def __init__(self) -> None:
        self.count = 0

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(12)
                self.count += 1
                writer.write(
                    head[:4] + struct.pack(">HBBB", 11, head[6], head[7], 8) + struct.pack(">ff", self.count, 0)
                )
        writer.close()


class Committed:
    """An ingester of tests: keeps bodies by identity, answers with receipts."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, int], bytes] = {}
        self.conflicts = 0

    async def run(self, url: str) -> None:
        from link.real_world import RealWorld

        world = RealWorld()
        address = BrokerAddress(url=url, client_id=world.new_id())
        async with world.broker(address, ("tanbiao/v1/demo/+/data",), Will("x", b"")) as broker:
            async for event in broker.events():
                if isinstance(event, Connected):
                    status = IngesterStatus(ingester="i", epoch=world.new_id(), since=0, heartbeat=0)
                    await broker.publish(TOPICS.ingester_status, encode(status), retain=True)
                if isinstance(event, Message):
                    body = unpack(event.payload)
                    batch = decode_batch(body)
                    key = batch.stream, batch.seq
                    self.conflicts += self.bodies.setdefault(key, body) != body
                    receipt = Receipt(stream=batch.stream, through=0, also=[batch.seq])
                    await broker.publish(TOPICS.receipt(batch.agent), encode(receipt))

    def readings(self) -> list[float]:
        batches = [decode_batch(body) for body in self.bodies.values()]
        return sorted(
            float(x)
            for batch in batches
            for x, p in zip(batch.x, batch.p, strict=True)
            if x is not None and batch.points[p][0] == "m1/energy"
        )


@pytest.mark.external
async def test_f45_nothing_is_lost_or_doubled_over_kills_of_agent_and_broker(
    agent_file: AgentFile, mosquitto: Any
) -> None:
    served, committed = Served(), Committed()
    server = await asyncio.start_server(served.attend, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = agent_file(
        f'a: {{driver: modbus, tcp: "127.0.0.1:{port}"}}',
        "m1: {line: a, profile: profile.yaml, interval: 100 ms}",
        mosquitto.url,
    )
    ingester = asyncio.get_running_loop().create_task(committed.run(mosquitto.url))
    agent = start(path)
    await until(lambda: len(committed.bodies) >= 1)
    for _ in range(2):
        await asyncio.sleep(1.3)
        agent.send_signal(signal.SIGKILL)
        agent.wait(10)
        agent = start(path)
        await asyncio.sleep(0.5)
    mosquitto.kill()
    await asyncio.sleep(1.0)
    mosquitto.start()
    await asyncio.sleep(1.0)
    begun = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(agent.wait, 10) == 0
    assert time.monotonic() - begun < 5
    rest = start(path)
    await asyncio.sleep(1.0)
    upto = served.count
    await until(lambda: len(set(range(1, upto + 1)) - {int(x) for x in committed.readings()}) <= 2)
    await until((path.parent / "data/agent.sock").exists)
    status = await asyncio.to_thread(commands.status, path, {})
    assert status.data["connected"]
    rest.send_signal(signal.SIGTERM)
    await asyncio.to_thread(rest.wait, 10)
    ingester.cancel()
    server.close()
    readings = committed.readings()
    assert len(readings) == len(set(readings)), "nothing doubled"
    assert committed.conflicts == 0, "an identity is given once"
    gaps = [gap for body in committed.bodies.values() for gap in decode_batch(body).events if isinstance(gap, Gap)]
    assert {"crashed", "stopped"} <= {gap.cause for gap in gaps}


def start(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", AGENT, str(path)], stderr=subprocess.DEVNULL)


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)
