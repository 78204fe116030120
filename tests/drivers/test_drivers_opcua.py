"""OPC UA against asyncua's own server, against servers that hang or misbehave, and its status codes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from asyncua.server.server import Server
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Session
from drivers.opcua.codec import epoch_ms, quality_of, target
from metering.errors import MeteringError, MeterUnreachable
from metering.profile import Profile, ProfilePoint
from metering.reading import Quality
from settings.profiles import load_profile

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def plan_of(**addresses: str) -> MeterPlan:
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "fuel", "protocol": "opcua", "status": "unverified", "source": {"title": "x"},
         "points": {name: {"address": address, "unit": "kg", "role": "gauge"} for name, address in addresses.items()}}
    )  # fmt: skip
    return MeterPlan("m", {}, profile, profile.points)


def opened(url: str, timeout: str = "2 s", **more: Any) -> AbstractAsyncContextManager[Session]:
    opcua = driver("opcua")
    line = opcua.line_model.model_validate({"driver": "opcua", "url": url, "timeout": timeout, **more})
    session: AbstractAsyncContextManager[Session] = opcua.open(line)  # type: ignore[attr-defined]
    return session


class Plant:
    """A real server with a few variables."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stopped = False

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.server.bserver.port}/"

    async def add(self, name: str, data: ua.DataValue) -> None:
        node = ua.NodeId(name, 2)
        await self.server.nodes.objects.add_variable(node, name, data.Value.Value, data.Value.VariantType)
        await self.server.write_attribute_value(node, data)

    async def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            await self.server.stop()


@pytest.fixture
async def plant() -> AsyncIterator[Plant]:
    server = Server()
    await server.init()
    server.disable_clock()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:test")
    await server.start()
    plant = Plant(server)
    yield plant
    await plant.stop()


def data(value: Any, kind: ua.VariantType = ua.VariantType.Double, status: int = 0) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value, kind), ua.StatusCode(ua.UInt32(status)), SourceTimestamp=WHEN)


async def test_all_values_of_a_meter_come_with_status_and_source_time(plant: Plant) -> None:
    await plant.add("mass", data(81234.567))
    await plant.add("flow", data(230.2, ua.VariantType.Float))
    await plant.add("count", data(42, ua.VariantType.UInt64))
    await plant.add("guessed", data(1.5, status=ua.StatusCodes.UncertainLastUsableValue))
    await plant.add("by_hand", data(2.5, status=ua.StatusCodes.UncertainSubstituteValue))
    await plant.add("broken", data(3.5, status=ua.StatusCodes.BadSensorFailure))
    names = ("mass", "flow", "count", "guessed", "by_hand", "broken", "absent")
    async with opened(plant.url) as session:
        values = await session.read(plan_of(**{name: f"ns=2;s={name}" for name in names}))
    assert [(value.point, value.value, value.quality) for value in values] == [
        ("mass", 81234.567, Quality.GOOD),
        ("flow", 230.2, Quality.GOOD),
        ("count", 42.0, Quality.GOOD),
        ("guessed", 1.5, Quality.UNCERTAIN),
        ("by_hand", 2.5, Quality.SUBSTITUTED),
        ("broken", None, Quality.BAD),
        ("absent", None, Quality.BAD),
    ]
    assert [value.source_ms for value in values[:3]] == [round(WHEN.timestamp() * 1000)] * 3


async def test_one_request_reads_a_meter(plant: Plant) -> None:
    flow = load_profile("generic/opcua-flow")
    for number, point in enumerate(flow.points.values()):
        await plant.add(str(point.address).removeprefix("ns=2;s="), data(600.0 + number))
    async with opened(plant.url) as session:
        values = await session.read(MeterPlan("oil", {}, flow, flow.points))
        again = await session.read(MeterPlan("oil", {}, flow, flow.points))
    assert [value.value for value in values] == [600.0, 601.0, 602.0, 603.0]
    assert values == again


async def test_a_lost_server_is_unreachable_and_a_new_session_reads_again(plant: Plant) -> None:
    await plant.add("mass", data(1.0))
    plan = plan_of(mass="ns=2;s=mass")
    async with opened(plant.url) as session:
        assert (await session.read(plan))[0].value == 1.0
        plant.server.bserver._server.close()
        for client in list(plant.server.bserver.clients):
            client.transport.abort()
        for _ in range(2):
            with pytest.raises(MeterUnreachable):
                await session.read(plan)


async def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(MeterUnreachable, match=r"127\.0\.0\.1"):
        async with opened("opc.tcp://127.0.0.1:1"):
            pass


async def test_a_server_that_wants_a_user_is_named() -> None:
    server = Server()
    await server.init()
    server.disable_clock()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    server.set_identity_tokens([ua.UserNameIdentityToken])
    await server.start()
    try:
        with pytest.raises(MeterUnreachable, match="BadIdentityToken"):
            async with opened(f"opc.tcp://127.0.0.1:{server.bserver.port}/"):
                pass
    finally:
        await server.stop()


@asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Listen with a server of raw bytes and yield its url."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_server_that_never_answers_costs_its_time_out_and_no_more() -> None:
    before = asyncio.all_tasks()
    async with listening(silent) as url:
        began = time.monotonic()
        with pytest.raises(MeterUnreachable, match="in time"):
            async with opened(url, timeout="200 ms"):
                pass
        assert time.monotonic() - began < 1
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


async def test_cancelling_leaves_no_task_and_no_connection(plant: Plant) -> None:
    await plant.add("mass", data(1.0))
    before = asyncio.all_tasks()

    async def poll() -> None:
        async with opened(plant.url) as session:
            while True:
                await session.read(plan_of(mass="ns=2;s=mass"))

    for wait_s in (0.001, 0.01, 0.2):
        task = asyncio.create_task(poll())
        await asyncio.sleep(wait_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.1)
    assert {task for task in asyncio.all_tasks() - before if "drivers" in repr(task) or "client" in repr(task)} == set()
    assert not plant.server.bserver.clients


HUGE = (b"MSGF" + (2**31).to_bytes(4, "little") + bytes(8), b"ACKF" + (2**32 - 1).to_bytes(4, "little"))
EMPTY = (b"ACKF" + bytes(4), b"ACKF\x07\0\0\0")
NONSENSE = (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ERRF\x10\0\0\0\0\0\x80\x80\xff\xff\xff\xff")


@pytest.mark.parametrize("greeting", [*HUGE, *EMPTY, *NONSENSE], ids=lambda greeting: greeting[:8].hex())
async def test_a_hostile_server_is_unreachable_and_takes_little_memory(greeting: bytes) -> None:
    sent = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(64)
        writer.write(greeting)
        while sent < 50_000_000:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    async with listening(answer) as url:
        with pytest.raises(MeterUnreachable):
            async with opened(url, timeout="1 s"):
                pass
    assert sent < 20_000_000


@given(st.integers(0, 2**32 - 1))
def test_the_top_bits_of_a_status_decide(status: int) -> None:
    bad = status >> 30 in (2, 3)
    assert (quality_of(status) is Quality.BAD) is bad
    if status >> 30 == 1:
        assert quality_of(status) in (Quality.UNCERTAIN, Quality.SUBSTITUTED)


@given(st.sampled_from(sorted(code for name, code in vars(ua.StatusCodes).items() if name.startswith("Bad"))))
def test_no_bad_status_gives_a_value(status: int) -> None:
    point = ProfilePoint(address="i=1", unit="kg", role="gauge")
    value = target("x", point).value(data(1.0, status=status))
    assert (value.value, value.quality) == (None, Quality.BAD)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [(True, ua.VariantType.Boolean, 1.0), (None, ua.VariantType.Null, None), ("12", ua.VariantType.String, None),
     ([1.0], ua.VariantType.Double, None), (float("nan"), ua.VariantType.Double, None),
     (float("inf"), ua.VariantType.Float, None), (-7, ua.VariantType.Int16, -7.0)],
)  # fmt: skip
def test_what_is_no_number_is_bad(value: Any, kind: ua.VariantType, expected: float | None) -> None:
    found = target("x", ProfilePoint(address="i=1", unit="kg", role="gauge")).value(data(value, kind))
    assert found.value == expected
    assert (found.quality is Quality.BAD) == (expected is None)


def test_no_value_at_all_is_bad() -> None:
    empty = ua.DataValue(None, None)
    assert target("x", ProfilePoint(address="i=1", unit="kg", role="gauge")).value(empty).quality is Quality.BAD


def test_a_source_time_of_1601_is_none() -> None:
    assert epoch_ms(datetime(1601, 1, 1, tzinfo=UTC)) is None
    assert epoch_ms(None) is None
    assert epoch_ms(WHEN.replace(tzinfo=None)) == round(WHEN.timestamp() * 1000)


@pytest.mark.parametrize(
    ("point", "words"),
    [({"address": 5}, "no node id"), ({"address": "MassTotal"}, "no node id"), ({"address": "nsu=urn:x;s=a"}, "no node id"),
     ({"address": "ns=2;s=a", "type": "f32"}, "leave it out"), ({"address": "ns=2;s=a", "scale": 0}, "scale 0")],
)  # fmt: skip
def test_a_point_that_cannot_be_read_is_explained(point: dict[str, Any], words: str) -> None:
    flow = load_profile("generic/opcua-flow")
    text = driver("opcua").fault(ProfilePoint.model_validate({"unit": "kg", "role": "gauge", **point}), flow)
    assert text is not None
    assert words in text.en


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"url": "http://h"}, "opc"),
        ({"url": "opc.tcp://u:p@h:4840"}, "opc"),
        ({"url": "opc.tcp://h", "password": "x"}, "no user"),
    ],
)
def test_a_wrong_line_is_refused(line: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        driver("opcua").line_model.model_validate({"driver": "opcua", **line})


def test_the_password_is_not_shown() -> None:
    line = driver("opcua").line_model.model_validate(
        {"driver": "opcua", "url": "opc.tcp://h:4840", "user": "u", "password": "secret"}
    )
    assert "secret" not in repr(line)
    with pytest.raises(MeteringError):
        driver("opc")
