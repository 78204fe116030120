"""What a line does when no slot is due: first contact with a meter, and its past after a gap. Step by step, so that no slot
waits for longer than one request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from math import inf

from agent.counters import MeterCounters

_SHORTEST_NEED_S = 0.03
LONGEST_SLOT_S = 300.0
"""A slot or a step that takes longer does not come to an end any more: a readout at 300 baud takes two minutes."""
_RESTS = 20
"""So many times what a step took, where that was longer than an interval."""
PATIENCE_S = 10.0
"""After so long an errand that cannot wait takes a step even where the line is never idle."""


@dataclass
class Errand:
    """Something to do for one meter; `steps` has one request in each of its steps, gives how many seconds it may wait
    for the next, and raises nothing."""

    meter: str
    kind: str
    """Of one kind a meter has one at a time."""
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

    def __init__(self, uptime: Callable[[], float], shortest_s: float) -> None:
        """`shortest_s` is the shortest interval on the line."""
        self._uptime = uptime
        self._shortest_s = shortest_s
        self._all: list[Errand] = []

    def add(self, errand: Errand) -> None:
        """Have an errand done, if the meter has none of its kind."""
        if all((one.meter, one.kind) != (errand.meter, errand.kind) for one in self._all):
            self._all.append(errand)
            self._all.sort(key=lambda one: one.order)

    def __len__(self) -> int:
        return len(self._all)

    def fitting(self, now_s: float, free_s: float) -> Errand | None:
        """Return the errand that may take a step now, with `free_s` until the next slot; none of a silent meter."""
        for errand in self._all:
            if errand.counters.state != "ok" or now_s < errand.rests_until_s:
                continue
            if free_s >= errand.need_s or now_s >= errand.by_s:
                return errand
        return None

    async def step(self, errand: Errand) -> None:
        """Take one step; an errand without a further one is done, and one that does not come to an end is given up.

        Raises:
            TimeoutError: it was given up.
        """
        began_s = self._uptime()
        if errand.by_s <= began_s:
            errand.by_s = began_s + PATIENCE_S
        try:
            async with asyncio.timeout(LONGEST_SLOT_S):
                rest_s = await anext(errand.steps)
        except (StopAsyncIteration, TimeoutError) as end:
            self._all.remove(errand)
            if isinstance(end, TimeoutError):
                raise
            return
        ended_s = self._uptime()
        if ended_s - began_s > self._shortest_s:  # it costs slots
            rest_s = max(rest_s, _RESTS * (ended_s - began_s))
        errand.rests_until_s = ended_s + rest_s
