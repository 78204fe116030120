"""A store that lost what it had receipted is filled again by the agents: their outboxes, a real broker, a real ingester."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from agent.books import OutboxSettings
from agent.gaps import GapBook
from agent.outbox import Outbox, open_outbox
from agent.publish import Publisher
from agent.status import Reporter, will
from ingester import app
from ingester.services import control_socket
from link import control
from link.real_world import RealWorld
from link.world import BrokerAddress
from metering.wire import Batch, Topics
from settings.ingester import load_ingester

pytestmark = [pytest.mark.external, pytest.mark.timeout(120)]

TOPICS = Topics("demo")
SITE = """\
site: {{id: demo, timezone: Asia/Shanghai, interval: 1 min}}
store: {{series: data/series.duckdb, records: data/records.db}}
mqtt: {{url: "{url}"}}
factors: [cn-ndrc-other]
meters: {{gas-main: {{kind: gas, points: {{volume: {{unit: m3, role: counter, reference: 20 C}}}}}}}}
sources: {{boiler-1: {{category: fuel_combustion, fuel: natural_gas, activity: gas-main/volume, factor_set: cn-ndrc-other}}}}
"""


class Agent:
    """What of an agent delivers: outbox, publisher and status. Readings are made up, each at a time of its own."""

    def __init__(self, name: str, outbox: Outbox, publisher: Publisher, reporter: Reporter, now_ms: int) -> None:
        self.name, self.outbox, self.publisher, self.reporter = name, outbox, publisher, reporter
        self.at_ms = now_ms - 3_600_000
        self.readings: list[tuple[int, float]] = []

    async def reads(self, batches: int) -> None:
        for _ in range(batches):
            self.at_ms += 1000
            self.readings.append((self.at_ms, float(self.at_ms % 1_000_000)))
            draft = Batch(
                site="demo", agent=self.name, stream="", seq=0, prev="", boot="b", up=0, clock="synced", config="c",
                points=[(f"meter-of-{self.name}/volume", "m3")], t0=self.at_ms, t=[0], p=[0], x=[self.readings[-1][1]], q=[0],
            )  # fmt: skip
            self.publisher.offer(await self.outbox.put([draft]))

    async def unreceipted(self) -> int:
        return (await self.outbox.health()).unreceipted

    async def delivers(self) -> None:
        """Wait until all is receipted, and the receipts are noted."""
        async with asyncio.timeout(40):
            while await self.unreceipted():
                await asyncio.sleep(0.05)
        await self.outbox.tidy()


@asynccontextmanager
async def agent(folder: Path, name: str, url: str) -> AsyncIterator[Agent]:
    world = RealWorld()
    address = BrokerAddress(url, f"tanbiao-{name}")
    async with AsyncExitStack() as stack:
        outbox = await stack.enter_async_context(
            open_outbox(OutboxSettings(folder / f"{name}.db", 16 << 20, 7 * 86400.0), world)
        )
        topics = (TOPICS.receipt(name), TOPICS.ingester_status)
        broker = await stack.enter_async_context(world.broker(address, topics, will(TOPICS, name)))
        publisher = Publisher(outbox, broker, world, TOPICS, name)
        reporter = Reporter(name, "c", world, TOPICS, outbox, broker, publisher, [], GapBook())
        tasks = [asyncio.create_task(publisher.run()), asyncio.create_task(reporter.run())]
        try:
            yield Agent(name, outbox, publisher, reporter, world.now_ms())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


class Ingester:
    """A running ingester, asked what it has done since its start."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def counts(self) -> dict[str, int]:
        status = await asyncio.to_thread(control.ask, self._socket, "status", {})
        return dict(status["receiving"])

    async def stores(self, batches: int) -> None:
        """Wait until so many are stored since the start, and see that no more come."""
        async with asyncio.timeout(40):
            while (await self.counts())["stored"] < batches:
                await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        assert (await self.counts())["stored"] == batches


@asynccontextmanager
async def ingester(site: Path) -> AsyncIterator[Ingester]:
    settings, document = load_ingester(site, {})
    stop = asyncio.Event()
    running = asyncio.create_task(app.run(settings, document, RealWorld(), stop))
    socket = control_socket(settings)
    try:
        while not socket.exists() and not running.done():
            await asyncio.sleep(0.05)
        yield Ingester(socket)
    finally:
        stop.set()
        await running


def stored(site: Path, name: str) -> list[tuple[int, float]]:
    """Return every row of the agent's meter: a batch stored twice would show twice."""
    with duckdb.connect(str(site.parent / "data/series.duckdb"), read_only=True) as con:
        query = "SELECT at_ms, x FROM readings JOIN points ON id = point WHERE name = ? ORDER BY at_ms"
        return con.execute(query, [f"meter-of-{name}/volume"]).fetchall()


@pytest.fixture
def site(tmp_path: Path, mosquitto: Any) -> Path:
    path = tmp_path / "ingester.yaml"
    path.write_text(SITE.format(url=mosquitto.url))
    return path


async def test_f68_what_an_emptied_store_lost_comes_back_from_the_agents_once(site: Path, mosquitto: Any) -> None:
    """Two agents; one of them was started twice, so that it holds two streams."""
    async with agent(site.parent, "north", mosquitto.url) as north:
        async with ingester(site), agent(site.parent, "south", mosquitto.url) as first:
            await first.reads(30)
            await north.reads(250)
            await north.delivers()
            await first.delivers()
        shutil.rmtree(site.parent / "data")
        async with agent(site.parent, "south", mosquitto.url) as south:
            south.at_ms, south.readings = first.at_ms, first.readings
            await south.reads(5)
            async with ingester(site) as emptied:
                await emptied.stores(285)
        assert stored(site, "north") == north.readings
        assert stored(site, "south") == south.readings


async def test_f68_what_came_after_a_backup_comes_back_once_it_is_restored(site: Path, mosquitto: Any) -> None:
    data, backup = site.parent / "data", site.parent / "backup"
    async with agent(site.parent, "north", mosquitto.url) as north:
        async with ingester(site):
            await north.reads(40)
            await north.delivers()
        shutil.copytree(data, backup)
        async with ingester(site):
            await north.reads(60)
            await north.delivers()
        shutil.rmtree(data)
        shutil.move(backup, data)
        await north.reads(10)
        async with ingester(site) as restored:
            await restored.stores(70)
        assert stored(site, "north") == north.readings


async def test_f47_what_was_read_while_the_ingester_was_away_arrives_whatever_the_broker_dropped(
    site: Path, mosquitto: Any
) -> None:
    """The broker acknowledges what it has nobody to give to: it is gone there, and not from the outbox."""
    async with agent(site.parent, "north", mosquitto.url) as north:
        await north.reads(150)
        await asyncio.sleep(2)
        assert north.publisher.sent > 0
        assert await north.unreceipted() == 150
        async with ingester(site) as begun:
            await begun.stores(150)
            await north.delivers()
        assert stored(site, "north") == north.readings


async def test_f45_what_a_killed_broker_had_acknowledged_is_sent_again(site: Path, mosquitto: Any) -> None:
    async with agent(site.parent, "north", mosquitto.url) as north, ingester(site) as running:
        await north.reads(50)
        await running.stores(50)
        os.kill(mosquitto.pid, signal.SIGSTOP)  # what the agent sends now reaches the broker's socket and no further
        await north.reads(40)
        await asyncio.sleep(0.3)
        mosquitto.kill()
        await north.reads(10)
        mosquitto.start()
        await running.stores(100)
        await north.delivers()
    assert stored(site, "north") == north.readings
