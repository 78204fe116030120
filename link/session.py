"""One MQTT 3.1.1 session on paho: from the connection to its loss. It never connects again; `mqtt.py` does.

The event loop drives the client; only the connect (name, TCP, TLS) runs in a thread, because paho blocks there. Each
session has a client of its own, so nothing of the last one is sent again behind a publisher who was told False.
"""

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from link.endpoint import Endpoint
from link.threads import in_own_thread
from link.world import Message, Will
from metering.errors import BrokerUnreachable

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
UNACKNOWLEDGED_S = 15
"""A dead path is noticed after this time when data is on its way, else after one keepalive more (TCP_USER_TIMEOUT)."""
CONNECT_S = 10.0
"""Longest wait for each step: TCP, TLS, CONNACK, SUBACK."""
STALL_S = 60.0
"""A session whose broker acknowledges none of what waits for so long is given up."""
WINDOW = 500
"""Publishes on their way at once; a further one waits."""
GOODBYE_S = 3.0


class _Client(Client):
    """paho leaves the socket of a failed TLS handshake open; ssl closes it when it shakes hands while it wraps."""

    tls: ssl.SSLContext

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        return self.tls.wrap_socket(tcp_sock, server_hostname=self.host)


class Session:
    """A session under way. `ended` becomes the reason once it is over; every waiting publish then returns False."""

    def __init__(self, endpoint: Endpoint, will: Will) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._client = self._make_client(will)
        self._connack: asyncio.Future[None] = self._loop.create_future()
        self._suback: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._window = asyncio.Semaphore(WINDOW)
        self._acknowledged_at = self._loop.time()
        self._early: list[Message] = []
        self._deliver: Callable[[Message], None] = self._early.append
        self._socket: socket.socket | None = None
        self._reading = False
        self._writing = False
        self.ended: asyncio.Future[str] = self._loop.create_future()

    def _make_client(self, will: Will) -> Client:
        address = self._endpoint.address
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=address.client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(0)
        client.will_set(will.topic, will.payload, qos=1, retain=True)
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        if self._endpoint.tls is not None:
            client.tls = self._endpoint.tls
            client.tls_set_context(client.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    async def open(self, subscriptions: tuple[str, ...]) -> None:
        """Connect and subscribe; return once the broker has granted all of it.

        Raises:
            BrokerUnreachable: not reached, not trusted, not admitted, or a subscription was refused.
        """
        try:
            async with asyncio.timeout(3 * CONNECT_S):
                await in_own_thread("mqtt-connect", self._connect)
            self._attach()
            await self._granted(self._connack, "CONNACK")
            if subscriptions:
                self._client.subscribe([(topic, 1) for topic in subscriptions])
                await self._granted(self._suback, "SUBACK")
        except (OSError, ValueError) as error:
            self.abandon(str(error))
            reason = (getattr(error, "strerror", None) or str(error)) or "timed out"
            raise BrokerUnreachable(url=self._endpoint.address.url, reason=reason) from error

    def deliver(self, to: Callable[[Message], None]) -> None:
        """Hand over what has come since the subscription, and from now on each message as it comes."""
        self._deliver = to
        for message in self._early:
            to(message)
        self._early.clear()

    async def publish(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish with QoS 1; True on PUBACK, False when the session ended before."""
        await self._window.acquire()
        if self.ended.done():
            self._window.release()
            return False
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._window.release()
            return False
        if not self._waiting:
            self._acknowledged_at = self._loop.time()
        acknowledged: asyncio.Future[bool] = self._loop.create_future()
        self._waiting[info.mid] = acknowledged
        return await acknowledged

    def pause(self) -> None:
        """Read no more from the socket, so that the broker holds back."""
        if self._reading and self._socket is not None:
            self._loop.remove_reader(self._socket)
        self._reading = False

    def resume(self) -> None:
        if self._socket is not None and not self._reading:
            self._reading = True
            self._loop.add_reader(self._socket, self._read)
            self._loop.call_soon(self._read)

    async def live(self) -> str:
        """Keep the session alive until it ends; return why it ended."""
        while not self.ended.done():
            await asyncio.wait({self.ended}, timeout=1.0)
            if not self._reading:
                continue
            self._drive(self._client.loop_misc)
            if self._waiting and self._loop.time() - self._acknowledged_at > STALL_S:
                self.abandon(f"the broker acknowledged nothing for {STALL_S:.0f} s")
        return self.ended.result()

    async def close(self) -> None:
        """Say goodbye, so that the broker does not publish the will; give up after 3 s."""
        if self._socket is not None:
            self._client.disconnect()
            await asyncio.wait({self.ended}, timeout=GOODBYE_S)
        self.abandon("closed")

    def abandon(self, reason: str) -> None:
        """End at once, without goodbye."""
        self._end(reason)
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _connect(self) -> None:
        """Runs in the thread. Its socket callbacks are set after it, so that they run on the loop only."""
        self._client.connect(self._endpoint.host, self._endpoint.port, KEEPALIVE_S)
        connection = self._client.socket()
        if self.ended.done() and connection is not None:
            connection.close()

    def _attach(self) -> None:
        connection = self._client.socket()
        if not isinstance(connection, socket.socket):
            raise ConnectionError("lost while connecting")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_S * 1000)
        self._socket = connection
        self._client.on_socket_close = lambda *_: self._detach()
        self._client.on_socket_register_write = lambda *_: self._write_soon()
        self._client.on_socket_unregister_write = lambda *_: self._unwatch_writable()
        self.resume()
        self._write()

    def _detach(self) -> None:
        self.pause()
        self._unwatch_writable()
        self._socket = None

    async def _granted(self, grant: asyncio.Future[Any], name: str) -> None:
        either: set[asyncio.Future[Any]] = {grant, self.ended}
        await asyncio.wait(either, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
        if self.ended.done():
            raise ConnectionError(self.ended.result())
        if not grant.done():
            raise TimeoutError(f"no {name} for {CONNECT_S:.0f} s")

    def _read(self) -> None:
        if not self._reading:
            return
        self._drive(self._client.loop_read)
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            self._loop.call_soon(self._read)

    def _write_soon(self) -> None:
        """Let the publishes of this turn of the loop leave together."""
        self._loop.call_soon(self._write)

    def _write(self) -> None:
        if self._socket is None:
            return
        self._drive(self._client.loop_write)
        if self._socket is not None and self._client.want_write() and not self._writing:
            self._writing = True
            self._loop.add_writer(self._socket, self._write)

    def _unwatch_writable(self) -> None:
        if self._writing and self._socket is not None:
            self._loop.remove_writer(self._socket)
        self._writing = False

    def _drive(self, step: Callable[[], Any]) -> None:
        """Let paho do one step. What a broken broker can make it raise ends the session, not the service."""
        try:
            step()
        except (OSError, ValueError, LookupError, struct.error) as error:
            self.abandon(f"protocol error: {error!r}")

    def _on_connect(self, _c: Client, _u: Any, _f: ConnectFlags, code: ReasonCode, _p: Properties | None) -> None:
        if code.is_failure:
            self._end(f"the broker refused: {code}")
        else:
            self._settle(self._connack)

    def _on_subscribe(self, _c: Client, _u: Any, _m: int, codes: list[ReasonCode], _p: Properties | None) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        if refused:
            self._end(f"the broker refused a subscription: {refused[0]}")
        else:
            self._settle(self._suback)

    def _on_publish(self, _c: Client, _u: Any, mid: int, _r: ReasonCode, _p: Properties) -> None:
        acknowledged = self._waiting.pop(mid, None)
        if acknowledged is None:
            return
        self._window.release()
        self._acknowledged_at = self._loop.time()
        if not acknowledged.done():
            acknowledged.set_result(True)

    def _on_message(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            log.warning("refused a message: its topic is not UTF-8")
            return
        self._deliver(Message(topic, bytes(message.payload), message.retain))

    def _on_disconnect(self, _c: Client, _u: Any, _f: DisconnectFlags, code: ReasonCode, _p: Properties | None) -> None:
        self._end("the connection was lost" if code.is_failure else "disconnected")

    @staticmethod
    def _settle(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)

    def _end(self, reason: str) -> None:
        if self.ended.done():
            return
        self._detach()
        self.ended.set_result(reason)
        for acknowledged in self._waiting.values():
            self._window.release()
            if not acknowledged.done():
                acknowledged.set_result(False)
        self._waiting.clear()
