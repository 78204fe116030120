"""The bundled meters of the demo: which points each model shows, in which steps, and what its gauges read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Protocol


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


class Moving(Protocol):
    """What the gauges of a meter follow."""

    def register_rate(self, ms: int) -> float: ...

    def drift(self, ms: int, period_s: float) -> float: ...


class Drift:
    """A slow wave between -1 and 1."""

    def __init__(self, dice: Random) -> None:
        self._phase = dice.uniform(0, 2 * math.pi)

    def at(self, ms: int, period_s: float) -> float:
        turn = 2 * math.pi * (ms % round(period_s * 1000)) / (period_s * 1000)
        return 0.7 * math.sin(turn + self._phase) + 0.3 * math.sin(5 * turn + 2 * self._phase)


DAY_S = 86_400
LINE_VOLTAGE = 222.0
POWER_FACTOR = 0.93


def _grid(meter: Moving, point: str, ms: int) -> float:
    """Voltage, current and frequency of a power meter's secondary side."""
    phase = int(point[-1]) if point[-1].isdigit() else 1
    voltage = LINE_VOLTAGE + 3 * meter.drift(ms + phase * 7000, 1800) + 0.4 * phase
    if point.startswith("voltage"):
        return voltage
    if point.startswith("current"):
        return meter.register_rate(ms) * 1000 / (3 * voltage * POWER_FACTOR)
    return 50 + 0.03 * meter.drift(ms, 600)


def _power_meter(meter: Moving, point: str, ms: int) -> float:
    return meter.register_rate(ms) * 1000 if point == "power" else _grid(meter, point, ms)


def _dlt645_power(meter: Moving, point: str, ms: int) -> float:
    if point == "energy_export":
        return 0.0
    return meter.register_rate(ms) if point == "power" else _grid(meter, point, ms)


def _gas_corrector(meter: Moving, point: str, ms: int) -> float:
    if point == "flow":
        return meter.register_rate(ms)
    if point == "temperature":
        return 17.5 + 4.0 * meter.drift(ms, DAY_S) + 0.3 * meter.drift(ms, 900)
    return 301.3 + 4.0 * meter.drift(ms, 3600)


def _coriolis(meter: Moving, point: str, ms: int) -> float:
    temperature = 62.0 + 3.0 * meter.drift(ms, 7200)
    readings = {
        "mass_flow": meter.register_rate(ms),
        "density": 948.0 - 0.65 * (temperature - 60),
        "temperature": temperature,
    }
    return readings[point]


def _production(meter: Moving, point: str, ms: int) -> float:
    return meter.register_rate(ms)


GAUGES: dict[str, Callable[[Moving, str, int], float]] = {
    "power-meter": _power_meter,
    "gas-corrector": _gas_corrector,
    "dlt645-power": _dlt645_power,
    "coriolis": _coriolis,
    "production-counter": _production,
}
