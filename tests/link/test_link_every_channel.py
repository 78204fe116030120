"""What every channel promises, on real ones of each kind: TCP, TLS, UDP, a serial port, a port behind a serial server."""

import asyncio
import time
from typing import Any

import pytest

from metering.errors import MeterUnreachable

EVERY_BYTE = bytes(range(256))


async def test_every_byte_passes_both_ways(far: Any) -> None:
    await far.channel.write(EVERY_BYTE)
    assert await far.received(256) == EVERY_BYTE
    far.send(EVERY_BYTE)
    received = b""
    while len(received) < 256:
        received += await far.channel.read(1.0)
    assert received == EVERY_BYTE


async def test_silence_costs_the_time_out_and_gives_nothing(far: Any) -> None:
    began = time.monotonic()
    assert await far.channel.read(0.05) == b""
    assert 0.04 < time.monotonic() - began < 0.5


async def test_a_late_reply_is_drained_and_the_right_one_is_read(far: Any) -> None:
    far.send(b"late")
    await asyncio.sleep(0.1)
    assert far.channel.drain() == 4
    assert far.channel.drain() == 0
    await far.channel.write(b"request")
    assert await far.received(7) == b"request"
    far.send(b"right")
    assert await far.channel.read(1.0) == b"right"


async def test_a_read_that_was_given_up_takes_nothing_with_it(far: Any) -> None:
    reading = asyncio.ensure_future(far.channel.read(5.0))
    await asyncio.sleep(0.02)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    far.send(b"reply")
    assert await far.channel.read(1.0) == b"reply"


async def test_closing_ends_a_read_that_waits_and_may_be_done_twice(far: Any) -> None:
    reading = asyncio.ensure_future(far.channel.read(5.0))
    await asyncio.sleep(0.02)
    await far.channel.close()
    await far.channel.close()
    with pytest.raises(MeterUnreachable):
        await reading


async def ask(channel: Any) -> bytes:
    await channel.write(b"request")
    return bytes(await channel.read(0.5))


async def test_a_lost_line_is_told_on_every_call_after_it(far: Any) -> None:
    far.lose()
    await asyncio.sleep(0.1)
    for _ in range(3):
        with pytest.raises(MeterUnreachable):
            await ask(far.channel)


async def test_a_change_of_speed_leaves_the_line_usable(far: Any) -> None:
    await far.channel.write(b"slow")
    await far.channel.set_speed(2400)
    await far.channel.write(b"slower")
    received = b""
    while len(received) < 10:
        received += await far.received(10 - len(received))
    assert received == b"slowslower"
