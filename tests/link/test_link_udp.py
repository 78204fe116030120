"""Datagrams."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from link.real_world import RealWorld
from metering.errors import MeterUnreachable


@pytest.fixture
def meter() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(1.0)
        yield listening


async def test_each_read_gives_one_whole_datagram(world: RealWorld, meter: socket.socket) -> None:
    channel = await world.open_udp(*meter.getsockname())
    await channel.write(b"request")
    _, agent = meter.recvfrom(100)
    for datagram in (b"late", b"", b"right", bytes(4000)):
        meter.sendto(datagram, agent)
    await asyncio.sleep(0.02)
    assert await channel.read(1.0) == b"late"
    assert await channel.read(1.0) == b"right"
    assert await channel.read(1.0) == bytes(4000)
    assert await channel.read(0.02) == b""
    await channel.close()


async def test_datagrams_of_others_are_not_heard(world: RealWorld, meter: socket.socket) -> None:
    channel = await world.open_udp(*meter.getsockname())
    await channel.write(b"request")
    _, agent = meter.recvfrom(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"forged", agent)
    assert await channel.read(0.05) == b""
    await channel.close()


async def test_draining_takes_what_the_loop_has_not_seen_yet(world: RealWorld, meter: socket.socket) -> None:
    channel = await world.open_udp(*meter.getsockname())
    await channel.write(b"request")
    _, agent = meter.recvfrom(100)
    for _ in range(3):
        meter.sendto(b"late", agent)
    assert channel.drain() == 12
    assert await channel.read(0.02) == b""
    await channel.close()


async def test_a_port_where_nothing_listens_names_the_remedy(world: RealWorld, meter: socket.socket) -> None:
    channel = await world.open_udp(*meter.getsockname())
    meter.close()
    await channel.write(b"request")
    with pytest.raises(MeterUnreachable, match=r"nothing takes UDP at 127\.0\.0\.1:.*check the port"):
        await channel.read(1.0)
    await channel.close()


async def test_an_unknown_host_is_named(world: RealWorld) -> None:
    with pytest.raises(MeterUnreachable, match=r"host name of no-such-host\.invalid:502 is unknown"):
        await world.open_udp("no-such-host.invalid", 502)


async def test_a_flood_of_datagrams_fills_no_memory(world: RealWorld, meter: socket.socket) -> None:
    channel = await world.open_udp(*meter.getsockname())
    await channel.write(b"request")
    _, agent = meter.recvfrom(100)
    for _ in range(400):
        meter.sendto(bytes(1000), agent)
        await asyncio.sleep(0)
    assert 0 < channel.drain() <= 400_000
    await channel.close()


async def test_draining_takes_every_datagram_that_has_arrived(world: RealWorld, meter: socket.socket) -> None:
    channel = await world.open_udp(*meter.getsockname())
    await channel.write(b"request")
    _, agent = meter.recvfrom(100)
    for n in range(100):
        meter.sendto(b"late%d" % n, agent)
        await asyncio.sleep(0.0002 if n < 50 else 0)
    assert channel.drain() == sum(len(b"late%d" % n) for n in range(100))
    meter.sendto(b"right", agent)
    assert await channel.read(1.0) == b"right"
    await channel.close()
