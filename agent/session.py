"""A session line: the protocol's library owns the connection, and it is built anew after every loss."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from agent.answer import Answer, LineDown, Turn, refused
from agent.backwards import Backwards
from agent.breaker import backoff_s
from agent.counters import LineCounters, MeterCounters
from agent.port import LONGEST_REOPEN_S
from agent.wiring import Line, Meter
from drivers.contract import Session, SessionDriver, Value
from link.world import World
from metering.errors import MeterError, MeterRefused, MeterSilent, MeterUnreachable
from metering.profile import Place
from metering.text import Text

LONGEST_S = 30.0
"""For opening or for what is no polling, should the driver not end its wait itself."""
SHORTEST_S = 5.0
"""A poll has at least so long, and otherwise three intervals."""
_TRIES = 3
"""For one piece of the past."""
_NOW = Turn()


class SessionWire:
    """The one owner of a session. Opened, read and closed by the same task."""

    def __init__(self, line: Line, driver: SessionDriver, world: World) -> None:
        self._line = line
        self._driver = driver
        self._world = world
        self._stack: AsyncExitStack | None = None
        self._session: Session | None = None
        self._failures = 0
        self._resubscribed = 0
        """By the sessions before."""
        self._reopen_at_s = 0.0
        self._problem: MeterError = MeterUnreachable()
        self.counters = LineCounters()
        self.meters: Mapping[str, MeterCounters] = {meter.id: MeterCounters() for meter in line.meters}

    async def settle(self, meters: Sequence[Meter]) -> None:
        """Each connection has its own replies."""

    async def poll(self, meter: Meter, turn: Turn = _NOW) -> AsyncIterator[Answer]:
        stood = self._session is not None
        longest_s = min(LONGEST_S, max(SHORTEST_S, 3 * meter.interval_ms / 1000))
        points = tuple(meter.plan.points)
        answer = await self._answer(points, lambda session: session.read(meter.plan), longest_s)
        if stood and isinstance(answer.error, MeterUnreachable):
            # it broke since the last slot (a restart of the server, an end of the session): this slot can be kept
            answer = await self._answer(points, lambda session: session.read(meter.plan), longest_s)
        yield answer

    async def read(self, meter: Meter, places: Mapping[str, Place]) -> AsyncIterator[Answer]:
        plan = replace(meter.plan, points=places)
        yield await self._answer(tuple(places), lambda session: session.read(plan), LONGEST_S)

    async def identify(self, meter: Meter) -> AsyncIterator[Answer]:
        yield await self._answer((), lambda session: session.identify(meter.plan), LONGEST_S)

    async def history(self, meter: Meter, from_ms: int, to_ms: int) -> AsyncIterator[Answer]:
        past, failures = Backwards(from_ms, to_ms), 0
        while past.piece is not None and failures < _TRIES:
            answer = await self._recorded(meter, *past.piece)
            if answer.error is None:
                past.took(value.at_ms for value in answer.values if value.at_ms is not None)
                failures = 0
            else:
                failures += 1
            yield answer

    async def _recorded(self, meter: Meter, from_ms: int, to_ms: int) -> Answer:
        """Ask for a piece of the past; a connection that breaks meanwhile will be there again."""
        try:
            return await self._answer((), lambda session: session.history(meter.plan, from_ms, to_ms), LONGEST_S)
        except LineDown as down:
            return refused((), self._world.now_ms(), self._world.uptime(), down.error)

    async def _answer(
        self,
        points: Sequence[str],
        ask: Callable[[Session], Awaitable[Sequence[Value]]],
        longest_s: float,
    ) -> Answer:
        session = self._session or await self._open()
        measured_ms, sent_s = self._world.now_ms(), self._world.uptime()
        try:
            async with asyncio.timeout(longest_s):
                values = await ask(session)
        except (MeterError, TimeoutError) as caught:
            error = caught if isinstance(caught, MeterError) else MeterSilent(_HANGS)
            if not isinstance(error, MeterRefused):
                self.counters.error = error
                await self.close()
            return refused(points, measured_ms, sent_s, error)
        finally:
            self.counters.busy_s += self._world.uptime() - sent_s
            self.counters.resubscribed = self._resubscribed + session.resubscribed
        return Answer(measured_ms, values, (self._world.uptime() - sent_s) * 1000, asked_s=sent_s)

    async def _open(self) -> Session:
        if self._world.uptime() < self._reopen_at_s:
            raise LineDown(self._problem)
        stack = AsyncExitStack()
        try:
            async with asyncio.timeout(LONGEST_S):
                session = await stack.enter_async_context(self._driver.open(self._line.settings, self._world))
        except (MeterError, TimeoutError) as caught:
            error = caught if isinstance(caught, MeterError) else MeterUnreachable(_HANGS)
            wait_s = backoff_s(self._failures, 0.5, LONGEST_REOPEN_S, self._world.random.random())
            self._failures += 1
            self._problem = error
            self._reopen_at_s = self._world.uptime() + wait_s
            self.counters.error = error
            raise LineDown(error) from caught
        self._stack, self._session = stack, session
        self._resubscribed = self.counters.resubscribed
        self._failures = 0
        self.counters.open = True
        self.counters.opened += 1
        self.counters.error = None
        return session

    async def close(self) -> None:
        """Close the session; one that hangs on its goodbye is left."""
        stack, self._stack, self._session = self._stack, None, None
        self.counters.open = False
        if stack is not None:
            try:
                async with asyncio.timeout(SHORTEST_S):
                    await stack.aclose()
            except TimeoutError:
                return


_HANGS = Text("连接没有响应", "the connection hangs")
