"""The physics of the plant: how much flows at any moment, and how much has flowed until then.

Promises
    * Pure and seeded: the same settings give the same numbers, on any machine, in any order of asking.
    * A total is a function of the wall clock in closed form, so history needs no stepping and a restart loses nothing.
    * A total never decreases, and is the exact integral of its rate.

The load of the plant is drawn by its shifts at every quarter of an hour, with a little chance of the day and of the
quarter, and runs straight between these knots. Each stream follows it between its idle and full consumption. On top
lies a ripple of three sines whose periods divide the quarter, so that it adds nothing to the sum of a quarter.
"""

import datetime as dt
import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from random import Random

from settings.plant import PlantSettings

KNOT_MS = 900_000
HOUR_MS = 3_600_000
DAY_CHANCE = 0.04
"""Spread of whole days around the shifts' load."""
KNOT_CHANCE = 0.03
MOST_KNOTS = 104
"""Quarters of the longest day, when clocks go back."""
RIPPLE = ((300_000, 0.5), (90_000, 0.3), (20_000, 0.2))
"""Periods in milliseconds, each a divisor of KNOT_MS, and their shares of the ripple."""


@dataclass(frozen=True)
class Day:
    """The load of one local day at its knots, the next day's first included."""

    index: int
    start_ms: int
    end_ms: int
    loads: tuple[float, ...]


class Plant:
    """The load of the plant: 1 is full."""

    def __init__(self, settings: PlantSettings) -> None:
        self.seed = settings.seed
        self.zone = settings.timezone
        self.since = settings.since
        self.start_ms = self._midnight_ms(0)
        self._shift_starts = [shift.start for shift in settings.shifts]
        self._shift_loads = [shift.load for shift in settings.shifts]
        self._weekend = settings.weekend
        self.day = lru_cache(maxsize=2048)(self._day)
        self._own = lru_cache(maxsize=64)(self._own_loads)
        self._recent = self.day(0)

    def day_at(self, ms: int) -> Day:
        """Return the day `ms` lies in."""
        if not self._recent.start_ms <= ms < self._recent.end_ms:
            local = dt.datetime.fromtimestamp(ms // 1000, self.zone).date()
            self._recent = self.day((local - self.since).days)
        return self._recent

    def load(self, ms: int) -> float:
        """Return the load of the plant at `ms`."""
        day = self.day_at(ms)
        knot, rest = divmod(ms - day.start_ms, KNOT_MS)
        before, after = day.loads[knot], day.loads[knot + 1]
        return before + (after - before) * rest / KNOT_MS

    def _day(self, index: int) -> Day:
        loads = (*self._own(index), self._own(index + 1)[0])
        return Day(index, self._midnight_ms(index), self._midnight_ms(index + 1), loads)

    def _midnight_ms(self, index: int) -> int:
        date = self.since + dt.timedelta(days=index)
        return int(dt.datetime.combine(date, dt.time(), self.zone).timestamp()) * 1000

    def _own_loads(self, index: int) -> tuple[float, ...]:
        dice = Random(f"{self.seed}/load/{index}")
        weekday = (self.since + dt.timedelta(days=index)).weekday()
        day_load = (self._weekend if weekday >= 5 else 1.0) * (1 + DAY_CHANCE * dice.uniform(-1, 1))
        start, end = self._midnight_ms(index), self._midnight_ms(index + 1)
        return tuple(
            day_load * self._shift_load(ms) * (1 + KNOT_CHANCE * dice.uniform(-1, 1))
            for ms in range(start, end, KNOT_MS)
        )

    def _shift_load(self, ms: int) -> float:
        local = dt.datetime.fromtimestamp(ms // 1000, self.zone).time()
        return self._shift_loads[bisect_right(self._shift_starts, local) - 1]


class Stream:
    """One consumption (or production) that follows the load of the plant."""

    def __init__(self, plant: Plant, name: str, idle: float, full: float) -> None:
        """`idle` and `full` in units per hour."""
        self._plant = plant
        self._name = name
        self._idle = idle
        self._span = full - idle
        self._before = [0.0]
        self._sums = lru_cache(maxsize=16)(self._day_sums)
        self._knots = lru_cache(maxsize=16)(self._day_knots)
        self._factors = lru_cache(maxsize=64)(self._day_factors)
        dice = Random(f"{plant.seed}/{name}/ripple")
        self._ripple = 0.03 + 0.02 * dice.random()
        self._waves = [(2 * math.pi / period, share, dice.uniform(0, 2 * math.pi)) for period, share in RIPPLE]

    def rate(self, ms: int) -> float:
        """Return the consumption at `ms`, units per hour; before the plant's first day the stream stands at idle."""
        day = self._plant.day_at(max(ms, self._plant.start_ms))
        knots = self._knots(day.index)
        knot, rest = divmod(max(ms, self._plant.start_ms) - day.start_ms, KNOT_MS)
        before, after = knots[knot], knots[knot + 1]
        wave = sum(share * math.sin(turn * rest + phase) for turn, share, phase in self._waves)
        return before + (after - before) * rest / KNOT_MS + self._ripple * min(before, after) * wave

    def total(self, ms: int) -> float:
        """Return what has flowed since the plant's first day, units; zero before it."""
        if ms <= self._plant.start_ms:
            return 0.0
        day = self._plant.day_at(ms)
        sums, knots = self._sums(day.index), self._knots(day.index)
        knot, rest = divmod(ms - day.start_ms, KNOT_MS)
        before, after = knots[knot], knots[knot + 1]
        straight = before * rest + (after - before) * rest * rest / (2 * KNOT_MS)
        wave = sum(
            share * (math.cos(phase) - math.cos(turn * rest + phase)) / turn for turn, share, phase in self._waves
        )
        within = (straight + self._ripple * min(before, after) * wave) / HOUR_MS
        return self._until(day.index) + min(sums[knot] + max(within, 0.0), sums[knot + 1])

    def _until(self, index: int) -> float:
        """Return the total at the beginning of a day."""
        while len(self._before) <= index:
            self._before.append(self._before[-1] + self._sums(len(self._before) - 1)[-1])
        return self._before[index]

    def _day_sums(self, index: int) -> tuple[float, ...]:
        sums = [0.0]
        for before, after in pairwise(self._knots(index)):
            sums.append(sums[-1] + (before + after) / 2 * KNOT_MS / HOUR_MS)
        return tuple(sums)

    def _day_knots(self, index: int) -> tuple[float, ...]:
        loads = self._plant.day(index).loads
        factors = (*self._factors(index)[: len(loads) - 1], self._factors(index + 1)[0])
        return tuple(self._idle + self._span * load * factor for load, factor in zip(loads, factors, strict=True))

    def _day_factors(self, index: int) -> tuple[float, ...]:
        dice = Random(f"{self._plant.seed}/{self._name}/{index}")
        return tuple(1 + KNOT_CHANCE * dice.uniform(-1, 1) for _ in range(MOST_KNOTS))
