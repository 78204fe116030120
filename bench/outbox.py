"""How many batches a second the outbox takes for good, gives back and settles.

Ours is one commit a batch, as an agent makes once a second: seal, write, read what waits, take its receipt. The limit appends
the very bytes that were sealed to a file, with one fdatasync each. SQLite overwrites its log in place after a while, where
the bare file always grows; so on some file systems ours is the quicker one.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from agent.books import OutboxSettings
from agent.outbox import Outbox, open_outbox
from bench.alternate import Row, Size, alternate, seconds
from bench.batches import drafts
from link.real_world import RealWorld
from metering.wire import Batch, Receipt

BATCHES = 120
SIZES = (100, 1000)


def measure(size: Size, folder: Path) -> Iterator[Row]:
    for readings in SIZES:
        yield _measure(size, folder, readings)


def _measure(size: Size, folder: Path, readings: int) -> Row:
    count = size.of(BATCHES)
    prepared = drafts(min(count, 50), readings)
    sealed: list[bytes] = []
    settings = OutboxSettings(folder / f"outbox-{readings}.db", 256 << 20, 7 * 86400.0)
    handle = os.open(folder / f"bare-{readings}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        outbox = runner.run(stack.enter_async_context(open_outbox(settings, RealWorld())))

        def ours() -> float:
            sealed.clear()
            return count / seconds(lambda: runner.run(_cycle(outbox, prepared, count, sealed)))

        def bare() -> float:
            return count / seconds(lambda: _append(handle, sealed))

        found = alternate({"ours": ours, "bare": bare}, size.rounds)
        runner.run(stack.aclose())
    os.close(handle)
    return Row(
        f"Outbox, {readings} readings a batch",
        "batches/s",
        found["ours"],
        found["bare"],
        "append of the same bytes, fdatasync",
    )


async def _cycle(outbox: Outbox, prepared: list[Batch], count: int, sealed: list[bytes]) -> None:
    last_id = (await outbox.health()).last_seq
    for number in range(count):
        (row,) = await outbox.put([prepared[number % len(prepared)]])
        (waiting,) = await outbox.unreceipted_after(last_id, 1)
        if waiting.payload != row.payload:
            raise AssertionError("another batch came back")
        outbox.settle(Receipt(stream=row.stream, through=row.seq))
        last_id = row.id
        sealed.append(row.payload)


def _append(handle: int, payloads: list[bytes]) -> None:
    for payload in payloads:
        os.write(handle, payload)
        os.fdatasync(handle)
