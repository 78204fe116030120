"""An open session with one server: reads, what the server tells by itself, what it recorded, what it says of itself.

Promises
    * Every wait has an end, and no task outlives the session: there is none.
    * Each reading asks the server. What a subscription told besides comes with its own time, so nothing is ever repeated
      with a new one.
    * After any loss the session stays dead and says MeterUnreachable; its owner opens a new one.
"""

import asyncio
from collections.abc import Sequence

from asyncua.ua.object_ids import ObjectIds

from drivers.contract import MeterPlan, Surroundings, Value
from drivers.opcua import browse, history
from drivers.opcua.blocks import Blocks
from drivers.opcua.bounded import BoundedClient
from drivers.opcua.codec import Clock, Target, standard_node, target, text_of
from drivers.opcua.errors import asyncua_errors
from drivers.opcua.order import Readings
from drivers.opcua.settings import OpcUaLine
from drivers.opcua.subscription import Subscription

HISTORY_S = 25.0
"""Longest time to read one piece of a history."""
_BUILD_INFO = {
    "maker": ObjectIds.Server_ServerStatus_BuildInfo_ManufacturerName,
    "model": ObjectIds.Server_ServerStatus_BuildInfo_ProductName,
    "firmware": ObjectIds.Server_ServerStatus_BuildInfo_SoftwareVersion,
    "build": ObjectIds.Server_ServerStatus_BuildInfo_BuildNumber,
    "product_uri": ObjectIds.Server_ServerStatus_BuildInfo_ProductUri,
}


class OpcUaSession:
    """An open session. Not to be used after MeterUnreachable."""

    def __init__(self, client: BoundedClient, line: OpcUaLine, world: Surroundings) -> None:
        self._client = client
        self._line = line
        self._world = world
        self._blocks = Blocks(client)
        self._targets: dict[str, tuple[MeterPlan, list[Target]]] = {}
        self._readings: dict[str, Readings] = {}
        self._subscription = Subscription(client, line, world) if line.subscribe else None

    async def read(self, plan: MeterPlan) -> Sequence[Value]:
        targets, told = self._targets_of(plan), list[Value]()
        asked_ms = self._world.now_ms()
        with asyncua_errors(self._line.url):
            async with asyncio.timeout(self._line.timeout):
                await self._client.ready()
                if self._subscription is not None:
                    await self._subscription.follow(plan.meter, [one for one in targets if one.counts], self._blocks)
                found = await self._blocks.read([target.node for target in targets])
                if self._subscription is not None:
                    by_node = {target.node: data for target, data in zip(targets, found, strict=True)}
                    told = await self._subscription.told(plan.meter, by_node)
        clock = Clock(self._world.now_ms(), self._line.stale_after * 1000)
        values = [target.value(data, clock) for target, data in zip(targets, found, strict=True)]
        readings = self._readings.setdefault(plan.meter, Readings())
        readings.add(asked_ms, values)
        return [*readings.told(told), *values]

    @property
    def resubscribed(self) -> int:
        return self._subscription.rebuilt if self._subscription is not None else 0

    async def identify(self, plan: MeterPlan) -> Sequence[Value]:
        places = [target(name, place) for name, place in plan.profile.identity.items()]
        nodes = [standard_node(number) for number in _BUILD_INFO.values()]
        with asyncua_errors(self._line.url):
            async with asyncio.timeout(self._line.timeout):
                found = await self._blocks.read([*nodes, *(place.node for place in places)])
        texts = {name: text_of(data.Value) for name, data in zip(_BUILD_INFO, found, strict=False)}
        said = [Value(name, None, text=text) for name, text in texts.items() if text]
        return [*said, *(place.value(data, None) for place, data in zip(places, found[len(nodes) :], strict=True))]

    async def history(self, plan: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Value]:
        with asyncua_errors(self._line.url):
            async with asyncio.timeout(HISTORY_S):
                await self._client.ready()
                found = await history.between(self._client, self._targets_of(plan), from_ms, to_ms)
        return self._readings[plan.meter].past(found, to_ms) if plan.meter in self._readings else found

    async def browse(self, most: int = browse.MOST) -> list[browse.Variable]:
        """Return the variables of the server, `most` at most, for a person to choose from.

        Raises:
            MeterError: as `read`.
        """
        with asyncua_errors(self._line.url):
            async with asyncio.timeout(HISTORY_S):
                return await browse.variables(self._client, self._blocks, most)

    def _targets_of(self, plan: MeterPlan) -> list[Target]:
        known = self._targets.get(plan.meter)
        if known is None or known[0] is not plan:
            known = plan, [target(name, point) for name, point in plan.points.items()]
            self._targets[plan.meter] = known
        return known[1]
