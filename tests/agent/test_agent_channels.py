"""Lines on real sockets and pseudo-terminals, with meters written here."""

import asyncio
import os
import pty
import select
import struct
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.gaps import GapBook
from agent.line import LineOwner
from agent.wiring import Wiring
from link.real_world import RealWorld

Wired = Callable[..., Wiring]


class Sink:
    def __init__(self) -> None:
        self.values: list[float | None] = []

    def take(self, meter: Any, answers: Any) -> bool:
        self.values += [value.value for answer in answers for value in answer.values if value.point == "energy"]
        return True


async def poll(wiring: Wiring, seconds: float) -> tuple[LineOwner, Sink]:
    sink, stop = Sink(), asyncio.Event()
    owner = LineOwner(wiring.lines[0], RealWorld(), sink, GapBook())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(owner.run(stop))
        await asyncio.sleep(seconds)
        stop.set()
    return owner, sink


FAST = "m1: {line: a, profile: profile.yaml, interval: 100 ms}"


async def test_a_tcp_meter_is_read_over_a_real_socket(wired: Wired, fakes: Any) -> None:
    requests = 0

    async def meter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(8)
                rest = await reader.readexactly(head[5] - 2)
                if head[7] == 0x2B:
                    writer.write(head[:4] + b"\0\3" + head[6:7] + b"\xab\1")
                    continue
                reply = fakes.modbus_reply(head + rest)
                requests += 1
                if requests == 3:
                    break  # hangs up once, in the middle
                for byte in reply:
                    writer.write(bytes([byte]))
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(meter, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    owner, sink = await poll(wired(f'a: {{driver: modbus, tcp: "127.0.0.1:{port}"}}', FAST), 1.05)
    server.close()
    counters = owner.meters["m1"]
    assert counters.read >= 5
    assert counters.missed.keys() <= {"overrun"}, "the reading of the hang-up was made up for on a new connection"
    assert set(sink.values) == {1234.5}
    assert owner.counters.opened == 2


async def test_f20_a_server_that_accepts_and_is_silent_is_a_silent_meter(wired: Wired) -> None:
    server = await asyncio.start_server(lambda reader, writer: reader.read(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    owner, sink = await poll(wired(f'a: {{driver: modbus, tcp: "127.0.0.1:{port}", timeout: 50 ms}}', FAST), 0.5)
    server.close()
    assert sink.values == []
    assert owner.meters["m1"].state == "silent"
    assert owner.meters["m1"].cause == "timeout"


class PtyMeter:
    """A Modbus RTU meter on a pseudo-terminal, in a thread; `noise` comes before or after a reply."""

    def __init__(self, before: bytes = b"", after: bytes = b"", spoil: Callable[[int], bool] = lambda n: False) -> None:
        self._ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.path = os.ttyname(theirs)
        self._theirs = theirs
        self._before, self._after, self._spoil = before, after, spoil
        self._stop, self._stopped = os.pipe()
        self.served = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                frame = b""
                while len(frame) < 8 and not (len(frame) == 7 and frame[1] == 0x2B):
                    if self._stop in select.select([self._ours, self._stop], [], [])[0]:
                        return
                    frame += os.read(self._ours, 1)
                if frame[1] == 0x2B:
                    os.write(self._ours, frame[:1] + b"\xab\x01" + crc(frame[:1] + b"\xab\x01"))
                    continue
                self.served += 1
                reply = frame[:2] + b"\x08" + struct.pack(">ff", float(self.served), 1.0)
                reply += crc(reply)
                if self._spoil(self.served):
                    reply = reply[:-1] + bytes([reply[-1] ^ 1])
                os.write(self._ours, self._before + reply + self._after)

    def close(self) -> None:
        """Once its thread has ended: a descriptor that is read must not become another's."""
        if self._thread.is_alive():
            os.write(self._stopped, b"x")
            self._thread.join()
            for end in (self._theirs, self._ours, self._stop, self._stopped):
                os.close(end)


def crc(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


@pytest.fixture
def pty_meter() -> Iterator[Callable[..., PtyMeter]]:
    made: list[PtyMeter] = []

    def make(**how: Any) -> PtyMeter:
        made.append(PtyMeter(**how))
        return made[-1]

    yield make
    for meter in made:
        meter.close()


def serial(meter: PtyMeter) -> str:
    return f"a: {{driver: modbus, serial: {meter.path}, baud: 115200, timeout: 100 ms}}"


async def test_a_serial_meter_is_read_over_a_real_terminal(wired: Wired, pty_meter: Any) -> None:
    meter = pty_meter()
    owner, sink = await poll(wired(serial(meter), FAST), 0.85)
    assert owner.meters["m1"].read >= 4
    assert owner.meters["m1"].missed.keys() <= {"starting", "overrun"}, "overrun where this machine is busy"
    assert sink.values == [float(n + 1) for n in range(len(sink.values))]


async def test_f23_a_wrong_checksum_is_refused_and_counted(wired: Wired, pty_meter: Any) -> None:
    meter = pty_meter(spoil=lambda n: n % 3 == 0)
    owner, sink = await poll(wired(serial(meter), FAST), 0.95)
    assert owner.meters["m1"].failures["bad_frame"] >= 2
    assert all(value is not None and value % 3 for value in sink.values)
    assert len(sink.values) >= 4


async def test_f22_what_trails_a_reply_is_thrown_away(wired: Wired, pty_meter: Any) -> None:
    meter = pty_meter(after=b"\x01\x03\x08trailing")
    owner, sink = await poll(wired(serial(meter), FAST), 0.65)
    assert owner.meters["m1"].read >= 4
    assert sink.values == [float(n + 1) for n in range(len(sink.values))]
    assert owner.counters.stale >= 11 * 4


async def test_f27_a_port_that_vanishes_and_returns_is_opened_again(
    wired: Wired, pty_meter: Any, tmp_path: Path
) -> None:
    first = pty_meter()
    link = tmp_path / "ttyUSB0"
    link.symlink_to(first.path)
    wiring = wired(f"a: {{driver: modbus, serial: {link}, baud: 115200, timeout: 100 ms}}", FAST)
    sink, stop = Sink(), asyncio.Event()
    owner = LineOwner(wiring.lines[0], RealWorld(), sink, GapBook())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(owner.run(stop))
        await asyncio.sleep(0.4)
        link.unlink()
        first.close()
        await asyncio.sleep(0.4)
        assert owner.meters["m1"].cause == "unreachable"
        link.symlink_to(pty_meter().path)
        await asyncio.sleep(2.5)
        stop.set()
    assert owner.meters["m1"].state == "ok"
    assert owner.counters.opened == 2
