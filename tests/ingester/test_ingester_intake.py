"""The queues before the commit: no agent delays another, and what does not fit waits."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from ingester.inspection import Inspector
from ingester.intake import BURST, MOST_BYTES, OF_AGENT, RATE, Intake
from ingester.metrics import exposition, of_receiving
from ingester.receive import Receiver
from link.world import Message
from metering.wire import Receipt, Topics, decode_as

TOPICS = Topics("demo")


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def message(agent: str, payload: bytes = b"x") -> Message:
    return Message(TOPICS.data(agent), payload)


def senders(group: list[Message]) -> list[str]:
    return [str(TOPICS.agent_of(one.topic)) for one in group]


async def test_f54_a_group_takes_one_message_of_each_agent_in_turn() -> None:
    intake = Intake(Clock())
    for number in range(OF_AGENT):
        await intake.put("flood", message("flood", b"%d" % number))
    await intake.put("quiet", message("quiet"))
    await intake.put("calm", message("calm"))
    group = await intake.group(6, 0)
    assert senders(group) == ["flood", "quiet", "calm", "flood", "flood", "flood"]
    assert [one.payload for one in group if "flood" in one.topic] == [b"0", b"1", b"2", b"3"], "in their order"
    assert intake.waiting == OF_AGENT - 4


async def test_f54_a_flood_is_held_back_to_its_rate_and_counted() -> None:
    """1,000 messages a second for ten seconds; what is taken is committed at once."""
    clock = Clock()
    intake, taken = Intake(clock), 0
    for _ in range(100):
        for _ in range(100):
            await intake.put("flood", message("flood"))
        await intake.put("quiet", message("quiet"))
        taken += Counter(senders(await intake.group(1000, 0)))["flood"]
        clock.s += 0.1
    assert BURST <= taken <= BURST + 10 * RATE
    assert intake.held_back == {"flood": 10_000 - taken}


async def test_f54_who_was_held_back_is_taken_again_when_it_is_calm(caplog: Any) -> None:
    clock = Clock()
    intake = Intake(clock)
    for _ in range(3):
        for _ in range(2 * OF_AGENT):
            await intake.put("flood", message("flood"))
        assert len(await intake.group(1000, 0)) == OF_AGENT
        clock.s += 2 * BURST / RATE
    assert len(caplog.records) == 3, "once for each time"


async def test_f54_a_flood_delays_another_agents_receipt_by_no_more_than_a_group(
    world: Any, pipe: Any, series: Any, arrived: Any
) -> None:
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, Inspector(TOPICS, {}, {}, {}), pipe.publish)
        previous = ""
        for seq in range(1, 1001):
            batch = arrived(seq, [(seq, "main/energy", 1.0, 0)], agent="flood", prev=previous)
            previous = batch.sha256
            await receiver.take(Message(TOPICS.data("flood"), batch.body))
        await receiver.take(Message(TOPICS.data("quiet"), arrived(1, agent="quiet").body))
        running = asyncio.create_task(receiver.run())
        async with asyncio.timeout(20):
            while not any(one.topic == TOPICS.receipt("quiet") for one in pipe.published):
                await asyncio.sleep(0.01)
        running.cancel()
    of_the_flood = [decode_as(Receipt, one.payload) for one in pipe.published if one.topic == TOPICS.receipt("flood")]
    assert len(of_the_flood) == 1, "the first group held both"
    assert receiver.counts()["held_back"] == 1000 - OF_AGENT


async def test_what_waits_is_bounded_in_bytes_too() -> None:
    intake = Intake(Clock())
    large = b"x" * (MOST_BYTES // 8)
    for number in range(8):
        await intake.put(f"agent-{number}", message("a", large))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(intake.put("another", message("another")), 0.05)
    waiting = asyncio.create_task(intake.put("another", message("another")))
    assert len(await intake.group(3, 0)) == 3
    await asyncio.wait_for(waiting, 1)


async def test_f56_while_the_store_fails_nobody_is_held_back_and_the_broker_waits() -> None:
    intake = Intake(Clock())
    intake.stall(True)
    for _ in range(OF_AGENT):
        await intake.put("a", message("a"))
    waiting = asyncio.create_task(intake.put("a", message("a")))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    intake.stall(False)
    await intake.group(10, 0)
    await asyncio.wait_for(waiting, 1)
    assert intake.held_back.total() == 0


async def test_names_without_number_cost_no_memory_without_bound() -> None:
    clock = Clock()
    intake = Intake(clock)
    for number in range(20_000):
        clock.s += 1
        await intake.put(f"agent-{number}", message("a"))
        await intake.group(10, 0)
    assert len(intake._places) <= 2000


async def test_f54_an_agent_whose_message_cannot_be_stored_stops_no_other(
    world: Any, pipe: Any, series: Any, arrived: Any
) -> None:
    """A failure of ours with one batch: that one is set aside, the others are committed."""

    class Poisoned:
        def __getattr__(self, name: str) -> Any:
            return getattr(series, name)

        def commit(self, arrivals: Any) -> Any:
            if any(one.batch.agent == "poison" for one in arrivals):
                raise ValueError("a fault of ours")
            return series.commit(arrivals)

    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, Poisoned(), Inspector(TOPICS, {}, {}, {}), pipe.publish)
        names = ("a", "poison", "b")
        await receiver.handle([Message(TOPICS.data(name), arrived(1, agent=name).body) for name in names])
    assert [one.topic for one in pipe.published] == [TOPICS.receipt("a"), TOPICS.receipt("b")]
    assert [(one.agent, one.reason) for one in series.refused()] == [("poison", "unexpected: ValueError")]


async def test_receipts_that_the_broker_does_not_take_hold_up_no_commit(world: Any, series: Any, arrived: Any) -> None:
    """While reading rests, the broker's acknowledgements are not read either: waiting for them would wait for ever."""

    async def never(topic: str, payload: bytes) -> None:
        await asyncio.Event().wait()

    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, Inspector(TOPICS, {}, {}, {}), never)
        async with asyncio.timeout(10):
            for seq, prev in ((1, ""), (2, arrived(1).sha256)):
                await receiver.handle([Message(TOPICS.data("agent-a"), arrived(seq, prev=prev).body)])
    assert receiver.stored == 2


async def test_what_became_of_batches_is_in_the_metrics(world: Any, pipe: Any, series: Any, arrived: Any) -> None:
    one = Message(TOPICS.data("agent-a"), arrived(1, [(0, "main/energy", 1.0, 0)]).body)
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, Inspector(TOPICS, {}, {}, {}), pipe.publish)
        await receiver.handle([one, one, Message(TOPICS.data("agent-a"), b"garbage")])
    written = exposition(list(of_receiving(receiver.counts()))).splitlines()
    assert 'tanbiao_ingester_batches_total{outcome="stored"} 1' in written
    assert 'tanbiao_ingester_batches_total{outcome="known"} 1' in written
    assert 'tanbiao_ingester_set_aside_total{kept="yes"} 1' in written
    assert 'tanbiao_ingester_set_aside_total{kept="no"} 0' in written
    assert "tanbiao_ingester_waiting_messages 0" in written
