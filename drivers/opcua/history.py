"""What a server recorded: raw values strictly between two times, a bounded number, oldest first (OPC 10000-11, 6.5.3).

A server that keeps no history of a node has none to give; that is no fault. Continuation points are used, and released
where we stop early. Where the bound cuts a node's values short, nothing later than the cut is given of any other node, so
that whoever asks on from the last value misses none.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from asyncua import ua
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from drivers.contract import Value
from drivers.opcua.bounded import BoundedClient, reply_head
from drivers.opcua.codec import Target, epoch_ms
from drivers.opcua.errors import is_loss

MOST = 20_000
"""Values of one call, of all points together."""
AT_ONCE = 1000
"""Values of one reply."""


async def between(
    client: BoundedClient, targets: Sequence[Target], from_ms: int, to_ms: int, most: int = MOST
) -> list[Value]:
    """Return the recorded values of all targets, oldest first."""
    found: list[Value] = []
    horizon = to_ms
    for target in targets:
        values, cut = await _of_one(client, target, from_ms, to_ms, max(1, most // len(targets)))
        if cut and values:
            horizon = min(horizon, max(value.at_ms or 0 for value in values) + 1)
        found += values
    return sorted((value for value in found if (value.at_ms or 0) < horizon), key=lambda value: value.at_ms or 0)


async def _of_one(
    client: BoundedClient, target: Target, from_ms: int, to_ms: int, most: int
) -> tuple[list[Value], bool]:
    """Return one node's values, and whether there would have been more."""
    found: list[Value] = []
    point: bytes | None = None
    while True:
        await client.ready()
        data, point = await _page(client, target.node, from_ms, to_ms, min(AT_ONCE, most), point)
        found += [value for one in data if (value := _value(target, one, from_ms, to_ms)) is not None]
        if not point:
            return found, False
        if len(found) >= most or not data:
            await _release(client, target.node, from_ms, to_ms, point)
            return found, True


def _value(target: Target, data: ua.DataValue, from_ms: int, to_ms: int) -> Value | None:
    at_ms = epoch_ms(data.SourceTimestamp) or epoch_ms(data.ServerTimestamp)
    if at_ms is None or not from_ms < at_ms < to_ms:
        return None
    return msgspec.structs.replace(target.value(data, None, backfilled=True), at_ms=at_ms)


async def _page(
    client: BoundedClient, node: ua.NodeId, from_ms: int, to_ms: int, count: int, point: bytes | None
) -> tuple[list[ua.DataValue], bytes | None]:
    """Return some values and the point at which to go on; none where the server keeps no history of the node."""
    request = _request(node, from_ms, to_ms, count, point)
    try:
        data = await client.uaclient._send_request(request)
        reply_head(data, ObjectIds.HistoryReadResponse_Encoding_DefaultBinary)
    except UaStatusCodeError as error:
        if client.lost or is_loss(error.code):
            raise
        return [], None
    results = _results(data)
    if len(results) != 1 or results[0].StatusCode.value >= 0x8000_0000:
        return [], None
    held = results[0].HistoryData
    values: Any = getattr(held, "DataValues", None)
    return list(values or []), results[0].ContinuationPoint or None


def _results(data: Any) -> list[ua.HistoryReadResult]:
    count = int.from_bytes(data.read(4), "little", signed=True)
    if count > 1:
        raise UaError("more results than nodes")
    return [struct_from_binary(ua.HistoryReadResult, data) for _ in range(count)]


async def _release(client: BoundedClient, node: ua.NodeId, from_ms: int, to_ms: int, point: bytes) -> None:
    request = _request(node, from_ms, to_ms, 1, point)
    request.Parameters.ReleaseContinuationPoints = True
    await client.uaclient._send_request(request)


def _request(node: ua.NodeId, from_ms: int, to_ms: int, count: int, point: bytes | None) -> Any:
    details = ua.ReadRawModifiedDetails()
    details.IsReadModified = details.ReturnBounds = False
    details.StartTime, details.EndTime = _time(from_ms), _time(to_ms)
    details.NumValuesPerNode = count
    request = ua.HistoryReadRequest()
    request.Parameters.HistoryReadDetails = details
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.ReleaseContinuationPoints = False
    request.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=node, ContinuationPoint=point)]
    return request


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
