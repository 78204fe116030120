"""Channels on real sockets and pseudo-terminals."""

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import serial

from link import channels, serial_port
from link.real_world import RealWorld
from metering.errors import MeterUnreachable


async def test_a_request_and_its_reply_pass_a_tcp_channel(world: RealWorld, peer: Any) -> None:
    channel = await world.open_tcp("127.0.0.1", peer.port, 1.0)
    reader, writer = await peer.streams()
    await channel.write(b"request")
    assert await reader.readexactly(7) == b"request"
    writer.write(b"reply")
    assert await channel.read(1.0) == b"reply"
    await channel.close()


async def test_a_silent_peer_costs_the_time_out_and_no_more(world: RealWorld, peer: Any) -> None:
    channel = await world.open_tcp("127.0.0.1", peer.port, 1.0)
    began = time.monotonic()
    assert await channel.read(0.05) == b""
    assert 0.04 < time.monotonic() - began < 0.5
    await channel.close()


async def test_what_came_before_the_end_of_file_is_given_out_first(world: RealWorld, peer: Any) -> None:
    channel = await world.open_tcp("127.0.0.1", peer.port, 1.0)
    _, writer = await peer.streams()
    writer.write(b"last words")
    writer.close()
    await asyncio.sleep(0.05)
    assert await channel.read(1.0) == b"last words"
    with pytest.raises(MeterUnreachable, match="closed the connection"):
        await channel.read(1.0)
    await channel.close()


async def test_a_reset_while_reading_is_a_lost_connection(world: RealWorld, peer: Any) -> None:
    channel = await world.open_tcp("127.0.0.1", peer.port, 1.0)
    _, writer = await peer.streams()
    reading = asyncio.ensure_future(channel.read(5.0))
    await asyncio.sleep(0.01)
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()
    with pytest.raises(MeterUnreachable, match="broke: Connection reset"):
        await reading
    with pytest.raises(MeterUnreachable):
        await channel.write(b"more")
    await channel.close()


async def test_closing_ends_a_read_that_waits(world: RealWorld, peer: Any) -> None:
    channel = await world.open_tcp("127.0.0.1", peer.port, 1.0)
    reading = asyncio.ensure_future(channel.read(5.0))
    await asyncio.sleep(0.01)
    await channel.close()
    await channel.close()
    with pytest.raises(MeterUnreachable):
        await reading


async def test_draining_takes_the_late_reply_that_the_loop_has_not_seen_yet(world: RealWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = await world.open_tcp("127.0.0.1", server.getsockname()[1], 1.0)
        meter, _ = server.accept()
        with meter:
            meter.sendall(b"late")
            assert channel.drain() == 4
            assert channel.drain() == 0
            meter.sendall(b"right")
            assert await channel.read(1.0) == b"right"
        await channel.close()


async def test_a_flood_fills_64_kib_and_no_more_until_it_is_read(world: RealWorld, peer: Any) -> None:
    channel = await world.open_tcp("127.0.0.1", peer.port, 1.0)
    _, writer = await peer.streams()
    writer.write(bytes(20_000_000))
    await asyncio.sleep(0.1)
    assert len(await channel.read(1.0)) < 2 * channels.CHUNK
    received = 0
    while chunk := await channel.read(0.2):
        received += len(chunk)
    assert received > 19_000_000
    await channel.close()


async def test_a_large_write_waits_for_a_slow_peer(world: RealWorld, peer: Any) -> None:
    channel = await world.open_tcp("127.0.0.1", peer.port, 1.0)
    reader, _ = await peer.streams()
    writing = asyncio.ensure_future(channel.write(bytes(8_000_000)))
    await asyncio.sleep(0.05)
    assert not writing.done()
    assert len(await reader.readexactly(8_000_000)) == 8_000_000
    await writing
    await channel.close()


async def test_a_refused_connection_names_the_address_and_the_remedy(world: RealWorld) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(MeterUnreachable) as refusal:
        await world.open_tcp("127.0.0.1", port, 1.0)
    assert f"127.0.0.1:{port} refused the connection: check the port" in refusal.value.say("en")
    assert "拒绝连接：检查端口" in refusal.value.say("zh")


async def test_an_unknown_host_is_told_from_a_dead_one(world: RealWorld) -> None:
    with pytest.raises(MeterUnreachable, match=r"the host name of no-such-host\.invalid:502 is unknown"):
        await world.open_tcp("no-such-host.invalid", 502, 5.0)


async def test_a_host_that_does_not_answer_costs_the_time_out(world: RealWorld) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        queue = [socket.socket() for _ in range(4)]
        for waiting in queue:
            waiting.setblocking(False)
            waiting.connect_ex(address)
        with pytest.raises(MeterUnreachable, match=r"did not answer in 0\.1 s: check power"):
            await world.open_tcp(address[0], address[1], 0.1)
        for waiting in queue:
            waiting.close()


@pytest.mark.parametrize("frame", ["8N1", "8E1", "8O1", "8N2", "7E1"])
async def test_bytes_pass_a_serial_channel_in_every_frame(world: RealWorld, pty: Any, frame: str) -> None:
    channel = await world.open_serial(pty.path, 9600, frame)
    await channel.write(b"\x01\x03\xff\x0a\x0d\x11\x13")
    assert os.read(pty.far, 100) == b"\x01\x03\xff\x0a\x0d\x11\x13"
    os.write(pty.far, b"\x01\x83\x02\x00\x0d\x0a\x03")
    assert await channel.read(1.0) == b"\x01\x83\x02\x00\x0d\x0a\x03"
    await channel.close()


async def test_a_silent_serial_line_is_silent_and_not_lost(world: RealWorld, pty: Any) -> None:
    channel = await world.open_serial(pty.path, 9600, "8N1")
    assert await channel.read(0.02) == b""
    assert channel.drain() == 0
    os.write(pty.far, b"noise")
    assert channel.drain() == 5
    assert await channel.read(0.02) == b""
    await channel.close()


async def test_a_pulled_adapter_is_a_lost_line(world: RealWorld, pty: Any) -> None:
    channel = await world.open_serial(pty.path, 9600, "8N1")
    pty.let_go()
    reading = asyncio.ensure_future(channel.read(5.0))
    await asyncio.sleep(0.01)
    pty.unplug()
    with pytest.raises(MeterUnreachable, match="is gone: check the adapter"):
        await reading
    await channel.close()


async def test_a_change_of_speed_is_seen_behind_the_port(world: RealWorld, pty: Any) -> None:
    channel = await world.open_serial(pty.path, 300, "8N1")
    await channel.write(b"/?!")
    await channel.set_speed(9600)
    assert termios.tcgetattr(pty.far)[4:6] == [termios.B9600, termios.B9600]
    with pytest.raises(MeterUnreachable, match="cannot do 12345 baud"):
        await channel.set_speed(12345)
    await channel.close()


async def test_a_port_in_use_names_the_way_to_find_the_user(world: RealWorld, pty: Any) -> None:
    first = await world.open_serial(pty.path, 9600, "8N1")
    with pytest.raises(MeterUnreachable) as refusal:
        await world.open_serial(pty.path, 9600, "8N1")
    assert "in use by another program: find it with fuser -v" in refusal.value.say("en")
    assert "正被另一个程序使用" in refusal.value.say("zh")
    await first.close()
    await (await world.open_serial(pty.path, 9600, "8N1")).close()


async def test_a_missing_port_is_named_with_its_remedy(world: RealWorld) -> None:
    with pytest.raises(MeterUnreachable, match="there is no port /dev/ttyNONE0: plug in the adapter"):
        await world.open_serial("/dev/ttyNONE0", 9600, "8N1")


async def test_a_file_that_is_no_serial_port_is_refused(world: RealWorld, tmp_path: Path) -> None:
    path = tmp_path / "ttyUSB0"
    path.touch()
    with pytest.raises(MeterUnreachable, match="check that it is a serial port"):
        await world.open_serial(str(path), 9600, "8N1")


async def test_a_port_that_hangs_on_opening_is_given_up_and_closed_when_it_opens_at_last(pty: Any) -> None:
    held, opened = threading.Event(), []

    def open_port() -> serial.Serial:
        held.wait(5.0)
        opened.append(serial.Serial(pty.path))
        return opened[0]

    with pytest.raises(MeterUnreachable, match=r"did not open in 0\.05 s: unplug the adapter"):
        await serial_port.opened_in_time(pty.path, open_port, 0.05)
    held.set()
    async with asyncio.timeout(5.0):
        while not opened or opened[0].is_open:
            await asyncio.sleep(0.01)


def test_a_forbidden_port_names_the_group() -> None:
    refusal = serial_port.serial_refusal("/dev/ttyS0", 9600, "8N1", PermissionError(13, "Permission denied"))
    assert "add this user to the group dialout" in refusal.en
    assert "dialout" in refusal.zh


async def test_a_port_locked_by_another_program_is_left_alone(world: RealWorld, pty: Any) -> None:
    other = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(MeterUnreachable, match="in use by another program"):
        await world.open_serial(pty.path, 9600, "8N1")
    os.close(other)


DEAD_NAME_SERVER = """
import asyncio, os, pty, socket, sys, time, tty
from link.real_world import RealWorld
from metering.errors import MeterUnreachable

socket.getaddrinfo = lambda *args, **more: time.sleep(30)

async def line(world, number):
    try:
        await world.open_tcp(f"gateway-{number}.plant", 502, 0.2)
    except MeterUnreachable as error:
        return str(error)

async def main():
    world = RealWorld()
    said = await asyncio.gather(*(line(world, number) for number in range(40)))
    assert all("did not answer in 0.2 s" in text for text in said), said
    _, near = pty.openpty()
    tty.setraw(near)
    async with asyncio.timeout(1.0):
        await (await world.open_serial(os.ttyname(near), 9600, "8N1")).close()
    with socket.create_server(("127.0.0.1", 0)) as server:
        await (await world.open_tcp("127.0.0.1", server.getsockname()[1], 1.0)).close()

asyncio.run(main())
"""


def test_a_dead_name_server_blocks_no_other_line_and_no_stop() -> None:
    """In a process of its own: a name server that hangs cannot be had here, and the end of the process is what counts."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", DEAD_NAME_SERVER], capture_output=True, text=True, timeout=25)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 15


async def test_a_host_name_is_resolved(world: RealWorld, peer: Any) -> None:
    channel = await world.open_tcp("localhost", peer.port, 1.0)
    await channel.write(b"request")
    reader, _ = await peer.streams()
    assert await reader.readexactly(7) == b"request"
    await channel.close()
