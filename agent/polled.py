"""One meter on its line's schedule: its slots, its breaker, and the account of what came of them."""

import logging
from collections import deque
from collections.abc import Callable, Sequence

from agent.answer import Answer, DriverFault
from agent.backfill import Hole
from agent.breaker import FAILURES, Breaker
from agent.counters import MeterCounters
from agent.gaps import GapBook
from agent.slots import first, following
from agent.wiring import Meter
from link.world import World
from metering.errors import MeterError, MeterSilent
from metering.reading import Quality
from metering.slots import Grid
from metering.wire import Gap

log = logging.getLogger(__name__)

STUCK_AFTER = 2.5
"""Intervals without an end of a slot, or as many times what a slot took before, after which a meter counts as stuck."""
_HOLES = 100
_BELIEVED_MS = 10 * 366 * 86_400_000
_DOUBTFUL = (Quality.UNCERTAIN, Quality.OUT_OF_RANGE, Quality.FROZEN, Quality.SUBSTITUTED)
LINE_STUCK_S = 40.0
"""Longer than any driver may take for one read: after it the meters that wait for the line count as silent too."""


class Polled:
    """A meter on the schedule. Each slot is accounted for: it is read, or missed with a cause."""

    def __init__(
        self, meter: Meter, counters: MeterCounters, world: World, gaps: GapBook, changed: Callable[[], None]
    ) -> None:
        self.whole = meter
        """As the settings have it."""
        self.meter = meter
        """As it is read: the edition of its model it was found to be."""
        self.counters = counters
        self.grid = Grid(meter.interval_ms, meter.phase_ms)
        self.breaker = Breaker(shortest_s=meter.interval_ms / 1000)
        self.due = first(self.grid, world.now_ms(), world.uptime())
        self.asked_s = 0.0
        self.took_s = 0.0
        """What its newest reading took."""
        self.answers: Sequence[Answer] = ()
        """Those of its newest reading."""
        self.undecided = bool(meter.variants)
        """Whether it is to be found out which edition of its model it is, before anything of it is taken."""
        self.unintroduced = True
        """Whether it is to be asked which device it is."""
        self.holes: deque[Hole] = deque(maxlen=_HOLES)
        """Gaps that are still to be filled."""
        self.stuck = False
        self._world = world
        self._gaps = gaps
        self._changed = changed
        self._fault = ""
        """The driver's fault that the log has already."""

    @property
    def lives(self) -> bool:
        return not self.breaker.is_open and self.counters.last_good_ms is not None

    @property
    def interval_s(self) -> float:
        return self.grid.interval_ms / 1000

    @property
    def deadline_s(self) -> float:
        return self.asked_s + self.interval_s

    @property
    def is_late(self) -> bool:
        """Whether its slot can no longer be started in time."""
        return (self._world.uptime() - self.due.at_s) * 2 > self.interval_s

    def is_stuck(self, under_way: bool) -> bool:
        """Return whether a slot does not come to an end, or, where another meter is under way, to its beginning."""
        longest_s = max(STUCK_AFTER * max(self.interval_s, self.took_s), 0.0 if under_way else LINE_STUCK_S)
        return self._world.uptime() > self.due.at_s + longest_s

    def begin(self, started_s: float) -> None:
        """Plan the first slot. Those since the line's start were missed: it had to settle."""
        now_ms, now_s = self._world.now_ms(), self._world.uptime()
        self.due = first(self.grid, now_ms, now_s)
        passed = self.grid.between(now_ms - round((now_s - started_s) * 1000), now_ms)
        if passed > 0:
            self.miss("starting", passed, self.due.slot_ms - passed * self.grid.interval_ms)

    def plan_next(self) -> int:
        """Plan the next slot; return how many were missed because the line had no time."""
        before = self.due
        self.due, missed = following(self.grid, before, self._world.now_ms(), self._world.uptime())
        self.stuck = False
        if missed:
            self.miss("overrun", missed, before.slot_ms + self.grid.interval_ms)
        return missed

    def account(self, answer: Answer) -> None:
        no_value, doubtful = self.counters.no_value, self.counters.doubtful
        for value in answer.values:
            if value.value is None:
                no_value[value.point] = answer.why(value)
            elif no_value:
                no_value.pop(value.point, None)
            if value.value is not None and value.quality in _DOUBTFUL:
                doubtful[value.point] = answer.why(value)
            elif doubtful:
                doubtful.pop(value.point, None)
        if answer.error is None:
            self.counters.ok += 1
            self.counters.round_trips_ms.append(answer.round_trip_ms)
        else:
            self.counters.note_failure(answer.error)
            if isinstance(answer.error, DriverFault):
                self.log_fault(answer.error)

    def log_fault(self, fault: DriverFault) -> None:
        if self._fault != str(fault):
            self._fault = str(fault)
            log.error("%s: fault in the driver", self.meter.id, exc_info=fault.fault)

    def succeed(self, answers: Sequence[Answer], took_s: float) -> Gap | None:
        """Note a slot that was read, with what was answered; return the gap that it ends."""
        counters = self.counters
        counters.expected += 1
        counters.read += 1
        if counters.silent_since_ms is not None or counters.last_good_ms is None:
            self._tell_that_it_speaks()
        counters.last_good_ms = answers[-1].measured_ms
        self.answers = answers
        self.took_s = took_s
        self.breaker.succeeded()
        return self._gaps.read(self.meter.id, self._slot_of(answers[0].measured_ms))

    def _slot_of(self, measured_ms: int) -> int:
        """Return the slot that a reading counts for; where it came too late for its own, those up to it were missed."""
        slot_ms = max(self.due.slot_ms, self.grid.at(self.grid.counts_for(measured_ms)))
        past, now_s = self.grid.between(self.due.slot_ms, slot_ms), self._world.uptime()
        if past and slot_ms - self.due.slot_ms < _BELIEVED_MS:  # a clock that began in 1970 tells no gap of decades
            cause = "overrun" if (now_s - self.due.at_s) * 4 >= self.interval_s * 3 else "clock"
            self._gaps.missed(self.meter.id, self.due.slot_ms, cause, now_s, past)
        return slot_ms

    def fail(self, error: MeterError, tried: bool) -> None:
        """Note a failed slot. `tried` is False where the line itself was down: no fault of the meter's."""
        if tried:
            self.breaker.failed(self._world.uptime(), self._world.random.random())
        waits = not tried and isinstance(error, MeterSilent)  # for a late reply: no cause of its own
        self.fall_silent(self.counters.error or error if waits else error)
        self.miss(error.cause)

    def fall_silent(self, error: MeterError) -> None:
        counters = self.counters
        was_silent = counters.silent_since_ms is not None
        counters.error = error
        if not was_silent:
            counters.silent_since_ms = self.due.slot_ms
            self.undecided = bool(self.whole.variants)  # it may be exchanged meanwhile
            log.warning("meter %s is silent: %s", self.meter.id, error)
            self._changed()

    def miss(self, cause: str, count: int = 1, slot_ms: int | None = None) -> None:
        self.counters.expected += count
        self.counters.missed[cause] += count
        self._gaps.missed(
            self.meter.id, self.due.slot_ms if slot_ms is None else slot_ms, cause, self._world.uptime(), count
        )

    def _tell_that_it_speaks(self) -> None:
        counters = self.counters
        since_ms = counters.silent_since_ms
        log.info("meter %s %s", self.meter.id, "answers" if since_ms is None else "is back")
        if since_ms is not None and self.due.slot_ms - since_ms >= FAILURES * self.grid.interval_ms:
            self.unintroduced = True
        counters.silent_since_ms = counters.error = None
        self._changed()
