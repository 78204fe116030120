"""The broker connection against a real mosquitto; it is killed, stopped and made to refuse."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link import mqtt
from link.endpoint import Endpoint
from link.inbox import Inbox
from link.real_world import RealWorld
from link.session import Session
from link.world import BrokerAddress, Connected, Disconnected, Message, Will
from metering.errors import BrokerUnreachable

WILL = Will("plant/status", b"offline")
Events = AsyncIterator[Message | Connected | Disconnected]


async def following(events: Events, timeout_s: float = 10.0) -> Message | Connected | Disconnected:
    return await asyncio.wait_for(anext(events), timeout_s)


async def until_connected(events: Events) -> list[str]:
    """Return the reasons of the attempts that failed before."""
    reasons = []
    while isinstance(event := await following(events), Disconnected):
        reasons.append(event.reason)
    assert isinstance(event, Connected)
    return reasons


@pytest.fixture
def address(mosquitto: Any) -> BrokerAddress:
    return BrokerAddress(mosquitto.url, "agent-1")


@pytest.mark.external
async def test_messages_arrive_in_order_after_connected(world: RealWorld, address: BrokerAddress) -> None:
    async with world.broker(address, ("plant/+/data",), WILL) as broker:
        events = broker.events()
        assert isinstance(await following(events), Connected)
        assert broker.connected
        sent = [await broker.publish("plant/a/data", str(number).encode()) for number in range(20)]
        assert all(sent)
        assert [await following(events) for _ in range(20)] == [
            Message("plant/a/data", str(number).encode()) for number in range(20)
        ]
    assert not broker.connected
    assert not await broker.publish("plant/a/data", b"too late")


@pytest.mark.external
async def test_a_retained_message_comes_after_connected_and_says_so(world: RealWorld, address: BrokerAddress) -> None:
    async with world.broker(address, (), WILL) as broker:
        await until_connected(broker.events())
        assert await broker.publish("plant/config", b"v1", retain=True)
    async with world.broker(address, ("plant/config",), WILL) as broker:
        events = broker.events()
        assert isinstance(await following(events), Connected)
        assert await following(events) == Message("plant/config", b"v1", retained=True)


@pytest.mark.external
async def test_ten_thousand_publishes_are_acknowledged_each(world: RealWorld, address: BrokerAddress) -> None:
    async with world.broker(address, (), WILL) as broker:
        await until_connected(broker.events())
        sent = await asyncio.gather(*(broker.publish("plant/a/data", bytes(1000)) for _ in range(10_000)))
        assert sent.count(True) == 10_000


@pytest.mark.external
async def test_the_connection_returns_after_the_broker_was_killed(
    world: RealWorld, address: BrokerAddress, mosquitto: Any
) -> None:
    async with world.broker(address, ("plant/#",), WILL) as broker:
        events = broker.events()
        await until_connected(events)
        mosquitto.kill()
        assert await following(events) == Disconnected("the connection was lost")
        assert not broker.connected
        assert not await broker.publish("plant/a/data", b"nobody there")
        mosquitto.start()
        await until_connected(events)
        assert await broker.publish("plant/a/data", b"back")
        assert await following(events) == Message("plant/a/data", b"back")


@pytest.mark.external
async def test_a_publish_under_way_is_false_when_the_broker_dies(
    world: RealWorld, address: BrokerAddress, mosquitto: Any
) -> None:
    async with world.broker(address, (), WILL) as broker:
        events = broker.events()
        await until_connected(events)
        os.kill(mosquitto.pid, signal.SIGSTOP)
        under_way = [asyncio.ensure_future(broker.publish("plant/a/data", b"x")) for _ in range(1000)]
        await asyncio.sleep(0.05)
        assert not any(publishing.done() for publishing in under_way)
        mosquitto.kill()
        assert await asyncio.wait_for(asyncio.gather(*under_way), 5) == [False] * 1000


@pytest.mark.external
async def test_nothing_that_was_reported_as_unsent_is_sent_after_the_return(
    world: RealWorld, address: BrokerAddress, mosquitto: Any
) -> None:
    async with world.broker(address, ("plant/#",), WILL) as broker:
        events = broker.events()
        await until_connected(events)
        os.kill(mosquitto.pid, signal.SIGSTOP)
        under_way = asyncio.ensure_future(broker.publish("plant/a/data", b"unsent"))
        await asyncio.sleep(0.05)
        mosquitto.kill()
        assert not await under_way
        mosquitto.start()
        assert isinstance(await following(events), Disconnected)
        await until_connected(events)
        assert await broker.publish("plant/a/data", b"marker")
        assert await following(events) == Message("plant/a/data", b"marker")


@pytest.mark.external
async def test_the_will_is_spoken_for_a_crash_and_not_for_a_goodbye(world: RealWorld, address: BrokerAddress) -> None:
    async with world.broker(replace(address, client_id="watcher"), ("plant/#",), Will("w", b"")) as watcher:
        heard = watcher.events()
        await until_connected(heard)
        async with world.broker(address, (), WILL) as broker:
            await until_connected(broker.events())
            assert await broker.publish("plant/status", b"online")
        assert await following(heard) == Message("plant/status", b"online")
        async with world.broker(address, (), WILL) as broker:
            await until_connected(broker.events())
            intruder = world.broker(address, (), WILL)
            async with intruder as same_id:
                await until_connected(same_id.events())
                assert await following(heard) == Message("plant/status", b"offline")


async def test_a_consumer_that_falls_behind_stops_the_reading_and_loses_nothing(world: RealWorld) -> None:
    total, sent = 5000, 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await admit(reader, writer, granted=b"\x01")
        while sent < total:
            writer.write(published(sent, bytes(10_000)))
            await writer.drain()
            sent += 1
        await reader.read()

    async with served(pour) as url, world.broker(BrokerAddress(url, "a"), ("t",), WILL) as broker:
        events = broker.events()
        await until_connected(events)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert mqtt.INBOX_LIMIT <= sent < total
        received = [await following(events) for _ in range(total)]
        assert [int(event.payload[:5]) for event in received if isinstance(event, Message)] == list(range(total))


async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, granted: bytes) -> None:
    """Play a broker up to the answer to the subscription."""
    await reader.read(1000)
    writer.write(bytes.fromhex("20 02 00 00"))
    subscribe = await reader.read(1000)
    writer.write(bytes.fromhex("90 03") + subscribe[2:4] + granted)


def published(number: int, filling: bytes) -> bytes:
    """A PUBLISH with QoS 1 under the topic `t`."""
    body = b"\x00\x01t" + (number % 65535 + 1).to_bytes(2, "big") + f"{number:05}".encode() + filling
    return bytes([0x32, 0x80 | len(body) % 128, len(body) // 128]) + body


@asynccontextmanager
async def served(attend: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await attend(reader, writer)
        writer.close()

    async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
        yield f"mqtt://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@pytest.mark.external
async def test_leaving_a_broker_that_hangs_takes_at_most_three_seconds(
    world: RealWorld, address: BrokerAddress, mosquitto: Any
) -> None:
    async with world.broker(address, (), WILL) as broker:
        await until_connected(broker.events())
        os.kill(mosquitto.pid, signal.SIGSTOP)
        publishing = asyncio.ensure_future(broker.publish("plant/data", b"x"))
        await asyncio.sleep(0.02)
        began = time.monotonic()
    assert time.monotonic() - began < 3.5
    assert not await publishing


async def test_a_broker_that_is_not_there_is_an_event_and_blocks_nothing(world: RealWorld) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"mqtt://127.0.0.1:{free.getsockname()[1]}"
        async with world.broker(BrokerAddress(url, "a"), (), WILL) as broker:
            began = time.monotonic()
            event = await following(broker.events())
            assert time.monotonic() - began < 0.5
            assert isinstance(event, Disconnected)
            assert event.reason.startswith(f"cannot reach the broker {url}: ")
            assert "refused" in event.reason


async def test_a_broker_that_never_answers_is_left_at_once(world: RealWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        async with world.broker(BrokerAddress(f"mqtt://127.0.0.1:{mute.getsockname()[1]}", "a"), (), WILL) as broker:
            await asyncio.sleep(0.1)
            assert not broker.connected
        assert time.monotonic() - began < 3.5


async def test_a_server_that_speaks_no_mqtt_is_an_event(world: RealWorld) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 50)
        await writer.drain()

    async with served(babble) as url, world.broker(BrokerAddress(url, "a"), (), WILL) as broker:
        assert isinstance(await following(broker.events()), Disconnected)


@pytest.mark.parametrize("url", ["localhost:1883", "http://localhost", "mqtt://", "mqtt://host:port", ""])
async def test_an_address_that_is_none_is_refused_at_the_start(world: RealWorld, url: str) -> None:
    with pytest.raises(BrokerUnreachable) as refusal:
        async with world.broker(BrokerAddress(url, "a"), (), WILL):
            pass
    assert "write mqtt://host:1883 or mqtts://host:8883" in refusal.value.say("en")
    assert "地址应为" in refusal.value.say("zh")


async def test_a_failed_handshake_leaks_no_socket(world: RealWorld, certificates: Callable[[str], Any]) -> None:
    ca = str(certificates("127.0.0.1").ca)

    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS here\r\n")

    async with served(speak_plainly) as url:
        endpoint = Endpoint.of(BrokerAddress(url.replace("mqtt:", "mqtts:"), "a", ca=ca))
        open_files = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            with pytest.raises(BrokerUnreachable):
                await Session(endpoint, WILL).open(())
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= open_files + 1


async def test_a_password_is_never_shown(world: RealWorld) -> None:
    with pytest.raises(BrokerUnreachable, match="do not belong into the address") as refusal:
        async with world.broker(BrokerAddress("mqtt://agent:geheim@plant", "a"), (), WILL):
            pass
    assert "geheim" not in str(refusal.value)
    assert "geheim" not in repr(BrokerAddress("mqtt://plant", "a", "agent", "geheim"))


async def test_a_ca_file_that_is_not_there_is_refused_at_the_start(world: RealWorld) -> None:
    with pytest.raises(BrokerUnreachable, match=r"the CA file /no/ca\.pem cannot be used"):
        async with world.broker(BrokerAddress("mqtts://localhost", "a", ca="/no/ca.pem"), (), WILL):
            pass


@pytest.mark.external
@pytest.mark.parametrize(("named", "trusted"), [("127.0.0.1", True), ("other-host", False)])
async def test_tls_checks_the_name_of_the_broker(
    world: RealWorld, start_mosquitto: Any, certificates: Callable[[str], Any], named: str, trusted: bool
) -> None:
    files = certificates(named)
    broker_process = start_mosquitto(f"certfile {files.server}\nkeyfile {files.key}\n")
    url = f"mqtts://127.0.0.1:{broker_process.port}"
    async with world.broker(BrokerAddress(url, "a", ca=str(files.ca)), ("t",), WILL) as broker:
        events = broker.events()
        if not trusted:
            event = await following(events)
            assert isinstance(event, Disconnected)
            assert "certificate" in event.reason
            return
        assert isinstance(await following(events), Connected)
        assert all(await asyncio.gather(*(broker.publish("t", bytes(20_000)) for _ in range(200))))
        assert len([await following(events) for _ in range(200)]) == 200


@pytest.mark.external
async def test_a_broker_whose_ca_is_unknown_is_not_trusted(
    world: RealWorld, start_mosquitto: Any, certificates: Callable[[str], Any]
) -> None:
    files = certificates("127.0.0.1")
    broker_process = start_mosquitto(f"certfile {files.server}\nkeyfile {files.key}\n")
    async with world.broker(BrokerAddress(f"mqtts://127.0.0.1:{broker_process.port}", "a"), (), WILL) as broker:
        event = await following(broker.events())
        assert isinstance(event, Disconnected)
        assert "certificate verify failed" in event.reason


@pytest.mark.external
async def test_a_broker_that_knows_us_not_says_so(world: RealWorld, start_mosquitto: Any) -> None:
    broker_process = start_mosquitto(anonymous=False)
    address = BrokerAddress(broker_process.url, "a", username="agent", password="wrong")
    async with world.broker(address, (), WILL) as broker:
        event = await following(broker.events())
        assert isinstance(event, Disconnected)
        assert "the broker refused: Not authorized" in event.reason


async def test_a_refused_subscription_is_no_connection(world: RealWorld) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await admit(reader, writer, granted=b"\x80")
        await reader.read()

    async with served(refuse) as url, world.broker(BrokerAddress(url, "a"), ("secret/#",), WILL) as broker:
        event = await following(broker.events())
        assert isinstance(event, Disconnected)
        assert "the broker refused a subscription" in event.reason


@pytest.mark.external
async def test_waiting_for_an_event_may_be_given_up_and_taken_up_again(
    world: RealWorld, address: BrokerAddress
) -> None:
    async with world.broker(address, ("plant/#",), WILL) as broker:
        events = broker.events()
        await until_connected(events)
        with pytest.raises(TimeoutError):
            await following(events, 0.01)
        assert await broker.publish("plant/a", b"1")
        assert await following(events) == Message("plant/a", b"1")


async def test_the_demos_broker_serves_as_well(world: RealWorld) -> None:
    from amqtt.broker import Broker as DemoBroker

    demo = DemoBroker({"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}}, "plugins": ANONYMOUS})
    await demo.start()
    try:
        port = next(iter(demo._servers["default"].instance.sockets)).getsockname()[1]
        async with world.broker(BrokerAddress(f"mqtt://127.0.0.1:{port}", "a"), ("plant/#",), WILL) as broker:
            events = broker.events()
            await until_connected(events)
            assert all(await asyncio.gather(*(broker.publish("plant/a", bytes(1000)) for _ in range(200))))
            assert {type(await following(events)) for _ in range(200)} == {Message}
    finally:
        await demo.shutdown()


ANONYMOUS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


@given(st.integers(), st.lists(st.floats(0, 59), max_size=30))
def test_the_wait_doubles_in_the_mean_and_never_exceeds_two_minutes(seed: int, lasted: list[float]) -> None:
    backoff = mqtt.Backoff(random.Random(seed))
    for failures, lasted_s in enumerate(lasted):
        assert 0 <= backoff.wait_s(lasted_s) <= min(120, 2**failures)


def test_a_session_that_stood_a_minute_starts_the_count_anew() -> None:
    backoff = mqtt.Backoff(random.Random(1))
    for _ in range(10):
        backoff.wait_s(0)
    assert backoff.wait_s(60) <= 1


async def test_an_inbox_keeps_order_and_pauses_at_its_limit() -> None:
    calls: list[str] = []
    inbox: Inbox[int] = Inbox(4, lambda: calls.append("pause"), lambda: calls.append("resume"))
    for number in range(5):
        inbox.put(number)
    assert calls == ["pause"]
    assert [await anext(inbox) for _ in range(3)] == [0, 1, 2]
    assert calls == ["pause", "resume"]


async def test_an_inbox_that_failed_gives_out_what_it_has_first() -> None:
    inbox: Inbox[int] = Inbox(4, lambda: None, lambda: None)
    inbox.put(1)
    inbox.fail(RuntimeError("broken"))
    assert await anext(inbox) == 1
    with pytest.raises(RuntimeError, match="broken"):
        await anext(inbox)
