"""What a line will be asked, and how long a cycle will take: from baud rate, frame lengths and silence. No network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from agent.labels import label_of
from agent.pace import NETWORK_S, exchange_s
from agent.rehearsal import losses
from agent.wiring import Line, Meter, Wiring
from drivers.contract import ExchangeDriver, ExchangeLine
from metering.slots import Grid
from metering.text import Text

_WORTH = 0.005
"""A smaller share of lost slots is not worth a word."""


@dataclass(frozen=True)
class RequestForecast:
    label: Text
    """Such as `fc 3, 40 registers at 0x0800`."""
    takes_s: float


@dataclass(frozen=True)
class MeterForecast:
    meter: str
    interval_s: float
    requests: tuple[RequestForecast, ...]
    phase_s: float = 0.0

    @property
    def takes_s(self) -> float:
        return sum(request.takes_s for request in self.requests)


@dataclass(frozen=True)
class LineForecast:
    line: str
    driver: str
    where: str
    speed: str
    """Such as `9600 8N1`; empty on a network."""
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

    def losing(self) -> dict[str, float]:
        """Return the meters that will lose slots on a line that cannot keep its intervals, and which share of them."""
        if self.load <= 1:
            return {}
        slots = [Grid(round(one.interval_s * 1000), round(one.phase_s * 1000)) for one in self.meters]
        found = losses([(grid, one.takes_s) for grid, one in zip(slots, self.meters, strict=True)])
        return {one.meter: round(share, 2) for one, share in zip(self.meters, found, strict=True) if share >= _WORTH}

    def as_data(self) -> dict[str, Any]:
        return {
            "line": self.line, "driver": self.driver, "where": self.where, "cycle_s": round(self.cycle_s, 4),
            "load": round(self.load, 4), "losing": self.losing(),
            "meters": [
                {"meter": one.meter, "interval_s": one.interval_s, "takes_s": round(one.takes_s, 4),
                 "requests": [request.label.en for request in one.requests]}
                for one in self.meters
            ],
        }  # fmt: skip


def forecasts(wiring: Wiring) -> list[LineForecast]:
    """Return the forecast of each line."""
    return [_line(line) for line in wiring.lines]


def _line(line: Line) -> LineForecast:
    settings = line.settings
    where, speed = str(getattr(settings, "url", "")), ""
    if isinstance(settings, ExchangeLine):
        where, speed = settings.where, f"{settings.baud} {settings.frame}" if settings.serial is not None else ""
    return LineForecast(line.id, line.driver.name, where, speed, tuple(_meter(line, meter) for meter in line.meters))


def _meter(line: Line, meter: Meter) -> MeterForecast:
    """Return a meter's forecast; where its variant is not known yet, of the one that takes longest."""
    if meter.variants:
        return max((_meter(line, variant) for variant in meter.variants.values()), key=lambda one: one.takes_s)
    return MeterForecast(meter.id, meter.interval_ms / 1000, tuple(_requests(line, meter)), meter.phase_ms / 1000)


def _requests(line: Line, meter: Meter) -> Sequence[RequestForecast]:
    settings = line.settings
    if not isinstance(settings, ExchangeLine):
        count = len(meter.plan.points)
        return [RequestForecast(Text(f"{count} 个值", f"{count} values"), NETWORK_S)]
    driver = cast(ExchangeDriver, line.driver)
    silence_s = driver.silence_s(settings)
    return [
        RequestForecast(label_of(request), exchange_s(request, settings, silence_s))
        for request in driver.plan(settings, meter.plan)
    ]
