"""Which value of a counter is not believed at once. Pure.

A reply that passes checksum, unit, function and length can still be another request's (a late one on a line whose replies
name nothing), or spoilt in a way the checksum lets through. A counter betrays it: it jumps. So a counter that falls, or rises by
far more than all this meter has shown, is read a second time, and the second read decides.

    * It falls by more than its resolution, a float's own step, or twice the largest small fall it has confirmed before.
    * It rises by more than ten times its fastest pace so far over the time since, and ten times its largest step so far. The
      second half is for low resolutions, where the pace between two steps is nothing. Before five rises nothing is known of its
      pace, and nothing is doubted.
    * The second read decides: it goes on from the last believed value as usual (the first was wrong), or it repeats the first
      (a rollover, an exchanged meter, a start after a standstill: delivered, and learnt). If neither, there is no value.

A false doubt costs one more request and no value. The first value of a meter is believed: there is nothing to compare it with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from msgspec.structs import replace as changed

from agent.answer import Answer
from agent.wiring import Meter
from drivers.contract import Value
from metering.profile import ProfilePoint
from metering.reading import Quality
from metering.text import Text

FAR = 10.0
ENOUGH_RISES = 5
_FLOAT_STEP = 2.0**-22
"""Two steps of a 32-bit float, of its value."""
UNCONFIRMED = Text("跳变未被第二次读数证实", "a jump that a second read did not confirm")


@dataclass(slots=True)
class Trail:
    """What one counter has shown."""

    step: float
    """Its resolution, in the unit."""
    value: float | None = None
    at_s: float = 0.0
    pace: float = 0.0
    """Its fastest rise, per second."""
    largest: float = 0.0
    """Its largest rise between two reads."""
    rises: int = 0
    fall: float = 0.0
    """Its largest fall that was confirmed and was no fall to the beginning."""

    def doubts(self, value: float, at_s: float) -> bool:
        """Return whether a value is to be read again before it is believed."""
        if self.value is None:
            return False
        rise = value - self.value
        if rise < 0:
            return -rise > max(self.step, abs(self.value) * _FLOAT_STEP, 2 * self.fall)
        return self.rises >= ENOUGH_RISES and rise > FAR * max(self.pace * (at_s - self.at_s), self.largest, self.step)

    def agrees(self, first: float, second: float) -> bool:
        """Return whether a second read repeats the first one, as far as a counter may have gone on between them."""
        before = self.value if self.value is not None else first
        near = max(self.step, abs(first) * _FLOAT_STEP, abs(first - before) / 100)
        return -near <= second - first <= max(near, self.largest)

    def learn(self, value: float, at_s: float) -> None:
        if self.value is not None:
            rise = value - self.value
            if rise > 0:
                self.rises += 1
                self.largest = max(self.largest, rise)
                self.pace = max(self.pace, rise / max(at_s - self.at_s, 1e-3))
            elif -rise < abs(self.value) / 2:
                self.fall = max(self.fall, -rise)
        self.value, self.at_s = value, at_s


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
        """Return the second answer without what is not believed, and how many values of the first were not."""
        before = {value.point: _number(meter, value) for value in first.values}
        disbelieved, values = 0, []
        for value in second.values:
            was_right, value = self._judged(meter, value, before.get(value.point), second.asked_s or 0.0)
            disbelieved += not was_right and value.point in jumped
            values.append(value)
        return replace(second, values=values), disbelieved

    def _judged(self, meter: Meter, value: Value, first: float | None, at_s: float) -> tuple[bool, Value]:
        number, trail = _number(meter, value), self._trail(meter, value.point)
        if number is None:
            return False, value
        if not trail.doubts(number, at_s):
            return False, value
        if first is not None and trail.agrees(first, number):
            return True, value
        return False, changed(value, value=None, quality=Quality.BAD, why=UNCONFIRMED.en)

    def _trail(self, meter: Meter, point: str) -> Trail:
        trail = self._trails.get((meter.id, point))
        if trail is None:
            trail = self._trails[meter.id, point] = Trail(_resolution(meter.points, point))
        return trail


def _number(meter: Meter, value: Value) -> float | None:
    """Return the value of a counter that was measured now."""
    counts = value.point in meter.counters and value.quality.counts and value.at_ms is None
    return value.value if counts else None


def _resolution(points: Mapping[str, ProfilePoint], point: str) -> float:
    resolution = points[point].resolution
    return float(resolution) if isinstance(resolution, Decimal) else 0.0
