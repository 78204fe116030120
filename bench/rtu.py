"""How much of a serial line's time the agent fills with frames, at 9600, 19200 and 115200 baud.

The line is simulated: bytes take the time of the line. The ideal is arithmetic: the frames' bits and the silence of 3.5
characters before each request, nothing else. The bare client does the same reads with blocking calls on a second such line.
"""

import asyncio
import os
import select
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from agent.wiring import Meter
from bench.alternate import Row, Size, alternate, seconds
from bench.far_end import BITS, RTU_REPLY, RTU_REQUEST, far_end
from bench.meter import line
from bench.poll import exchange_wire
from drivers.contract import ExchangeDriver, ExchangeLine
from link.real_world import RealWorld

POLLS = {9600: 10, 19200: 20, 115200: 80}


def measure(size: Size, folder: Path) -> Iterator[Row]:
    for baud, polls in POLLS.items():
        (folder / str(baud)).mkdir()
        yield from _measure(baud, size.of(polls), size.rounds, folder / str(baud))


def _measure(baud: int, count: int, rounds: int, folder: Path) -> Iterator[Row]:
    our_path, bare_path = folder / "ours", folder / "bare"
    with far_end("rtu", str(baud), str(our_path), str(bare_path)), asyncio.Runner() as runner:
        of = line(serial=str(our_path), baud=baud)
        (meter,) = of.meters
        wire = exchange_wire(RealWorld(), serial=str(our_path), baud=baud)
        silence_s = cast(ExchangeDriver, of.driver).silence_s(of.settings)
        ideal = 1 / (silence_s + sum(_frames_s(of.settings, baud, meter, cast(ExchangeDriver, of.driver))))
        handle = os.open(bare_path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(handle)

        async def polls() -> None:
            for _ in range(count):
                async for answer in wire.poll(meter):
                    if answer.error is not None:
                        raise answer.error

        found = alternate(
            {
                "ours": lambda: count / seconds(lambda: runner.run(polls())),
                "bare": lambda: count / seconds(lambda: _ask(handle, silence_s, count)),
            },
            rounds,
        )
        runner.run(wire.close())
        os.close(handle)
    yield Row(f"Modbus RTU, {baud} baud", "polls/s", found["ours"], [ideal] * rounds, "bits of the frames and t3.5")
    yield Row("… the same", "polls/s", found["ours"], found["bare"], "blocking client on such a simulated line")


def _frames_s(settings: object, baud: int, meter: Meter, modbus: ExchangeDriver) -> Iterator[float]:
    for request in modbus.plan(cast(ExchangeLine, settings), meter.plan):
        yield (request.request_bytes + request.reply_bytes) * BITS / baud


def _ask(handle: int, silence_s: float, count: int) -> None:
    for _ in range(count):
        time.sleep(silence_s)
        os.write(handle, RTU_REQUEST)
        received = 0
        while received < len(RTU_REPLY):
            select.select([handle], [], [], 2.0)
            received += len(os.read(handle, 256))
