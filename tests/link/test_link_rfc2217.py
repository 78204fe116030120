"""Serial ports behind a serial server, against pyserial's own server as the second implementation."""

import asyncio
import time
from typing import Any

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from link.comport import ComPort, command, escaped
from link.real_world import RealWorld
from link.rfc2217 import ComPortChannel
from link.tcp import open_tcp
from metering.errors import MeterUnreachable

WILL, WONT, DO, DONT, IAC = 251, 252, 253, 254, 255


@pytest.mark.parametrize(
    ("frame", "size", "parity", "stop"),
    [("8N1", 8, "N", 1), ("8E1", 8, "E", 1), ("8O1", 8, "O", 1), ("8N2", 8, "N", 2), ("7E1", 7, "E", 1)],
)
async def test_speed_and_frame_reach_the_far_port(
    world: RealWorld, serial_server: Any, frame: str, size: int, parity: str, stop: int
) -> None:
    server = serial_server(serial.serial_for_url("loop://"))
    channel = await world.open_serial(f"rfc2217://{server.address}", 2400, frame)
    port = server.serial
    assert (port.baudrate, port.bytesize, port.parity, port.stopbits) == (2400, size, parity, stop)
    await channel.write(b"\xff\x00\xff\xff\x0d\x0a")
    received = b""
    while len(received) < 6:
        received += await channel.read(1.0)
    assert received == b"\xff\x00\xff\xff\x0d\x0a"
    await channel.close()


async def test_the_speed_changes_after_what_was_written_is_out(world: RealWorld, serial_server: Any) -> None:
    server = serial_server(serial.serial_for_url("loop://"))
    channel = await world.open_serial(f"rfc2217://{server.address}", 300, "7E1")
    await channel.write(b"/?!\r\n")
    began = time.monotonic()
    await channel.set_speed(9600)
    assert time.monotonic() - began > 5 * 10 / 300
    assert server.serial.baudrate == 9600
    await channel.close()


async def test_a_port_opens_again_and_again(world: RealWorld, serial_server: Any) -> None:
    server = serial_server(serial.serial_for_url("loop://"))
    for _ in range(3):
        channel = await world.open_serial(f"rfc2217://{server.address}", 9600, "8N1")
        await channel.write(b"request")
        assert (await channel.read(1.0)).startswith(b"r")
        await channel.close()
        await asyncio.sleep(0.1)


async def test_a_server_that_cannot_do_the_speed_is_refused(world: RealWorld, peer: Any) -> None:
    opening = asyncio.ensure_future(world.open_serial(f"rfc2217://127.0.0.1:{peer.port}", 115200, "8N1"))
    reader, writer = await peer.streams()
    writer.write(bytes((IAC, DO, 44)))
    await reader.readuntil(command(1, 115200, 4))
    writer.write(command(101, 9600, 4))
    with pytest.raises(MeterUnreachable, match="is at 9600 baud and cannot be set to 115200"):
        await opening


@pytest.mark.parametrize("answer", [b"login: ", bytes((IAC, DONT, 44))])
async def test_a_server_of_another_kind_names_the_remedy(world: RealWorld, peer: Any, answer: bytes) -> None:
    opening = asyncio.ensure_future(world.open_serial(f"rfc2217://127.0.0.1:{peer.port}", 9600, "8N1"))
    _, writer = await peer.streams()
    writer.write(answer)
    with pytest.raises(MeterUnreachable) as refused:
        await opening
    assert "set that port of the serial server to RFC 2217" in refused.value.say("en")
    assert "RFC 2217 模式" in refused.value.say("zh")


async def test_a_server_that_streams_and_never_agrees_is_given_up_in_time(world: RealWorld, peer: Any) -> None:
    opening = asyncio.ensure_future(world.open_serial(f"rfc2217://127.0.0.1:{peer.port}", 9600, "8N1"))
    _, writer = await peer.streams()
    began = time.monotonic()
    while not opening.done() and time.monotonic() - began < 8:
        writer.write(bytes(4096))
        await asyncio.sleep(0.01)
    assert 2.9 < time.monotonic() - began < 5
    with pytest.raises(MeterUnreachable, match="does not answer by RFC 2217"):
        await opening


async def test_what_nobody_reads_fills_64_kib_and_no_more(peer: Any) -> None:
    channel = ComPortChannel(await open_tcp("127.0.0.1", peer.port, 1.0), "server", 9600)
    _, writer = await peer.streams()
    changing = asyncio.ensure_future(channel.set_speed(9600))
    writer.write(bytes(300_000) + command(101, 9600, 4))
    await changing
    assert len(await channel.read(1.0)) == 65536
    await channel.close()


async def test_an_address_of_another_form_is_refused(world: RealWorld) -> None:
    with pytest.raises(MeterUnreachable, match="not of the form rfc2217://host:port"):
        await world.open_serial("rfc2217://gateway", 9600, "8N1")


def test_echo_is_refused_and_each_answer_is_given_once() -> None:
    codec = ComPort()
    codec.begin()
    assert codec.feed(bytes((IAC, WILL, 1, IAC, DO, 44, IAC, WILL, 0))) == b""
    assert codec.take_reply() == bytes((IAC, DONT, 1))
    assert codec.agreed
    codec.feed(bytes((IAC, WILL, 1, IAC, DO, 24)))
    assert codec.take_reply() == bytes((IAC, WONT, 24))
    codec.feed(bytes((IAC, WONT, 1, IAC, DONT, 24, IAC, DO, 44)))
    assert codec.take_reply() == b""


def test_an_acknowledgement_is_told_from_the_meters_bytes() -> None:
    codec = ComPort()
    assert codec.feed(b"ab" + command(101, 255, 4) + b"\xff\xffc") == b"ab\xffc"
    assert codec.answers == {1: b"\x00\x00\x00\xff"}
    assert codec.feed(command(107, 0x10) + b"d") == b"d"


@given(st.binary(max_size=300))
def test_what_is_escaped_arrives_whole(data: bytes) -> None:
    assert ComPort().feed(escaped(data)) == data


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_in_any_pieces_give_the_same_and_raise_nothing(pieces: list[bytes]) -> None:
    whole, piecewise = ComPort(), ComPort()
    assert whole.feed(b"".join(pieces)) == b"".join(piecewise.feed(piece) for piece in pieces)
    assert (whole.reply, whole.answers, whole.agreed) == (piecewise.reply, piecewise.answers, piecewise.agreed)


def test_a_sub_negotiation_without_an_end_fills_no_memory() -> None:
    codec = ComPort()
    codec.feed(bytes((IAC, 250, 44)) + bytes(100_000))
    assert len(codec._option) <= 256
