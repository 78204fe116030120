"""A serial port behind a serial server that takes orders (RFC 2217): `rfc2217://host:port`.

Speed and frame are set by us and their acknowledgements awaited and compared: a port at another speed than asked for is
refused, not used. What is thrown away here is thrown away in the server's buffers too.
"""

import asyncio
from collections.abc import Callable

from link.channels import CHUNK, FileChannel
from link.comport import (
    BOTH_BUFFERS,
    NO_FLOW_CONTROL,
    PARITIES,
    PURGE,
    SET_BAUD,
    SET_CONTROL,
    SET_LINESTATE_MASK,
    SET_MODEMSTATE_MASK,
    SET_PARITY,
    SET_SIZE,
    SET_STOP,
    ComPort,
    command,
    escaped,
)
from link.tcp import open_tcp
from metering.errors import MeterUnreachable
from metering.text import Text

SCHEME = "rfc2217://"
CONNECT_S = 5.0
ANSWER_S = 3.0
"""Longest wait for one acknowledgement."""
_BITS_PER_BYTE = 12
"""The longest frame: start, eight, parity, two stops."""


class ComPortChannel:
    """A `Channel` over a connection to a serial server."""

    def __init__(self, raw: FileChannel, name: str, baud: int) -> None:
        self._raw = raw
        self._name = name
        self._baud = baud
        self._codec = ComPort()
        self._arrived = b""
        self._stale = False
        """Whether the server's buffers may hold more of what was thrown away."""
        self._out_at = 0.0
        """When the last bit of what was written leaves the server, by the loop's clock."""

    async def set_up(self, frame: str) -> None:
        """Agree on the option, then set speed and frame, and begin with empty buffers."""
        await self._raw.write(self._codec.begin())
        await self._until(lambda: self._codec.agreed is not None)
        if not self._codec.agreed:
            raise MeterUnreachable(_no_option(self._name))
        bits, parity, stops = tuple(frame)
        await self._set(SET_BAUD, self._baud, 4)
        await self._set(SET_SIZE, int(bits))
        await self._set(SET_PARITY, PARITIES[parity])
        await self._set(SET_STOP, int(stops))
        quiet = command(SET_LINESTATE_MASK, 0) + command(SET_MODEMSTATE_MASK, 0)
        await self._raw.write(command(SET_CONTROL, NO_FLOW_CONTROL) + quiet)
        await self._purge()

    async def write(self, data: bytes) -> None:
        if self._stale:
            await self._purge()
        await self._raw.write(escaped(data))
        now = asyncio.get_running_loop().time()
        self._out_at = max(now, self._out_at) + len(data) * _BITS_PER_BYTE / self._baud

    async def read(self, timeout_s: float) -> bytes:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while not self._arrived:
            if not await self._receive(max(end_s - loop.time(), 0.0)) or (not self._arrived and loop.time() > end_s):
                return b""
        arrived, self._arrived = self._arrived, b""
        return arrived

    async def set_speed(self, baud: int) -> None:
        await asyncio.sleep(max(0.0, self._out_at - asyncio.get_running_loop().time()))
        await self._set(SET_BAUD, baud, 4)
        self._baud = baud

    def drain(self) -> int:
        dropped = len(self._arrived) + len(self._codec.feed(self._raw.take_all()))
        self._arrived = b""
        self._stale = self._stale or dropped > 0
        return dropped

    async def close(self) -> None:
        await self._raw.close()

    async def _purge(self) -> None:
        """Empty the server's buffers. What came before it says so is of the past."""
        await self._ask(command(PURGE, BOTH_BUFFERS), PURGE)
        self._arrived = b""
        self._stale = False

    async def _set(self, code: int, value: int, width: int = 1) -> None:
        answer = await self._ask(command(code, value, width), code)
        if int.from_bytes(answer[:width], "big") != value:
            raise MeterUnreachable(_not_set(self._name, code, value, int.from_bytes(answer[:width], "big")))

    async def _ask(self, frame: bytes, code: int) -> bytes:
        self._codec.answers.pop(code, None)
        await self._raw.write(frame)
        await self._until(lambda: code in self._codec.answers)
        return self._codec.answers[code]

    async def _until(self, happened: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + ANSWER_S
        while not happened():
            if loop.time() > end_s or not await self._receive(max(end_s - loop.time(), 0.0)):
                raise MeterUnreachable(_no_option(self._name))

    async def _receive(self, timeout_s: float) -> bool:
        """Take what comes; return False when nothing did. Of a server that never stops, the newest is kept."""
        data = await self._raw.read(timeout_s)
        self._arrived = (self._arrived + self._codec.feed(data))[-CHUNK:]
        if reply := self._codec.take_reply():
            await self._raw.write(reply)
        return bool(data)


async def open_rfc2217(url: str, baud: int, frame: str) -> ComPortChannel:
    """Open a port behind a serial server.

    Raises:
        MeterUnreachable: no connection, the server does not speak RFC 2217, or cannot do this speed and frame.
    """
    host, _, port = url.removeprefix(SCHEME).rstrip("/").rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise MeterUnreachable(
            Text(f"{url} 不是 rfc2217://主机:端口 的形式", f"{url} is not of the form rfc2217://host:port")
        )
    raw = await open_tcp(host, int(port), CONNECT_S)
    channel = ComPortChannel(raw, url, baud)
    try:
        await channel.set_up(frame)
    except BaseException:
        await raw.close()
        raise
    return channel


def _no_option(name: str) -> Text:
    return Text(
        f"{name} 没有按 RFC 2217 应答：在串口服务器上把该端口设为 RFC 2217 模式，或在那里设好波特率后改用 tcp",
        f"{name} does not answer by RFC 2217: set that port of the serial server to RFC 2217, or set the speed there"
        " and use tcp",
    )


_SETTINGS = {
    SET_BAUD: Text("波特率", "baud"),
    SET_SIZE: Text("数据位", "data bits"),
    SET_PARITY: Text("校验方式", "parity code"),
    SET_STOP: Text("停止位", "stop bits"),
}


def _not_set(name: str, code: int, wanted: int, got: int) -> Text:
    setting = _SETTINGS[code]
    return Text(
        f"{name} 的{setting.zh}是 {got}，不能设为 {wanted}：检查串口服务器支持的范围，以及是否被另一个连接占用",
        f"{name} is at {got} {setting.en} and cannot be set to {wanted}: check what the serial server can do, and that"
        " no other connection holds the port",
    )
