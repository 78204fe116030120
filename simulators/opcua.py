"""An OPC UA server on loopback (asyncua's), as a PLC would be one: every second it writes its instruments' values.

Anonymous, security None, read only. Values are Doubles with source and server time. The nodes are those of
`config/profiles/generic/opcua-flow.yaml` and `config/profiles/demo/production-counter.yaml`. The served log holds what
clients read, `t` being the source time; what a subscription carries is not in it.
"""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator, Iterable

from asyncua import ua
from asyncua.common.callback import Callback, CallbackType, ServerItemCallback
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from simulators.faults import Faults
from simulators.meters import Meter
from simulators.served import ServedLog

NAMESPACE = "urn:tanbiao:simulators"
CYCLE_S = 1.0
NODES: dict[str, dict[str, str]] = {
    "coriolis": {
        "mass": "OilFlow.MassTotal",
        "mass_flow": "OilFlow.MassFlow",
        "density": "OilFlow.Density",
        "temperature": "OilFlow.Temperature",
    },
    "production-counter": {"tonnes": "Production.Tonnes", "rate": "Production.Rate"},
}
"""Node ids (`ns=2;s=...`) of each model's points."""


class OpcUa:
    """The server and its instruments."""

    def __init__(self, meters: Iterable[Meter], faults: Faults, served: ServedLog, group: asyncio.TaskGroup) -> None:
        self._points = {
            ua.NodeId.from_string(address): (meter, point)
            for meter in meters
            for point, address in addresses(meter).items()
        }
        self._steps: dict[ua.NodeId, int] = {}
        self._faults = faults
        self._served = served
        self._group = group
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        self._server = Server()

    @contextlib.asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[int]:
        """Listen on 127.0.0.1 and yield the port."""
        await self._prepare(port)
        await self._server.start()
        cycling = self._group.create_task(self._cycle())
        try:
            yield int(self._server.bserver.port if self._server.bserver else 0)
        finally:
            cycling.cancel()
            await self._server.stop()

    async def _prepare(self, port: int) -> None:
        server = self._server
        await server.init()
        server.disable_clock()  # its loop holds the stop for a second; our cycle writes the time
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/tanbiao/")
        server.set_server_name("Tanbiao simulators")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        await server.register_namespace(NAMESPACE)
        for node, (meter, point) in self._points.items():
            name = f"{meter.name} {point}"
            await server.nodes.objects.add_variable(node, f"2:{name}", 0.0, ua.VariantType.Double)
        await self._write()
        server.subscribe_server_callback(CallbackType.PostRead, self._note)

    async def _cycle(self) -> None:
        clock = self._server.get_node(ObjectIds.Server_ServerStatus_CurrentTime)
        while True:
            await self._write()
            await clock.write_value(_time(self._faults.now()))
            await asyncio.sleep(CYCLE_S)

    async def _write(self) -> None:
        for node, (meter, point) in self._points.items():
            await self._server.write_attribute_value(node, self._value(node, meter, point))

    def _value(self, node: ua.NodeId, meter: Meter, point: str) -> ua.DataValue:
        now = self._faults.now()
        source_ms = now - round(self._faults.delay_s(meter.name) * 1000)
        self._steps[node] = meter.steps(point, source_ms)
        return ua.DataValue(
            ua.Variant(meter.read(point, self._steps[node]), ua.VariantType.Double),
            StatusCode=ua.StatusCode(ua.UInt32(self._status(meter.name))),
            SourceTimestamp=_time(source_ms),
            ServerTimestamp=_time(now),
        )

    def _status(self, meter: str) -> int:
        if self._faults.silent(meter):
            return StatusCodes.BadNoCommunication
        return StatusCodes.BadCommunicationError if self._faults.corrupt(meter) else StatusCodes.Good

    def _note(self, event: Callback, _dispatcher: object) -> None:
        if not isinstance(event, ServerItemCallback) or not event.is_external:
            return
        for asked, held in zip(event.request_params.NodesToRead, event.response_params, strict=True):
            known = self._points.get(asked.NodeId)
            if known is None or asked.AttributeId != AttributeIds.Value or held.Value is None:
                continue
            meter, point = known
            fault = None if held.StatusCode.is_good() else held.StatusCode.name
            source_ms = round(held.SourceTimestamp.replace(tzinfo=dt.UTC).timestamp() * 1000)
            self._served.note(source_ms, meter.name, point, self._steps[asked.NodeId], held.Value.Value, fault)


def addresses(meter: Meter) -> dict[str, str]:
    """Return the node of each point: of a bundled model's own, or where the profile says."""
    if meter.shape is None:
        return {point: f"ns=2;s={node}" for point, node in NODES[str(meter.settings.model)].items()}
    return {name: str(meter.shape.spots[name].place.address) for name in meter.shape.profile.points}


def _time(ms: int) -> ua.DateTime:
    return ua.DateTime.fromtimestamp(ms / 1000, dt.UTC)
