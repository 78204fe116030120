"""The faces of the meters: which points each model shows, in which steps, and what they read at any moment.

Promises
    * What a meter shows is a function of the time, of the plant and of the effects of faults, nothing else.
    * A counter shows whole steps of its resolution, rounded down, and starts again at zero at its modulus.
    * A point's steps and its value say the same: value = steps x resolution, exactly.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from settings.plant import PlantMeter, PlantSettings
from simulators.effects import Burst, Effect, Set, Stuck
from simulators.plant import Plant, Stream


@dataclass(frozen=True)
class Dial:
    """One point a meter shows."""

    resolution: Decimal
    """The last shown step, in the unit of the point."""
    modulus: int | None = None
    """A counter's: the steps at which it starts again at zero. None: a gauge."""


def _counter(resolution: str, digits: int) -> Dial:
    step = Decimal(resolution)
    return Dial(step, int(10**digits / step))


def _gauge(resolution: str) -> Dial:
    return Dial(Decimal(resolution))


GRID = {
    "voltage_l1": _gauge("0.1"),
    "voltage_l2": _gauge("0.1"),
    "voltage_l3": _gauge("0.1"),
    "current_l1": _gauge("0.001"),
    "current_l2": _gauge("0.001"),
    "current_l3": _gauge("0.001"),
    "frequency": _gauge("0.01"),
}
DIALS: dict[str, Mapping[str, Dial]] = {
    "power-meter": {
        "energy_import": _counter("0.01", 6),
        "power": _gauge("0.1"),
        "voltage": _gauge("0.1"),
        "frequency": _gauge("0.01"),
    },
    "gas-corrector": {
        "volume": _counter("0.001", 6),
        "temperature": _gauge("0.01"),
        "pressure": _gauge("0.01"),
        "flow": _gauge("0.1"),
    },
    "dlt645-power": {
        "energy_import": _counter("0.01", 6),
        "energy_export": _gauge("0.01"),
        "power": _gauge("0.0001"),
        **GRID,
    },
    "coriolis": {
        "mass": _counter("0.001", 9),
        "mass_flow": _gauge("0.01"),
        "density": _gauge("0.1"),
        "temperature": _gauge("0.01"),
    },
    "production-counter": {"tonnes": _counter("0.001", 9), "rate": _gauge("0.01")},
}
"""What each model shows; the first is its counter."""


class Meter:
    """One meter of the plant."""

    def __init__(self, name: str, settings: PlantMeter, plant: Plant) -> None:
        self.name = name
        self.settings = settings
        self.dials = DIALS[settings.model]
        self.counter = next(iter(self.dials))
        self._stream = Stream(plant, name, settings.per_hour(settings.idle), settings.per_hour(settings.full))
        self._ratio = float(settings.ratio)
        self._bursts: list[_CountedBurst] = []
        self._stuck: list[Stuck] = []
        self._sets: list[_CountedSet] = []
        self._drift = _Drift(Random(f"{plant.seed}/{name}/drift"))
        self._set(Set(name, plant.start_ms, int(settings.start / self.dials[self.counter].resolution)))

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
        """Return the true consumption at `ms`, in units per hour (kW, m3/h, kg/h, t/h)."""
        rate = self._stream.rate(ms)
        return rate + rate * sum(burst.more_at(ms) for burst in self._bursts)

    def steps(self, point: str, ms: int) -> int:
        """Return what the register of a point holds at `ms`, in steps of its resolution."""
        shown_ms = min((stuck.from_ms for stuck in self._stuck if stuck.from_ms <= ms < stuck.to_ms), default=ms)
        dial = self.dials[point]
        if dial.modulus is not None:
            return self._count(shown_ms) % dial.modulus
        reading = _GAUGES[self.settings.model](self, point, shown_ms)
        return round(reading / float(dial.resolution))

    def value(self, point: str, ms: int) -> float:
        """Return what a point reads at `ms`, in its unit."""
        return self.read(point, self.steps(point, ms))

    def read(self, point: str, steps: int) -> float:
        """Return the value that `steps` of a point mean."""
        return float(steps * self.dials[point].resolution)

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

    def _set(self, effect: Set) -> None:
        self._sets.append(_CountedSet(effect, self._total(effect.at_ms)))
        self._sets.sort(key=lambda one: one.effect.at_ms)

    def _count(self, ms: int) -> int:
        """Return the counter's steps at `ms`, not yet rolled over."""
        last = next((one for one in reversed(self._sets) if one.effect.at_ms <= ms), self._sets[0])
        flowed = self._total(ms) - last.total
        return last.effect.steps + math.floor(flowed / float(self.dials[self.counter].resolution))

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


class _Drift:
    def __init__(self, dice: Random) -> None:
        self._phase = dice.uniform(0, 2 * math.pi)

    def at(self, ms: int, period_s: float) -> float:
        turn = 2 * math.pi * (ms % round(period_s * 1000)) / (period_s * 1000)
        return 0.7 * math.sin(turn + self._phase) + 0.3 * math.sin(5 * turn + 2 * self._phase)


DAY_S = 86_400
LINE_VOLTAGE = 222.0
POWER_FACTOR = 0.93


def _grid(meter: Meter, point: str, ms: int) -> float:
    """Voltage, current and frequency of a power meter's secondary side."""
    phase = int(point[-1]) if point[-1].isdigit() else 1
    voltage = LINE_VOLTAGE + 3 * meter.drift(ms + phase * 7000, 1800) + 0.4 * phase
    if point.startswith("voltage"):
        return voltage
    if point.startswith("current"):
        return meter.register_rate(ms) * 1000 / (3 * voltage * POWER_FACTOR)
    return 50 + 0.03 * meter.drift(ms, 600)


def _power_meter(meter: Meter, point: str, ms: int) -> float:
    return meter.register_rate(ms) * 1000 if point == "power" else _grid(meter, point, ms)


def _dlt645_power(meter: Meter, point: str, ms: int) -> float:
    if point == "energy_export":
        return 0.0
    return meter.register_rate(ms) if point == "power" else _grid(meter, point, ms)


def _gas_corrector(meter: Meter, point: str, ms: int) -> float:
    if point == "flow":
        return meter.register_rate(ms)
    if point == "temperature":
        return 17.5 + 4.0 * meter.drift(ms, DAY_S) + 0.3 * meter.drift(ms, 900)
    return 301.3 + 4.0 * meter.drift(ms, 3600)


def _coriolis(meter: Meter, point: str, ms: int) -> float:
    temperature = 62.0 + 3.0 * meter.drift(ms, 7200)
    readings = {
        "mass_flow": meter.register_rate(ms),
        "density": 948.0 - 0.65 * (temperature - 60),
        "temperature": temperature,
    }
    return readings[point]


def _production(meter: Meter, point: str, ms: int) -> float:
    return meter.register_rate(ms)


_GAUGES: dict[str, Callable[[Meter, str, int], float]] = {
    "power-meter": _power_meter,
    "gas-corrector": _gas_corrector,
    "dlt645-power": _dlt645_power,
    "coriolis": _coriolis,
    "production-counter": _production,
}


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
        for point in meter.dials
        if points is None or f"{meter.name}/{point}" in points
    ]
    for ms in range(start_ms, end_ms, round(step_s * 1000)):
        for meter, point in wanted:
            yield meter.name, point, ms, meter.value(point, ms)
