"""From the readings of a cumulative register to its track: what it has counted, as a function of time.

Promises
    * The first reading books nothing. The track ends at the last accepted reading minus the first, plus rollovers and exchanges, exactly.
    * A decrease of at most max(resolution, 1e-9 of the value) is jitter: the register is its running maximum.
    * A value below zero, at or above the modulus, or beyond 15 digits is refused.
    * A stretch below the value before it that comes back to at least that value at a plausible rate is refused, whatever its length,
      unless it climbed back in many small steps: then the register was reset and really counted.
    * A stretch far above its surroundings that falls back to them within a day is refused.
    * A rollover counts only with a modulus, and at a plausible rate.
    * Any other decrease ends a segment: an event to be judged, what was counted across it stays unassigned.
Rules and their sources: the specification's clause 8.5 (missing and abnormal data) and the peers' bug reports behind them.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from itertools import pairwise

from metering.quantity import EXACT, exact

QUANTUM = Decimal("1e-9")
"""Register values at interval edges are quantised to this, in the point's unit."""
LARGEST = 1e15
"""A double holds a register of up to 15 digits; what is larger is garbage."""
_HOUR_MS = 3_600_000
LOOK_MS = 86_400_000
"""A spike, or a glitch that looks like a rollover, is recognised when the register comes back within a day."""
_SMALL_STEP = 0.1
"""A climb of which no step is more than this share is counting, not coming back."""
_SPIKE = 100
"""A fall back to within 1/100 of a jump takes the jump back, where no maximum rate is known."""


class RegisterEventKind(StrEnum):
    ROLLOVER = "rollover"
    EXCHANGE = "exchange"
    DIP = "dip"
    SPIKE = "spike"
    REFUSED = "refused_value"
    UNRESOLVED = "unresolved_decrease"
    IMPLAUSIBLE = "implausible_rate"


@dataclass(frozen=True, slots=True)
class RegisterEvent:
    """Something other than counting, between two accepted readings (or at one)."""

    kind: RegisterEventKind
    start_ms: int
    end_ms: int
    before: Decimal
    after: Decimal


@dataclass(frozen=True, slots=True)
class ExchangeOfMeter:
    """The register was exchanged: readings from `at_ms` on are the new one's."""

    at_ms: int
    old_final: Decimal
    new_initial: Decimal


@dataclass(frozen=True)
class RegisterSpec:
    """What is known of a register, before its multiplier."""

    modulus: Decimal | None = None
    resolution: Decimal | None = None
    """The last shown step; None: unknown. `ulp` of a 32-bit float is `float32=True`."""
    float32: bool = False
    max_per_hour: Decimal | None = None
    """The fastest it can count, in register units per hour; None: unknown."""
    exchanges: tuple[ExchangeOfMeter, ...] = ()

    def tolerance(self, value: float) -> float:
        """Return the decrease at `value` that is still jitter."""
        step = abs(value) * 2.0**-23 if self.float32 else float(self.resolution or 0)
        return max(step, abs(value) * 1e-9) + 4 * math.ulp(value)  # one step, as doubles subtract it

    def plausible(self, counted: float, elapsed_ms: int) -> bool:
        """Whether `counted` in `elapsed_ms` is possible. Without a known maximum: at most a tenth of the modulus, or anything."""
        if counted < 0:
            return False
        if self.max_per_hour is not None:
            return counted <= float(self.max_per_hour) * elapsed_ms / _HOUR_MS + self.tolerance(counted)
        return self.modulus is None or counted <= float(self.modulus) / 10

    def refuses(self, value: float) -> bool:
        return value < 0 or value > LARGEST or (self.modulus is not None and value >= float(self.modulus))


@dataclass(frozen=True)
class Segment:
    """A stretch of counting without a break: what was shown at which times (ms), and the offsets that make it a running count.

    Values become Decimals only where they are asked for: an interval needs two of them, a day has thousands.
    """

    times: Sequence[int]
    shown: Sequence[float | Decimal]
    offsets: Sequence[tuple[int, Decimal]] = ((0, Decimal(0)),)
    """(index, offset): the count at index i is shown[i] plus the last offset at or before i."""

    def count(self, i: int) -> Decimal:
        """Return the running count at the i-th accepted reading, exactly."""
        offset = self.offsets[bisect_right(self.offsets, i, key=lambda step: step[0]) - 1][1]
        return EXACT.add(offset, exact(self.shown[i]))

    def at(self, ms: int) -> Decimal:
        """Return the count at `ms`, interpolated and quantised; outside the segment that of its nearer end."""
        if ms <= self.times[0]:
            return self.count(0)
        if ms >= self.times[-1]:
            return self.count(len(self.times) - 1)
        i = bisect_right(self.times, ms) - 1
        t0, t1, c0, c1 = self.times[i], self.times[i + 1], self.count(i), self.count(i + 1)
        if ms == t0 or c0 == c1:
            return c0.quantize(QUANTUM, context=EXACT)
        weighted = EXACT.add(EXACT.multiply(c0, Decimal(t1 - ms)), EXACT.multiply(c1, Decimal(ms - t0)))
        return EXACT.divide(weighted, Decimal(t1 - t0)).quantize(QUANTUM, ROUND_HALF_EVEN, context=EXACT)


@dataclass(frozen=True)
class Track:
    """What a point has counted: segments in order of time, and what happened besides counting."""

    segments: tuple[Segment, ...] = ()
    events: tuple[RegisterEvent, ...] = ()

    def counted(self, start_ms: int, end_ms: int) -> Decimal | None:
        """Return what was counted in [start, end), or None where nothing is known of it."""
        touching = [seg for seg in self.segments if seg.times[0] < end_ms and seg.times[-1] > start_ms]
        touching = [seg for seg in touching if seg.times[0] < seg.times[-1]]  # one reading alone says nothing
        if not touching:
            return None
        parts = (EXACT.subtract(seg.at(end_ms), seg.at(start_ms)) for seg in touching)
        return sum(parts, Decimal(0))

    def spans(self, start_ms: int, end_ms: int) -> Iterable[tuple[int, int]]:
        """Yield the pairs of neighbouring accepted times whose span overlaps [start, end)."""
        for seg in self.segments:
            if seg.times[-1] <= start_ms or seg.times[0] >= end_ms:
                continue
            first = max(bisect_right(seg.times, start_ms) - 1, 0)
            last = min(bisect_left(seg.times, end_ms), len(seg.times) - 1)
            yield from pairwise(seg.times[first : last + 1])

    def knot(self, ms: int) -> tuple[int, float | Decimal] | None:
        """Return the last accepted reading at or before `ms` and what the register showed then (its running maximum).

        It is all that counting on from `ms` needs to know of what came before.
        """
        held = [seg for seg in self.segments if seg.times[0] <= ms]
        if not held:
            return None
        i = bisect_right(held[-1].times, ms) - 1
        return held[-1].times[i], held[-1].shown[i]

    def begins_at(self, ms: int) -> bool:
        """Whether the very first accepted reading is at `ms`."""
        return bool(self.segments) and self.segments[0].times[0] == ms

    def neighbours(self, ms: int) -> tuple[tuple[int, Decimal], ...]:
        """Return the accepted readings (time, shown) at or before `ms` and at or after it, for a trace."""
        found: list[tuple[int, Decimal]] = []
        for seg in self.segments:
            after = bisect_left(seg.times, ms)
            before = after if after < len(seg.times) and seg.times[after] == ms else after - 1
            found += [(seg.times[i], exact(seg.shown[i])) for i in (before, after) if 0 <= i < len(seg.times)]
        earlier = max((knot for knot in found if knot[0] <= ms), default=None)
        later = min((knot for knot in found if knot[0] >= ms), default=None)
        return tuple(dict.fromkeys(knot for knot in (earlier, later) if knot is not None))


def amounts_track(amounts: Iterable[tuple[int, int, Decimal]]) -> Track:
    """Return the track of amounts (from ms, to ms, amount), each spread evenly over its own time."""
    ordered = sorted(amounts)
    return Track(tuple(Segment((start, end), (Decimal(0), amount)) for start, end, amount in ordered if end > start))


def register_track(readings: Sequence[tuple[int, float]], spec: RegisterSpec, resumed: bool = False) -> Track:
    """Return the track of a register from its readings (ms, value), sorted by time, one a time, all of a quality that counts.

    `resumed`: the first one is not the register's first, but the last accepted before (`Track.knot`).
    """
    judge = _Judge(spec, resumed)
    start = 0
    for exchange in sorted(spec.exchanges, key=lambda exchange: exchange.at_ms):
        end = bisect_left(readings, exchange.at_ms, lo=start, key=lambda reading: reading[0])
        judge.run(readings[start:end])
        judge.exchange(exchange)
        start = end
    judge.run(readings[start:])
    return judge.track()


@dataclass
class _Judge:
    """Walks the readings once, keeping the segment it is in."""

    spec: RegisterSpec
    resumed: bool = False
    segments: list[Segment] = field(default_factory=list)
    events: list[RegisterEvent] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)
    """The register's shown value at each accepted time (its running maximum)."""
    offsets: list[tuple[int, Decimal]] = field(default_factory=list)
    _highest_of: Sequence[tuple[int, float]] | None = None
    _highest: list[float] = field(default_factory=list)
    run_from: int = 0
    """Since this index no rollover or exchange: shown never falls from here on."""

    def run(self, readings: Sequence[tuple[int, float]]) -> None:
        valid = self._without_refused(readings)
        i = 0
        while i < len(valid):
            i = self._step(valid, i)

    def _without_refused(self, readings: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
        refuses = self.spec.refuses
        bad = [reading for reading in readings if refuses(reading[1])]
        if not bad:
            return readings
        for ms, value in bad:
            self.events.append(RegisterEvent(RegisterEventKind.REFUSED, ms, ms, exact(value), exact(value)))
        return [reading for reading in readings if not refuses(reading[1])]

    def _step(self, readings: Sequence[tuple[int, float]], i: int) -> int:
        """Judge reading `i`; return the index of the next one to judge."""
        ms, value = readings[i]
        if not self.times:
            return self._accept(ms, value, i)
        last = self.shown[-1]
        if value >= last:
            return self._rise(readings, i)
        if last - value <= self.spec.tolerance(last):
            return self._accept(ms, last, i)
        return self._fall(readings, i)

    def _accept(self, ms: int, value: float, i: int) -> int:
        self.times.append(ms)
        self.shown.append(value)
        return i + 1

    def _shift(self, by: Decimal) -> None:
        """From the next accepted reading on, counts are `by` more than shown, on top of what they were."""
        self.run_from = len(self.times)
        before = self.offsets[-1][1] if self.offsets else Decimal(0)
        self.offsets.append((self.run_from, EXACT.add(before, by)))

    def _rise(self, readings: Sequence[tuple[int, float]], i: int) -> int:
        ms, value = readings[i]
        last, last_ms = self.shown[-1], self.times[-1]
        if self.spec.max_per_hour is None or self.spec.plausible(value - last, ms - last_ms):
            return self._accept(ms, value, i)
        for k in range(i + 1, len(readings)):
            later_ms, later = readings[k]
            if later_ms - ms > LOOK_MS:
                break
            if last <= later < value and self.spec.plausible(later - last, later_ms - last_ms):
                self._event(RegisterEventKind.SPIKE, last_ms, later_ms, last, value)
                return k
        self._event(RegisterEventKind.IMPLAUSIBLE, last_ms, ms, last, value)
        if (
            len(self.times) == 1 and not self.segments and not self.resumed
        ):  # nothing speaks for the first reading: begin with this one
            self._close()
        return self._accept(ms, value, i)

    def _fall(self, readings: Sequence[tuple[int, float]], i: int) -> int:
        ms, value = readings[i]
        last, last_ms = self.shown[-1], self.times[-1]
        back = self._comes_back(readings, i)
        if self._rolls_over(readings, i, back):
            assert self.spec.modulus is not None
            self._event(RegisterEventKind.ROLLOVER, last_ms, ms, last, value)
            self._shift(self.spec.modulus)
            return self._accept(ms, value, i)
        if back is not None and not self._climbed(readings, i, back):
            self._event(RegisterEventKind.DIP, last_ms, readings[back][0], last, value)
            return back
        if self._takes_back_a_spike(ms, value):
            return i
        self._event(RegisterEventKind.UNRESOLVED, last_ms, ms, last, value)
        self._close()
        return self._accept(ms, value, i)

    def _comes_back(self, readings: Sequence[tuple[int, float]], i: int) -> int | None:
        last, last_ms = self.shown[-1], self.times[-1]
        if self._highest_after(readings, i) < last:
            return None
        for k in range(i + 1, len(readings)):
            ms, value = readings[k]
            if value >= last:
                return k if self._could_return(value - last, ms - last_ms) else None
        return None

    def _highest_after(self, readings: Sequence[tuple[int, float]], i: int) -> float:
        """Return the highest value after reading `i`; prepared once, so that a register that falls again and again stays cheap."""
        if self._highest_of is not readings:
            highest, found = -math.inf, [-math.inf]
            for _, value in reversed(readings):
                highest = max(highest, value)
                found.append(highest)
            self._highest_of, self._highest = readings, found[::-1]
        return self._highest[i + 1]

    def _could_return(self, counted: float, elapsed_ms: int) -> bool:
        return self.spec.max_per_hour is None or self.spec.plausible(counted, elapsed_ms)

    def _rolls_over(self, readings: Sequence[tuple[int, float]], i: int, back: int | None) -> bool:
        modulus = self.spec.modulus
        if modulus is None:
            return False
        ms, value = readings[i]
        if not self.spec.plausible(float(modulus) - self.shown[-1] + value, ms - self.times[-1]):
            return False
        returned = back is not None and readings[back][0] - ms <= LOOK_MS
        steps = pairwise(readings[i : back + 1]) if returned and back is not None else ()
        return all(self.spec.plausible(max(b[1] - a[1], 0.0), b[0] - a[0]) for a, b in steps)

    @staticmethod
    def _climbed(readings: Sequence[tuple[int, float]], i: int, back: int) -> bool:
        lowest = min(value for _, value in readings[i : back + 1])
        climb = readings[back][1] - lowest
        steps = (b[1] - a[1] for a, b in pairwise(readings[i : back + 1]))
        return all(0 <= step <= climb * _SMALL_STEP for step in steps)

    def _takes_back_a_spike(self, ms: int, value: float) -> bool:
        """Without a maximum rate: drop the accepted readings above `value` where they jumped up at once and it falls right back."""
        if self.spec.max_per_hour is not None:
            return False
        first = bisect_right(self.shown, value, lo=self.run_from)
        if first == self.run_from or first == len(self.shown) or ms - self.times[first] > LOOK_MS:
            return False
        before, jump = self.shown[first - 1], self.shown[first] - self.shown[first - 1]
        if (value - before) * _SPIKE > jump or jump * _SPIKE < (self.shown[-1] - before) * (_SPIKE - 1):
            return False
        self._event(RegisterEventKind.SPIKE, self.times[first - 1], ms, before, self.shown[-1])
        del self.times[first:], self.shown[first:]
        return True

    def exchange(self, exchange: ExchangeOfMeter) -> None:
        if not self.times:
            return self._begin_at(exchange)
        last, final = self.shown[-1], float(exchange.old_final)
        self._event(RegisterEventKind.EXCHANGE, self.times[-1], exchange.at_ms, last, float(exchange.new_initial))
        if last - final > self.spec.tolerance(last):
            self._event(RegisterEventKind.UNRESOLVED, self.times[-1], exchange.at_ms, last, final)
            self._close()
            return self._begin_at(exchange)
        self._accept(exchange.at_ms, max(final, last), 0)
        self._shift(EXACT.subtract(exact(self.shown[-1]), exchange.new_initial))
        self._accept(exchange.at_ms, float(exchange.new_initial), 0)
        return None

    def _begin_at(self, exchange: ExchangeOfMeter) -> None:
        self._accept(exchange.at_ms, float(exchange.new_initial), 0)

    def _event(self, kind: RegisterEventKind, start_ms: int, end_ms: int, before: float, after: float) -> None:
        self.events.append(RegisterEvent(kind, start_ms, end_ms, exact(before), exact(after)))

    def _close(self) -> None:
        if self.times:
            self.segments.append(Segment(tuple(self.times), tuple(self.shown), ((0, Decimal(0)), *self.offsets)))
        self.times, self.shown, self.offsets, self.run_from = [], [], [], 0

    def track(self) -> Track:
        self._close()
        events = sorted(self.events, key=lambda event: (event.start_ms, event.end_ms))
        return Track(tuple(self.segments), tuple(events))
