"""The OPC UA driver: one session for each server, as few requests as it takes for each meter."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from asyncua import ua
from asyncua.ua.uaerrors import UaError
from pydantic import BaseModel

from drivers.contract import Session, Surroundings, Value
from drivers.measure import number_fault
from drivers.opcua.codec import replayed
from drivers.opcua.connect import connected
from drivers.opcua.session import OpcUaSession
from drivers.opcua.settings import OpcUaLine, OpcUaMeter
from metering.profile import Place, Profile
from metering.text import Text


class OpcUaDriver:
    """Meters behind an OPC UA server."""

    name = "opcua"
    line_model: type[BaseModel] = OpcUaLine
    meter_model: type[BaseModel] = OpcUaMeter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        text = str(point.address)
        try:
            node = ua.NodeId.from_string(text)
        except (UaError, ValueError):
            node = None
        if node is None or isinstance(point.address, int) or isinstance(node, ua.ExpandedNodeId):
            return Text(f"{point.address!r} 不是节点号，应如 ns=2;s=Flow.Mass 或 ns=2;i=1001",
                        f"{point.address!r} is no node id such as ns=2;s=Flow.Mass or ns=2;i=1001")  # fmt: skip
        if point.type is not None:
            return Text("服务器给出类型，不用写 type", "the server gives the type: leave it out")
        for name in ("fc", "order", "bits", "scale_from", "plus"):
            if getattr(point, name):
                return Text(f"OPC UA 没有 {name}", f"OPC UA has no {name}: leave it out")
        return number_fault(point)

    def replay(self, profile: Profile, vector: Mapping[str, Any]) -> Sequence[Value]:
        return list(replayed(profile, vector))

    def open(self, line: BaseModel, world: Surroundings) -> AbstractAsyncContextManager[Session]:
        return _opened(OpcUaLine.model_validate(line), world)


@asynccontextmanager
async def _opened(line: OpcUaLine, world: Surroundings) -> AsyncIterator[Session]:
    async with connected(line, world) as client:
        yield OpcUaSession(client, line, world)
