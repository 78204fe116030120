"""Gaps: from when until when a meter said nothing, why, and how many readings are missing.

A gap begins at its first missed slot and ends at the slot of the next reading. While it lasts it is told once a minute
without an end; its beginning is its name, so that the later word replaces the earlier.
"""

from dataclasses import dataclass

import msgspec

from metering.wire import Gap

TOLD_EVERY_S = 60.0


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

    def missed(self, meter: str, slot_ms: int, cause: str, uptime_s: float, count: int = 1) -> None:
        """Note slots without a reading, the first of them at `slot_ms`."""
        gap = self._open.get(meter)
        if gap is None:
            self._open[meter] = gap = _Open(slot_ms, cause, 0, uptime_s)
            gap.missed = count
            return
        gap.missed += count

    def read(self, meter: str, slot_ms: int) -> Gap | None:
        """Note a reading at a slot: it ends the gap, if there is one; return that."""
        gap = self._open.pop(meter, None)
        if gap is None:
            return None
        end = max(slot_ms, gap.start_ms)
        ended = Gap(meter=meter, start=gap.start_ms, end=end, cause=gap.cause, missed=gap.missed)
        self._events.append(ended)
        return ended

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
