"""Stores of every kind, and batches as an agent would send them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from ingester.store.contract import Arrived, RecordStore, SeriesStore
from ingester.store.duckdb_series import DuckdbSeries
from ingester.store.sqlite_records import SqliteRecords
from link.real_world import RealWorld
from link.world import BrokerAddress, Connected, Disconnected, Message, Will
from metering.wire import Batch, Event, Topics, digest, encode, pack

STREAM = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
T0 = 1_763_884_800_000

Row = tuple[int, str, float | str | None, int]
"""(ms after T0, point, value, quality)."""


class Sends(Protocol):
    def __call__(self, seq: int, rows: Sequence[Row] = ..., **more: Any) -> Arrived: ...


@pytest.fixture
def arrived() -> Sends:
    """Make a batch that arrived: `arrived(seq, [(ms, point, value, quality), …])`."""

    def make(
        seq: int,
        rows: Sequence[Row] = (),
        agent: str = "agent-a",
        stream: str = STREAM,
        prev: str = "",
        unit: str = "kWh",
        events: Sequence[Event] = (),
        site: str = "demo",
    ) -> Arrived:
        points = list(dict.fromkeys(row[1] for row in rows))
        batch = Batch(
            site=site, agent=agent, stream=stream, seq=seq, prev=prev, boot="b", up=0, clock="synced", config="c",
            points=[(point, unit) for point in points], t0=T0, t=[row[0] for row in rows],
            p=[points.index(row[1]) for row in rows], x=[row[2] for row in rows], q=[row[3] for row in rows],
            events=list(events),
        )  # fmt: skip
        body = encode(batch)
        return Arrived(batch, body, digest(body), T0 + seq)

    return make


Opens = Callable[[], SeriesStore]


@pytest.fixture(params=["duckdb"])
def open_series(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opens]:
    """Open the one series store of this test; open it again after closing to see what stayed."""
    opened: list[SeriesStore] = []

    def open_store() -> SeriesStore:
        opened.append(DuckdbSeries(tmp_path / "series.duckdb"))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def series(open_series: Opens) -> SeriesStore:
    return open_series()


@pytest.fixture(params=["sqlite"])
def open_records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], RecordStore]]:
    opened: list[RecordStore] = []

    def open_store() -> RecordStore:
        opened.append(SqliteRecords(tmp_path / "records.db"))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def records(open_records: Callable[[], RecordStore]) -> RecordStore:
    return open_records()


class Pipe:
    """A broker made of two lists: what is put in arrives, what is published is kept."""

    def __init__(self) -> None:
        self.arriving: asyncio.Queue[Message | Connected | Disconnected] = asyncio.Queue()
        self.published: list[Message] = []
        self.connected = True

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        self.published.append(Message(topic, payload, retain))
        return self.connected

    async def events(self) -> AsyncIterator[Message | Connected | Disconnected]:
        while True:
            yield await self.arriving.get()

    def put(self, arrived: Arrived, topic: str = "") -> None:
        topic = topic or Topics(arrived.batch.site).data(arrived.batch.agent)
        self.arriving.put_nowait(Message(topic, pack(arrived.body)))


class LoopWorld(RealWorld):
    """The real world with the pipe as its broker."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self.pipe = pipe
        self.will: Will | None = None

    @asynccontextmanager
    async def broker(self, address: BrokerAddress, subscriptions: tuple[str, ...], will: Will) -> AsyncIterator[Pipe]:
        self.will = will
        self.pipe.arriving.put_nowait(Connected())
        yield self.pipe


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.fixture
def world(pipe: Pipe) -> LoopWorld:
    return LoopWorld(pipe)


SITE = """\
site: {id: demo, timezone: Asia/Shanghai, name: {zh: 示范工厂, en: Demo plant}, interval: 1 min}
store: {series: data/series.duckdb, records: data/records.db}
mqtt: {url: "mqtt://127.0.0.1:1883"}
factors: [cn-ndrc-other]
meters:
  gas-main:
    kind: gas
    points:
      volume: {unit: m3, role: counter, digits: 6, resolution: 0.001, reference: 20 C, max_rate: 20000 m3/h}
  oil-store:
    kind: fuel
    points:
      bought: {unit: kg, role: quantity}
sources:
  boiler-1: {category: fuel_combustion, fuel: natural_gas, activity: gas-main/volume, factor_set: cn-ndrc-other}
  dryer: {category: fuel_combustion, fuel: diesel, activity: oil-store/bought, factor_set: cn-ndrc-other}
rules:
  gas-limit: {point: gas-main/volume, compare: limit, limit: 500 m3/h, window: 10 s}
seed:
  instruments:
    - id: gas-meter-1
      name: {zh: 燃气涡轮流量计, en: Turbine gas meter}
      model: LWQ-100
      serial_number: "TQ1"
      level: entering
      rule: turbine
      installations: [{meter: gas-main, from: 2020-01-01}]
  certificates:
    - number: SDJL-0001
      instrument: gas-meter-1
      serial_number: "TQ1"  # certificate
      kind: verification
      laboratory: demo laboratory
      result: passed
      calibrated: 2023-01-01
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An `ingester.yaml` of a small site with one limit and one overdue instrument."""
    path = tmp_path / "ingester.yaml"
    path.write_text(SITE)
    return path
