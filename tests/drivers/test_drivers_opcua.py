"""OPC UA against asyncua's own server, and against servers that hang or misbehave."""

import asyncio
import resource
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Session
from drivers.opcua.bounded import BoundedClient
from drivers.opcua.session import OpcUaSession
from drivers.opcua.settings import OpcUaLine
from link.real_world import RealWorld
from metering.errors import MeterUnreachable
from metering.profile import Profile
from metering.reading import Quality
from settings.profiles import load_profile

T = TypeVar("T")

pytestmark = pytest.mark.asyncio(loop_scope="module")
WHEN = datetime.now(UTC).replace(microsecond=678000)


def plan_of(**addresses: str) -> MeterPlan:
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "fuel", "protocol": "opcua", "status": "unverified", "source": {"title": "x"},
         "points": {name: {"address": address, "unit": "kg", "role": "gauge"} for name, address in addresses.items()}}
    )  # fmt: skip
    return MeterPlan("m", {}, profile, profile.points)


def opened(
    url: str, timeout: str = "2 s", world: RealWorld | None = None, **more: Any
) -> AbstractAsyncContextManager[Session]:
    opcua = driver("opcua")
    line = opcua.line_model.model_validate({"driver": "opcua", "url": url, "timeout": timeout, **more})
    session: AbstractAsyncContextManager[Session] = opcua.open(line, world or RealWorld())  # type: ignore[attr-defined]
    return session


class Doorman:
    """Lets everybody in but strangers."""

    def get_user(self, _server: object, username: str | None = None, **_: object) -> User | None:
        return None if username == "stranger" else User(role=UserRole.User)


class Plant:
    """A real server with a few variables."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._names: set[str] = set()

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.server.bserver.port}/"

    async def set(self, name: str, data: ua.DataValue) -> None:
        """Set a variable, which is made on its first use."""
        node = ua.NodeId(name, 2)
        if name not in self._names:
            self._names.add(name)
            await self.server.nodes.objects.add_variable(node, name, data.Value.Value, data.Value.VariantType)
        await self.server.write_attribute_value(node, data)

    def lose_its_clients(self) -> None:
        for client in list(self.server.bserver.clients):
            client.transport.abort()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plant() -> AsyncIterator[Plant]:
    server = Server(user_manager=Doorman())
    await server.init()
    server.disable_clock()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:test")
    await server.start()
    yield Plant(server)
    await server.stop()


def data(value: Any, kind: ua.VariantType = ua.VariantType.Double, status: int = 0) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value, kind), ua.StatusCode(ua.UInt32(status)), SourceTimestamp=WHEN)


async def test_all_values_of_a_meter_come_with_status_and_source_time(plant: Plant) -> None:
    await plant.set("mass", data(81234.567))
    await plant.set("flow", data(230.2, ua.VariantType.Float))
    await plant.set("count", data(42, ua.VariantType.UInt64))
    await plant.set("guessed", data(1.5, status=ua.StatusCodes.UncertainLastUsableValue))
    await plant.set("by_hand", data(2.5, status=ua.StatusCodes.UncertainSubstituteValue))
    await plant.set("broken", data(3.5, status=ua.StatusCodes.BadSensorFailure))
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
    assert [value.why for value in values[4:]] == ["", "BadSensorFailure", "BadNodeIdUnknown"]
    assert [value.source_ms for value in values[:3]] == [round(WHEN.timestamp() * 1000)] * 3


async def test_one_request_reads_a_meter(plant: Plant) -> None:
    flow = load_profile("generic/opcua-flow")
    for number, point in enumerate(flow.points.values()):
        await plant.set(str(point.address).removeprefix("ns=2;s="), data(600.0 + number))
    async with opened(plant.url) as session:
        values = await session.read(MeterPlan("oil", {}, flow, flow.points))
        again = await session.read(MeterPlan("oil", {}, flow, flow.points))
    assert [value.value for value in values] == [600.0, 601.0, 602.0, 603.0]
    assert values == again


async def test_f29_a_lost_server_is_unreachable_and_a_new_session_reads_again(plant: Plant) -> None:
    await plant.set("mass", data(1.0))
    plan = plan_of(mass="ns=2;s=mass")
    async with opened(plant.url) as session:
        assert (await session.read(plan))[0].value == 1.0
        plant.lose_its_clients()
        for _ in range(2):
            with pytest.raises(MeterUnreachable):
                await session.read(plan)


async def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(MeterUnreachable, match=r"127\.0\.0\.1:1 refused the connection: check the port"):
        async with opened("opc.tcp://127.0.0.1:1"):
            pass


async def test_a_server_that_refuses_the_user_is_unreachable_and_says_why(plant: Plant) -> None:
    with pytest.raises(
        MeterUnreachable,
        match=r"^opc.tcp://.*: the server refused the user \w+ \(BadUserAccessDenied\): check user and",
    ):
        async with opened(plant.url, user="stranger", password="x"):
            pass


async def test_a_user_the_server_knows_reads(plant: Plant) -> None:
    await plant.set("mass", data(1.0))
    async with opened(plant.url, user="technician", password="x") as session:
        assert (await session.read(plan_of(mass="ns=2;s=mass")))[0].value == 1.0


async def test_f29_a_session_the_server_has_ended_is_unreachable_and_a_new_one_reads_again(plant: Plant) -> None:
    await plant.set("mass", data(1.0))
    plan = plan_of(mass="ns=2;s=mass")
    async with opened(plant.url) as session:
        await session._client.uaclient.close_session(True)  # type: ignore[attr-defined]
        with pytest.raises(MeterUnreachable):
            await session.read(plan)
    async with opened(plant.url) as session:
        assert (await session.read(plan))[0].value == 1.0


async def test_f31_a_value_beyond_our_limits_hides_no_other_and_takes_little_memory(plant: Plant) -> None:
    await plant.set("mass", data(1.0))
    await plant.set("huge", data(bytes(3_000_000), ua.VariantType.ByteString))
    with pytest.raises(MeterUnreachable):
        async with opened(plant.url) as session:
            await session.read(plan_of(mass="ns=2;s=mass", huge="ns=2;s=huge"))
    async with opened(plant.url) as session:
        assert (await session.read(plan_of(mass="ns=2;s=mass")))[0].value == 1.0


async def test_a_server_without_history_has_none_to_give(plant: Plant) -> None:
    await plant.set("mass", data(1.0))
    async with opened(plant.url) as session:
        assert list(await session.history(plan_of(mass="ns=2;s=mass", none="ns=2;s=none"), 0, 2_000_000_000_000)) == []
        assert (await session.read(plan_of(mass="ns=2;s=mass")))[0].value == 1.0


class NameServer(RealWorld):
    """The real world with a name server of its own."""

    def __init__(self, answers: bool) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._answers = answers

    async def in_own_thread(self, name: str, call: Callable[[], T]) -> T:
        self.asked.append(name)
        if not self._answers:
            await asyncio.Event().wait()
        return await super().in_own_thread(name, call)


async def test_a_host_name_is_looked_up_in_a_thread_that_holds_up_nothing(plant: Plant) -> None:
    await plant.set("mass", data(1.0))
    world, before = NameServer(answers=True), set(threading.enumerate())
    async with opened(plant.url.replace("127.0.0.1", "localhost"), world=world) as session:
        assert (await session.read(plan_of(mass="ns=2;s=mass")))[0].value == 1.0
    assert world.asked == ["resolve localhost"]
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("asyncio")]


async def test_a_dead_name_server_costs_the_time_out_and_no_more(plant: Plant) -> None:
    began = time.monotonic()
    with pytest.raises(MeterUnreachable, match="in time"):
        async with opened(plant.url, timeout="200 ms", world=NameServer(answers=False)):
            pass
    assert time.monotonic() - began < 1


async def test_a_name_nobody_knows_is_said_to_be_so() -> None:
    with pytest.raises(MeterUnreachable, match="host name is not known"):
        async with opened("opc.tcp://no-such-host.invalid:4840"):
            pass


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
    assert asyncio.all_tasks() - before == set()


async def test_cancelling_at_any_moment_ends_it_and_leaves_no_task_and_no_connection(plant: Plant) -> None:
    await plant.set("mass", data(1.0))
    before = asyncio.all_tasks()

    async def poll() -> None:
        async with opened(plant.url) as session:
            while True:
                await session.read(plan_of(mass="ns=2;s=mass"))

    for turns in range(80):  # of the event loop: before, while and after it connects
        task = asyncio.create_task(poll())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
    await asyncio.sleep(0.1)
    assert {task for task in asyncio.all_tasks() - before if "drivers" in repr(task) or "client" in repr(task)} == set()
    assert not plant.server.bserver.clients


HUGE = (b"MSGF" + (2**31).to_bytes(4, "little") + bytes(8), b"ACKF" + (2**32 - 1).to_bytes(4, "little"))
EMPTY = (b"ACKF" + bytes(4), b"ACKF\x07\0\0\0")
NONSENSE = (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ERRF\x10\0\0\0\0\0\x80\x80\xff\xff\xff\xff")


@pytest.mark.parametrize("greeting", [*HUGE, *EMPTY, *NONSENSE], ids=lambda greeting: greeting[:8].hex())
async def test_f31_a_hostile_server_is_unreachable_and_takes_little_memory(greeting: bytes) -> None:
    sent, before_kib = 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

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
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kib + 30_000


async def test_f29_a_channel_is_renewed_before_it_ends(plant: Plant) -> None:
    await plant.set("mass", data(1.0))
    client = BoundedClient(plant.url, 2.0)
    client.secure_channel_timeout = 200
    try:
        await client.reach([("127.0.0.1", plant.server.bserver.port)])
        await client.create_session()
        await client.activate_session()
        tokens = set()
        session = OpcUaSession(client, OpcUaLine(driver="opcua", url=plant.url), RealWorld())
        for _ in range(4):
            assert (await session.read(plan_of(mass="ns=2;s=mass")))[0].value == 1.0
            tokens.add(client.uaclient.protocol._connection.security_token.TokenId)
            await asyncio.sleep(0.16)
        assert len(tokens) == 4
    finally:
        await client.say_goodbye()
        client.disconnect_socket()
