"""A session line: the protocol's library owns the connection, and it is built anew after every loss."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from agent.answer import Answer, LineDown, refused
from agent.breaker import backoff_s
from agent.counters import LineCounters
from agent.exchange import LONGEST_REOPEN_S
from agent.wiring import Line, Meter
from drivers.contract import Session, SessionDriver
from link.world import World
from metering.errors import MeterError, MeterRefused, MeterSilent, MeterUnreachable
from metering.text import Text

LONGEST_S = 30.0
"""For opening or reading, should the driver not end its wait itself."""


class SessionWire:
    """The one owner of a session. Opened, read and closed by the same task."""

    def __init__(self, line: Line, driver: SessionDriver, world: World) -> None:
        self._line = line
        self._driver = driver
        self._world = world
        self._stack: AsyncExitStack | None = None
        self._session: Session | None = None
        self._failures = 0
        self._reopen_at_s = 0.0
        self._problem: MeterError = MeterUnreachable()
        self.counters = LineCounters()

    async def poll(self, meter: Meter) -> AsyncIterator[Answer]:
        stood = self._session is not None
        session = self._session or await self._open()
        measured_ms, sent_s = self._world.now_ms(), self._world.uptime()
        try:
            async with asyncio.timeout(LONGEST_S):
                values = await session.read(meter.plan)
        except MeterUnreachable as lost:
            self.counters.problem = str(lost)
            await self.close()
            if stood:  # it broke since the last slot (a restart of the server, an end of the session): this slot can be kept
                async for answer in self.poll(meter):
                    yield answer
                return
            yield refused(tuple(meter.plan.points), measured_ms, sent_s, lost)
            return
        except (MeterError, TimeoutError) as caught:
            error = caught if isinstance(caught, MeterError) else MeterSilent(_HANGS)
            if not isinstance(error, MeterRefused):
                self.counters.problem = str(error)
                await self.close()
            yield refused(tuple(meter.plan.points), measured_ms, sent_s, error)
            return
        took_s = self._world.uptime() - sent_s
        self.counters.busy_s += took_s
        yield Answer(measured_ms, values, took_s * 1000, asked_s=sent_s)

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
            self.counters.problem = str(error)
            raise LineDown(error) from caught
        self._stack, self._session = stack, session
        self._failures = 0
        self.counters.open = True
        self.counters.opened += 1
        self.counters.problem = ""
        return session

    async def close(self) -> None:
        stack, self._stack, self._session = self._stack, None, None
        self.counters.open = False
        if stack is not None:
            await stack.aclose()


_HANGS = Text("连接没有响应", "the connection hangs")
