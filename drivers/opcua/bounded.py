"""asyncua's client with limits that a server cannot lift.

asyncua takes the limits a server acknowledges for its own (none, if the server says so), and collects a chunk of any
stated size before it looks at it. Here a message has at most 1 MiB in 16 chunks of 64 KiB; the connection to a server
that sends more is closed. A meter's read takes some hundred bytes.
"""

from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.ua.attribute_ids import AttributeIds

MAX_CHUNK = 65535
MAX_CHUNKS = 16
MAX_MESSAGE = 1 << 20


class _OurLimits(TransportLimits):
    """Receives no more than we said; sends no more than the server takes."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        self.max_send_buffer = min(self.max_send_buffer, msg.ReceiveBufferSize or self.max_send_buffer)


class _Protocol(UASocketProtocol):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.receive_buffer is not None and len(self.receive_buffer) > MAX_CHUNK:
            self.receive_buffer = None
            self.disconnect_socket()


class _BoundedUaClient(UaClient):
    def _make_protocol(self) -> UASocketProtocol:
        theirs = super()._make_protocol()
        limits = _OurLimits(MAX_CHUNK, MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE)
        self.protocol = _Protocol(theirs.timeout, self.security_policy, limits)
        self.protocol.pre_request_hook = theirs.pre_request_hook
        self.protocol.on_connection_lost = theirs.on_connection_lost
        self.protocol.is_session_closing = theirs.is_session_closing
        return self.protocol


class BoundedClient(Client):
    """A client without background tasks of its own: use `open` and `close`, not `connect`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(url, timeout=timeout_s)
        hook = self.uaclient.pre_request_hook
        self.uaclient = _BoundedUaClient(timeout_s)
        self.uaclient.pre_request_hook = hook
        self.max_messagesize = MAX_MESSAGE
        self.max_chunkcount = MAX_CHUNKS

    async def open(self, user: str | None, password: str | None) -> None:
        """Connect, open a channel and a session. `close` must follow, also after an error."""
        await self.connect_socket()
        await self.send_hello()
        await self.open_secure_channel()
        await self.create_session()
        await self.activate_session(username=user, password=password)

    async def read(self, nodes: list[ua.NodeId]) -> list[ua.DataValue]:
        """Read the values of all nodes in one request, with source times."""
        wanted: list[Any] = [ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in nodes]
        parameters = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Source, NodesToRead=wanted)
        return await self.uaclient.read(parameters)

    async def say_goodbye(self) -> None:
        """Close session and channel at the server; may wait for its reply."""
        await self.close_session()
        await self.close_secure_channel()
