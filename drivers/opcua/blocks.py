"""Reading any number of nodes in as few requests as the server takes, so that no bad node hides the others.

The server's own limit (MaxNodesPerRead) is asked once. What is refused as a whole, or cannot be read, is asked again in
halves, down to single nodes; those that fail alone are asked alone from then on.
"""

import struct
from collections.abc import Sequence

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from drivers.opcua.bounded import BoundedClient
from drivers.opcua.codec import number_of, standard_node
from drivers.opcua.errors import is_loss

LARGEST_BLOCK = 1000
"""Values of this many nodes fit into the longest message we take."""
_MAX_NODES_PER_READ = standard_node(ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead)
_TOO_MANY = (StatusCodes.BadTooManyOperations, StatusCodes.BadResponseTooLarge, StatusCodes.BadRequestTooLarge,
             StatusCodes.BadEncodingLimitsExceeded)  # fmt: skip


class Blocks:
    """What is known of one server's limits."""

    def __init__(self, client: BoundedClient) -> None:
        self._client = client
        self._size = 0
        self._alone: set[ua.NodeId] = set()

    async def read(self, nodes: Sequence[ua.NodeId], attribute: int = AttributeIds.Value) -> list[ua.DataValue]:
        """Return the values of all nodes, in their order.

        Raises:
            Exception: what asyncua raises for a lost connection, or where every node was refused.
        """
        if not self._size:
            self._size = await self._limit()
        found: dict[int, ua.DataValue] = {}
        together = [at for at, node in enumerate(nodes) if node not in self._alone]
        while together:
            now, together = together[: self._size], together[self._size :]
            await self._ask(nodes, now, attribute, found)
        for at, node in enumerate(nodes):
            if at not in found:
                found[at] = await self._single(node, attribute)
        return [found[at] for at in range(len(nodes))]

    async def _limit(self) -> int:
        try:
            told = (await self._client.read([_MAX_NODES_PER_READ]))[0]
        except UaStatusCodeError as error:
            if is_loss(error.code):
                raise
            return LARGEST_BLOCK
        limit = number_of(told.Value)
        return min(int(limit), LARGEST_BLOCK) if limit is not None and limit >= 1 else LARGEST_BLOCK

    async def _ask(
        self, nodes: Sequence[ua.NodeId], at: Sequence[int], attribute: int, found: dict[int, ua.DataValue]
    ) -> None:
        """Read some nodes; where that is refused, in halves. What failed alone is left out."""
        try:
            values = await self._client.read([nodes[index] for index in at], attribute)
        except (UaError, ValueError, TypeError, AttributeError, struct.error) as error:
            too_many = isinstance(error, UaStatusCodeError) and error.code in _TOO_MANY
            if self._client.lost or (isinstance(error, UaStatusCodeError) and is_loss(error.code) and not too_many):
                raise
            if len(at) == 1:
                self._alone.add(nodes[at[0]])
                return
            half = (len(at) + 1) // 2
            if too_many:
                self._size = min(self._size, half)
            await self._ask(nodes, at[:half], attribute, found)
            await self._ask(nodes, at[half:], attribute, found)
        else:
            found.update(zip(at, values, strict=True))

    async def _single(self, node: ua.NodeId, attribute: int) -> ua.DataValue:
        """Read a node that cannot be read with others."""
        try:
            value: ua.DataValue = (await self._client.read([node], attribute))[0]
        except (UaError, ValueError, TypeError, AttributeError, struct.error) as error:
            code = error.code if isinstance(error, UaStatusCodeError) else StatusCodes.BadDecodingError
            if self._client.lost or (is_loss(code) and code not in _TOO_MANY):
                raise
            return ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(code)))
        else:
            self._alone.discard(node)
        return value
