"""An OPC UA server on loopback (asyncua's), as a PLC would be one: every second it writes its instruments' values.

Read only. Anonymous and without security, unless the line has a `user` or is `secured`; then it has a certificate of its own
as well. Values are Doubles with source and server time, at the nodes of the bundled models or of any OPC UA profile; what
they were is there as history. The served log holds what clients read, `t` being the source time, and as the past what a
history carried; what a subscription carries is not in it. While `refuse` lasts the server is down; then it starts anew on
the same port.
"""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from asyncua import ua
from asyncua.common.callback import Callback, CallbackType, ServerItemCallback
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from settings.plant import PlantLine
from simulators.faults import Faults
from simulators.meters import Meter
from simulators.opcua_access import Doorman, guard
from simulators.opcua_past import Past
from simulators.served import ServedLog

NAMESPACE = "urn:tanbiao:simulators"
CYCLE_S = 1.0
FUTURE_MS = 3_600_000
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

    def __init__(
        self,
        name: str,
        line: PlantLine,
        certificate: Path,
        meters: Iterable[Meter],
        faults: Faults,
        served: ServedLog,
        group: asyncio.TaskGroup,
    ) -> None:
        self._name = name
        self._line = line
        self._certificate = certificate
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
        self._server: Server

    @contextlib.asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[int]:
        """Listen on 127.0.0.1 and yield the port."""
        port = await self._start(port)
        keeping = self._group.create_task(self._keep(port))
        try:
            yield port
        finally:
            keeping.cancel()
            await self._server.stop()

    async def _start(self, port: int) -> int:
        server = self._server = Server(user_manager=Doorman(self._line))
        await server.init()
        server.disable_clock()  # its loop holds the stop for a second; our cycle writes the time
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/tanbiao/")
        server.set_server_name("Tanbiao simulators")
        await guard(server, self._line, self._certificate)
        await server.register_namespace(NAMESPACE)
        server.iserver.history_manager.set_storage(Past(self._shown, self._faults.now))
        for node, (meter, point) in self._points.items():
            name = f"{meter.name} {point}"
            await server.nodes.objects.add_variable(node, f"2:{name}", 0.0, ua.VariantType.Double)
        await self._write()
        server.subscribe_server_callback(CallbackType.PostRead, self._note)
        await server.start()
        return int(server.bserver.port if server.bserver else 0)

    async def _keep(self, port: int) -> None:
        """Write the values, and stop and start the server as the faults will."""
        up = True
        while True:
            if (self._faults.of_line(self._name) == "refuse") == up:
                up = not up
                await (self._start(port) if up else self._server.stop())
            if up:
                await self._write()
                clock = self._server.get_node(ObjectIds.Server_ServerStatus_CurrentTime)
                await clock.write_value(_time(self._faults.now()))
            await asyncio.sleep(CYCLE_S)

    def _shown(self, node: ua.NodeId, ms: int) -> float | None:
        """Return what a meter showed at a time, as it leaves for a client."""
        if node not in self._points:
            return None
        meter, point = self._points[node]
        steps = meter.steps(point, ms)
        value = float(meter.read(point, steps))
        self._served.note_past(ms, meter.name, point, steps, value)
        return value

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
            SourceTimestamp=self._source_time(meter.name, source_ms),
            ServerTimestamp=_time(now),
        )

    def _source_time(self, meter: str, source_ms: int) -> ua.DateTime | None:
        if self._faults.current("unstamped", meter):
            return None
        return _time(source_ms + FUTURE_MS if self._faults.current("future", meter) else source_ms)

    def _status(self, meter: str) -> int:
        if self._faults.current("uncertain", meter):
            return StatusCodes.UncertainLastUsableValue
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
            time = held.SourceTimestamp or held.ServerTimestamp
            source_ms = round(time.replace(tzinfo=dt.UTC).timestamp() * 1000)
            self._served.note(source_ms, meter.name, point, self._steps[asked.NodeId], held.Value.Value, fault)


def addresses(meter: Meter) -> dict[str, str]:
    """Return the node of each point: of a bundled model's own, or where the profile says."""
    if meter.shape is None:
        return {point: f"ns=2;s={node}" for point, node in NODES[str(meter.settings.model)].items()}
    return {name: str(meter.shape.spots[name].place.address) for name in meter.shape.profile.points}


def _time(ms: int) -> ua.DateTime:
    return ua.DateTime.fromtimestamp(ms / 1000, dt.UTC)
