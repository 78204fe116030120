"""When a meter is read: slots on the wall clock, kept by a clock that never steps. Pure.

A slot that could not be started within half its interval is missed. It is never made up for: two reads in quick
succession would not say what the meter showed in between.
"""

from dataclasses import dataclass

from metering.slots import Grid


@dataclass(frozen=True, slots=True)
class Due:
    """The next read of a meter."""

    slot_ms: int
    """Its slot, by the wall clock as it stood when it was planned."""
    at_s: float
    """When to start, by the clock that never steps (uptime)."""


def first(grid: Grid, wall_ms: int, uptime_s: float) -> Due:
    """Plan the first read."""
    slot = grid.after(wall_ms)
    return Due(slot, uptime_s + (slot - wall_ms) / 1000)


def following(grid: Grid, due: Due, wall_ms: int, uptime_s: float) -> tuple[Due, int]:
    """Return the read after `due`, and how many slots were missed because they could no longer be started in time.

    Where the wall clock agrees with the schedule (to half an interval), the slots of the wall clock are kept and its
    slewing is followed. Where it was set, the schedule goes on from the next slot of the new time, and only the time that
    really passed counts.
    """
    elapsed_ms = round((uptime_s - due.at_s) * 1000)
    if abs(wall_ms - due.slot_ms - elapsed_ms) * 2 > grid.interval_ms:
        return first(grid, wall_ms, uptime_s), max(0, elapsed_ms // grid.interval_ms)
    late = max(0, grid.between(due.slot_ms, wall_ms))
    slot = due.slot_ms + late * grid.interval_ms
    missed = late
    if late and (wall_ms - slot) * 2 <= grid.interval_ms:
        missed = late - 1  # the newest slot can still be started
    else:
        slot += grid.interval_ms
    return Due(slot, uptime_s + (slot - wall_ms) / 1000), missed
