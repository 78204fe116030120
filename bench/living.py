"""What share of their slots the living units of a line keep beside dead ones: 32 units at 9600 baud, 4 of them dead.

The line's owner polls the simulated line in real time. A read is 38 ms of the line, so the living need more than half of it; a
dead one costs its time-out of 1 s. The seconds before, in which the dead are found out, do not count.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from agent.answer import Answer
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.wiring import Line, Meter
from bench.alternate import Missing, Row, Size
from bench.far_end import far_end
from bench.meter import line
from link.real_world import RealWorld

BAUD = 9600
UNITS = 32
DEAD = (5, 13, 21, 29)
INTERVAL_MS = 2000
SECONDS = 40
BEFORE = 15


class _Taken:
    """A sink without a bottom."""

    def take(self, meter: Meter, answers: Sequence[Answer]) -> bool:
        return True


def measure(size: Size, folder: Path) -> Iterator[Row | Missing]:
    seconds = max(2.0, SECONDS * size.scale)
    path = folder / "line"
    with far_end("units", str(BAUD), str(path), *map(str, DEAD)), asyncio.Runner() as runner:
        kept = runner.run(_polled(_many(path), max(1.0, BEFORE * size.scale), seconds))
    name = f"{UNITS} units, {BAUD} baud, {len(DEAD)} dead"
    yield Row(name, "of the living's slots", [kept], [1.0], "every slot of the living read")


def _many(path: Path) -> Line:
    one = line(serial=str(path), baud=BAUD)
    (meter,) = one.meters
    meters = tuple(
        replace(
            meter,
            id=f"u{unit}",
            plan=replace(meter.plan, meter=f"u{unit}", address={"unit": unit}),
            interval_ms=INTERVAL_MS,
            phase_ms=(unit - 1) * INTERVAL_MS // UNITS,
        )
        for unit in range(1, UNITS + 1)
    )
    return replace(one, meters=meters)


async def _polled(of: Line, before_s: float, seconds: float) -> float:
    """Return the share of the living's slots that were read."""
    owner = LineOwner(of, RealWorld(), _Taken(), GapBook())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(owner.run(stop))
        await asyncio.sleep(before_s)
        read, expected = _slots(owner)
        await asyncio.sleep(seconds)
        read, expected = (now - then for now, then in zip(_slots(owner), (read, expected), strict=True))
        stop.set()
    return read / max(1, expected)


def _slots(owner: LineOwner) -> tuple[int, int]:
    """Return how many slots of the living were read, and how many there were."""
    living = [counters for id_, counters in owner.meters.items() if int(id_.removeprefix("u")) not in DEAD]
    return sum(counters.read for counters in living), sum(counters.expected for counters in living)
