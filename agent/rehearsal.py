"""What a line will not manage: its schedule run through ahead of time, with the times its reads are forecast to take. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from agent.schedule import Schedule
from agent.slots import first, following
from metering.slots import Grid

_ROUNDS = 20
"""Of the longest interval."""
_MOST_TURNS = 20_000


@dataclass(slots=True)
class _Played:
    grid: Grid
    takes_s: float
    read: int = 0
    missed: int = 0
    asked_s: float = -inf


def losses(meters: Sequence[tuple[Grid, float]]) -> list[float]:
    """Return the share of its slots, 0 to 1, that each meter (its slots, and what a read of it takes in seconds) loses."""
    cast = [_Played(grid, takes_s) for grid, takes_s in meters]
    dues = [first(one.grid, 0, 0.0) for one in cast]
    schedule, now_s = Schedule(), 0.0
    for number, due in enumerate(dues):
        schedule.put(number, due.at_s, -inf)
    end_s = _ROUNDS * max((one.grid.interval_ms for one in cast), default=0) / 1000
    for _ in range(_MOST_TURNS):
        if now_s >= end_s:
            break
        turn = schedule.take(now_s)
        if turn is None:
            now_s = schedule.next_s
            continue
        one, due = cast[turn], dues[turn]
        interval_s = one.grid.interval_ms / 1000
        if (now_s - due.at_s) * 2 > interval_s:
            one.missed += 1
        else:
            one.asked_s = now_s
            one.read += 1
            now_s += one.takes_s
        dues[turn], late = following(one.grid, due, round(now_s * 1000), now_s)
        one.missed += late
        schedule.put(turn, dues[turn].at_s, one.asked_s + interval_s)
    return [one.missed / max(1, one.missed + one.read) for one in cast]
