"""OPC UA subscriptions: what the server tells has its own time, and a subscription gone quiet is noticed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua

from drivers.contract import MeterPlan, Value
from drivers.opcua.connect import connected
from drivers.opcua.session import OpcUaSession
from drivers.opcua.settings import OpcUaLine
from link.real_world import RealWorld
from metering.errors import MeterUnreachable
from metering.reading import Quality

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(opcua_server: Any) -> AsyncIterator[Any]:
    async with opcua_server() as running:
        for name in ("mass", "flow"):
            await running.add(name, 0.0)
            await running.set(name, data(0.0))
        yield running


@asynccontextmanager
async def subscribed(server: Any, **more: Any) -> AsyncIterator[OpcUaSession]:
    settings = {"driver": "opcua", "url": server.url, "subscribe": True, "sampling": "0.05 s", "timeout": "2 s", **more}
    line = OpcUaLine.model_validate(settings)
    async with connected(line, RealWorld()) as client:
        yield OpcUaSession(client, line, RealWorld())


def data(value: Any, status: int = 0, when: datetime | None = None) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value), ua.StatusCode(ua.UInt32(status)), SourceTimestamp=when or datetime.now(UTC))


async def until(session: OpcUaSession, plan: MeterPlan, wanted: int) -> list[Value]:
    """Read until so many values were told; return these. A change in the very ms of a reading is in that, so wait first."""
    await asyncio.sleep(0.02)
    told: list[Value] = []
    async with asyncio.timeout(8):
        while len(told) < wanted:
            told += [value for value in await session.read(plan) if value.at_ms is not None]
            await asyncio.sleep(0.05)
    return told


async def test_each_slot_reads_and_what_was_told_between_comes_with_its_own_time(
    server: Any, opcua_plan: Callable[..., MeterPlan]
) -> None:
    plan = opcua_plan(mass="ns=2;s=mass")
    async with subscribed(server) as session:
        first = await session.read(plan)
        assert [value.at_ms for value in first] == [None]  # what was there before is no change
        await asyncio.sleep(0.3)
        changed = datetime.now(UTC)
        await server.set("mass", data(1.5, when=changed))
        told, read = (await until(session, plan, 1))[0], (await session.read(plan))[-1]
    changed_ms = round(changed.timestamp() * 1000)
    assert (told.value, told.at_ms, told.source_ms, told.quality) == (1.5, changed_ms, changed_ms, Quality.GOOD)
    assert (read.value, read.at_ms) == (1.5, None)


async def test_the_server_tells_no_change_within_the_deadband(
    server: Any, opcua_plan: Callable[..., MeterPlan]
) -> None:
    plan = opcua_plan(flow="ns=2;s=flow")
    async with subscribed(server, deadband=0.5) as session:
        await server.set("flow", data(10.0))
        await session.read(plan)
        await asyncio.sleep(0.3)
        for value in (10.2, 10.4, 11.0):
            await server.set("flow", data(value))
            await asyncio.sleep(0.1)
        told = await until(session, plan, 1)
    assert [value.value for value in told] == [11.0]


async def test_a_told_value_keeps_its_own_quality(server: Any, opcua_plan: Callable[..., MeterPlan]) -> None:
    plan = opcua_plan(mass="ns=2;s=mass")
    async with subscribed(server) as session:
        await session.read(plan)
        await asyncio.sleep(0.3)
        await server.set("mass", data(7.0, ua.StatusCodes.UncertainLastUsableValue))
        await asyncio.sleep(0.2)
        await server.set("mass", data(8.0, ua.StatusCodes.BadSensorFailure))
        told = await until(session, plan, 2)
    assert [(value.value, value.quality) for value in told] == [(7.0, Quality.UNCERTAIN), (None, Quality.BAD)]


async def test_f29_a_subscription_the_server_has_dropped_is_built_anew_and_said_once(
    server: Any, opcua_plan: Callable[..., MeterPlan], caplog: pytest.LogCaptureFixture
) -> None:
    plan = opcua_plan(mass="ns=2;s=mass")
    async with subscribed(server) as session:
        await session.read(plan)
        assert session._subscription is not None
        await asyncio.sleep(0.3)
        for _ in range(2):
            await _drop_subscriptions(server)
            async with asyncio.timeout(20):
                rebuilt = session._subscription.rebuilt
                while session._subscription.rebuilt == rebuilt:
                    await server.set("mass", data(float(datetime.now(UTC).timestamp())))
                    await asyncio.sleep(0.02)
                    assert (await session.read(plan))[-1].at_ms is None  # each slot has its reading all the same
                    await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)
        await server.set("mass", data(-5.0))
        told = await until(session, plan, 1)
    assert told[-1].value == -5.0
    assert caplog.text.count("went quiet") == 1


async def _drop_subscriptions(server: Any) -> None:
    """Forget all subscriptions without a word, as a server with a fault may."""
    service = server.server.iserver.subscription_service
    await service.delete_subscriptions(list(service.subscriptions))


async def test_f29_after_a_loss_a_new_session_is_told_again(server: Any, opcua_plan: Callable[..., MeterPlan]) -> None:
    plan = opcua_plan(mass="ns=2;s=mass")
    async with subscribed(server) as session:
        await session.read(plan)
        for client in list(server.server.bserver.clients):
            client.transport.abort()
        with pytest.raises(MeterUnreachable):
            await session.read(plan)
    async with subscribed(server) as session:
        await session.read(plan)
        await asyncio.sleep(0.3)
        await server.set("mass", data(77.0))
        assert (await until(session, plan, 1))[0].value == 77.0


async def test_no_task_is_left_behind(server: Any, opcua_plan: Callable[..., MeterPlan]) -> None:
    before = asyncio.all_tasks()
    async with subscribed(server) as session:
        await session.read(opcua_plan(mass="ns=2;s=mass"))
        assert not {
            task for task in asyncio.all_tasks() - before if "asyncua/client" in repr(task) or "drivers" in repr(task)
        }


async def test_a_reading_of_one_point_takes_nothing_of_what_was_told(
    server: Any, opcua_plan: Callable[..., MeterPlan]
) -> None:
    plan, one = opcua_plan(mass="ns=2;s=mass", flow="ns=2;s=flow"), opcua_plan(mass="ns=2;s=mass")
    async with subscribed(server) as session:
        await session.read(plan)
        await asyncio.sleep(0.3)
        await server.set("mass", data(42.0))
        await asyncio.sleep(0.3)
        assert [value.at_ms for value in await session.read(one)] == [None]
        assert [value.value for value in await until(session, plan, 1)] == [42.0]
