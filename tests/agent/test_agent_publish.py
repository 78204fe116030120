"""The publisher against a broker in memory, in virtual time."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.outbox import Outbox, open_outbox
from agent.publish import BACKLOG_BYTES, WINDOW, Publisher
from link.world import Message
from metering.wire import IngesterStatus, Receipt, Topics, decode_batch, encode, unpack

TOPICS = Topics("demo")


class Stage:
    def __init__(self, outbox: Outbox, publisher: Publisher, broker: Any, draft: Any) -> None:
        self.outbox, self.publisher, self.broker, self._draft = outbox, publisher, broker, draft
        self.seed = 0

    async def put(self, count: int = 1) -> list[Any]:
        rows = []
        for _ in range(count):
            self.seed += 1
            rows += await self.outbox.put([self._draft(5, seed=self.seed)])
        self.publisher.offer(rows)
        return rows

    def receipt(self, stream: str, through: int, **more: Any) -> None:
        message = Receipt(stream=stream, through=through, **more)
        self.broker.say(Message(TOPICS.receipt("workshop-1"), encode(message)))

    def ingester(self, epoch: str, online: bool = True) -> None:
        status = IngesterStatus(ingester="i", epoch=epoch, since=0, heartbeat=0, online=online)
        self.broker.say(Message(TOPICS.ingester_status, encode(status), True))

    def drop_handle(self) -> None:
        """Let the next use of the file fail once, as a disk does: the handle is that of a file another one has locked."""
        ledger = self.outbox._books._ledger
        assert ledger is not None
        path = ledger.path.with_name("locked.db")
        ledger._db.close()
        self._lock = sqlite3.connect(path, isolation_level=None)
        self._lock.executescript("CREATE TABLE batches(id); BEGIN EXCLUSIVE;")
        ledger._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)

    def sent(self) -> list[int]:
        return [batch.seq for batch in self.broker.batches()]


@pytest.fixture
def play(world: Any, fakes: Any, outbox_settings: Any, draft: Any, in_virtual_time: Any) -> Callable[..., Any]:
    """Run a story with a publisher beside it; `before` batches lie in the outbox already."""

    def run(story: Callable[[Stage], Awaitable[None]], before: int = 0) -> Stage:
        async def whole() -> Stage:
            broker = fakes.Broker()
            async with open_outbox(outbox_settings, world) as outbox:
                for n in range(before):
                    await outbox.put([draft(5, seed=10_000 + n)])
                publisher = Publisher(outbox, broker, world, TOPICS, "workshop-1")
                stage = Stage(outbox, publisher, broker, draft)
                task = asyncio.get_running_loop().create_task(publisher.run())
                try:
                    await asyncio.sleep(0)
                    await story(stage)
                finally:
                    task.cancel()
                    await asyncio.wait([task])
                return stage

        return in_virtual_time(whole())  # type: ignore[no-any-return]

    return run


def receipts(stage: Stage, silent: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """Let the broker answer like an ingester that commits everything at once."""
    settled: dict[str, set[int]] = {}

    def commit(topic: str, payload: bytes) -> None:
        if not topic.endswith("/data"):
            return
        batch = decode_batch(unpack(payload))
        if batch.seq in silent:
            return
        known = settled.setdefault(batch.stream, set())
        known.add(batch.seq)
        through = next(n for n in range(len(known) + 1) if n + 1 not in known)
        stage.receipt(batch.stream, through, also=sorted(n for n in known if n > through))

    stage.broker.on_publish = commit


def test_a_receipt_settles_and_an_acknowledgement_does_not(play: Any) -> None:
    async def story(stage: Stage) -> None:
        rows = await stage.put(3)
        await asyncio.sleep(1)
        assert sorted(stage.sent()) == [1, 2, 3]
        assert (await stage.outbox.health()).unreceipted == 3
        stage.receipt(rows[0].stream, 2)
        await asyncio.sleep(0.1)
        assert (await stage.outbox.health()).unreceipted == 1

    play(story)


def test_what_has_no_receipt_is_sent_again_ever_more_rarely(play: Any) -> None:
    async def story(stage: Stage) -> None:
        await stage.put()
        await asyncio.sleep(9)
        assert stage.sent() == [1]
        await asyncio.sleep(5)
        assert stage.sent() == [1, 1]
        await asyncio.sleep(600)
        assert 4 <= len(stage.sent()) <= 8

    play(story)


def test_a_new_epoch_of_the_ingester_has_all_sent_again_at_once(play: Any) -> None:
    async def story(stage: Stage) -> None:
        stage.ingester("one")
        await asyncio.sleep(0.5)
        await stage.put(3)
        await asyncio.sleep(1)
        stage.ingester("one")
        await asyncio.sleep(1)
        assert len(stage.sent()) == 3, "the same epoch, told again"
        stage.ingester("two")
        await asyncio.sleep(1)
        assert sorted(stage.sent()) == [1, 1, 2, 2, 3, 3]

    play(story)


def test_an_ingester_that_was_away_has_all_sent_again_at_once(play: Any) -> None:
    async def story(stage: Stage) -> None:
        stage.ingester("one")
        await stage.put(3)
        await asyncio.sleep(1)
        stage.ingester("one", online=False)
        await asyncio.sleep(1)
        assert len(stage.sent()) == 3
        stage.ingester("one")
        await asyncio.sleep(1)
        assert sorted(stage.sent()) == [1, 1, 2, 2, 3, 3]

    play(story)


def test_a_read_that_failed_does_not_stop_the_backlog(play: Any) -> None:
    async def story(stage: Stage) -> None:
        receipts(stage)
        await asyncio.sleep(0.5)
        stage.drop_handle()
        await asyncio.sleep(30)
        assert set(stage.sent()) == set(range(1, 201))
        assert (await stage.outbox.health()).unreceipted == 0

    play(story, before=200)


def test_batches_asked_for_survive_a_read_that_failed(play: Any) -> None:
    async def story(stage: Stage) -> None:
        rows = await stage.put(50)
        await asyncio.sleep(1)
        stage.receipt(rows[0].stream, 50)
        await asyncio.sleep(1)
        before = len(stage.sent())
        receipts(stage)
        stage.drop_handle()
        stage.receipt(rows[0].stream, 10, resend=[(11, 45)])
        await asyncio.sleep(15)
        assert set(stage.sent()[before:]) >= set(range(11, 46))

    play(story)


def test_a_backlog_that_could_not_be_read_leaves_when_the_disk_is_back(play: Any, outbox_settings: Any) -> None:
    async def story(stage: Stage) -> None:
        receipts(stage)
        folder = outbox_settings.path.parent
        away = folder.with_name("elsewhere")
        stage.drop_handle()
        folder.rename(away)
        folder.write_text("in the way")
        await asyncio.sleep(20)
        assert (await stage.outbox.health()).volatile
        assert stage.sent() == []
        folder.unlink()
        away.rename(folder)
        await stage.outbox.tidy()
        await asyncio.sleep(30)
        assert set(stage.sent()) == set(range(1, 101))

    play(story, before=100)


def test_p8_live_batches_leave_before_the_backlog(play: Any) -> None:
    async def story(stage: Stage) -> None:
        receipts(stage)
        stage.broker.connect()
        delays = []
        for _ in range(20):
            [row] = await stage.put()
            start = asyncio.get_running_loop().time()
            while row.seq not in stage.sent():
                await asyncio.sleep(0.005)
            delays.append(asyncio.get_running_loop().time() - start)
        assert max(delays) < 0.1
        await asyncio.sleep(20)
        assert set(stage.sent()) == set(range(1, 421))
        assert (await stage.outbox.health()).unreceipted == 0

    play(story, before=400)


def slow_receipts(stage: Stage, after_s: float) -> None:
    """Let the ingester commit each batch so long after it came."""

    def commit(topic: str, payload: bytes) -> None:
        if topic.endswith("/data"):
            batch = decode_batch(unpack(payload))
            loop = asyncio.get_running_loop()
            loop.call_later(after_s, lambda: stage.receipt(batch.stream, 0, also=[batch.seq]))

    stage.broker.on_publish = commit


def test_the_backlog_leaves_as_fast_as_receipts_come(play: Any) -> None:
    """100,000 readings a second are 200 full batches."""

    async def story(stage: Stage) -> None:
        slow_receipts(stage, 0.1)
        stage.broker.connect()
        await asyncio.sleep(2.2)
        assert set(stage.sent()) == set(range(1, 401))

    play(story, before=400)


def test_the_backlog_waits_for_receipts_in_half_the_window(play: Any) -> None:
    async def story(stage: Stage) -> None:
        await asyncio.sleep(5)
        assert len(set(stage.sent())) == WINDOW // 2

    play(story, before=100)


def test_large_batches_of_the_backlog_are_few_at_a_time(play: Any, draft: Any) -> None:
    async def story(stage: Stage) -> None:
        await stage.outbox.put([draft(3000, seed=n) for n in range(1, 60)])
        stage.broker.connect()
        await asyncio.sleep(5)
        sizes = [len(payload) for topic, payload, _ in stage.broker.published]
        assert min(sizes) > 10_000
        assert BACKLOG_BYTES / 2 < sum(sizes) <= BACKLOG_BYTES

    play(story)


def test_the_backlog_leaves_oldest_first(play: Any) -> None:
    async def story(stage: Stage) -> None:
        receipts(stage)
        await asyncio.sleep(10)
        assert stage.sent() == sorted(stage.sent())
        assert len(stage.sent()) == 100

    play(story, before=100)


def test_a_window_bounds_what_is_under_way(play: Any) -> None:
    async def story(stage: Stage) -> None:
        await stage.put(300)
        await asyncio.sleep(5)
        assert len(set(stage.sent())) <= WINDOW

    play(story, before=300)


def test_one_batch_the_ingester_never_takes_stops_no_other(play: Any) -> None:
    async def story(stage: Stage) -> None:
        receipts(stage, silent={7})
        await stage.put(200)
        await asyncio.sleep(60)
        assert (await stage.outbox.health()).unreceipted == 1

    play(story)


def test_f49_receipts_that_cannot_be_true_settle_nothing(play: Any) -> None:
    async def story(stage: Stage) -> None:
        rows = await stage.put(3)
        await asyncio.sleep(1)
        stage.receipt("someone-elses", 3)
        stage.broker.say(Message(TOPICS.receipt("workshop-1"), b"{garbage"))
        stage.broker.say(Message(TOPICS.receipt("workshop-1"), b"\xff" * 70_000))
        stage.broker.say(Message(TOPICS.ingester_status, b"[]", True))
        stage.broker.say(Message(TOPICS.receipt("other-agent"), encode(Receipt(stream=rows[0].stream, through=3))))
        await asyncio.sleep(1)
        assert (await stage.outbox.health()).unreceipted == 3

    play(story)


def test_a_receipt_beyond_what_this_run_gave_settles_nothing(play: Any) -> None:
    async def story(stage: Stage) -> None:
        [row, _] = await stage.put(2)
        await asyncio.sleep(1)
        stage.receipt(row.stream, 500)
        await asyncio.sleep(1)
        assert (await stage.outbox.health()).unreceipted == 2
        stage.receipt(row.stream, 2)
        await asyncio.sleep(1)
        assert (await stage.outbox.health()).unreceipted == 0

    play(story)


def test_f09_receipts_for_a_file_that_is_an_older_copy_settle_what_it_holds(play: Any) -> None:
    """The ingester knows numbers of an earlier run's stream that the restored file does not."""

    async def story(stage: Stage) -> None:
        await asyncio.sleep(0.5)
        [first] = await stage.outbox.unreceipted_after(0, 1)
        stage.receipt(first.stream, 500, also=[600])
        await asyncio.sleep(0.5)
        assert (await stage.outbox.health()).unreceipted == 0

    play(story, before=100)


def test_receipts_of_the_run_before_are_believed(play: Any) -> None:
    async def story(stage: Stage) -> None:
        await asyncio.sleep(0.5)
        [first] = await stage.outbox.unreceipted_after(0, 1)
        stage.receipt(first.stream, 100)
        await asyncio.sleep(0.5)
        assert (await stage.outbox.health()).unreceipted == 0

    play(story, before=100)


def test_a_restored_ingester_may_ask_for_delivered_batches_again(play: Any) -> None:
    async def story(stage: Stage) -> None:
        rows = await stage.put(50)
        await asyncio.sleep(1)
        stage.receipt(rows[0].stream, 50)
        await asyncio.sleep(1)
        before = len(stage.sent())
        receipts(stage)
        stage.receipt(rows[0].stream, 10, resend=[(11, 45)])
        await asyncio.sleep(5)
        assert sorted(stage.sent()[before:]) == list(range(11, 46))

    play(story)


def test_p7_nothing_is_lost_over_a_broken_connection(play: Any) -> None:
    async def story(stage: Stage) -> None:
        receipts(stage)
        await stage.put(5)
        await asyncio.sleep(0.5)
        stage.broker.disconnect()
        await stage.put(100)
        await asyncio.sleep(30)
        assert (await stage.outbox.health()).unreceipted == 100
        stage.broker.connect()
        await asyncio.sleep(10)
        assert (await stage.outbox.health()).unreceipted == 0
        assert set(stage.sent()) == set(range(1, 106))

    play(story)


def test_an_ingester_that_says_nothing_is_noticed(play: Any) -> None:
    async def story(stage: Stage) -> None:
        assert stage.publisher.silent_since is None
        [row] = await stage.put()
        await asyncio.sleep(14)
        assert stage.publisher.silent_since is None
        await asyncio.sleep(5)
        assert stage.publisher.silent_since is not None
        stage.receipt(row.stream, 1)
        await asyncio.sleep(0.1)
        assert stage.publisher.silent_since is None

    play(story)
