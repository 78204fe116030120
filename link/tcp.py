"""A TCP connection as a channel. Opening blocks neither the loop nor another line nor the stop."""

import asyncio
import contextlib
import ipaddress
import socket
from typing import Any

from link.channels import FileChannel
from link.threads import in_own_thread
from metering.errors import MeterUnreachable
from metering.text import Text


async def open_tcp(host: str, port: int, timeout_s: float) -> FileChannel:
    """Connect to the first address of `host` that answers, in `timeout_s` for all of them together.

    Raises:
        MeterUnreachable: refused, no route, name unknown, or too slow.
    """
    name = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_s):
            connection = await _connect(host, port)
    except OSError as error:
        raise MeterUnreachable(tcp_refusal(name, timeout_s, error)) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    end = Text(f"{name} 断开了连接", f"{name} closed the connection")
    return FileChannel(connection.fileno(), name, end, connection.close)


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError = socket.gaierror(f"{host} has no address")
    for family, address in await addresses(host, port, socket.SOCK_STREAM):
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


async def addresses(host: str, port: int, kind: socket.SocketKind) -> list[tuple[int, Any]]:
    """Return family and address of each way to `host`; only a name asks the name server."""
    with contextlib.suppress(ValueError):
        family = socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
        return [(family, (host, port))]
    found = await in_own_thread(f"resolve {host}", lambda: socket.getaddrinfo(host, port, type=kind))
    return [(family, address) for family, _, _, _, address in found]


def tcp_refusal(name: str, timeout_s: float, error: OSError) -> Text:
    """Return why a connection cannot be had, with the remedy."""
    if isinstance(error, socket.gaierror):
        return Text(
            f"无法解析 {name} 的主机名：检查拼写，或直接写 IP 地址",
            f"the host name of {name} is unknown: check its spelling, or write the IP address",
        )
    if isinstance(error, ConnectionRefusedError):
        return Text(
            f"{name} 拒绝连接：检查端口，以及设备的连接数是否已满",
            f"{name} refused the connection: check the port, and whether the device has connections left",
        )
    if isinstance(error, TimeoutError):
        return Text(
            f"{name} 在 {timeout_s:g} 秒内没有应答：检查电源、网线、IP 地址和防火墙",
            f"{name} did not answer in {timeout_s:g} s: check power, cable, IP address and firewall",
        )
    return Text(
        f"无法到达 {name}（{error.strerror}）：检查网络和路由",
        f"{name} cannot be reached ({error.strerror}): check network and route",
    )
