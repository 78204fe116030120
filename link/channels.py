"""Bytes to and from one TCP connection or serial port, on the event loop.

Promises
    * A read costs one future and one timer: no task, no thread, no stream object.
    * A lost line (end of file, reset, adapter unplugged, the far end of a pseudo-terminal gone) is MeterUnreachable, on
      that call and on every one after it. What had arrived before is still given out first.
    * `drain` also empties what the system holds, so that a late reply cannot become the next reply.
    * A device that never stops talking fills 64 KiB and no more.
    * Opening never blocks the loop, another line or the stop, and each failure names its remedy.
"""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import termios
from collections.abc import Callable
from typing import Any

import serial

from link.threads import in_own_thread
from metering.errors import MeterUnreachable
from metering.text import Text

CHUNK = 64 * 1024
"""Bytes taken at once, and the most that waits unread."""
WRITE_STALL_S = 10.0
"""Longest time without a byte accepted. The slowest frame, 260 bytes at 300 baud, takes 9 s."""
PTY_FRAME = "8N1"
_PARITY = {"N": serial.PARITY_NONE, "E": serial.PARITY_EVEN, "O": serial.PARITY_ODD}


class FileChannel:
    """A `Channel` over one non-blocking file descriptor, a socket's or a port's. Closes it through `close_file`."""

    def __init__(self, fd: int, name: str, end: Text, close_file: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._name = name
        self._end = end
        self._close_file = close_file
        self._arrived = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._lost: Text | None = None
        self._closed = False
        self._listening = False
        self._listen()

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self._lost is not None:
                raise MeterUnreachable(self._lost)
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                self._lose(error)

    async def read(self, timeout_s: float) -> bytes:
        if not self._arrived and self._lost is None:
            await self._wait(timeout_s)
        if self._arrived:
            return self._take()
        if self._lost is not None:
            raise MeterUnreachable(self._lost)
        return b""

    def drain(self) -> int:
        dropped = len(self._take())
        while self._listening:
            if not self._receive():
                break
            dropped += len(self._take())
        return dropped

    async def close(self) -> None:
        if self._closed:
            return
        self._lose(None)
        self._closed = True
        self._close_file()

    def _listen(self) -> None:
        if not self._listening and self._lost is None:
            self._loop.add_reader(self._fd, self._receive)
            self._listening = True

    def _deafen(self) -> None:
        if self._listening:
            self._loop.remove_reader(self._fd)
            self._listening = False

    def _receive(self) -> bool:
        """Take what the system holds; return whether there was any."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error)
            return False
        if not data:
            self._lose(None)
            return False
        self._arrived += data
        if len(self._arrived) >= CHUNK:
            self._deafen()
        self._wake()
        return True

    def _take(self) -> bytes:
        data = bytes(self._arrived)
        self._arrived.clear()
        self._listen()
        return data

    async def _wait(self, timeout_s: float) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None:
            _settle(self._waiter)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._fd, _settle, ready)
        try:
            async with asyncio.timeout(WRITE_STALL_S):
                await ready
        except TimeoutError:
            raise MeterUnreachable(
                Text(
                    f"{self._name} 已有 {WRITE_STALL_S:.0f} 秒不接收数据",
                    f"{self._name} took no byte for {WRITE_STALL_S:.0f} s",
                )
            ) from None
        finally:
            if not self._closed:
                self._loop.remove_writer(self._fd)

    def _lose(self, error: OSError | None) -> None:
        self._deafen()
        self._lost = self._lost or self._loss(error)
        self._wake()

    def _loss(self, error: OSError | None) -> Text:
        if error is None or error.errno == errno.EIO:
            return self._end
        return Text(
            f"{self._name} 的连接中断（{error.strerror}）", f"the connection to {self._name} broke: {error.strerror}"
        )


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


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
        raise MeterUnreachable(_tcp_refusal(name, timeout_s, error)) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    end = Text(f"{name} 断开了连接", f"{name} closed the connection")
    return FileChannel(connection.fileno(), name, end, connection.close)


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError = socket.gaierror(f"{host} has no address")
    for family, address in await _addresses(host, port):
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


async def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """Return family and address of each way to `host`; only a name asks the name server."""
    with contextlib.suppress(ValueError):
        family = socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
        return [(family, (host, port))]
    found = await in_own_thread(f"resolve {host}", lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return [(family, address) for family, _, _, _, address in found]


def _tcp_refusal(name: str, timeout_s: float, error: OSError) -> Text:
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


async def open_serial(path: str, baud: int, frame: str) -> FileChannel:
    """Open a serial port for us alone, `frame` such as `8N1`. Speed and frame mean nothing on a pseudo-terminal.

    Raises:
        MeterUnreachable: not there, not permitted, in use, or unable to do this speed and frame.
    """
    try:
        port = await in_own_thread(f"open {path}", lambda: _open_port(path, baud, frame))
    except (OSError, ValueError, termios.error) as error:
        raise MeterUnreachable(serial_refusal(path, baud, frame, error)) from error
    end = Text(f"{path} 已消失：检查适配器和电缆", f"{path} is gone: check the adapter and its cable")
    return FileChannel(port.fileno(), path, end, lambda: _close_port(port))


def _open_port(path: str, baud: int, frame: str) -> serial.Serial:
    bits, parity, stops = tuple(PTY_FRAME if _is_pty(path) else frame)
    port = serial.Serial(
        path,
        baudrate=baud,
        bytesize=int(bits),
        parity=_PARITY[parity],
        stopbits=int(stops),
        timeout=0,
        exclusive=True,
    )
    _make_silence_unlike_loss(port.fileno())
    return port


def _is_pty(path: str) -> bool:
    """Tell whether this is a pseudo-terminal, which has no wire and refuses parity (EINVAL from glibc)."""
    return os.path.realpath(path).startswith("/dev/pts/")


def _make_silence_unlike_loss(fd: int) -> None:
    """Set VMIN to 1. With pyserial's 0 an empty read means nothing there as well as unplugged."""
    attributes = termios.tcgetattr(fd)
    attributes[6][termios.VMIN] = 1
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _close_port(port: serial.Serial) -> None:
    """Close without waiting for bytes that a stuck line would not take: the kernel would wait 30 s for them."""
    with contextlib.suppress(termios.error):
        termios.tcflush(port.fileno(), termios.TCIOFLUSH)
    port.close()


def serial_refusal(path: str, baud: int, frame: str, error: Exception) -> Text:
    """Return why a port cannot be opened, with the remedy."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        return Text(
            f"没有串口 {path}：检查适配器是否插好，用 ls /dev/serial/by-id 查看现有串口",
            f"there is no port {path}: plug in the adapter; ls /dev/serial/by-id shows the ports there are",
        )
    if code in (errno.EACCES, errno.EPERM):
        return Text(
            f"没有权限打开 {path}：把本用户加入 dialout 组（sudo usermod -aG dialout 用户名），重新登录",
            f"no permission to open {path}: add this user to the group dialout"
            " (sudo usermod -aG dialout USER) and log in again",
        )
    if code in (errno.EBUSY, errno.EAGAIN):
        return Text(
            f"{path} 正被另一个程序使用：用 fuser -v {path} 找到并停止它",
            f"{path} is in use by another program: find it with fuser -v {path} and stop it",
        )
    if code in (errno.ENODEV, errno.ENXIO, errno.EIO):
        return Text(
            f"{path} 后面没有设备：检查适配器和电缆",
            f"no device answers behind {path}: check the adapter and its cable",
        )
    return Text(
        f"{path} 不能以 {baud} {frame} 打开（{error}）：检查它是否为串口，以及是否支持该速率",
        f"{path} cannot be opened at {baud} {frame} ({error}): check that it is a serial port and can do that speed",
    )
