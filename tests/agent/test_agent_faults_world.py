"""Faults of devices, connections and ports, over real sockets and pseudo-terminals; each costs its meter, and no more."""

import asyncio
import os
import pty
import select
import socket
import struct
import threading
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.counters import LineCounters, MeterCounters
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.port import Port
from agent.wiring import Wiring
from drivers.catalogue import driver
from drivers.contract import ExchangeLine
from link.real_world import RealWorld
from metering.errors import MeterError

Wired = Callable[..., Wiring]
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Sink:
    def __init__(self) -> None:
        self.values: list[tuple[str, float | None]] = []

    def take(self, meter: Any, answers: Any) -> bool:
        self.values += [(meter.id, value.value) for answer in answers for value in answer.values]
        return True


async def poll(wiring: Wiring, seconds: float) -> tuple[LineOwner, Sink]:
    sink, stop = Sink(), asyncio.Event()
    owner = LineOwner(wiring.lines[0], RealWorld(), sink, GapBook())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(owner.run(stop))
        await asyncio.sleep(seconds)
        stop.set()
    return owner, sink


async def against(wired: Wired, peer: Peer, seconds: float = 0.7) -> tuple[LineOwner, Sink]:
    """Poll a meter behind a server of our own, ten times a second."""
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    line = f'a: {{driver: modbus, tcp: "127.0.0.1:{port}", timeout: 60 ms}}'
    found = await poll(wired(line, "m1: {line: a, profile: profile.yaml, interval: 100 ms}"), seconds)
    server.close()
    return found


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(8)
    return head + await reader.readexactly(head[5] - 2)


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_f20_a_refused_connection_is_unreachable_and_tried_ever_more_rarely(wired: Wired) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = f'a: {{driver: modbus, tcp: "127.0.0.1:{port}"}}'
    owner, sink = await poll(wired(line, "m1: {line: a, profile: profile.yaml, interval: 100 ms}"), 0.6)
    assert sink.values == []
    assert owner.meters["m1"].cause == "unreachable"
    assert "refused the connection" in owner.meters["m1"].detail
    assert owner.meters["m1"].failures["unreachable"] == 0, "no fault of the meter's: the line waits"


async def test_f20_a_reset_in_the_middle_of_a_frame_gives_no_value(wired: Wired, fakes: Any) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(fakes.modbus_reply(await request(reader))[:11])
            await writer.drain()
            await asyncio.sleep(0.005)
            reset(writer)

    owner, sink = await against(wired, peer)
    assert [value for _, value in sink.values if value is not None] == []
    assert owner.meters["m1"].failures["unreachable"] >= 2


async def test_f20_a_device_that_is_back_is_read_at_once(wired: Wired, fakes: Any) -> None:
    served = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await request(reader)
                served += 1
                if served in (3, 4):
                    reset(writer)
                    return
                writer.write(fakes.no_identification(asked) or fakes.modbus_reply(asked))

    owner, _ = await against(wired, peer)
    counters = owner.meters["m1"]
    assert counters.read >= 3
    assert counters.missed["unreachable"] + counters.missed["timeout"] <= 2
    assert counters.state == "ok"


async def test_f21_a_reply_with_another_transaction_is_never_a_value(wired: Wired, fakes: Any) -> None:
    """Every reply is the one to the request before."""
    before = b""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal before
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await request(reader)
                writer.write(fakes.modbus_reply(before or asked[:1] + b"\xff" + asked[2:], (666.0, 666.0)))
                before = asked

    owner, sink = await against(wired, peer)
    assert [value for _, value in sink.values if value is not None] == []
    assert owner.meters["m1"].failures["bad_frame"] >= 3


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 11])
async def test_f24_an_exception_leaves_the_connection_and_is_counted_by_its_code(wired: Wired, code: int) -> None:
    connections = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await request(reader)
                writer.write(asked[:4] + b"\0\3" + asked[6:7] + bytes([0x80 | asked[7], code]))

    owner, _ = await against(wired, peer, 0.55)
    assert owner.meters["m1"].exceptions[code] >= 2
    assert connections == owner.counters.opened == 1


@pytest.mark.parametrize("length", [b"\xff\xff", b"\x01\x00"])
async def test_f26_a_huge_reply_is_not_read_to_its_end_and_the_connection_dropped(wired: Wired, length: bytes) -> None:
    taken: list[int] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(0)
        mine = len(taken) - 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            asked = await request(reader)
            writer.write(asked[:4] + length + asked[6:8] + b"\xff")
            while taken[mine] < 50_000_000:
                writer.write(bytes(4096))
                await writer.drain()
                taken[mine] += 4096

    owner, sink = await against(wired, peer)
    assert owner.meters["m1"].failures["bad_frame"] >= 1
    assert sink.values == []
    assert max(taken) < 20_000_000, "closed by us, not drunk up: what the system's buffers hold"


async def test_no_connection_is_left_behind_by_many_losses(wired: Wired) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    owner, _ = await against(wired, peer, 1.2)
    await asyncio.sleep(0.05)
    assert owner.counters.opened >= 3
    assert len(os.listdir("/proc/self/fd")) <= before + 4


class PtyMeter:
    """A Modbus RTU meter on a pseudo-terminal; `replies` makes of a right reply what is sent."""

    def __init__(self, replies: Callable[[bytes, int], bytes]) -> None:
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        self._replies = replies
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
                    os.write(self._ours, checked(frame[:1] + b"\xab\x01"))
                    continue
                self.served += 1
                reply = checked(frame[:2] + b"\x08" + struct.pack(">ff", float(self.served), 1.0))
                os.write(self._ours, self._replies(reply, self.served))

    def close(self) -> None:
        """Once its thread has ended: a descriptor that is read must not become another's."""
        if self._thread.is_alive():
            os.write(self._stopped, b"x")
            self._thread.join()
            for end in (self._theirs, self._ours, self._stop, self._stopped):
                os.close(end)


def checked(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return data + value.to_bytes(2, "little")


@pytest.fixture
def pty_meter() -> Iterator[Callable[..., PtyMeter]]:
    made: list[PtyMeter] = []

    def make(replies: Callable[[bytes, int], bytes] = lambda reply, n: reply) -> PtyMeter:
        made.append(PtyMeter(replies))
        return made[-1]

    yield make
    for meter in made:
        meter.close()


def serial(path: str | Path, more: str = "") -> str:
    return f"a: {{driver: modbus, serial: {path}, baud: 115200, timeout: 100 ms{more}}}"


SLOW = "m1: {line: a, profile: profile.yaml, interval: 250 ms}"


async def test_f23_a_spoilt_reply_is_asked_for_again_within_its_slot(wired: Wired, pty_meter: Any) -> None:
    meter = pty_meter(lambda reply, n: reply[:-1] + bytes([reply[-1] ^ (n % 3 == 0)]))
    owner, sink = await poll(wired(serial(meter.path), SLOW), 1.6)
    counters = owner.meters["m1"]
    assert counters.read >= 4
    assert counters.missed.keys() <= {"starting", "overrun"}, "no slot is lost"
    assert counters.retries == counters.failures["bad_frame"] >= 2
    assert all(value is not None for _, value in sink.values)


async def test_f23_what_is_spoilt_twice_is_a_missed_slot(wired: Wired, pty_meter: Any) -> None:
    meter = pty_meter(lambda reply, n: reply[:-1] + bytes([reply[-1] ^ 1]))
    owner, sink = await poll(wired(serial(meter.path), SLOW), 1.0)
    assert sink.values == []
    assert owner.meters["m1"].cause == "bad_frame"
    counters = owner.meters["m1"]
    assert 0 < counters.retries <= counters.missed["bad_frame"], "one retry, no more"
    assert meter.served == counters.missed["bad_frame"] + counters.retries


async def test_f23_noise_without_a_reply_in_it_is_not_answered_by_a_retry(wired: Wired, pty_meter: Any) -> None:
    """The true reply may still come, and would pass for the reply to the next request."""
    meter = pty_meter(lambda reply, n: bytes(255 - byte for byte in reply))
    owner, sink = await poll(wired(serial(meter.path), SLOW), 1.0)
    assert sink.values == []
    assert owner.meters["m1"].failures["bad_frame"] == meter.served == 1
    assert owner.meters["m1"].retries == 0


async def test_f23_a_reply_behind_noise_is_asked_for_again(wired: Wired, pty_meter: Any) -> None:
    meter = pty_meter(lambda reply, n: b"\xff" + reply if n % 2 else reply)
    owner, sink = await poll(wired(serial(meter.path), SLOW), 1.0)
    assert owner.meters["m1"].retries >= 2
    assert [value for _, value in sink.values[::2]] == [2.0 * n for n in range(1, len(sink.values) // 2 + 1)]


async def test_f23_an_adapter_that_echoes_is_read_where_it_is_said(wired: Wired, pty_meter: Any) -> None:
    def echo(reply: bytes, n: int) -> bytes:
        return checked(reply[:2] + b"\0\0\0\4") + reply

    owner, sink = await poll(wired(serial(pty_meter(echo).path, ", echo: true"), SLOW), 1.0)
    assert owner.meters["m1"].read >= 2
    assert ("m1", 1.0) in sink.values
    owner, sink = await poll(wired(serial(pty_meter(echo).path), SLOW), 1.0)
    assert "echo: true" in owner.meters["m1"].detail
    assert sink.values == []


async def test_f27_a_port_that_goes_and_comes_many_times_leaves_no_descriptor(pty_meter: Any, tmp_path: Path) -> None:
    """By its lasting name, as under /dev/serial/by-id; each time on another port."""
    link = tmp_path / "usb-FTDI-if00"
    settings = ExchangeLine.model_validate({"driver": "x", "serial": str(link), "baud": 115200, "timeout": "500 ms"})
    port = Port(settings, 0.0, RealWorld(), LineCounters())
    modbus: Any = driver("modbus")
    asked = modbus.plan(modbus.line_model.model_validate({"driver": "modbus", "serial": "x"}), _two_registers())[0]
    counts = []
    for _ in range(60):
        meter = pty_meter()
        link.symlink_to(meter.path)
        answer = await port.converse(asked, MeterCounters())
        assert answer.values[0].value == 1.0
        link.unlink()
        meter.close()
        with pytest.raises(MeterError) as gone:
            await port.converse(asked, MeterCounters())
        await port.lose(gone.value)
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[5]


def _two_registers() -> Any:
    from drivers.contract import MeterPlan
    from metering.profile import Profile

    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "modbus", "defaults": {"fc": 3, "type": "f32"},
         "points": {name: {"address": at, "unit": "kWh", "role": "gauge"} for name, at in (("a", 0), ("b", 2))},
         "source": {"title": "made up"}, "status": "unverified"}
    )  # fmt: skip
    return MeterPlan("m", {"unit": 1}, profile, profile.points)


def test_f28_a_port_without_permission_is_told_and_tried_again(
    wired: Wired, world: Any, fakes: Any, in_virtual_time: Any, caplog: Any
) -> None:
    wire = fakes.Wire(lambda frame: [(0.01, checked(frame[:2] + b"\x08" + bytes(8)))])
    wire.refuses = "no permission to open /dev/x: add this user to the group dialout"
    world.lines["/dev/x"] = wire
    owner = LineOwner(
        wired("a: {driver: modbus, serial: /dev/x}", "m1: {line: a, profile: profile.yaml, interval: 1 s}").lines[0],
        world, Sink(), GapBook(),
    )  # fmt: skip

    async def story() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(owner.run(stop))
            await asyncio.sleep(60.0)
            assert "dialout" in owner.meters["m1"].detail
            assert "dialout" in owner.counters.report()["problem"]
            wire.refuses = ""
            await asyncio.sleep(12.0)
            stop.set()

    in_virtual_time(story())
    assert owner.meters["m1"].state == "ok"
    assert "problem" not in owner.counters.report()
    assert sum("silent" in record.message for record in caplog.records) == 1
