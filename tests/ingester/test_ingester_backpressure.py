"""A store that is full, locked, read-only or slow: no receipt, the broker waits, and then all is there once."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ingester.inspection import Inspector
from ingester.receive import Receiver
from link.real_world import RealWorld
from link.world import BrokerAddress, Message, Will
from metering.errors import StoreBusy, StoreFailed
from metering.wire import Topics

TOPICS = Topics("demo")

FULL_THEN_FREE = """
import asyncio, resource, sys
from pathlib import Path
from ingester.inspection import Inspector
from ingester.receive import Receiver
from ingester.store.duckdb_series import DuckdbSeries
from link.real_world import RealWorld
from link.world import Message
from metering.wire import Batch, Receipt, Topics, decode_as, encode, digest

def batches(count):
    prev = ""
    for seq in range(1, count + 1):
        rows = 200
        x = [((seq * 7919 + i * 104729) % 1000003) / 7 for i in range(rows)]
        batch = Batch(site="demo", agent="agent-a", stream="s-1", seq=seq, prev=prev, boot="b", up=0, clock="synced", config="c",
                      points=[("main/energy", "kWh")], t0=1763884800000 + seq * 1000, t=list(range(rows)), p=[0] * rows, x=x, q=[0] * rows)
        body = encode(batch)
        prev = digest(body)
        yield Message("tanbiao/v1/demo/agent-a/data", body)

async def receive(path):
    world, store, published = RealWorld(), DuckdbSeries(path), []
    async def publish(topic, payload): published.append(decode_as(Receipt, payload).through)
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, store, Inspector(Topics("demo"), {}, {}, {}), publish)
        messages = list(batches(60))
        for message in messages[:10]:
            await receiver.handle([message])
        size = sum(file.stat().st_size for file in path.parent.iterdir() if file.name.startswith("series"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
        taking = asyncio.create_task(give(receiver, messages[10:]))
        running = asyncio.create_task(receiver.run())
        await asyncio.sleep(3)
        print(published[-1], flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        async with asyncio.timeout(60):
            while published[-1] < 60:
                await asyncio.sleep(0.05)
        await taking
        running.cancel()
        print(published[-1], len(store.readings("main/energy", 0, 1 << 45, 1 << 20)), receiver.known, flush=True)

async def give(receiver, messages):
    for message in messages:
        await receiver.take(message)

asyncio.run(receive(Path(sys.argv[1])))
"""


def test_f56_while_the_disk_is_full_nothing_is_receipted_and_then_all_is_stored_once(tmp_path: Path) -> None:
    """Files may not grow any more: what a full disk does, made by a limit of the process."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_THEN_FREE, str(tmp_path / "series.duckdb")], capture_output=True, text=True,
        timeout=100, cwd=os.getcwd(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    while_full, after = done.stdout.splitlines()
    assert int(while_full) == 10
    assert after.split()[:2] == ["60", str(60 * 200)]
    assert "no receipts until the store works again" in done.stderr


class Failing:
    """A store whose commits raise what they are told to, and do nothing."""

    def __init__(self, series: Any, error: Exception | None) -> None:
        self._series, self.error = series, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._series, name)

    def commit(self, arrivals: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self._series.commit(arrivals)


@pytest.mark.parametrize(
    "error",
    [StoreFailed(path="x", reason="attempt to write a read-only database"), StoreBusy(path="x", pid="77")],
    ids=["read-only", "locked"],
)
async def test_f56_while_a_store_is_read_only_or_locked_the_sender_waits_and_nothing_is_lost(
    world: Any, pipe: Any, series: Any, arrived: Any, error: Exception
) -> None:
    store, waiting = Failing(series, error), list[Message]()
    agents = [f"agent-{number}" for number in range(8)]
    for agent in agents:
        previous = ""
        for seq in range(1, 251):
            batch = arrived(seq, [(seq, f"m-{agent}/energy", float(seq), 0)], agent=agent, prev=previous)
            previous = batch.sha256
            waiting.append(Message(TOPICS.data(agent), batch.body))
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, store, Inspector(TOPICS, {}, {}, {}), pipe.publish)

        async def send() -> None:
            for message in waiting:
                await receiver.take(message)

        tasks = [asyncio.create_task(receiver.run()), asyncio.create_task(send())]
        await asyncio.sleep(1)
        assert not tasks[1].done(), "what does not fit waits in the broker"
        assert pipe.published == []
        store.error = None
        async with asyncio.timeout(30):
            while receiver.stored < len(waiting):
                await asyncio.sleep(0.05)
        tasks[0].cancel()
    for agent in agents:
        rows = series.readings(f"m-{agent}/energy", 0, 1 << 45, 5000)
        assert [row.value for row in rows] == [float(seq) for seq in range(1, 251)]
    assert (receiver.counts()["held_back"], receiver.known, series.refused()) == (0, 0, [])


@pytest.mark.external
async def test_f56_a_broker_whose_messages_wait_is_read_again_when_the_store_works(
    mosquitto: Any, series: Any, arrived: Any
) -> None:
    """More messages than all queues hold, while the store fails: reading rests, and the receipts still go out after it."""
    world, store, count = RealWorld(), Failing(series, StoreFailed(path="x", reason="no space left")), 3000
    receipts: list[str] = []
    async with (
        world.worker("writer") as worker,
        world.broker(BrokerAddress(mosquitto.url, "centre"), (TOPICS.data("+"),), Will("w", b"")) as centre,
        world.broker(BrokerAddress(mosquitto.url, "agents"), (TOPICS.receipt("+"),), Will("v", b"")) as agents,
    ):
        receiver = Receiver(world, worker, store, Inspector(TOPICS, {}, {}, {}), centre.publish)

        async def note(message: Message) -> None:
            receipts.append(message.topic)

        works = (each_message(centre, receiver.take), each_message(agents, note), receiver.run())
        tasks = [asyncio.create_task(work) for work in works]
        while not (centre.connected and agents.connected):
            await asyncio.sleep(0.05)
        for number in range(count):
            name = f"agent-{number}"
            await agents.publish(TOPICS.data(name), arrived(1, [(0, f"m-{number}/energy", 1.0, 0)], agent=name).body)
        await asyncio.sleep(1)
        assert (receiver.intake.waiting, receiver.stored, receipts) == (receiver.waiting, 0, [])
        store.error = None
        async with asyncio.timeout(40):
            while receiver.stored < count or len(set(receipts)) < count:
                await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert receiver.known == 0


async def each_message(broker: Any, do: Any) -> None:
    async for event in broker.events():
        if isinstance(event, Message):
            await do(event)
