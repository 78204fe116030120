"""Ours and its limit in turns, so that whatever else the machine does falls on both alike.

Promises
    * Every contender runs once to warm up, then `rounds` times: A B, B A, A B …
    * A row keeps every round. Its figures are medians; its share is the median of the rounds' shares.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """How long a measurement takes."""

    rounds: int
    scale: float

    def of(self, count: int) -> int:
        """Return how often to do what the quick run does `count` times."""
        return max(1, round(count * self.scale))


SMALLEST = Size(rounds=1, scale=0.02)
QUICK = Size(rounds=11, scale=1.0)
FULL = Size(rounds=31, scale=3.0)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    unit: str
    ours: Sequence[float]
    limit: Sequence[float]
    limit_is: str
    less_is_better: bool = False

    @property
    def shares(self) -> list[float]:
        """How much of the limit is reached, per round; 1 is all of it."""
        pairs = zip(self.ours, self.limit, strict=True)
        return [limit / ours if self.less_is_better else ours / limit for ours, limit in pairs]


@dataclass(frozen=True)
class Missing:
    """A line that could not be measured here, and what to do about it."""

    name: str
    remedy: str


def alternate(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run the contenders in turns; return what each gave in each round."""
    for contender in contenders.values():
        contender()
    found: dict[str, list[T]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            gc.collect()
            found[name].append(contenders[name]())
    return found


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def quartiles(figures: Sequence[float]) -> tuple[float, float]:
    """Return between which figures the middle half of the rounds lies. The extremes are the neighbours' work, not ours."""
    if len(figures) < 2:
        return figures[0], figures[0]
    low, _, high = quantiles(figures, n=4, method="inclusive")
    return low, high
