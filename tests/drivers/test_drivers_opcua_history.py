"""OPC UA history: strictly between, in pieces, bounded, released, and marked."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.server.history import HistoryStorageInterface

from drivers.contract import MeterPlan
from drivers.opcua import history
from drivers.opcua.codec import target
from drivers.opcua.connect import connected
from drivers.opcua.session import OpcUaSession
from drivers.opcua.settings import OpcUaLine
from link.real_world import RealWorld
from metering.reading import Quality

pytestmark = pytest.mark.asyncio(loop_scope="module")
BEGIN = datetime(2026, 1, 2, tzinfo=UTC)
BEGIN_MS = round(BEGIN.timestamp() * 1000)
KEPT = 25_000
STATUS = {5: ua.StatusCodes.UncertainLastUsableValue, 6: ua.StatusCodes.BadSensorFailure}


class Recorder(HistoryStorageInterface):
    """A value each second, in pieces of at most 400; `mass` from the first second on, `flow` only each tenth second."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[datetime, datetime, int]] = []

    async def read_node_history(
        self, node_id: ua.NodeId, start: datetime | None, end: datetime | None, nb_values: int
    ) -> tuple[list[ua.DataValue], datetime | None]:
        assert start is not None
        assert end is not None
        start, end = start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)
        self.asked.append((start, end, nb_values))
        step = 10 if node_id.Identifier == "flow" else 1
        numbers = [at for at in range(0, KEPT, step) if start <= BEGIN + timedelta(seconds=at) <= end]
        most = min(nb_values or 400, 400)
        held = [self._value(at) for at in numbers[:most]]
        return held, BEGIN + timedelta(seconds=numbers[most]) if len(numbers) > most else None

    @staticmethod
    def _value(at: int) -> ua.DataValue:
        status = ua.StatusCode(ua.UInt32(STATUS.get(at, 0)))
        return ua.DataValue(ua.Variant(float(at)), status, SourceTimestamp=BEGIN + timedelta(seconds=at))

    async def stop(self) -> None:
        pass


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def recorded(opcua_server: Any) -> AsyncIterator[tuple[OpcUaSession, Recorder]]:
    async with opcua_server() as server:
        recorder = Recorder()
        server.server.iserver.history_manager.set_storage(recorder)
        for name in ("mass", "flow"):
            await server.add(name, 0.0)
        line = OpcUaLine.model_validate({"driver": "opcua", "url": server.url})
        async with connected(line, RealWorld()) as client:
            yield OpcUaSession(client, line, RealWorld()), recorder


async def test_what_lies_strictly_between_is_given_oldest_first_with_its_status(
    recorded: tuple[OpcUaSession, Recorder], opcua_plan: Callable[..., MeterPlan]
) -> None:
    values = await recorded[0].history(opcua_plan(mass="ns=2;s=mass"), BEGIN_MS + 3000, BEGIN_MS + 8000)
    assert [((value.at_ms or 0) - BEGIN_MS, value.value, value.quality) for value in values] == [
        (4000, 4.0, Quality.BACKFILLED),
        (5000, 5.0, Quality.UNCERTAIN),
        (6000, None, Quality.BAD),
        (7000, 7.0, Quality.BACKFILLED),
    ]


async def test_a_long_history_comes_in_pieces_and_whole(
    recorded: tuple[OpcUaSession, Recorder], opcua_plan: Callable[..., MeterPlan]
) -> None:
    session, recorder = recorded
    recorder.asked.clear()
    values = await session.history(opcua_plan(mass="ns=2;s=mass"), BEGIN_MS - 1, BEGIN_MS + 1000_000)
    assert [value.at_ms for value in values] == [BEGIN_MS + at * 1000 for at in range(1000)]
    assert len(recorder.asked) == 3


async def test_a_history_beyond_the_bound_can_be_asked_on_from_its_last_value(
    recorded: tuple[OpcUaSession, Recorder], opcua_plan: Callable[..., MeterPlan]
) -> None:
    client = recorded[0]._client
    plan = opcua_plan(mass="ns=2;s=mass", flow="ns=2;s=flow")
    targets = [target(name, place) for name, place in plan.points.items()]
    from_ms, found = BEGIN_MS - 1, []
    while piece := await history.between(client, targets, from_ms, BEGIN_MS + 3_000_000, most=2000):
        assert len(piece) <= 2000 + 1000
        found += piece
        from_ms = max(value.at_ms or 0 for value in piece)
    masses = [value.at_ms for value in found if value.point == "mass"]
    assert masses == [BEGIN_MS + at * 1000 for at in range(3000)]
    assert [value.at_ms for value in found if value.point == "flow"] == [
        BEGIN_MS + at * 1000 for at in range(0, 3000, 10)
    ]
