"""What a line does when no slot is due: first contact with a meter, and its past after a gap. Step by step, so that no slot
waits for longer than one request."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import inf

from agent.counters import MeterCounters

_SHORTEST_NEED_S = 0.03
PATIENCE_S = 10.0
"""After so long an errand that cannot wait takes a step even where the line is never idle."""


@dataclass
class Errand:
    """Something to do for one meter; `steps` has one request in each of its steps, gives how many seconds it may wait
    for the next, and raises nothing."""

    meter: str
    counters: MeterCounters
    steps: AsyncIterator[float]
    order: float
    """Smaller ones first: what is oldest."""
    by_s: float = inf
    """By the uptime: from then on it no longer waits for idle time."""

    rests_until_s: float = 0.0
    """By the uptime."""

    @property
    def need_s(self) -> float:
        """How long the line should be idle for a step."""
        return max(_SHORTEST_NEED_S, 2 * self.counters.typical_s)


class Errands:
    """Those of one line."""

    def __init__(self) -> None:
        self._all: list[Errand] = []

    def add(self, errand: Errand) -> None:
        self._all.append(errand)
        self._all.sort(key=lambda one: one.order)

    def fitting(self, now_s: float, free_s: float) -> Errand | None:
        """Return the errand that may take a step now, with `free_s` until the next slot; none of a silent meter."""
        for errand in self._all:
            if errand.counters.state != "ok" or now_s < errand.rests_until_s:
                continue
            if free_s >= errand.need_s or now_s >= errand.by_s:
                return errand
        return None

    async def step(self, errand: Errand, now_s: float) -> None:
        """Take one step; an errand without a further one is done."""
        if errand.by_s <= now_s:
            errand.by_s = now_s + PATIENCE_S
        try:
            errand.rests_until_s = now_s + await anext(errand.steps)
        except StopAsyncIteration:
            self._all.remove(errand)
