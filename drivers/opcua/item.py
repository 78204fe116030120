"""One node that a subscription watches: what the server told of it, and whether that agrees with what is read.

Promises
    * A told value has its own time: the source's, moved by the difference of our clocks where that is more than 2 s; the
      time it came in where the source's time is none or cannot be. It never lies after that.
    * The first value after a subscription was made is not given: it is no change, and the reading of the slot has it.
    * What was lost, in the server's queue or in ours, marks the next value UNCERTAIN.
"""

from collections import deque
from dataclasses import dataclass, field

import msgspec
from asyncua import ua

from drivers.contract import Value
from drivers.measure import Number
from drivers.opcua.codec import AHEAD_MS, Clock, Target, epoch_ms, number_of, overflowed
from metering.reading import Quality

MOST_KEPT = 1000
"""Values of one node between two readings."""
SAME_CLOCK_MS = 2000


@dataclass
class Item:
    """One watched node."""

    target: Target
    deadband: float
    last: Number | None = None
    """The number last told."""
    differs_since_s: float | None = None
    """Since when readings differ from it although nothing was told."""
    fresh: bool = True
    """Whether nothing was told yet."""
    lossy: bool = False
    kept: deque[Value] = field(default_factory=lambda: deque(maxlen=MOST_KEPT))

    def hear(self, data: ua.DataValue, now_ms: int, published_ms: int | None, stale_ms: float) -> bool:
        """Take what the server told; return whether values before it were lost."""
        lost = overflowed(data.StatusCode.value if data.StatusCode is not None else 0) or len(self.kept) == MOST_KEPT
        self.last, self.differs_since_s = number_of(data.Value), None
        if self.fresh:
            self.fresh = False
            return lost
        value = self.target.value(data, Clock(now_ms, stale_ms))
        quality = value.quality
        if quality in (Quality.GOOD, Quality.FROZEN) and (lost or self.lossy):
            quality = Quality.UNCERTAIN
        self.lossy = False
        at_ms = _time(epoch_ms(data.SourceTimestamp), now_ms, published_ms, stale_ms)
        self.kept.append(msgspec.structs.replace(value, quality=quality, at_ms=at_ms))
        return lost

    def take(self) -> list[Value]:
        """Return what was told since the last time."""
        told = list(self.kept)
        self.kept.clear()
        return told

    def agrees(self, data: ua.DataValue, now_s: float, patience_s: float) -> bool:
        """Return whether a reading fits what was told; False only after a difference has lasted longer than `patience_s`."""
        read = number_of(data.Value)
        if read is None or self.last is None or abs(read - self.last) <= self.deadband:
            self.differs_since_s = None
            return True
        if self.differs_since_s is None:
            self.differs_since_s = now_s
        return now_s - self.differs_since_s < patience_s


def _time(source_ms: int | None, now_ms: int, published_ms: int | None, stale_ms: float) -> int:
    if source_ms is None:
        return now_ms
    skew_ms = now_ms - published_ms if published_ms is not None else 0
    at_ms = source_ms + (skew_ms if abs(skew_ms) > SAME_CLOCK_MS else 0)
    return min(at_ms, now_ms) if now_ms - stale_ms <= at_ms <= now_ms + AHEAD_MS else now_ms
