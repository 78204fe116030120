"""Stations behind a socket on loopback: TCP (any number of clients), TLS with a certificate of its own, UDP."""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

from settings.plant_faults import FaultKind
from simulators.serial_line import WATCH_S, Bus, Heard, Pace
from simulators.spoil import MOST_ENDLESS, NOISE, Reply
from simulators.wait import Timer

log = logging.getLogger(__name__)
MOST = 4096
MOST_WAITING = 65536
"""Bytes that are no request, after which a client is put off."""


class NotOurProtocol(Exception):
    """What a client sends can never become a request."""


class TcpServer:
    """Answers whoever connects. With a `pace` it is a serial server: all clients share one line of that speed."""

    def __init__(
        self,
        bus: Bus,
        group: asyncio.TaskGroup,
        fault: Callable[[], FaultKind | None],
        tls: ssl.SSLContext | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._bus = bus
        self._group = group
        self._fault = fault
        self._tls = tls
        self._pace = pace
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[int]:
        """Listen on 127.0.0.1 and yield the port."""
        self._server = await self._open(port)
        self._port: int = self._server.sockets[0].getsockname()[1]
        watching = self._group.create_task(self._watch())
        try:
            yield self._port
        finally:
            watching.cancel()
            self._server.close()
            for writer in self._writers:
                writer.close()

    async def _open(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._client, "127.0.0.1", port, ssl=self._tls)

    async def _watch(self) -> None:
        """Refuse all while the fault lasts (F20)."""
        while True:
            if self._fault() == "refuse":
                self._server.close()
                for writer in self._writers:
                    _reset(writer)
                while self._fault() == "refuse":  # noqa: ASYNC110 - a fault ends by the clock
                    await asyncio.sleep(WATCH_S)
                self._server = await self._open(self._port)
            await asyncio.sleep(WATCH_S)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        received = bytearray()
        try:
            while len(received) < MOST_WAITING and (part := await reader.read(MOST)):
                received += part
                while (request := self._bus.cut(received)) is not None:
                    await self._serve_one(writer, request)
        except NotOurProtocol as error:
            log.info("a client sent no %s; its connection is closed", error)
        except (ConnectionError, ssl.SSLError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(self, writer: asyncio.StreamWriter, request: bytes) -> None:
        if self._pace is not None:
            with Timer.opened() as timer:
                reply, start = await self._pace.request(timer, request, asyncio.get_running_loop().time())
            if reply is not None:
                self._group.create_task(self._paced(writer, reply, start))
            return
        reply = self._bus.answer(request)
        if reply is None:
            return
        if reply.delay_s or not isinstance(reply, Reply) or reply.abort or reply.goes_on or reply.then:
            self._group.create_task(_send_oddly(writer, reply))
        else:
            writer.write(reply.frame)

    async def _paced(self, writer: asyncio.StreamWriter, reply: Heard, start: float) -> None:
        if self._pace is not None:
            await self._pace.send(reply, start, lambda part: _put(writer, part))
        if isinstance(reply, Reply) and reply.abort:
            _reset(writer)


def _put(writer: asyncio.StreamWriter, part: bytes) -> None:
    if not writer.is_closing():
        writer.write(part)


async def _send_oddly(writer: asyncio.StreamWriter, reply: Heard) -> None:
    """Send a reply late, without end, or with a reset behind it."""
    await asyncio.sleep(reply.delay_s)
    _put(writer, reply.frame)
    if not isinstance(reply, Reply):
        return
    if reply.then is not None:
        await _send_oddly(writer, reply.then)
    if reply.abort:
        await asyncio.sleep(WATCH_S)
        _reset(writer)
    sent = 0
    while reply.goes_on is not None and reply.goes_on() and sent < MOST_ENDLESS and not writer.is_closing():
        _put(writer, NOISE * 20)
        sent += 20 * len(NOISE)
        await asyncio.sleep(0.01)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset."""
    of: Any = writer.get_extra_info("socket")
    if of is not None and not writer.is_closing():
        of.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class UdpServer(asyncio.DatagramProtocol):
    """Answers datagrams; each is a whole request."""

    def __init__(self, bus: Bus, group: asyncio.TaskGroup) -> None:
        self._bus = bus
        self._group = group

    @contextlib.asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[int]:
        """Listen on 127.0.0.1 and yield the port."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self._transport = transport
        try:
            yield transport.get_extra_info("sockname")[1]
        finally:
            transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            request = self._bus.cut(bytearray(data))
        except NotOurProtocol:
            return
        reply = self._bus.answer(request) if request is not None else None
        if reply is not None:
            self._group.create_task(self._send(reply, addr))

    async def _send(self, reply: Heard, addr: Any) -> None:
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if not self._transport.is_closing():
            self._transport.sendto(reply.frame, addr)
