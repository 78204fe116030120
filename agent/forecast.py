"""What a line will be asked, and how long a cycle will take: from baud rate, frame lengths and silence. No network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from agent.wiring import Line, Meter, Wiring
from drivers.contract import ExchangeDriver, ExchangeLine, Request

_BITS_PER_BYTE = 11
_DEVICE_S = 0.02
"""A serial device thinks this long before it replies, as a rule."""
_NETWORK_S = 0.005
"""A request over a network and back, as a rule."""


@dataclass(frozen=True)
class MeterForecast:
    meter: str
    interval_s: float
    requests: tuple[str, ...]
    """One label per request, such as `fc 3, 40 registers at 0x0800`."""
    takes_s: float


@dataclass(frozen=True)
class LineForecast:
    line: str
    driver: str
    where: str
    meters: tuple[MeterForecast, ...]

    @property
    def cycle_s(self) -> float:
        """Reading each meter once takes this long."""
        return sum(meter.takes_s for meter in self.meters)

    @property
    def load(self) -> float:
        """Share of the time the line is busy; above 1 it cannot keep its intervals."""
        return sum(meter.takes_s / meter.interval_s for meter in self.meters)

    @property
    def shortest_interval_s(self) -> float:
        return min((meter.interval_s for meter in self.meters), default=0.0)

    def as_data(self) -> dict[str, Any]:
        return {
            "line": self.line, "driver": self.driver, "where": self.where, "cycle_s": round(self.cycle_s, 4),
            "load": round(self.load, 4),
            "meters": [
                {"meter": one.meter, "interval_s": one.interval_s, "requests": list(one.requests),
                 "takes_s": round(one.takes_s, 4)}
                for one in self.meters
            ],
        }  # fmt: skip


def forecasts(wiring: Wiring) -> list[LineForecast]:
    """Return the forecast of each line."""
    return [_line(line) for line in wiring.lines]


def _line(line: Line) -> LineForecast:
    settings = line.settings
    where = getattr(settings, "tcp", None) or getattr(settings, "serial", None) or getattr(settings, "url", "")
    return LineForecast(line.id, line.driver.name, str(where), tuple(_meter(line, meter) for meter in line.meters))


def _meter(line: Line, meter: Meter) -> MeterForecast:
    interval_s = meter.interval_ms / 1000
    if not isinstance(line.settings, ExchangeLine):
        return MeterForecast(meter.id, interval_s, (f"{len(meter.plan.points)} values",), _NETWORK_S)
    driver = cast(ExchangeDriver, line.driver)
    requests = driver.plan(line.settings, meter.plan)
    takes_s = sum(_exchange_s(request, line.settings, driver.silence_s(line.settings)) for request in requests)
    return MeterForecast(meter.id, interval_s, labels(requests), takes_s)


def labels(requests: Sequence[Request]) -> tuple[str, ...]:
    return tuple(request.label for request in requests)


def _exchange_s(request: Request, line: ExchangeLine, silence_s: float) -> float:
    if line.serial is None:
        return silence_s + _NETWORK_S
    return silence_s + _DEVICE_S + (request.request_bytes + request.reply_bytes) * _BITS_PER_BYTE / line.baud
