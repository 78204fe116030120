"""What came of one request to one meter: values and when they were asked for, or why there are none."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from agent.counters import LineCounters, MeterCounters
from agent.wiring import Meter
from drivers.contract import Value
from metering.errors import BadFrame, MeterError, MeterRefused, MeterSilent
from metering.profile import Place
from metering.reading import Quality
from metering.text import Text


@dataclass(frozen=True, slots=True)
class Answer:
    measured_ms: int
    """When the request was sent, Unix ms; of values of the past, when they were measured."""
    values: Sequence[Value]
    round_trip_ms: float = 0.0
    error: MeterError | None = None
    asked_s: float | None = None
    """The uptime at `measured_ms`, seconds; None: not known, or long ago."""

    def why(self, value: Value) -> Text:
        """Return why a value is not there, or is not to be trusted."""
        if self.error is not None:
            return Text(self.error.say("zh"), self.error.say("en"))
        return Text(value.why, value.why) if value.why else value.quality.text


@dataclass(frozen=True, slots=True)
class Turn:
    """How a meter is asked in one slot."""

    until_s: float = inf
    """By the uptime: nothing is asked a second time after it."""
    probing: bool = False
    """Whether only its smallest request is sent until it answers."""
    patience_s: float | None = None
    """Longest wait for a reply to begin, where that is less than the line's."""


class Wire(Protocol):
    """A line as its owner uses it. Closed by leaving `poll` alone and calling `close`."""

    @property
    def counters(self) -> LineCounters: ...

    @property
    def meters(self) -> Mapping[str, MeterCounters]: ...

    async def settle(self, meters: Sequence[Meter]) -> None:
        """Wait until no reply to a process before ours can come, where it could pass for one to us."""
        ...

    def poll(self, meter: Meter, turn: Turn) -> AsyncIterator[Answer]:
        """Ask a meter for all its points.

        Yields:
            One answer per request, as soon as it is there; a failed one carries its error and None for each of its points.

        Raises:
            LineDown: the line or connection could not be opened, or this meter must be left alone: it was not asked.
            Exception: a fault in the driver. Neither is raised once an answer was yielded; the rest is then refused.
        """
        ...

    def read(self, meter: Meter, places: Mapping[str, Place]) -> AsyncIterator[Answer]:
        """Ask a meter for places beside its points, one request a step; it raises as `poll`, at any step."""
        ...

    def identify(self, meter: Meter) -> AsyncIterator[Answer]:
        """Ask a meter what it says of itself by its protocol, one request a step; it raises as `poll`, at any step."""
        ...

    def history(self, meter: Meter, from_ms: int, to_ms: int) -> AsyncIterator[Answer]:
        """Ask a meter what it recorded strictly between two times, one request a step; it raises as `poll`, at any step."""
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


def by_time(answer: Answer) -> list[Answer]:
    """Return an answer as several where some of its values were measured at another time than it was asked for."""
    if all(value.at_ms is None for value in answer.values):
        return [answer]
    past: dict[int, list[Value]] = {}
    now: list[Value] = []
    for value in answer.values:
        now.append(value) if value.at_ms is None else past.setdefault(value.at_ms, []).append(value)
    found = [Answer(at_ms, values) for at_ms, values in sorted(past.items())]
    if now:
        found.append(Answer(answer.measured_ms, now, answer.round_trip_ms, answer.error, answer.asked_s))
    return found
