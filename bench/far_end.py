"""The meter at the other end, in a process of its own, so that its work does not count as ours.

    far_end.py tcp                  Modbus TCP on loopback; prints the port
    far_end.py rtu BAUD PATH...     simulated RS-485 lines; prints a line once they are there
    far_end.py units BAUD PATH DEAD...   one such line with 32 units, some of them dead

It answers every read of 10 registers with the same 20 bytes. It ends when its standard input is closed.
"""

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from subprocess import PIPE, Popen

from simulators.modbus_rtu import crc
from simulators.serial_line import SerialLine

DATA = pack(">5f", 230.1, 231.2, 49.98, 12.345, 98765.4)
TCP_REQUEST = bytes.fromhex("000100000006 01 03 0000 000a")
TCP_REST = pack(">HHBBB", 0, 3 + len(DATA), 1, 3, len(DATA)) + DATA
"""A reply without its transaction number."""
RTU_REQUEST = bytes.fromhex("01 03 0000 000a c5cd")
RTU_REPLY = bytes([1, 3, len(DATA)]) + DATA
RTU_REPLY += crc(RTU_REPLY).to_bytes(2, "little")
BITS = 10
"""Of a character: 8N1."""


@contextmanager
def far_end(*arguments: str) -> Iterator[str]:
    """Start the process and give its first line of output."""
    with Popen([sys.executable, "-m", "bench.far_end", *arguments], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _serve_tcp() -> None:
    """One blocking thread a connection: the leanest server Python has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    receive, send, rest = connection.recv, connection.send, TCP_REST
    while request := receive(64):
        send(request[:2] + rest)


@dataclass(frozen=True)
class _Reply:
    frame: bytes = RTU_REPLY
    delay_s: float = 0.0


class _Station:
    """A bus with one meter on it."""

    def cut(self, received: bytearray) -> bytes | None:
        length = 7 if received[1:2] == b"\x2b" else len(RTU_REQUEST)
        if len(received) < length:
            return None
        frame = bytes(received[:length])
        del received[:length]
        return frame

    def answer(self, request: bytes) -> _Reply | None:
        return _Reply() if request == RTU_REQUEST else None


class _Units(_Station):
    """A bus with many meters; the dead ones keep silent."""

    def __init__(self, dead: frozenset[int]) -> None:
        self._dead = dead

    def answer(self, request: bytes) -> _Reply | None:
        if request[0] in self._dead:
            return None
        body = request[:1] + (b"\xab\x01" if request[1] == 0x2B else RTU_REPLY[1:-2])
        return _Reply(body + crc(body).to_bytes(2, "little"))


async def _serve_rtu(baud: int, paths: list[Path], bus: _Station) -> None:
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        for path in paths:
            await stack.enter_async_context(SerialLine(path, bus, baud, BITS, group).serve())
        print("there", flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _main() -> None:
    match sys.argv[1:]:
        case ["tcp"]:
            threading.Thread(target=_serve_tcp, daemon=True).start()
            sys.stdin.read()
        case ["rtu", baud, *paths]:
            asyncio.run(_serve_rtu(int(baud), [Path(path) for path in paths], _Station()))
        case ["units", baud, path, *dead]:
            asyncio.run(_serve_rtu(int(baud), [Path(path)], _Units(frozenset(map(int, dead)))))


if __name__ == "__main__":
    _main()
