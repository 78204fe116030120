"""The variables of a server, for a person who looks for a meter's nodes: bounded in number and depth.

From the Objects folder down the hierarchical references (OPC 10000-3, 7.3), without the server's own object; a variable's
EngineeringUnits property, where it has one, tells its unit.
"""

import struct
from dataclasses import dataclass, replace
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from drivers.opcua.blocks import Blocks
from drivers.opcua.bounded import BoundedClient, reply_head
from drivers.opcua.codec import standard_node
from drivers.opcua.errors import is_loss

MOST = 2000
"""Variables, unless said otherwise."""
MOST_OBJECTS = 2000
DEEPEST = 12
_REFERENCES = 500
_LONGEST_TEXT = 200
_SERVER = standard_node(ObjectIds.Server)
_TYPES = {number: name for name, number in vars(ObjectIds).items() if isinstance(number, int) and 0 < number < 30}
"""Names of the built-in data types and the abstract ones."""


@dataclass(frozen=True)
class Variable:
    """A variable somebody may want to read."""

    node: str
    """Its node id as a profile writes it: `ns=2;s=OilFlow.MassTotal`."""
    path: str
    """The names from the Objects folder down."""
    data_type: str
    """`Double`, `Float`, …, or the node id of a type of the server's own."""
    unit: str = ""
    """As its EngineeringUnits property shows it; empty where there is none."""


async def variables(client: BoundedClient, blocks: Blocks, most: int) -> list[Variable]:
    """Return the server's variables, the nearest to the Objects folder first."""
    found: dict[ua.NodeId, Variable] = {}
    units: dict[ua.NodeId, ua.NodeId] = {}
    seen = {_SERVER}
    level: list[tuple[ua.NodeId, str]] = [(standard_node(ObjectIds.ObjectsFolder), "")]
    for _ in range(DEEPEST):
        below: list[tuple[ua.NodeId, str]] = []
        for parent, path in level:
            for child in await _children(client, parent):
                node = child.NodeId
                if isinstance(node, ua.ExpandedNodeId) or node in seen:
                    continue
                if child.ReferenceTypeId == standard_node(ObjectIds.HasProperty):
                    if parent in found and child.BrowseName.Name == "EngineeringUnits":
                        units[parent] = node
                    continue
                seen.add(node)
                name = f"{path}/{(child.DisplayName.Text or child.BrowseName.Name or '?')[:_LONGEST_TEXT]}".lstrip("/")
                if child.NodeClass == ua.NodeClass.Variable and len(found) < most:
                    found[node] = Variable(node.to_string(), name, "")
                if len(seen) < most + MOST_OBJECTS:
                    below.append((node, name))
        level = below
    await _add_types(found, blocks)
    await _add_units(found, units, blocks)
    return list(found.values())


async def _children(client: BoundedClient, node: ua.NodeId) -> list[ua.ReferenceDescription]:
    """Return a node's first children; none where the server does not let us look."""
    wanted = ua.BrowseDescription()
    wanted.NodeId = node
    wanted.BrowseDirection = ua.BrowseDirection.Forward
    wanted.ReferenceTypeId = standard_node(ObjectIds.HierarchicalReferences)
    wanted.IncludeSubtypes = True
    wanted.NodeClassMask = ua.NodeClass.Object | ua.NodeClass.Variable
    wanted.ResultMask = ua.BrowseResultMask.All
    request = ua.BrowseRequest()
    request.Parameters.RequestedMaxReferencesPerNode = _REFERENCES
    request.Parameters.NodesToBrowse = [wanted]
    try:
        found, point = _browsed(
            await client.uaclient._send_request(request), ObjectIds.BrowseResponse_Encoding_DefaultBinary
        )
        while point and len(found) < MOST:
            more: Any = ua.BrowseNextRequest()
            more.Parameters.ContinuationPoints = [point]
            kind = ObjectIds.BrowseNextResponse_Encoding_DefaultBinary
            page, point = _browsed(await client.uaclient._send_request(more), kind)
            found += page
        if point:
            more = ua.BrowseNextRequest()
            more.Parameters.ReleaseContinuationPoints, more.Parameters.ContinuationPoints = True, [point]
            await client.uaclient._send_request(more)
    except UaStatusCodeError as error:
        if client.lost or is_loss(error.code):
            raise
        return []
    return found


def _browsed(data: Any, kind: int) -> tuple[list[ua.ReferenceDescription], bytes | None]:
    reply_head(data, kind)
    if struct.unpack("<i", data.read(4))[0] != 1:
        raise UaError("one result was asked for")
    result = struct_from_binary(ua.BrowseResult, data)
    return list(result.References or []), result.ContinuationPoint or None


async def _add_types(found: dict[ua.NodeId, Variable], blocks: Blocks) -> None:
    nodes = list(found)
    for node, data in zip(nodes, await blocks.read(nodes, AttributeIds.DataType), strict=True):
        kind = data.Value.Value if data.Value is not None else None
        if isinstance(kind, ua.NodeId):
            name = _TYPES.get(int(str(kind.Identifier))) if kind.NamespaceIndex == 0 else None
            found[node] = replace(found[node], data_type=name or kind.to_string())


async def _add_units(found: dict[ua.NodeId, Variable], units: dict[ua.NodeId, ua.NodeId], blocks: Blocks) -> None:
    for node, data in zip(units, await blocks.read(list(units.values())), strict=True):
        told = data.Value.Value if data.Value is not None else None
        if isinstance(told, ua.EUInformation):
            found[node] = replace(found[node], unit=str(told.DisplayName.Text or "")[:_LONGEST_TEXT])
