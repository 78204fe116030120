"""How many Modbus TCP reads of 10 registers a second one line makes, and what they cost.

Ours is the agent's path: silence, request, channel, length, check, decode, and the answer handed over. The limit is a bare
asyncio protocol that sends the same frame again and counts the bytes of the reply. Both ask the same server, all on
one core, so that the figure is the work of both ends and not the waking of a second core.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

from agent.batch import Collector, Origin
from agent.exchange import ExchangeWire
from bench.alternate import Row, Size, alternate
from bench.far_end import TCP_REQUEST, TCP_REST, far_end
from bench.machine import one_core
from bench.meter import POINTS, line
from drivers.contract import ExchangeDriver, ExchangeLine
from link.real_world import RealWorld
from link.world import World
from metering.wire import encode

POLLS = 2500
REPLY_BYTES = 2 + len(TCP_REST)

Polls = Callable[[int], Awaitable[None]]


def measure(size: Size, folder: Path) -> Iterator[Row]:
    with one_core(), far_end("tcp") as port, asyncio.Runner() as runner:
        ours, whole = answers(int(port)), with_batch(int(port))
        bare = runner.run(_bare(int(port)))
        found = alternate(
            {
                "ours": lambda: _run(runner, ours, size.of(POLLS)),
                "whole": lambda: _run(runner, whole, size.of(POLLS)),
                "bare": lambda: _run(runner, bare, size.of(POLLS)),
            },
            size.rounds,
        )
    (rate, cpu), (whole_rate, whole_cpu), (limit, limit_cpu) = (
        list(zip(*rounds, strict=True)) for rounds in found.values()
    )
    yield Row("Modbus TCP, one line", "polls/s", rate, limit, "bare asyncio protocol, same frame, bytes counted")
    yield Row("… CPU of the agent", "µs/poll", cpu, limit_cpu, "CPU of the bare protocol", less_is_better=True)
    yield Row("… with its batch", "polls/s", whole_rate, limit, "bare asyncio protocol")
    yield Row("… CPU of the agent", "µs/poll", whole_cpu, limit_cpu, "CPU of the bare protocol", less_is_better=True)


def _run(runner: asyncio.Runner, polls: Polls, count: int) -> tuple[float, float]:
    """Return polls a second and CPU of this process in microseconds a poll."""

    async def run() -> None:
        await polls(count)

    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    runner.run(run())
    elapsed_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    return count / elapsed_s, 1e6 * cpu_s / count


def exchange_wire(world: World, **where: str | int) -> ExchangeWire:
    """Return the agent's wire to the meter."""
    of = line(**where)
    return ExchangeWire(of, cast(ExchangeDriver, of.driver), cast(ExchangeLine, of.settings), world)


def answers(port: int) -> Polls:
    """Return polls whose answers are looked at and dropped."""
    wire = exchange_wire(RealWorld(), tcp=f"127.0.0.1:{port}")
    (meter,) = line(tcp="127.0.0.1:1").meters

    async def polls(count: int) -> None:
        for _ in range(count):
            async for answer in wire.poll(meter):
                if answer.error is not None or len(answer.values) != len(POINTS):
                    raise answer.error or AssertionError("a value is missing")

    return polls


def with_batch(port: int) -> Polls:
    """Return polls whose answers go where the agent's go, into the batch under way."""
    world = RealWorld()
    wire = exchange_wire(world, tcp=f"127.0.0.1:{port}")
    (meter,) = line(tcp="127.0.0.1:1").meters
    collector = Collector(Origin("bench", "bench", "c", POINTS), world)

    async def polls(count: int) -> None:
        for _ in range(count):
            if not collector.take(meter, [answer async for answer in wire.poll(meter)]):
                raise AssertionError("the collector is full")
        for draft in collector.drafts():
            encode(draft)

    return polls


class _Bare(asyncio.Protocol):
    """Sends the frame again as soon as the reply's bytes are there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._left = 0
        self._received = 0

    def begin(self, count: int) -> asyncio.Future[None]:
        self._left = count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport.write(TCP_REQUEST)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received < REPLY_BYTES:
            return
        self._received = 0
        self._left -= 1
        if self._left:
            self._transport.write(TCP_REQUEST)
        else:
            self._done.set_result(None)


async def _bare(port: int) -> Polls:
    _, protocol = await asyncio.get_running_loop().create_connection(_Bare, "127.0.0.1", port)
    return protocol.begin
