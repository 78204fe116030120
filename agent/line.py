"""The scheduler of one line: reads its meters at their slots, one after another, the earliest due first.

One meter's failure never stops the others. Each slot is accounted for: it is read, or missed with a cause. A meter's
falling silent and coming back is one line in the log each.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Protocol, cast

from agent.answer import Answer, DriverFault, LineDown, Wire
from agent.breaker import Breaker
from agent.counters import LineCounters, MeterCounters
from agent.exchange import ExchangeWire
from agent.gaps import GapBook
from agent.session import SessionWire
from agent.slots import Due, Grid, first, following
from agent.wiring import Line, Meter
from drivers.contract import ExchangeDriver, ExchangeLine, SessionDriver
from link.world import World
from metering.errors import MeterError

log = logging.getLogger(__name__)

_SOON_S = 0.0002
"""What is due this soon is due: a timer would cost more."""


class Sink(Protocol):
    """Where readings go."""

    def take(self, meter: Meter, answers: Sequence[Answer]) -> bool:
        """Keep the answers; False when there is no room for them."""
        ...


class CountedWire(Wire, Protocol):
    @property
    def counters(self) -> LineCounters: ...


def wire_of(line: Line, world: World) -> CountedWire:
    """Return the wire of a line, by the shape of its driver."""
    if isinstance(line.settings, ExchangeLine):
        return ExchangeWire(line, cast(ExchangeDriver, line.driver), line.settings, world)
    return SessionWire(line, cast(SessionDriver, line.driver), world)


class _Polled:
    """A meter on the schedule."""

    def __init__(self, meter: Meter, grid: Grid) -> None:
        self.meter = meter
        self.grid = grid
        self.breaker = Breaker(shortest_s=meter.interval_ms / 1000)
        self.counters = MeterCounters()
        self.due = Due(0, 0.0)
        self.fault = ""
        """The driver's fault that the log has already."""


class LineOwner:
    """Polls one line until it is told to stop."""

    def __init__(
        self, line: Line, world: World, sink: Sink, gaps: GapBook, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.line = line
        self._world = world
        self._sink = sink
        self._gaps = gaps
        self._changed = changed
        self._wire = wire_of(line, world)
        self._meters = [_Polled(meter, Grid(meter.interval_ms, meter.phase_ms)) for meter in line.meters]
        self.turns = 0
        """Grows as long as the schedule is being kept; the watchdog looks at it."""

    @property
    def counters(self) -> LineCounters:
        return self._wire.counters

    @property
    def meters(self) -> dict[str, MeterCounters]:
        return {polled.meter.id: polled.counters for polled in self._meters}

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set; the read under way then ends by itself or times out."""
        heap: list[tuple[float, int]] = []
        now_ms, now_s = self._world.now_ms(), self._world.uptime()
        for at, polled in enumerate(self._meters):
            polled.due = first(polled.grid, now_ms, now_s)
            heappush(heap, (polled.due.at_s, at))
        try:
            while heap and not stop.is_set():
                if await self._stopped_before(heap[0][0], stop):
                    return
                _, at = heappop(heap)
                polled = self._meters[at]
                await self._slot(polled)
                self._plan_next(polled)
                heappush(heap, (polled.due.at_s, at))
                self.turns += 1
        finally:
            await self._wire.close()

    async def _stopped_before(self, at_s: float, stop: asyncio.Event) -> bool:
        """Wait until a time by the uptime; return whether the stop came first."""
        while (wait_s := at_s - self._world.uptime()) > _SOON_S:
            try:
                async with asyncio.timeout(min(wait_s, 10.0)):
                    await stop.wait()
                    return True
            except TimeoutError:
                self.turns += 1
        return False

    def _plan_next(self, polled: _Polled) -> None:
        before = polled.due
        polled.due, missed = following(polled.grid, before, self._world.now_ms(), self._world.uptime())
        if missed:
            self._miss(polled, before.slot_ms + polled.grid.interval_ms, "overrun", missed)

    async def _slot(self, polled: _Polled) -> None:
        now_s = self._world.uptime()
        if not polled.breaker.lets_through(now_s):
            self._miss(polled, polled.due.slot_ms, "breaker")
            return
        taken: list[int] = []
        failed: list[Answer] = []
        try:
            async for answer in self._wire.poll(polled.meter):
                self._account(polled, answer)
                if answer.error is not None:
                    failed.append(answer)
                elif self._sink.take(polled.meter, [answer]):  # at once: a kill may come before the meter's next answer
                    taken.append(answer.measured_ms)
        except LineDown as down:
            self._end(polled, taken, failed, down.error, tried=False)
        except Exception as error:  # noqa: BLE001 - one meter never stops the others; logged once
            fault = DriverFault(error)
            self._log_fault(polled, fault)
            self._end(polled, taken, failed, fault, tried=True)
        else:
            self._end(polled, taken, failed, failed[0].error if failed else None, tried=True)

    @staticmethod
    def _log_fault(polled: _Polled, fault: DriverFault) -> None:
        if polled.fault != str(fault):
            polled.fault = str(fault)
            log.error("%s: fault in the driver", polled.meter.id, exc_info=fault.fault)

    def _account(self, polled: _Polled, answer: Answer) -> None:
        no_value = polled.counters.no_value
        for value in answer.values:
            if value.value is None:
                no_value[value.point] = answer.why(value)
            elif no_value:
                no_value.pop(value.point, None)
        if answer.error is None:
            polled.counters.ok += 1
            polled.counters.round_trips_ms.append(answer.round_trip_ms)
        else:
            polled.counters.failures[answer.error.cause] += 1
            if isinstance(answer.error, DriverFault):
                self._log_fault(polled, answer.error)

    def _end(
        self, polled: _Polled, taken: list[int], failed: list[Answer], error: MeterError | None, tried: bool
    ) -> None:
        """Close a slot: read when anything was taken; what failed beside it travels as values that are not there."""
        if taken:
            if failed:
                self._sink.take(polled.meter, failed)
            self._succeed(polled, taken[-1])
        elif error is not None:
            self._fail(polled, error, tried)
        else:
            self._miss(polled, polled.due.slot_ms, "no_room")

    def _succeed(self, polled: _Polled, measured_ms: int) -> None:
        counters = polled.counters
        counters.expected += 1
        counters.read += 1
        if counters.silent_since_ms is not None or counters.last_good_ms is None:
            self._tell(polled, "")
        counters.last_good_ms = measured_ms
        polled.breaker.succeeded()
        self._gaps.read(polled.meter.id, polled.due.slot_ms)

    def _fail(self, polled: _Polled, error: MeterError, tried: bool) -> None:
        """Note a failed slot. `tried` is False where the line itself was down: no fault of the meter's."""
        if tried:
            polled.breaker.failed(self._world.uptime(), self._world.random.random())
        if polled.counters.silent_since_ms is None:
            polled.counters.cause = error.cause
            self._tell(polled, str(error))
        polled.counters.cause, polled.counters.detail = error.cause, str(error)
        self._miss(polled, polled.due.slot_ms, error.cause)

    def _miss(self, polled: _Polled, slot_ms: int, cause: str, count: int = 1) -> None:
        polled.counters.expected += count
        polled.counters.missed[cause] += count
        self._gaps.missed(polled.meter.id, slot_ms, cause, self._world.uptime(), count)

    def _tell(self, polled: _Polled, detail: str) -> None:
        """Log and report that a meter fell silent (`detail` says why) or speaks."""
        counters = polled.counters
        if detail:
            counters.silent_since_ms = polled.due.slot_ms
            log.warning("meter %s is silent: %s", polled.meter.id, detail)
        else:
            was_silent = counters.silent_since_ms is not None
            log.info("meter %s %s", polled.meter.id, "is back" if was_silent else "answers")
            counters.silent_since_ms, counters.cause, counters.detail = None, "", ""
        self._changed()
