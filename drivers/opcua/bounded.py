"""asyncua's client with limits that a server cannot lift, and without tasks of its own.

asyncua takes the limits a server acknowledges for its own (none, if the server says so), collects a chunk of any stated
size before it looks at it, and believes the lengths of arrays. Here a message has at most 256 KiB in 16 chunks of 64 KiB;
the connection to a server that sends more is closed; an array cannot have more elements than there are bytes left. All of
it holds on secured channels as on others. A meter's read takes some hundred bytes.

Host names are looked up by the caller: asyncio's own threads for it are few, and hold up the stop.
"""

import asyncio
import contextlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol, UASocketState
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import Buffer, create_nonce
from asyncua.ua import ua_binary
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_from_binary, uatcp_to_binary
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from metering.errors import BadFrame, MeterUnreachable
from metering.text import Text

MAX_CHUNK = 65536
MAX_CHUNKS = 16
MAX_MESSAGE = 1 << 18
LIFETIME_MS = 3_600_000
"""Wished for channel and session."""
RENEW_AFTER = 0.75
"""Share of a channel's lifetime after which it is renewed (OPC 10000-4, 5.5.2)."""


_HELLO: Any = ua.MessageType.Hello
_OPEN: Any = ua.MessageType.SecureOpen


class _OurLimits(TransportLimits):
    """Receives no more than we said; sends no more than the server takes."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        self.max_send_buffer = max(8192, min(self.max_send_buffer, msg.ReceiveBufferSize or self.max_send_buffer))


class _Protocol(UASocketProtocol):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.receive_buffer is not None and len(self.receive_buffer) > MAX_CHUNK:
            self.receive_buffer = None
            self.disconnect_socket()

    def _process_received_message(self, msg: Any) -> None:
        """A refusal to open the channel keeps its reason; asyncua reads it as a grant and fails without one."""
        if isinstance(msg, ua.Message) and not self._connection.is_open():
            message: Any = msg
            self.check_answer(message.body(), "")
        super()._process_received_message(msg)

    async def send_hello(self, url: str, max_messagesize: int = 0, max_chunkcount: int = 0) -> ua.Acknowledge:
        """Say what we take; asyncua's own says that a chunk may have 2 GiB."""
        if self.transport is None:
            raise ConnectionError("connection is not open")
        told: asyncio.Future[ua.Acknowledge] = asyncio.get_running_loop().create_future()
        self._callbackmap[0] = told
        self.transport.write(uatcp_to_binary(_HELLO, _hello(url)))
        async with asyncio.timeout(self.timeout):
            return await told


def _hello(url: str) -> ua.Hello:
    hello = ua.Hello(EndpointUrl=ua.String(url))
    hello.ReceiveBufferSize = hello.SendBufferSize = ua.UInt32(MAX_CHUNK)
    hello.MaxMessageSize, hello.MaxChunkCount = ua.UInt32(MAX_MESSAGE), ua.UInt32(MAX_CHUNKS)
    return hello


class _BoundedUaClient(UaClient):
    def _make_protocol(self) -> UASocketProtocol:
        theirs = super()._make_protocol()
        limits = _OurLimits(MAX_CHUNK, MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE)
        self.protocol = _Protocol(theirs.timeout, self.security_policy, limits)
        self.protocol.pre_request_hook = theirs.pre_request_hook
        self.protocol.on_connection_lost = theirs.on_connection_lost
        self.protocol.is_session_closing = theirs.is_session_closing
        return self.protocol

    async def create_session(self, parameters: ua.CreateSessionParameters) -> ua.CreateSessionResult:
        """Say what we take; a server that would send more then refuses that request, and we ask for less."""
        parameters.MaxResponseMessageSize = ua.UInt32(MAX_MESSAGE)
        return await super().create_session(parameters)


class BoundedClient(Client):
    """A client without background tasks: use `reach`, `open` and `close`, not `connect`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(url, timeout=timeout_s)
        hook = self.uaclient.pre_request_hook
        self.uaclient = _BoundedUaClient(timeout_s)
        self.uaclient.pre_request_hook = hook
        self.max_messagesize = MAX_MESSAGE
        self.max_chunkcount = MAX_CHUNKS
        self.secure_channel_timeout = self.session_timeout = LIFETIME_MS
        self._locale = ["en"]
        self._renewed_s = 0.0
        self._renewing: asyncio.Future[Any] | None = None

    async def reach(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Connect to the first address that answers, and open a channel. `close` must follow, also after an error."""
        for address in addresses[:-1]:
            try:
                await self.uaclient.connect_socket(*address)
                break
            except OSError:
                continue
        else:
            await self.uaclient.connect_socket(*addresses[-1])
        await self.send_hello()
        await self.open_secure_channel()
        self._check_nonce()
        self._renewed_s = asyncio.get_running_loop().time()

    def _check_nonce(self) -> None:
        """asyncua derives keys from a nonce of any length (OPC 10000-4, 5.5.2: as long as the policy says)."""
        wanted = self.security_policy.secure_channel_nonce_length
        nonce = self.connection.remote_nonce
        if wanted > 1 and len(nonce or b"") != wanted:
            raise MeterUnreachable(Text("服务器的随机数长度不对", "the server's nonce has the wrong length"))

    @property
    def connection(self) -> Any:
        """asyncua's secure connection."""
        if self.uaclient.protocol is None:
            raise ConnectionError("connection is not open")
        return self.uaclient.protocol._connection

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self.uaclient.protocol is None or self.uaclient.protocol.state is not UASocketState.OPEN

    async def read(self, nodes: Sequence[ua.NodeId], attribute: int = AttributeIds.Value) -> list[ua.DataValue]:
        """Read one attribute of all nodes in one request, with both times.

        Raises:
            BadFrame: the reply has another number of values.
        """
        wanted: list[Any] = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in nodes]
        request = ua.ReadRequest()
        request.Parameters = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=wanted)
        data = await self.uaclient._send_request(request)
        reply_head(data, ObjectIds.ReadResponse_Encoding_DefaultBinary)
        count = struct.unpack("<i", data.read(4))[0]
        if count != len(nodes):
            raise BadFrame(Text(f"返回 {count} 个值，应为 {len(nodes)}", f"{count} values, not {len(nodes)}"))
        return [struct_from_binary(ua.DataValue, data) for _ in range(count)]

    def ask(self, request: Any, answered: Callable[[Buffer | None], None], timeout_s: float) -> None:
        """Send a request without waiting; `answered` gets the reply when it comes, or None for a loss or a service fault."""
        protocol = self.uaclient.protocol
        if protocol is None or self.lost:
            return

        def settle(done: asyncio.Future[Buffer]) -> None:
            reply = None
            if not done.cancelled() and done.exception() is None:
                with contextlib.suppress(UaError):
                    protocol.check_answer(done.result(), "")
                    reply = done.result()
            answered(reply)

        protocol._send_request(request, timeout_s).add_done_callback(settle)

    def keep_alive(self) -> None:
        """Renew the channel when it is time to; the reply is taken when it comes."""
        protocol, now_s = self.uaclient.protocol, asyncio.get_running_loop().time()
        if now_s - self._renewed_s < RENEW_AFTER * self.secure_channel_timeout / 1000 or protocol is None or self.lost:
            return
        if protocol._open_secure_channel_exchange is not None:
            return
        request = ua.OpenSecureChannelRequest()
        request.Parameters.RequestType = ua.SecurityTokenRequestType.Renew
        request.Parameters.SecurityMode = self.security_policy.Mode
        request.Parameters.RequestedLifetime = self.secure_channel_timeout
        request.Parameters.ClientNonce = create_nonce(self.security_policy.secure_channel_nonce_length)
        protocol._open_secure_channel_exchange = request.Parameters
        self._renewing = protocol._send_request(request, message_type=_OPEN)
        self._renewing.add_done_callback(self._renewed)

    async def ready(self) -> None:
        """Renew the channel when it is time to, and wait for it, so that the new keys are used at once."""
        self.keep_alive()
        if self._renewing is not None and not self._renewing.done():
            await asyncio.wait([self._renewing])

    def _renewed(self, reply: asyncio.Future[Any]) -> None:
        protocol = self.uaclient.protocol
        if reply.cancelled() or reply.exception() is not None or protocol is None:
            return
        response, protocol._open_secure_channel_exchange = protocol._open_secure_channel_exchange, None
        try:
            self._check_nonce()
        except MeterUnreachable:
            self.disconnect_socket()
            return
        self._renewed_s = asyncio.get_running_loop().time()
        if isinstance(response, ua.OpenSecureChannelResponse):
            self.secure_channel_timeout = response.Parameters.SecurityToken.RevisedLifetime or LIFETIME_MS

    async def say_goodbye(self) -> None:
        """Close session and channel at the server; may wait for its reply."""
        await self.close_session()
        await self.close_secure_channel()


def reply_head(data: Buffer, kind: int) -> None:
    """Read the head of a reply of this kind.

    Raises:
        BadFrame: it is another kind of reply.
        UaStatusCodeError: it says that the service failed.
    """
    found = ua_binary.nodeid_from_binary(data)
    if found.NamespaceIndex != 0 or found.Identifier != kind:
        raise BadFrame(Text(f"应答的类型不对：{found.Identifier!r}", f"a reply of another kind: {found.Identifier!r}"))
    struct_from_binary(ua.ResponseHeader, data).ServiceResult.check()


_DECODING_ERROR: Any = UaStatusCodeError
"""asyncua's errors are untyped."""


class _NoNulls:
    """Arrays of `Null`, whose elements have no bytes: a server may claim 2^31 of them, and asyncua would make them."""

    @staticmethod
    def pack_array(_: object) -> bytes:
        return struct.pack("<i", -1)

    @staticmethod
    def unpack_array(_: object, length: int) -> tuple[None, ...]:
        if length > 0:
            raise _DECODING_ERROR(StatusCodes.BadDecodingError)
        return ()


def _bounded_lists(theirs: Callable[[Any], Callable[[Any], list[Any]]]) -> Callable[[Any], Callable[[Any], list[Any]]]:
    """Return asyncua's reader of lists of structures, which believes no length that the message cannot hold."""

    def reader(kind: Any) -> Callable[[Any], list[Any]]:
        read = theirs(kind)

        def bounded(data: Any) -> list[Any]:
            ahead = data.copy()
            if struct.unpack("<i", ahead.read(4))[0] > len(ahead):
                raise _DECODING_ERROR(StatusCodes.BadDecodingError)
            return read(data)

        return bounded

    return reader


_asyncua: Any = ua_binary
_asyncua.Primitives1.Null = _NoNulls
_asyncua._create_list_deserializer = _bounded_lists(_asyncua._create_list_deserializer)
