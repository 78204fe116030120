"""The real world's clocks, dice and workers."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from link.real_world import RealWorld, kernel_says_synced


async def test_the_clocks_agree_with_the_machine(world: RealWorld) -> None:
    assert abs(world.now_ms() - time.time() * 1000) < 1000
    assert abs(world.uptime() - float(Path("/proc/uptime").read_text().split()[0])) < 1
    assert world.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def test_the_clock_state_is_what_the_kernel_says(world: RealWorld) -> None:
    assert world.clock_state() == ("synced" if kernel_says_synced() else "unsynced")


async def test_ids_and_dice_differ_between_worlds(world: RealWorld) -> None:
    other = RealWorld()
    assert world.new_id() != world.new_id()
    assert world.random.random() != other.random.random()


async def test_a_worker_runs_its_calls_in_order_in_one_thread(world: RealWorld) -> None:
    seen: list[tuple[int, str]] = []

    def note(number: int) -> int:
        seen.append((number, threading.current_thread().name))
        return number

    async with world.worker("store") as worker:
        results = await asyncio.gather(*(worker.run(note, number) for number in range(50)))
    assert results == list(range(50))
    assert [number for number, _ in seen] == results
    assert {name for _, name in seen} == {"store_0"}


async def test_a_call_raises_its_own_error(world: RealWorld) -> None:
    async with world.worker("store") as worker:
        with pytest.raises(ZeroDivisionError):
            await worker.run(lambda: 1 // 0)


async def test_leaving_runs_what_was_queued_even_by_callers_that_were_cancelled(world: RealWorld) -> None:
    seen: list[int] = []

    def slowly(number: int) -> None:
        time.sleep(0.02)
        seen.append(number)

    async with world.worker("store") as worker:
        callers = [asyncio.ensure_future(worker.run(slowly, number)) for number in range(4)]
        await asyncio.sleep(0)
        for caller in callers[2:]:
            caller.cancel()
    assert seen == [0, 1, 2, 3]
