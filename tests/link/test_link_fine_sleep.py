import asyncio
import os
import time
from statistics import median

from link.fine_sleep import FineSleep


async def test_a_short_sleep_ends_neither_early_nor_a_millisecond_late() -> None:
    fine, took = FineSleep(), []
    for _ in range(30):
        start = time.perf_counter()
        await fine.sleep(0.00175)
        took.append(time.perf_counter() - start)
    assert min(took) >= 0.00175
    assert median(took) < 0.00275


async def test_its_timers_are_used_again_and_closed_with_it() -> None:
    before = len(os.listdir("/proc/self/fd"))
    fine = FineSleep()
    for _ in range(5):
        await asyncio.gather(*(fine.sleep(0.001) for _ in range(4)))
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    del fine
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_sleep_that_is_cancelled_leaves_its_timer_stopped() -> None:
    fine = FineSleep()
    sleeping = asyncio.ensure_future(fine.sleep(0.01))
    await asyncio.sleep(0)
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)
    start = time.perf_counter()
    await fine.sleep(0.02)
    assert time.perf_counter() - start >= 0.02


async def test_a_sleep_of_less_than_a_nanosecond_ends() -> None:
    async with asyncio.timeout(2.0):
        await FineSleep().sleep(1e-10)
