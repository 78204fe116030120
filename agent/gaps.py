"""Gaps: from when until when a meter said nothing, why, and how many readings are missing.

A gap begins at its first missed slot and ends at the slot of the next reading, or where a line that had no time for the meter
asks it and learns of another cause. While it lasts it is told once a minute
without an end; its beginning is its name, so that the later word replaces the earlier.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.tally import SlotTally
from metering.slots import Grid
from metering.wire import Gap

TOLD_EVERY_S = 60.0
_OURS = frozenset({"starting", "overrun"})
"""Causes of a meter that was not asked: a cause of its own ends such a gap and begins another."""


@dataclass(slots=True)
class _Open:
    start_ms: int
    cause: str
    missed: int
    told_at_s: float


class GapBook:
    """The open gaps of all meters, and the events to send."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._events: list[Gap] = []
        self._tallies: dict[str, SlotTally] = {}

    def follow(self, meter: str, grid: Grid) -> None:
        """Count the slots of a meter from now on."""
        self._tallies[meter] = SlotTally(grid)

    def slots(self, meter: str, now_ms: int) -> dict[str, Any]:
        """Return what became of a meter's slots, for the status; nothing of one that is not followed."""
        return {"slots": self._tallies[meter].report(now_ms)} if meter in self._tallies else {}

    def missed(self, meter: str, slot_ms: int, cause: str, uptime_s: float, count: int = 1) -> None:
        """Note slots without a reading, the first of them at `slot_ms`."""
        gap = self._open.get(meter)
        before = "clock" if gap is None else gap.cause
        if gap is not None and gap.cause in _OURS and cause not in _OURS:
            self._events.append(self._ended(meter, gap, slot_ms))
            gap = None  # the meter was asked now, and has a cause of its own
        if gap is None:
            self._open[meter] = gap = _Open(slot_ms, cause, 0, uptime_s)
        gap.missed += count
        if meter in self._tallies:
            self._tallies[meter].missed(slot_ms, count, gap.cause, before)

    def read(self, meter: str, slot_ms: int) -> Gap | None:
        """Note a reading at a slot: it ends the gap, if there is one; return that."""
        gap = self._open.pop(meter, None)
        if meter in self._tallies:
            self._tallies[meter].read(slot_ms, "clock" if gap is None else gap.cause)
        if gap is None:
            return None
        ended = self._ended(meter, gap, slot_ms)
        self._events.append(ended)
        return ended

    @staticmethod
    def _ended(meter: str, gap: _Open, slot_ms: int) -> Gap:
        end = max(slot_ms, gap.start_ms)
        return Gap(meter=meter, start=gap.start_ms, end=end, cause=gap.cause, missed=gap.missed)

    def fetched(self, gap: Gap, measured_ms: Iterable[int]) -> None:
        """Note values of the past that were fetched for a gap that ended."""
        if gap.meter in self._tallies and gap.end is not None:
            self._tallies[gap.meter].backfilled(measured_ms, gap.start, gap.end, gap.cause)

    def filled(self, gap: Gap, values: int) -> None:
        """Tell of a gap that ended that so many values of it were fetched afterwards."""
        self._events.append(msgspec.structs.replace(gap, backfilled=values))

    def due(self, uptime_s: float) -> list[Gap]:
        """Return the events to send now: gaps that ended, and each open one once a minute."""
        events, self._events = self._events, []
        for meter, gap in self._open.items():
            if uptime_s - gap.told_at_s >= TOLD_EVERY_S:
                gap.told_at_s = uptime_s
                events.append(Gap(meter=meter, start=gap.start_ms, cause=gap.cause, missed=gap.missed))
        return events

    def still_open(self) -> list[Gap]:
        """Return the open gaps as events without an end, for the last batch before a stop."""
        return [
            Gap(meter=meter, start=gap.start_ms, cause=gap.cause, missed=gap.missed)
            for meter, gap in self._open.items()
        ]
