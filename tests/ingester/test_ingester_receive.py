"""From a message to a committed batch and its receipt."""

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingester.inspection import Inspector
from ingester.receive import Receiver
from ingester.store.contract import Settled
from link.world import Message
from metering.errors import StoreFailed
from metering.wire import Gap, Lost, Receipt, Topics, decode_as, encode

STREAM = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
T0 = 1_763_884_800_000
UNITS = {"main/energy": "kWh", "gas/volume": "m3@20C"}


def inspector(units=UNITS, bound=None, owners=None) -> Inspector:
    return Inspector(Topics("demo"), units, bound or {}, owners or {})


def message(arrived, topic="tanbiao/v1/demo/agent-a/data") -> Message:
    return Message(topic, arrived.body)


@asynccontextmanager
async def receiving(world, series, **inspecting):
    async with world.worker("writer") as worker:
        yield Receiver(world, worker, series, inspector(**inspecting), world.pipe.publish)


def receipts(pipe) -> list[Receipt]:
    return [decode_as(Receipt, m.payload) for m in pipe.published if m.topic == "tanbiao/v1/demo/agent-a/receipt"]


async def test_a_receipt_follows_the_commit_and_a_known_batch_is_receipted_again(world, pipe, series, arrived):
    one = arrived(1, [(0, "main/energy", 1.0, 0)])
    three = arrived(3, [(2, "main/energy", 3.0, 0)], prev="2" * 64)
    async with receiving(world, series) as receiver:
        await receiver.handle([message(one), message(three)])
        await receiver.handle([message(three)])
    assert receipts(pipe) == [Receipt(stream=STREAM, through=1, also=[3])] * 2
    assert series.samples("main/energy", T0, T0 + 9).readings == [(T0, 1.0), (T0 + 2, 3.0)]
    assert series.body("agent-a", STREAM, 1) == one.body


@pytest.mark.parametrize(
    ("topic", "body", "reason"),
    [
        ("tanbiao/v1/demo/agent-a/data", b"{}", "missing required field"),
        ("tanbiao/v1/demo/agent-a/data", b"\x28\xb5\x2f\xfd damaged", "zstd"),
        ("tanbiao/v1/demo/agent-b/data", None, "on the topic of demo/agent-b"),
        ("tanbiao/v1/demo/agent-a/data", b"x" * 70_000, "70000 bytes as sent"),
    ],
)
async def test_a_message_that_is_no_batch_of_its_topic_is_set_aside(
    world, pipe, series, arrived, caplog, topic, body, reason
):
    payload = body if body is not None else arrived(1).body
    async with receiving(world, series) as receiver:
        await receiver.handle([Message(topic, payload)] * 3)
    (kept,) = series.refused()
    assert reason in kept.reason
    assert kept.payload == payload[:65_536]
    assert kept.agent == topic.split("/")[3]
    assert pipe.published == []
    assert len([record for record in caplog.records if "set aside" in record.message]) == 1


async def test_numbers_and_names_a_store_cannot_hold_are_refused(arrived):
    good = arrived(1, [(0, "main/energy", 1.0, 0)])
    for wrong in (
        replace_batch(good, t0=2**60),
        replace_batch(good, seq=2**70),
        replace_batch(good, points=[("main/energy\x00", "kWh")]),
        arrived(1, events=[Lost(stream=STREAM, from_seq=1, to_seq=2**64, sha256_of_b="", readings=0, cause="full")]),
        arrived(1, events=[Gap(meter="../x", start=T0, cause="timeout", missed=1)]),
    ):
        batch, refused = inspector().inspect(message(wrong), T0)
        assert batch is None
        assert len(refused) == 1


def replace_batch(arrived, **changes):
    batch = msgspec.structs.replace(arrived.batch, **changes)
    return replace(arrived, batch=batch, body=encode(batch))


async def test_another_agents_meter_is_left_out_and_the_rest_stored(world, pipe, series, arrived):
    gap = Gap(meter="main", start=T0, cause="timeout", missed=1)
    rows = [(0, "main/energy", 9.0, 0), (1, "gas/volume", 5.0, 0)]
    mixed = arrived(1, rows, agent="agent-b", unit="m3", events=[gap])
    async with receiving(world, series) as receiver:
        await receiver.handle([message(arrived(1, [(0, "main/energy", 1.0, 0)]))])
        await receiver.handle([message(mixed, "tanbiao/v1/demo/agent-b/data")])
    assert series.samples("main/energy", T0, T0 + 9).readings == [(T0, 1.0)]
    assert series.samples("gas/volume", T0, T0 + 9).readings == [(T0 + 1, 5.0)]
    assert series.gaps(0, T0 * 2) == []
    assert series.body("agent-b", STREAM, 1) == mixed.body
    assert [kept.reason for kept in series.refused()] == ["meter main belongs to agent agent-a"]
    assert pipe.published[-1].topic == "tanbiao/v1/demo/agent-b/receipt"


def test_a_meter_bound_by_configuration_is_taken_from_that_agent_only(arrived):
    inspect = inspector(bound={"main": "agent-b"}, owners={"main": "agent-a"}).inspect
    refused, reasons = inspect(message(arrived(1, [(0, "main/energy", 1.0, 0)])), T0)
    assert (refused.batch.t, refused.batch.points) == ([], [])
    assert [each.reason for each in reasons] == ["meter main belongs to agent agent-b"]
    _, silent = inspect(message(arrived(2, [(0, "main/energy", 1.0, 0)])), T0)
    assert silent == []
    taken, _ = inspect(
        message(arrived(1, [(0, "main/energy", 1.0, 0)], agent="agent-b"), "tanbiao/v1/demo/agent-b/data"), T0
    )
    assert taken.batch.t == [0]


@pytest.mark.parametrize(("unit", "taken"), [("Wh", True), ("MWh", True), ("m3", False), ("nonsense", False)])
def test_a_unit_is_converted_or_refused(arrived, unit, taken):
    batch, reasons = inspector().inspect(message(arrived(1, [(0, "main/energy", 1.0, 0)], unit=unit)), T0)
    assert (batch.batch.t == [0]) is taken
    assert bool(reasons) is not taken


def test_a_meter_that_is_not_configured_is_stored_and_said_once(arrived, caplog):
    inspect = inspector().inspect
    with caplog.at_level(logging.WARNING):
        batches = [inspect(message(arrived(n, [(0, "new/energy", 1.0, 0)])), T0) for n in (1, 2)]
    assert all(batch.batch.t == [0] and not reasons for batch, reasons in batches)
    assert len(caplog.records) == 1


async def test_an_unreadable_unit_or_a_failure_of_ours_sets_one_message_aside(world, pipe, series, arrived):
    first, endless = arrived(1), arrived(2, [(0, "main/energy", 1.0, 0)], unit="h/" * 5000)
    endless = replace_batch(endless, prev=first.sha256)
    stranger = arrived(1, [(0, "other/energy", 1.0, 0)], unit="h/" * 5000, stream="s-2")
    async with receiving(world, series) as receiver:
        await receiver.handle([message(first), message(endless), message(stranger)])
        (latest,) = series.latest()
        assert (latest.point, latest.value) == ("other/energy", 1.0)
        receiver.inspector.units = None
        await receiver.handle([message(arrived(3, [(1, "main/energy", 2.0, 0)], prev="9" * 64))])
        receiver.inspector.units = UNITS
        await receiver.handle([message(arrived(1, stream="s-3"))])
    assert [kept.reason[:30] for kept in series.refused()] == [
        "unexpected: AttributeError",
        "unit h/h/h/h/h/h/h/h/h/h/h/h/h",
    ]
    assert [receipt.through for receipt in receipts(pipe)] == [2, 1, 1]


async def test_a_batch_that_is_set_aside_claims_no_meter(world, pipe, series, arrived):
    forged = arrived(1, [(0, "main/energy", 9.0, 0)], prev="f" * 64)
    rows = [(1, "main/energy", 1.0, 0)]
    async with receiving(world, series) as receiver:
        await receiver.handle([message(forged)])
        await receiver.handle(
            [
                message(arrived(1, rows, agent="agent-b"), "tanbiao/v1/demo/agent-b/data"),
                message(arrived(1, [(0, "main/energy", 7.0, 0)])),
            ]
        )
    assert series.samples("main/energy", T0, T0 + 9).readings == [(T0 + 1, 1.0)]
    assert next(kept.reason for kept in series.refused()) == "meter main belongs to agent agent-b"
    assert series.owners() == {"main": "agent-b"}


async def test_f53_readings_at_impossible_times_are_kept_and_do_not_count(world, series, arrived):
    ahead = (world.now_ms() - T0) + 400_000
    batches = [
        arrived(1, [(0, "main/energy", 1.0, 0), (ahead, "main/energy", 5.0, 0)]),
        replace_batch(arrived(1, [(0, "main/energy", 2.0, 0), (5, "main/energy", None, 3)], stream="s-2"), t0=0),
    ]
    async with receiving(world, series) as receiver:
        await receiver.handle([message(batch) for batch in batches])
    assert series.samples("main/energy", 0, T0 * 2).readings == [(T0, 1.0)]
    assert [row.quality for row in series.readings("main/energy", 0, T0 * 2, 9)] == [2, 3, 0, 2]
    (kept,) = series.refused()
    assert kept.reason.startswith("readings before 2000")
    assert series.body("agent-a", STREAM, 1) == batches[0].body


async def test_a_broken_chain_is_set_aside_and_an_unknown_neighbour_is_open(world, pipe, series, arrived):
    one = arrived(1)
    two = arrived(2, prev=one.sha256)
    three = arrived(3, prev=two.sha256)
    forged = arrived(2, [(0, "main/energy", 5.0, 0)], prev=one.sha256)
    async with receiving(world, series) as receiver:
        await receiver.handle([message(three)])
        await receiver.handle([message(forged)])
        await receiver.handle([message(arrived(1, prev="f" * 64)), message(one)])
        await receiver.handle([message(two)])
        await receiver.handle([message(forged), message(arrived(4, prev="0" * 64))])
    assert [receipt.through for receipt in receipts(pipe)] == [0, 1, 3]
    reasons = [kept.reason for kept in reversed(series.refused())]
    assert [reason.split(" of")[0] for reason in reasons] == [
        "broken chain: batch 3",
        "broken chain: batch 1",
        "another batch has the number 2",
        "broken chain: batch 4",
    ]


async def test_the_chain_is_judged_after_a_restart_and_over_lost_batches(world, pipe, open_series, arrived):
    lost = Lost(stream=STREAM, from_seq=2, to_seq=3, sha256_of_b="b" * 64, readings=2, cause="full")
    one, five = arrived(1), arrived(5, prev="4" * 64, events=[lost])
    store = open_series()
    async with receiving(world, store) as receiver:
        await receiver.handle([message(one), message(five)])
    store.close()
    store = open_series()
    async with receiving(world, store) as receiver:
        await receiver.handle([message(arrived(4, prev="c" * 64))])
        await receiver.handle([message(arrived(6, prev="d" * 64))])
        await receiver.handle([message(arrived(6, prev=five.sha256))])
    assert len(store.refused()) == 2
    assert store.settled("agent-a", STREAM) == Settled(3, (5, 6))


class Failing:
    """A store that fails a few times before each commit."""

    def __init__(self, series, failures: int) -> None:
        self._series, self.failures = series, failures

    def __getattr__(self, name):
        return getattr(self._series, name)

    def commit(self, arrivals):
        if self.failures:
            self.failures -= 1
            raise StoreFailed(path="x", reason="no space left")
        return self._series.commit(arrivals)


async def test_f56_while_the_store_fails_nothing_is_receipted_and_nothing_dropped(world, pipe, series, arrived, caplog):
    async with receiving(world, Failing(series, 2)) as receiver:
        handling = asyncio.create_task(receiver.handle([message(arrived(1, [(0, "main/energy", 1.0, 0)]))]))
        await asyncio.sleep(0.05)
        assert pipe.published == []
        await handling
    assert receipts(pipe) == [Receipt(stream=STREAM, through=1)]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_a_full_queue_makes_the_sender_wait(world, series, arrived):
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, inspector(), world.pipe.publish, waiting=2)
        await receiver.take(message(arrived(1)))
        await receiver.take(message(arrived(2)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receiver.take(message(arrived(3))), 0.05)
        running = asyncio.create_task(receiver.run())
        await asyncio.wait_for(receiver.take(message(arrived(3))), 5)
        running.cancel()


async def test_batches_that_come_together_are_committed_together(world, pipe, series, arrived):
    async with receiving(world, series) as receiver:
        running = asyncio.create_task(receiver.run())
        previous = ""
        for seq in range(1, 21):
            batch = arrived(seq, prev=previous)
            previous = batch.sha256
            await receiver.take(message(batch))
        while not pipe.published:
            await asyncio.sleep(0.02)
        running.cancel()
    assert receipts(pipe) == [Receipt(stream=STREAM, through=20)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode))
def test_whatever_arrives_is_a_batch_or_refused(payload):
    batch, refused = inspector().inspect(Message("tanbiao/v1/demo/agent-a/data", payload), T0)
    assert batch is None
    assert len(refused) == 1
