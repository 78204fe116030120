"""The meters of the plant: what each of them reads at any moment.

Promises
    * What a meter shows is a function of the time, of the plant and of the effects of faults, nothing else.
    * A counter shows whole steps of its resolution, rounded down, and starts again at zero at its modulus.
    * A point's steps and its value say the same: value = steps x resolution, exactly, or the nearest a float can hold.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from metering.profile import ProfilePoint
from settings.plant import PlantMeter, PlantSettings
from settings.plant_meters import MODEL_RATE, number_of
from simulators.effects import Burst, Effect, Set, Stuck
from simulators.faces import Band, Counts, Follows, Shape, shape
from simulators.forms import Number, Spot
from simulators.models import DIALS, GAUGES, Dial, Drift
from simulators.plant import Plant, Stream
from simulators.protocols import form_of

__all__ = ["DIALS", "Dial", "Meter", "build_meters", "history"]
FLOAT_STEP = Decimal("0.001")
"""Resolution of a float no document gives one for."""
LARGEST_FLOAT = 10**9
"""Where the counter of a float begins anew, in its unit."""


@dataclass(frozen=True)
class Count:
    """How a counter runs: `share` times the meter's consumption, or flat, so much an hour."""

    share: float
    start: int
    """Steps at the first day of the plant."""
    flat: bool = False


class Meter:
    """One meter of the plant."""

    def __init__(self, name: str, settings: PlantMeter, plant: Plant) -> None:
        self.name = name
        self.settings = settings
        self.shape: Shape | None = None
        """What a profile's meter shows; None for a bundled model."""
        self._start_ms = plant.start_ms
        self._ratio = float(settings.ratio)
        self._bursts: list[_CountedBurst] = []
        self._stuck: list[Stuck] = []
        self._sets: list[_CountedSet] = []
        self._drift = Drift(Random(f"{plant.seed}/{name}/drift"))
        if settings.model is not None:
            self._of_model(settings.model, plant)
        else:
            self._of_profile(shape(settings, form_of(settings.of_profile())), plant)
        if self.counter:
            self._set(Set(name, plant.start_ms, self._counts[self.counter].start))

    def _of_model(self, model: str, plant: Plant) -> None:
        self.dials: Mapping[str, Dial] = DIALS[model]
        self.counter = next(iter(self.dials))
        settings, per_hour = self.settings, MODEL_RATE[model]  # type: ignore[index]
        flow = [amount or settings.rate for amount in (settings.idle, settings.full)]
        idle, full = (float(amount.to(per_hour).value) for amount in flow if amount is not None)
        self._stream = Stream(plant, self.name, idle, full)
        self._counts = {self.counter: Count(1.0, int(settings.start / self.dials[self.counter].resolution))}
        gauge = GAUGES[model]
        self._gauge: Callable[[str, int], float] = lambda point, ms: gauge(self, point, ms)

    def _of_profile(self, face: Shape, plant: Plant) -> None:
        self.shape = face
        numbers = {name: spot for name, spot in face.spots.items() if spot.kind in ("whole", "f32", "f64")}
        self.dials = {name: _dial(spot, isinstance(face.behaviours[name], Counts)) for name, spot in numbers.items()}
        self.counter = face.counter or ""
        self._stream = Stream(plant, self.name, face.idle, face.full)
        self._counts = {
            name: Count(does.share, int(does.start / self.dials[name].resolution), does.flat)
            for name, does in face.behaviours.items()
            if isinstance(does, Counts) and name in self.dials
        }
        self._gauge = self._shown_by_profile

    def suffer(self, effect: Effect) -> None:
        """Take an effect on; those of other meters are no business of this one."""
        if effect.meter != self.name:
            return
        if isinstance(effect, Burst):
            self._bursts.append(_CountedBurst(effect, self._stream))
        elif isinstance(effect, Stuck):
            self._stuck.append(effect)
        else:
            self._set(effect)

    def rate(self, ms: int) -> float:
        """Return the true consumption at `ms`, in units of the counter per hour (kW, m3/h, kg/h, t/h)."""
        rate = self._stream.rate(ms)
        return rate + rate * sum(burst.more_at(ms) for burst in self._bursts)

    def steps(self, point: str, ms: int) -> int:
        """Return what the register of a point holds at `ms`, in steps of its resolution."""
        shown_ms = min((stuck.from_ms for stuck in self._stuck if stuck.from_ms <= ms < stuck.to_ms), default=ms)
        dial = self.dials[point]
        if dial.modulus is not None:
            return self._count(point, shown_ms) % dial.modulus
        return round(self._gauge(point, shown_ms) / float(dial.resolution))

    def value(self, point: str, ms: int) -> float:
        """Return what a point reads at `ms`, in its unit."""
        return self.read(point, self.steps(point, ms))

    def read(self, point: str, steps: int) -> float:
        """Return the value that `steps` of a point mean."""
        if self.shape is None:
            return float(steps * self.dials[point].resolution)
        return self.shape.spots[point].value(self.raws(point, steps))

    def raws(self, point: str, steps: int) -> list[Number]:
        """Return the raw number of each piece of a profile's point."""
        assert self.shape is not None
        return self.shape.spots[point].raws(steps * self.dials[point].resolution)

    @property
    def points(self) -> tuple[str, ...]:
        """What is read again and again, and has a value: no identity, no probe."""
        known = self.shape.profile.points if self.shape else self.dials
        return tuple(point for point in known if point in self.dials and self.available(point))

    def available(self, point: str) -> bool:
        """Whether the meter has a value for a point."""
        return self.shape is None or self.shape.behaviours[point] is not None

    def text(self, place: str) -> str:
        """Return the text a profile's place holds; empty where it is a number."""
        does = self.shape.behaviours[place] if self.shape else None
        return does if isinstance(does, str) else ""

    def steps_before_rollover(self, ms: int, ahead_s: float) -> int:
        """Return where the register must stand at `ms` to roll over about `ahead_s` later."""
        dial = self.dials[self.counter]
        ahead = (self._total(ms + round(ahead_s * 1000)) - self._total(ms)) / float(dial.resolution)
        return int(dial.modulus or 0) - max(1, math.ceil(ahead))

    def past_for_rollover(self, at_ms: int) -> Set:
        """Return the register this counter must have begun with to roll over at `at_ms` by itself."""
        dial = self.dials[self.counter]
        flowed = self._total(at_ms) / float(dial.resolution)
        return Set(self.name, self._sets[0].effect.at_ms, -math.ceil(flowed) % int(dial.modulus or 1))

    def _shown_by_profile(self, point: str, ms: int) -> float:
        does = self.shape.behaviours[point] if self.shape else None
        if isinstance(does, Follows):
            return does.share * self.register_rate(ms)
        if isinstance(does, Band):
            middle, swing = (does.low + does.high) / 2, (does.high - does.low) / 2
            shift = sum(point.encode()) * 1009
            return middle + swing * self.drift(ms + shift, 1800)
        return number_of(does) or 0.0 if isinstance(does, str) else 0.0

    def _set(self, effect: Set) -> None:
        self._sets.append(_CountedSet(effect, self._total(effect.at_ms)))
        self._sets.sort(key=lambda one: one.effect.at_ms)

    def _count(self, point: str, ms: int) -> int:
        """Return the counter's steps at `ms`, not yet rolled over. What faults set is the main counter."""
        count, resolution = self._counts[point], float(self.dials[point].resolution)
        if point != self.counter:
            flowed = (ms - self._start_ms) / 3_600_000 if count.flat else self._total(ms)
            return count.start + math.floor(max(0.0, flowed) * count.share / resolution)
        last = next((one for one in reversed(self._sets) if one.effect.at_ms <= ms), self._sets[0])
        return last.effect.steps + math.floor((self._total(ms) - last.total) / resolution)

    def _total(self, ms: int) -> float:
        """Return what has flowed until `ms`, bursts included, in units of the register."""
        flowed = self._stream.total(ms)
        for burst in self._bursts:
            flowed += burst.more_until(ms, self._stream)
        return flowed / self._ratio

    def register_rate(self, ms: int) -> float:
        """Return the rate in units of the register, per hour."""
        return self.rate(ms) / self._ratio

    def drift(self, ms: int, period_s: float) -> float:
        """Return a slow wave between -1 and 1, of this meter's own."""
        return self._drift.at(ms, period_s)


def _dial(spot: Spot, counts: bool) -> Dial:
    """Return the steps of a profile's point: those of its register, and where a counter begins anew."""
    said = getattr(spot.place, "resolution", None)
    resolution = spot.resolution or (said if isinstance(said, Decimal) else FLOAT_STEP)
    if not counts:
        return Dial(resolution)
    place = spot.place
    if isinstance(place, ProfilePoint) and (place.modulus is not None or place.digits):
        return Dial(resolution, int((place.modulus or Decimal(10) ** int(place.digits or 0)) / resolution))
    return Dial(resolution, spot.capacity or int(LARGEST_FLOAT / resolution))


class _CountedBurst:
    def __init__(self, effect: Burst, stream: Stream) -> None:
        self._effect = effect
        self._begin = stream.total(effect.from_ms)
        self._end = stream.total(effect.to_ms)

    def more_at(self, ms: int) -> float:
        return self._effect.factor - 1 if self._effect.from_ms <= ms < self._effect.to_ms else 0.0

    def more_until(self, ms: int, stream: Stream) -> float:
        if ms <= self._effect.from_ms:
            return 0.0
        until = self._end if ms >= self._effect.to_ms else stream.total(ms)
        return (self._effect.factor - 1) * (until - self._begin)


@dataclass(frozen=True)
class _CountedSet:
    effect: Set
    total: float


def build_meters(settings: PlantSettings, effects: Iterable[Effect] = ()) -> dict[str, Meter]:
    """Return the meters of a plant by name, with the effects they have suffered, in the order these happened."""
    plant = Plant(settings)
    meters = {name: Meter(name, meter, plant) for name, meter in settings.meters.items()}
    for effect in effects:
        if effect.meter in meters:
            meters[effect.meter].suffer(effect)
    return meters


def history(
    settings: PlantSettings,
    start_ms: int,
    end_ms: int,
    step_s: float,
    effects: Iterable[Effect] = (),
    points: frozenset[str] | None = None,
) -> Iterator[tuple[str, str, int, float]]:
    """Yield (meter, point, ms, value) of [start, end), each `step_s`: what the meters would have shown.

    `points` (`gas-main/volume`, …) leaves the others out.
    """
    meters = build_meters(settings, effects)
    wanted = [
        (meter, point)
        for meter in meters.values()
        for point in meter.points
        if points is None or f"{meter.name}/{point}" in points
    ]
    for ms in range(start_ms, end_ms, round(step_s * 1000)):
        for meter, point in wanted:
            yield meter.name, point, ms, meter.value(point, ms)
