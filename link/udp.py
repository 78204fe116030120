"""Datagrams to and from one address. Each write is one datagram, each read gives one whole datagram.

The socket is connected, so that the system throws away what others send. A datagram that is lost is silence; one that
the far machine refuses, because nothing listens there, is a lost line.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from link.channels import CHUNK, FileChannel
from link.tcp import addresses, tcp_refusal
from metering.errors import MeterUnreachable
from metering.text import Text

_NAME_S = 5.0
"""Longest wait for the name server."""


class UdpChannel(FileChannel):
    """A `Channel` over a connected datagram socket."""

    _may_end = False
    _longest_drain = 4096
    """Datagrams: more than the system holds by default, however small they are."""

    def __init__(self, fd: int, name: str, end: Text, close_file: Callable[[], None]) -> None:
        self._lengths: deque[int] = deque()
        """Of the datagrams in `_arrived`."""
        super().__init__(fd, name, end, close_file)

    async def write(self, data: bytes) -> None:
        if self._lost is not None:
            raise MeterUnreachable(self._lost)
        try:
            os.write(self._fd, data)
        except BlockingIOError:
            return  # the system has no room for it: it is lost like any other datagram
        except OSError as error:
            self._lose(error)
            raise MeterUnreachable(self._loss(error)) from error

    def _keep(self, data: bytes) -> None:
        if data:
            self._lengths.append(len(data))
            super()._keep(data)

    def _take(self) -> bytes:
        """Return one whole datagram, the oldest."""
        length = self._lengths.popleft() if self._lengths else 0
        data = bytes(self._arrived[:length])
        del self._arrived[:length]
        if len(self._arrived) < CHUNK:
            self._listen()
        return data

    def _empty(self) -> bytes:
        self._lengths.clear()
        return super()._empty()

    def _loss(self, error: OSError | None) -> Text:
        if error is not None and error.errno == errno.ECONNREFUSED:
            return Text(
                f"{self._name} 上没有程序接收 UDP：检查端口，以及设备是否使用 UDP",
                f"nothing takes UDP at {self._name}: check the port, and whether the device speaks UDP",
            )
        return super()._loss(error)


async def open_udp(host: str, port: int) -> UdpChannel:
    """Open a socket for datagrams to and from one address. Whether anything answers there shows on the first read.

    Raises:
        MeterUnreachable: no route, or name unknown.
    """
    name = f"{host}:{port}"
    try:
        async with asyncio.timeout(_NAME_S):
            family, address = (await addresses(host, port, socket.SOCK_DGRAM))[0]
        datagrams = _connected(family, address)
    except OSError as error:
        raise MeterUnreachable(tcp_refusal(name, _NAME_S, error)) from error
    end = Text(f"{name} 已关闭", f"{name} is closed")
    return UdpChannel(datagrams.fileno(), name, end, datagrams.close)


def _connected(family: int, address: Any) -> socket.socket:
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    try:
        datagrams.setblocking(False)
        datagrams.connect(address)
    except BaseException:
        datagrams.close()
        raise
    return datagrams
