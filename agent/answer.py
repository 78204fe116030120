"""What came of one request to one meter: values and when they were asked for, or why there are none."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.wiring import Meter
from drivers.contract import Value
from metering.errors import BadFrame, MeterError, MeterRefused, MeterSilent
from metering.reading import Quality


@dataclass(frozen=True, slots=True)
class Answer:
    measured_ms: int
    """When the request was sent, Unix ms."""
    values: Sequence[Value]
    round_trip_ms: float = 0.0
    error: MeterError | None = None
    asked_s: float | None = None
    """The uptime at `measured_ms`, seconds; None: now."""

    def why(self, value: Value) -> str:
        """Return why a value is not there."""
        return str(self.error) if self.error is not None else value.why or value.quality.text.en


class Wire(Protocol):
    """A line as its owner uses it. Closed by leaving `poll` alone and calling `close`."""

    def poll(self, meter: Meter) -> AsyncIterator[Answer]:
        """Ask a meter for all its points.

        Yields:
            One answer per request, as soon as it is there; a failed one carries its error and None for each of its points.

        Raises:
            LineDown: the line or connection could not be opened, or this meter must be left alone: it was not asked.
            Exception: a fault in the driver. Neither is raised once an answer was yielded; the rest is then refused.
        """
        ...

    async def close(self) -> None: ...


class LineDown(Exception):
    """The line cannot be opened, or waits before it or the meter is tried again; `error` says why."""

    def __init__(self, error: MeterError) -> None:
        self.error = error
        super().__init__(str(error))


class DriverFault(MeterError):
    """A driver raised what it must not: `fault`."""

    cause = "error"

    def __init__(self, fault: Exception) -> None:
        self.fault = fault
        super().__init__(repr(fault))


def refused(points: Sequence[str], measured_ms: int, asked_s: float, error: MeterError) -> Answer:
    """Return the answer of a request that failed: no values, and the quality says why."""
    quality = Quality.TIMEOUT
    if isinstance(error, BadFrame | MeterRefused):
        quality = Quality.PROTOCOL_ERROR
    elif not isinstance(error, MeterSilent):
        quality = Quality.BAD
    return Answer(measured_ms, [Value(point, None, quality) for point in points], error=error, asked_s=asked_s)
