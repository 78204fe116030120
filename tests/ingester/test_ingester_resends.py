"""Which batches are asked for again: on a real store, with a clock that is set by hand."""

import itertools
from typing import Any

import pytest

from ingester.inspection import Inspector
from ingester.receive import Receiver
from ingester.resends import AT_ONCE, HOLE_S, LONGEST_S, REPEAT_S, STREAMS, Resends
from link.world import Message
from metering.wire import AgentStatus, Lost, Receipt, Topics, decode_as

STREAM = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resends(series: Any, clock: Clock) -> Resends:
    return Resends(series, clock)


@pytest.fixture
def commit(series: Any, arrived: Any) -> Any:
    return lambda *seqs, **more: series.commit([arrived(seq, prev="0" * 64, **more) for seq in seqs])


def holding(delivered: Any, unreceipted: int = 0, agent: str = "agent-a", online: bool = True) -> AgentStatus:
    if not isinstance(delivered, dict):
        delivered = {STREAM: delivered}
    return AgentStatus(online=online, agent=agent, version="1", at=0, delivered=delivered, unreceipted=unreceipted)


def test_what_the_agent_holds_and_the_store_has_is_not_asked_for(resends: Resends, commit: Any) -> None:
    commit(*range(1, 11))
    assert resends.hear(holding([(1, 10)])) == []
    assert resends.asked == 0


def test_f68_what_was_receipted_and_is_not_in_the_store_is_asked_for_at_once(resends: Resends, commit: Any) -> None:
    commit(1, 2, 5)
    assert resends.hear(holding([(1, 8)])) == [Receipt(stream=STREAM, through=2, resend=[(3, 4), (6, 8)])]


def test_an_empty_store_asks_for_streams_it_never_heard_of(resends: Resends) -> None:
    [receipt] = resends.hear(holding({"s-1": [(4, 9)]}))
    assert receipt == Receipt(stream="s-1", through=0, resend=[(4, 9)])


def test_a_request_is_bounded_and_the_next_follows_when_it_is_answered(
    resends: Resends, commit: Any, clock: Clock
) -> None:
    [first] = resends.hear(holding([(1, 450)]))
    assert first.resend == [(1, AT_ONCE)]
    assert resends.wanted("agent-a", STREAM) == []
    commit(*range(1, 150))
    assert resends.wanted("agent-a", STREAM) == [], "it is being answered"
    clock.s += REPEAT_S - 1
    assert resends.wanted("agent-a", STREAM) == [], "it came forward"
    commit(*range(150, 201))
    assert resends.wanted("agent-a", STREAM) == [(201, 400)]
    commit(*range(201, 401))
    assert resends.wanted("agent-a", STREAM) == [(401, 450)]
    commit(*range(401, 451))
    assert resends.hear(holding([(1, 450)])) == []
    assert resends.asked == 450


def test_what_does_not_come_is_asked_for_ever_more_rarely(resends: Resends, clock: Clock) -> None:
    asked_at = []
    for _ in range(24 * 720):
        if resends.hear(holding([(1, 5)])):
            asked_at.append(clock.s)
        clock.s += 5
    waits = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
    assert waits == sorted(waits)
    assert waits[0] == REPEAT_S
    assert LONGEST_S <= waits[-1] <= LONGEST_S + 5
    assert len(asked_at) < 40


def test_what_does_not_come_holds_up_nothing_behind_it(resends: Resends, clock: Clock) -> None:
    status = holding([(1, 500)])
    asked = []
    for _ in range(3):
        [receipt] = resends.hear(status)
        asked += receipt.resend
        clock.s += REPEAT_S
    assert asked == [(1, 200), (201, 400), (401, 500)]


def test_what_the_agent_says_it_lost_is_not_asked_for_again(resends: Resends, commit: Any, clock: Clock) -> None:
    assert resends.hear(holding([(1, 5)]))
    commit(9, events=[Lost(stream=STREAM, from_seq=1, to_seq=8, sha256_of_b="", readings=0, cause="damaged")])
    clock.s += 10 * LONGEST_S
    assert resends.hear(holding([(1, 5)])) == []


def test_few_streams_of_an_agent_are_asked_for_at_once(resends: Resends) -> None:
    streams = {f"s-{number}": [(1, 5)] for number in range(10)}
    assert len(resends.hear(holding(streams))) == STREAMS
    assert resends.hear(holding(streams)) == []
    assert len(resends.hear(holding(streams, agent="agent-b"))) == STREAMS, "another agent is not held up"


def test_an_agent_that_left_is_asked_when_it_is_back(resends: Resends) -> None:
    assert resends.hear(holding([(1, 5)]))
    assert resends.hear(holding([], online=False)) == []
    assert resends.hear(holding([(1, 5)]))


def test_a_hole_that_does_not_close_is_asked_for_and_one_that_closes_is_not(
    resends: Resends, commit: Any, clock: Clock
) -> None:
    commit(1, 2, 6)
    assert resends.wanted("agent-a", STREAM) == []
    clock.s += HOLE_S - 1
    commit(3)
    assert resends.wanted("agent-a", STREAM) == [], "the backlog comes"
    clock.s += HOLE_S
    assert resends.wanted("agent-a", STREAM) == [(4, 5)]


def test_a_hole_that_the_agents_backlog_may_fill_is_left_to_it(resends: Resends, commit: Any, clock: Clock) -> None:
    commit(1, 6)
    for unreceipted, wanted in ((4, []), (3, [(2, 5)])):
        resends.hear(holding([], unreceipted=unreceipted))
        resends.wanted("agent-a", STREAM)
        clock.s += HOLE_S
        assert resends.wanted("agent-a", STREAM) == wanted


@pytest.mark.parametrize(
    "delivered",
    [{"s": [(5, 1)]}, {"s": [(-9, 0)]}, {"s": [(1, 2**62)]}, {str(n): [(1, 2**60)] * 900 for n in range(900)}, {"": []}],
    ids=["backwards", "negative", "endless", "many", "empty"],
)  # fmt: skip
def test_a_status_that_cannot_be_true_asks_for_little(resends: Resends, delivered: Any) -> None:
    receipts = resends.hear(holding(delivered))
    assert sum(last - first + 1 for one in receipts for first, last in one.resend) <= STREAMS * AT_ONCE


async def test_receipts_carry_what_is_asked_for(world: Any, pipe: Any, series: Any, arrived: Any) -> None:
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, Inspector(Topics("demo"), {}, {}, {}), pipe.publish)
        await receiver.hear(holding([(1, 3)]))
        for seq in (1, 2, 3):
            await receiver.handle(
                [Message("tanbiao/v1/demo/agent-a/data", arrived(seq, prev="" if seq == 1 else "0" * 64).body)]
            )
            await receiver.hear(holding([(1, 250)]))
    assert {message.topic for message in pipe.published} == {"tanbiao/v1/demo/agent-a/receipt"}
    first = decode_as(Receipt, pipe.published[0].payload)
    assert (first.through, first.resend) == (0, [(1, 3)])


async def test_a_chain_is_open_after_a_loss_whose_hash_nobody_knows(
    world: Any, pipe: Any, series: Any, arrived: Any
) -> None:
    lost = Lost(stream=STREAM, from_seq=1, to_seq=4, sha256_of_b="", readings=0, cause="damaged")
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, Inspector(Topics("demo"), {}, {}, {}), pipe.publish)
        for batch in (arrived(1, stream="s-2", events=[lost]), arrived(5, prev="5" * 64)):
            await receiver.handle([Message("tanbiao/v1/demo/agent-a/data", batch.body)])
    assert decode_as(Receipt, pipe.published[-1].payload).through == 5
    assert series.refused() == []
