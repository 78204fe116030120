"""What comes twice, out of order, long after, or from somebody else: stored once, receipted again, or refused."""

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingester.inspection import Inspector
from ingester.receive import Receiver
from ingester.store.duckdb_series import DuckdbSeries
from link.world import Message
from metering.wire import AgentStatus, IngesterStatus, Receipt, Topics, decode_as, encode

TOPICS = Topics("demo")
DATA = TOPICS.data("agent-a")
MONTH_MS = 30 * 86_400_000
COUNT = 12


class Later:
    """A world whose clock is ahead of another's."""

    def __init__(self, world: Any, by_ms: int) -> None:
        self._world, self._by_ms = world, by_ms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def now_ms(self) -> int:
        return int(self._world.now_ms()) + self._by_ms


def chain(arrived: Any, count: int = COUNT) -> list[Any]:
    batches: list[Any] = []
    for seq in range(1, count + 1):
        prev = batches[-1].sha256 if batches else ""
        batches.append(arrived(seq, [(seq, "main/energy", float(seq), 0), (seq, "main/power", 5.0, 0)], prev=prev))
    return batches


def messages(batches: Any) -> list[Message]:
    return [Message(DATA, batch.body) for batch in batches]


def rows(series: Any) -> list[float]:
    return [row.value for row in series.readings("main/energy", 0, 1 << 45, 10_000)]


async def test_f50_all_of_it_replayed_30_days_later_and_after_a_restart_changes_nothing(
    world: Any, pipe: Any, open_series: Any, arrived: Any
) -> None:
    batches = chain(arrived)
    store = open_series()
    async with world.worker("writer") as worker:
        await Receiver(world, worker, store, Inspector(TOPICS, {}, {}, {}), pipe.publish).handle(messages(batches))
        store.close()
        store = open_series()
        pipe.published.clear()
        late = Receiver(Later(world, MONTH_MS), worker, store, Inspector(TOPICS, {}, {}, {}), pipe.publish)
        await late.handle(messages(batches))
        await late.handle(messages(reversed(batches)))
    assert rows(store) == [float(seq) for seq in range(1, COUNT + 1)]
    assert (late.stored, late.known) == (0, 2 * COUNT), "each is counted"
    assert [decode_as(Receipt, one.payload).through for one in pipe.published] == [COUNT] * 2
    assert store.refused() == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_f50_duplicates_in_any_order_and_grouping_are_stored_once(
    tmp_path_factory: Any, world: Any, pipe: Any, arrived: Any, data: st.DataObject
) -> None:
    batches = chain(arrived)
    order = data.draw(st.permutations([*range(COUNT), *data.draw(st.lists(st.integers(0, COUNT - 1), max_size=20))]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order)), max_size=5)) | {len(order)})
    folder: Path = tmp_path_factory.mktemp("replay")
    store, first = DuckdbSeries(folder / "series.duckdb"), 0
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, store, Inspector(TOPICS, {}, {}, {}), pipe.publish)
        for cut in cuts:
            await receiver.handle(messages(batches[at] for at in order[first:cut]))
            first = cut
    stored, refused = rows(store), store.refused()
    store.close()
    assert stored == [float(seq) for seq in range(1, COUNT + 1)]
    assert (receiver.stored, receiver.known, refused) == (COUNT, len(order) - COUNT, [])
    assert decode_as(Receipt, pipe.published[-1].payload).through == COUNT


async def test_f51_a_batch_of_another_agent_than_its_topics_is_refused(
    world: Any, pipe: Any, series: Any, arrived: Any
) -> None:
    """The broker's ACL binds the topic to the certificate; the ingester binds the batch to the topic."""
    forged = arrived(1, [(0, "main/energy", 1.0, 0)], agent="agent-b")
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, Inspector(TOPICS, {}, {}, {}), pipe.publish)
        await receiver.handle([Message(DATA, forged.body)])
    assert rows(series) == []
    assert pipe.published == []
    assert [kept.agent for kept in series.refused()] == ["agent-a"], "under the name of who sent it"


async def test_f49_receipts_statuses_and_garbage_kept_by_the_broker_on_a_data_topic_are_no_batches(
    world: Any, pipe: Any, series: Any
) -> None:
    forged = [
        encode(Receipt(stream="s-1", through=9)),
        encode(AgentStatus(online=True, agent="agent-a", version="1", at=0)),
        encode(IngesterStatus(ingester="demo", epoch="e", since=0, heartbeat=0)),
        b'{"command": "restart"}',
        b"",
        b"\0" * 100,
    ]
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, Inspector(TOPICS, {}, {}, {}), pipe.publish)
        await receiver.handle([Message(DATA, payload, True) for payload in forged])
    assert pipe.published == []
    assert len(series.refused()) == len(forged)
