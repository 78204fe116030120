"""The owner of one line: reads its meters at their slots, one after another, the earliest deadline first.

One meter's failure never stops the others: a dead one is probed ever more rarely, and all dead ones of a line together have a
bounded share of it; a fault in a driver is the meter's alone; a slot that does not end marks the meter's points as bad. In the
line's idle time meters are asked which device they are, and for what they recorded during a gap.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import cast

from agent.answer import Answer, DriverFault, LineDown, Turn, Wire, by_time, refused
from agent.backfill import Stand, Takes, filled, hole, stand
from agent.breaker import DeadShare
from agent.contact import decided, introduced, likened, variant_name
from agent.counters import LineCounters, MeterCounters
from agent.errands import LONGEST_SLOT_S, PATIENCE_S, Errand, Errands
from agent.exchange import ExchangeWire
from agent.gaps import GapBook
from agent.memory import Memory
from agent.polled import Polled
from agent.schedule import Schedule
from agent.session import SessionWire
from agent.slots import Due
from agent.wiring import Line
from drivers.contract import ExchangeDriver, ExchangeLine, SessionDriver
from link.world import World
from metering.errors import MeterError, MeterSilent
from metering.text import Text
from metering.wire import Gap

log = logging.getLogger(__name__)

_REST_S = 0.005
"""A line with nothing due for so long rests."""
_SOON_S = 0.0002
"""What is due this soon is due: a timer would cost more."""
_LONGEST_WAIT_S = 10.0
LOOK_S = 1.0
"""Between two looks at slots that do not end, at most."""


def wire_of(line: Line, world: World, memory: Memory) -> Wire:
    """Return the wire of a line, by the shape of its driver."""
    if isinstance(line.settings, ExchangeLine):
        return ExchangeWire(line, cast(ExchangeDriver, line.driver), line.settings, world, memory)
    return SessionWire(line, cast(SessionDriver, line.driver), world)


class LineOwner:
    """Polls one line until it is told to stop."""

    def __init__(
        self,
        line: Line,
        world: World,
        sink: Takes,
        gaps: GapBook,
        changed: Callable[[], None] = lambda: None,
        memory: Memory | None = None,
        resting: Callable[[], None] = lambda: None,
        former: Mapping[str, Stand] | None = None,
    ) -> None:
        """`former` is each meter's last reading in the outbox."""
        self.line = line
        self._former = former or {}
        self._world = world
        self._sink = sink
        self._gaps = gaps
        self._memory = memory or Memory()
        self._resting = resting
        """Called when all that was due is read: now is the time to store it."""
        self._under_way: Polled | None = None
        self._worked = False
        """Whether a meter was asked since the line last rested."""
        self._wire = wire_of(line, world, self._memory)
        self._polled = [Polled(meter, self._wire.meters[meter.id], world, gaps, changed) for meter in line.meters]
        self._schedule = Schedule()
        self._errands = Errands(world.uptime, min((one.interval_s for one in self._polled), default=0.0))
        self._share = DeadShare()
        self.turns = 0
        """Grows as long as the schedule is being kept; the watchdog looks at it."""

    @property
    def counters(self) -> LineCounters:
        return self._wire.counters

    @property
    def meters(self) -> Mapping[str, MeterCounters]:
        return self._wire.meters

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set; the read under way then ends by itself or times out."""
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._look(), name=f"{self.line.id} look")
            try:
                await self._poll(stop)
            finally:
                looking.cancel()
                await self._wire.close()

    async def ask_now(self, stop: asyncio.Event) -> None:
        """Ask each meter once, whatever its slots, before `run` keeps them."""
        for polled in self._polled:
            if stop.is_set():
                return
            polled.due = Due(self._world.now_ms(), self._world.uptime())
            await self._slot(polled)

    async def _poll(self, stop: asyncio.Event) -> None:
        started_s = self._world.uptime()
        await self._wire.settle(self.line.meters)
        for place, polled in enumerate(self._polled):
            polled.begin(started_s)
            self._schedule.put(place, polled.due.at_s, polled.deadline_s)
        while not stop.is_set():
            number = self._schedule.take(self._world.uptime() + _SOON_S)
            if number is None:
                if self._worked:
                    self._worked = False
                    self._resting()
                if await self._idle(stop):
                    return
                continue
            self._worked = True
            overdue = self._errands.fitting(self._world.uptime(), free_s=0.0)
            if overdue is not None:
                await self._step(overdue)
            polled = self._polled[number]
            self._under_way = polled
            await self._slot(polled)
            self._under_way = None
            self.counters.overruns += polled.plan_next()
            self._schedule.put(number, polled.due.at_s, polled.deadline_s)
            self.turns += 1

    async def _idle(self, stop: asyncio.Event) -> bool:
        """Run an errand, or wait for the next slot; return whether the stop came first."""
        now_s = self._world.uptime()
        free_s = self._schedule.next_s - now_s
        if free_s > _REST_S:
            self._resting()
        errand = self._errands.fitting(now_s, free_s)
        if errand is not None:
            await self._step(errand)
            return False
        self.turns += 1
        try:
            async with asyncio.timeout(min(free_s, _LONGEST_WAIT_S)):
                await stop.wait()
                return True
        except TimeoutError:
            return False

    async def _step(self, errand: Errand) -> None:
        try:
            await self._errands.step(errand)
        except TimeoutError:
            log.error("line %s: an errand for %s did not come to an end", self.line.id, errand.meter)
            await self._close()

    async def _close(self) -> None:
        """Close the wire; one that hangs on its goodbye is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT_S):
                await self._wire.close()

    # -- one slot

    async def _slot(self, polled: Polled) -> None:
        now_s = self._world.uptime()
        if polled.is_late:
            self.counters.overruns += 1
            polled.miss("overrun")
            return
        if not self._lets_through(polled, now_s):
            polled.miss("breaker")
            return
        polled.asked_s = now_s
        try:
            async with asyncio.timeout(LONGEST_SLOT_S):
                await self._ask(polled, Turn(polled.due.at_s + polled.interval_s / 2, polled.breaker.is_open))
        except TimeoutError:
            await self._close()
            self._fail(polled, MeterSilent(_STUCK))
        except LineDown as down:
            polled.fail(down.error, tried=False)
        except MeterError as error:
            self._fail(polled, error)
        except Exception as raised:  # noqa: BLE001 - one meter never stops the others; logged once
            fault = DriverFault(raised)
            polled.log_fault(fault)
            self._fail(polled, fault)

    def _lets_through(self, polled: Polled, now_s: float) -> bool:
        if not polled.breaker.is_open:
            return True
        others_live = any(other.lives for other in self._polled if other is not polled)
        return polled.breaker.lets_through(now_s) and (not others_live or self._share.lets_through(now_s))

    async def _ask(self, polled: Polled, turn: Turn) -> None:
        """Ask a meter for its points and close the slot."""
        if polled.undecided:
            await self._decide(polled)
        taken: list[Answer] = []
        failed: list[Answer] = []
        try:
            async for answer in self._wire.poll(polled.meter, turn):
                polled.account(answer)
                if answer.error is not None:
                    failed.append(answer)
                elif self._sink.take(polled.meter, by_time(answer)):  # at once: a kill may come before the next answer
                    taken.append(answer)
        except Exception as raised:
            if not taken:
                raise
            polled.log_fault(DriverFault(raised))
        if taken:
            if failed:
                self._sink.take(polled.meter, failed)
            self._succeed(polled, taken)
        elif failed and failed[0].error is not None:
            self._fail(polled, failed[0].error)
        else:
            polled.miss("no_room")

    async def _decide(self, polled: Polled) -> None:
        """Find out which edition of its model a meter is, before any value of it counts."""
        polled.meter = await decided(self._wire, polled.whole)
        polled.undecided = False
        found = variant_name(polled.whole, polled.meter)
        if found != polled.counters.variant:
            log.info("meter %s is the variant %s", polled.whole.id, found)
        polled.counters.variant = found

    def _succeed(self, polled: Polled, taken: Sequence[Answer]) -> None:
        now_s, before = self._world.uptime(), polled.answers
        if polled.breaker.is_open:
            self._share.answered()
        was_there = polled.counters.state == "ok"
        gap = polled.succeed(taken, now_s - polled.asked_s)
        if polled.unintroduced:
            polled.unintroduced = False
            steps = introduced(self._wire, polled.meter, polled.counters, self._memory)
            self._errands.add(Errand(polled.meter.id, "identity", polled.counters, steps, 0.0, now_s + PATIENCE_S))
            steps = likened(self._wire, polled.meter, polled.counters)
            self._errands.add(Errand(polled.meter.id, "model", polled.counters, steps, 0.0, now_s + PATIENCE_S))
        if gap is not None and not was_there:  # what the line had no time for, it has no time to fetch
            self._fetch_past(polled, gap, before)

    def _fetch_past(self, polled: Polled, gap: Gap, before: Sequence[Answer]) -> None:
        """Have a gap filled that lies between the answers before it, or the run before, and the newest."""
        begin, end = (
            stand(polled.meter, before) or self._former.get(polled.meter.id),
            stand(polled.meter, polled.answers),
        )
        if end is not None:
            polled.holes.append(hole(gap, begin, end))
            self._errands.add(Errand(polled.meter.id, "past", polled.counters, self._past(polled), float(gap.start)))

    async def _past(self, polled: Polled) -> AsyncIterator[float]:
        """Fetch what lies in the holes of a meter, one after another."""
        while polled.holes:
            missing = polled.holes.popleft()
            async for rest_s in filled(self._wire, self._sink, self._gaps, polled.meter, polled.counters, missing):
                yield rest_s
            yield 0.0

    def _fail(self, polled: Polled, error: MeterError) -> None:
        now_s = self._world.uptime()
        self._share.spent(now_s, now_s - polled.asked_s)
        self.counters.dead_s += now_s - polled.asked_s
        polled.fail(error, tried=True)

    # -- looking after it

    async def _look(self) -> None:
        """Mark the points of a meter whose slot does not end, and note how busy the line is."""
        every_s = min(LOOK_S, *(polled.interval_s / 4 for polled in self._polled)) if self._polled else LOOK_S
        while True:
            await self._world.sleep(max(every_s, 0.05))
            for polled in self._polled:
                under_way = polled is self._under_way
                if not polled.stuck and polled.is_stuck(under_way):
                    polled.stuck = True
                    self._mark(polled, MeterSilent(_STUCK if under_way else _LINE_STUCK))
            self.counters.note_use(self._world.uptime())
            self.counters.cycle_s = sum(polled.took_s for polled in self._polled)

    def _mark(self, polled: Polled, error: MeterError) -> None:
        polled.fall_silent(error)
        if not polled.meter.variants:
            points = tuple(polled.meter.points)
            answer = refused(points, self._world.now_ms(), self._world.uptime(), error)
            self._sink.take(polled.meter, [answer])


_LINE_STUCK = Text("线路被另一块表占住，读不到", "the line is held up by another meter")
_STUCK = Text("读表迟迟没有结束，测点已标为无效", "the read does not come to an end; its points are marked bad")
