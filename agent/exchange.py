"""An exchange line: bytes out, bytes in, one request at a time, on a port or connection that is ours alone.

What spoils a reading is met here, request by request. A spoilt reply is asked for once more, where the slot has time and it
is sure that it was the reply. A counter that jumped is read a second time before it is believed. A request that touches a
forbidden place is divided. Where replies do not name their requests (Modbus RTU), a meter that was silent, or whose reply
was not among the noise, is left alone for a while, until its late reply must have come; the other meters' replies are told
apart by their unit number. So a late reply never becomes another register's value.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from agent.answer import Answer, DriverFault, LineDown, Turn, refused
from agent.counters import LineCounters, MeterCounters
from agent.doubt import Doubts
from agent.memory import Memory
from agent.port import Port
from agent.refusals import ABSENT, Pieces
from agent.wiring import Line, Meter
from drivers.contract import ExchangeDriver, ExchangeLine, Request
from link.world import World
from metering.errors import BadFrame, MeterError, MeterRefused, MeterSilent, MeterUnreachable
from metering.profile import Place
from metering.text import Text

_SHORTEST_HOLD_S = 2.0
_HOLD_TIMEOUTS = 3
_SHORTEST_PATIENCE_S = 0.1
_PATIENCE = 5
"""A device that does not know a request may not answer it at all: so many times what its replies take is waited for it, as
far as that is known."""
_NOW = Turn()


class ExchangeWire:
    """The one owner of a line."""

    def __init__(
        self,
        line: Line,
        driver: ExchangeDriver,
        settings: ExchangeLine,
        world: World,
        memory: Memory | None = None,
    ) -> None:
        self._driver = driver
        self._settings = settings
        self._world = world
        self._memory = memory or Memory()
        self.counters = LineCounters()
        self.meters: Mapping[str, MeterCounters] = {meter.id: MeterCounters() for meter in line.meters}
        self._port = Port(settings, driver.silence_s(settings), world, self.counters)
        self._pieces: dict[str, Pieces] = {}
        self._doubts = Doubts()
        self._held_until_s: dict[str, float] = {}
        """Meters whose late reply may still come."""

    async def settle(self, meters: Sequence[Meter]) -> None:
        now_ms = self._world.now_ms()
        if not all(one.replies_are_distinct for meter in meters for one in self._pieces_of(meter).due(now_ms)):
            await self._port.settle()

    async def poll(self, meter: Meter, turn: Turn = _NOW) -> AsyncIterator[Answer]:
        self._check_held(meter)
        pieces = self._pieces_of(meter)
        requests = deque(pieces.due(self._world.now_ms()))
        if turn.probing:
            requests = deque(sorted(requests, key=lambda request: request.reply_bytes))
        begun, stopped = False, None
        while requests:
            request = requests.popleft()
            if stopped is not None:
                yield self._refused(request, stopped)
                continue
            answer = await (self._further(meter, request, turn) if begun else self._believed(meter, request, turn))
            if isinstance(answer.error, MeterRefused):
                parts = pieces.parts(request, answer.error)
                if parts:
                    self.meters[meter.id].note_failure(answer.error)
                    requests.extend(parts)
                    continue
            pieces.note(request, answer, self._world.now_ms())
            yield answer
            stopped = _stops(answer, turn.probing and not begun)
            if stopped is None and self._is_held(meter):
                stopped = answer.error or MeterSilent(_HELD)
            begun = True
        pieces.end(self._world.now_ms())

    async def read(self, meter: Meter, places: Mapping[str, Place]) -> AsyncIterator[Answer]:
        plan = replace(meter.plan, points=places)
        async for answer in self._each(meter, self._driver.plan(self._settings, plan)):
            yield answer

    async def identify(self, meter: Meter) -> AsyncIterator[Answer]:
        typical_s = self.meters[meter.id].typical_s
        patience = Turn(patience_s=max(_SHORTEST_PATIENCE_S, _PATIENCE * typical_s) if typical_s else None)
        async for answer in self._each(meter, self._driver.identify(self._settings, meter.plan), patience):
            yield answer

    async def history(self, meter: Meter, from_ms: int, to_ms: int) -> AsyncIterator[Answer]:
        async for answer in self._each(meter, self._driver.history(self._settings, meter.plan, from_ms, to_ms)):
            yield answer

    async def close(self) -> None:
        await self._port.close()

    async def _each(self, meter: Meter, requests: Sequence[Request], turn: Turn = _NOW) -> AsyncIterator[Answer]:
        """Send requests that are no polling, one a step, until the meter is silent."""
        for request in requests:
            self._check_held(meter)
            answer = await self._answer(meter, request, turn)
            yield answer
            if _stops(answer, probing=False):
                return

    def _pieces_of(self, meter: Meter) -> Pieces:
        pieces = self._pieces.get(meter.id)
        if pieces is None or pieces.plan is not meter.plan:
            whole = list(self._driver.plan(self._settings, meter.plan))
            pieces = self._pieces[meter.id] = Pieces(meter, whole, self.meters[meter.id], self._memory)
        return pieces

    def _is_held(self, meter: Meter) -> bool:
        return self._world.uptime() < self._held_until_s.get(meter.id, 0.0)

    def _check_held(self, meter: Meter) -> None:
        if self._is_held(meter):
            raise LineDown(MeterSilent(_HELD))

    def _hold(self, meter: Meter, request: Request, error: MeterError) -> bool:
        """Leave a meter alone where its late reply could pass for the reply to another request; return whether."""
        unanswered = not isinstance(error, MeterRefused) and not (
            isinstance(error, BadFrame) and self._port.has_heard_reply(request)
        )
        if not unanswered or not self._port.has_sent or request.replies_are_distinct:
            return False
        hold_s = max(_SHORTEST_HOLD_S, _HOLD_TIMEOUTS * self._settings.timeout)
        self._held_until_s[meter.id] = self._world.uptime() + hold_s
        return True

    async def _further(self, meter: Meter, request: Request, turn: Turn) -> Answer:
        """Ask what follows a first answer, which is taken already: what goes wrong now must not hide it."""
        try:
            return await self._believed(meter, request, turn)
        except LineDown as down:
            return self._refused(request, down.error)
        except Exception as fault:  # noqa: BLE001 - logged by the line's owner
            return self._refused(request, DriverFault(fault))

    async def _believed(self, meter: Meter, request: Request, turn: Turn) -> Answer:
        """Return an answer; one in which a counter has jumped only after a second read."""
        first = await self._answer(meter, request, turn)
        jumped = self._doubts.jumps(meter, first) if first.error is None else ()
        if jumped:
            await self._port.quieten()
            counters = self.meters[meter.id]
            counters.reread += 1
            second = await self._answer(meter, request, turn)
            if second.error is not None:
                counters.note_failure(second.error)
            first, disbelieved = self._doubts.decided(meter, jumped, first, second)
            counters.disbelieved += disbelieved
            self._doubts.learn(meter, first)
        return first

    async def _answer(self, meter: Meter, request: Request, turn: Turn) -> Answer:
        asked = self.meters[meter.id]
        try:
            return await self._port.converse(request, asked, turn.patience_s)
        except MeterRefused as error:
            return self._refused(request, error)
        except MeterError as error:
            was_lost, was_fresh = isinstance(error, MeterUnreachable), self._port.fresh
            await self._port.recover(error)
            may_ask_again = not was_fresh if was_lost else self._worth_a_retry(error, turn)
            if self._hold(meter, request, error) or not may_ask_again:
                return self._refused(request, error)
            if not was_lost:
                asked.failures[error.cause] += 1
                asked.retries += 1
        return await self._once_more(meter, request)

    def _worth_a_retry(self, error: MeterError, turn: Turn) -> bool:
        """A reply spoilt on a serial line is asked for again; a connection is new by then, and its device may be busy."""
        in_time = self._world.uptime() < turn.until_s
        return isinstance(error, BadFrame) and self._settings.serial is not None and in_time

    async def _once_more(self, meter: Meter, request: Request) -> Answer:
        """Ask again: after a spoilt reply, or on a new connection, as many devices close one that was idle for a while."""
        try:
            return await self._port.converse(request, self.meters[meter.id])
        except MeterError as error:
            await self._port.recover(error)
            self._hold(meter, request, error)
            return self._refused(request, error)

    def _refused(self, request: Request, error: MeterError) -> Answer:
        return refused(request.points, self._world.now_ms(), self._world.uptime(), error)


def _stops(answer: Answer, probing: bool) -> MeterError | None:
    """Return the error that spares a meter the rest of its requests: it is not there. That it lacks a place says nothing."""
    error = answer.error
    if isinstance(error, MeterRefused):
        return error if error.code in _NOT_THERE or (probing and error.code not in ABSENT) else None
    return error if probing or isinstance(error, MeterSilent | MeterUnreachable | DriverFault) else None


_NOT_THERE = (10, 11)
"""What a gateway says of a meter that does not answer it."""
_HELD = Text("等待可能迟到的应答，暂不询问", "not asked while a late reply may still come")
