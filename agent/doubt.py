"""Which value of a counter is not believed at once. Pure.

A reply that passes checksum, unit, function and length can still be another request's (a late one on a line whose replies
name nothing), or spoilt in a way the checksum lets through. A counter betrays it: it jumps. So a counter that falls, or rises by
far more than all this meter has shown, is read a second time, and the second read decides.

    * It falls by more than its resolution, a float's own step, or twice the largest small fall it has confirmed before.
    * It rises by more than ten times its usual pace over the time since, and ten times its usual largest step. Usual is the
      second largest of its newest rises between two slots: one that was wrong teaches nothing, one over a gap is none. Steps are
      for low resolutions, where the pace between two of them is nothing. Before five rises nothing is known of its pace, and
      nothing is doubted.
    * The second read decides: it goes on from the last believed value as usual (the first was wrong), or it repeats the first or
      goes on at the pace of the jump (a rollover, a start after a standstill: delivered, and learnt). If neither, there is no
      value; if it fails, the rest of the first answer is delivered without what jumped.
    * After a large fall that was confirmed (an exchanged meter) all is learnt anew.

A false doubt costs one more request and no value. The first value of a meter is believed: there is nothing to compare it with.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from heapq import nlargest
from math import inf

from msgspec.structs import replace as changed

from agent.answer import Answer
from agent.wiring import Meter
from drivers.contract import Value
from metering.profile import ProfilePoint
from metering.reading import Quality
from metering.text import Text

FAR = 10.0
ENOUGH_RISES = 5
_RISES = 64
"""The newest, of which the usual is known."""
_INTERVALS = 2.5
"""A longer step is no step between two slots."""
_SHORTEST_S = 1e-3
_FLOAT_STEP = 2.0**-22
"""Two steps of a 32-bit float, of its value."""
UNCONFIRMED = Text("跳变未被第二次读数证实", "a jump that a second read did not confirm")


@dataclass(slots=True)
class Trail:
    """What one counter has shown."""

    step: float
    """Its resolution, in the unit."""
    longest_s: float = inf
    """A rise over more time is none between two slots."""
    value: float | None = None
    at_s: float = 0.0
    rises: deque[float] = field(default_factory=lambda: deque(maxlen=_RISES))
    paces: deque[float] = field(default_factory=lambda: deque(maxlen=_RISES))
    """Of the rises, per second."""
    fall: float = 0.0
    """The largest fall that was confirmed and was a small one."""

    def doubts(self, value: float, at_s: float) -> bool:
        """Return whether a value is to be read again before it is believed."""
        if self.value is None:
            return False
        rise = value - self.value
        if rise < 0:
            return self._doubts_fall(-rise)
        if len(self.rises) < ENOUGH_RISES or rise <= FAR * max(self.step, min(self.rises[-1], self.rises[-2])):
            return False
        return rise > FAR * max(_usual(self.paces) * (at_s - self.at_s), _usual(self.rises))

    def _doubts_fall(self, fall: float) -> bool:
        return fall > max(self.step, abs(self.value or 0.0) * _FLOAT_STEP, 2 * self.fall)

    def agrees(self, first: float, first_s: float, second: float, second_s: float) -> bool:
        """Return whether a second read repeats the first one, as far as a counter may have gone on between them."""
        before = self.value if self.value is not None else first
        near = max(self.step, abs(first) * _FLOAT_STEP, abs(first - before) / 100)
        further = 2 * (first - before) * (second_s - first_s) / max(first_s - self.at_s, _SHORTEST_S)
        return -near <= second - first <= max(near, further, _usual(self.rises))

    def learn(self, value: float, at_s: float) -> None:
        rise, passed_s = value - (value if self.value is None else self.value), at_s - self.at_s
        if rise > 0 and passed_s <= self.longest_s:
            self.rises.append(rise)
            self.paces.append(rise / max(passed_s, _SHORTEST_S))
        elif rise < 0:
            self._learn_fall(-rise)
        self.value, self.at_s = value, at_s

    def _learn_fall(self, fall: float) -> None:
        if fall > (FAR * _usual(self.rises) if self.rises else abs(self.value or 0.0) / 100):
            self.rises.clear()
            self.paces.clear()
            self.fall = 0.0
        elif self._doubts_fall(fall):
            self.fall = fall


def _usual(numbers: Iterable[float]) -> float:
    """Return the second largest."""
    return min(nlargest(2, numbers), default=0.0)


class Doubts:
    """Of all counters of a line."""

    def __init__(self) -> None:
        self._trails: dict[tuple[str, str], Trail] = {}

    def jumps(self, meter: Meter, answer: Answer) -> list[str]:
        """Return the counters whose values in an answer are to be read again; where there are none, all are learnt."""
        if not meter.counters:
            return []
        at_s, jumped, seen = answer.asked_s or 0.0, [], []
        for value in answer.values:
            if value.point in meter.counters and (number := _number(meter, value)) is not None:
                trail = self._trail(meter, value.point)
                seen.append((trail, number))
                if trail.doubts(number, at_s):
                    jumped.append(value.point)
        if not jumped:
            for trail, number in seen:
                trail.learn(number, at_s)
        return jumped

    def learn(self, meter: Meter, answer: Answer) -> None:
        """Note what is believed."""
        for value in answer.values:
            number = _number(meter, value)
            if number is not None:
                self._trail(meter, value.point).learn(number, answer.asked_s or 0.0)

    def decided(self, meter: Meter, jumped: Sequence[str], first: Answer, second: Answer) -> tuple[Answer, int]:
        """Return the second answer without what is not believed, or the first one without what jumped where the second failed;
        and how many values of the first were not believed."""
        if second.error is not None:
            values = [_unconfirmed(value) if value.point in jumped else value for value in first.values]
            return replace(first, values=values), len(jumped)
        before = {value.point: _number(meter, value) for value in first.values}
        disbelieved, values = 0, []
        for value in second.values:
            was_right, value = self._judged(meter, value, before.get(value.point), first, second)
            disbelieved += not was_right and value.point in jumped
            values.append(value)
        return replace(second, values=values), disbelieved

    def _judged(
        self, meter: Meter, value: Value, before: float | None, first: Answer, second: Answer
    ) -> tuple[bool, Value]:
        number, trail = _number(meter, value), self._trail(meter, value.point)
        first_s, second_s = first.asked_s or 0.0, second.asked_s or 0.0
        if number is None or not trail.doubts(number, second_s):
            return False, value
        if before is not None and trail.agrees(before, first_s, number, second_s):
            return True, value
        return False, _unconfirmed(value)

    def _trail(self, meter: Meter, point: str) -> Trail:
        trail = self._trails.get((meter.id, point))
        if trail is None:
            trail = self._trails[meter.id, point] = Trail(
                _resolution(meter.points, point), _INTERVALS * meter.interval_ms / 1000
            )
        return trail


def _unconfirmed(value: Value) -> Value:
    return changed(value, value=None, quality=Quality.BAD, why=UNCONFIRMED.en)


def _number(meter: Meter, value: Value) -> float | None:
    """Return the value of a counter that was measured now."""
    counts = value.point in meter.counters and value.quality.counts and value.at_ms is None
    return value.value if counts else None


def _resolution(points: Mapping[str, ProfilePoint], point: str) -> float:
    resolution = points[point].resolution
    return float(resolution) if isinstance(resolution, Decimal) else 0.0
