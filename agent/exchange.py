"""An exchange line: bytes out, bytes in, one request at a time, on a port or connection that is ours alone.

After a timeout or a frame that was not the answer, whatever still arrives is thrown away before the next request: on a
serial line by waiting until it is quiet, on a connection by opening a new one. Where a reply does not name its request
(Modbus RTU), a meter that was silent is left alone for a while besides, until its late reply must have come; the other
meters' replies are told apart by their unit number. So a late reply never becomes another register's value.
"""

from collections.abc import AsyncIterator, Sequence

from agent.answer import Answer, DriverFault, LineDown, refused
from agent.breaker import backoff_s
from agent.counters import LineCounters
from agent.wiring import Line, Meter
from drivers.contract import ExchangeDriver, ExchangeLine, Request, Send
from link.world import Channel, World
from metering.errors import BadFrame, MeterError, MeterRefused, MeterSilent, MeterUnreachable
from metering.text import Text

LONGEST_REOPEN_S = 10.0
_SHORTEST_HOLD_S = 2.0
_HOLD_TIMEOUTS = 3
_LONGEST_REPLY = 4096
_QUIET_S = 0.05
_LONGEST_DRAIN_S = 1.0
_BITS_PER_BYTE = 11


class ExchangeWire:
    """The one owner of a line."""

    def __init__(self, line: Line, driver: ExchangeDriver, settings: ExchangeLine, world: World) -> None:
        self._settings = settings
        self._world = world
        self._silence_s = driver.silence_s(settings)
        self._requests = {meter.id: list(driver.plan(settings, meter.plan)) for meter in line.meters}
        self._held_until_s: dict[str, float] = {}
        """Meters whose late reply may still come."""
        self._channel: Channel | None = None
        self._fresh = False
        """Whether nothing was asked yet on the open channel."""
        self._quiet_since_s = 0.0
        self._failures = 0
        self._reopen_at_s = 0.0
        self._problem: MeterError = MeterUnreachable()
        self.counters = LineCounters()

    async def poll(self, meter: Meter) -> AsyncIterator[Answer]:
        if self._world.uptime() < self._held_until_s.get(meter.id, 0.0):
            raise LineDown(MeterSilent(_HELD))
        answer: Answer | None = None
        for request in self._requests[meter.id]:
            if answer is None:
                answer = await self._answer(request)
            elif isinstance(answer.error, MeterSilent | MeterUnreachable | DriverFault):
                answer = self._refused(request, answer.error)
            else:
                answer = await self._further_answer(request)
            self._hold(meter, request, answer)
            yield answer

    def _hold(self, meter: Meter, request: Request, answer: Answer) -> None:
        """Leave a silent meter alone where its late reply could pass for the reply to another request."""
        if isinstance(answer.error, MeterSilent) and not request.replies_are_distinct:
            hold_s = max(_SHORTEST_HOLD_S, _HOLD_TIMEOUTS * self._settings.timeout)
            self._held_until_s[meter.id] = self._world.uptime() + hold_s

    async def _further_answer(self, request: Request) -> Answer:
        """Ask what follows a first answer, which is taken already: what goes wrong now must not hide it."""
        try:
            return await self._answer(request)
        except LineDown as down:
            return self._refused(request, down.error)
        except Exception as fault:  # noqa: BLE001 - logged by the line's owner
            return self._refused(request, DriverFault(fault))

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._exchange(request)
        except MeterUnreachable as error:
            was_fresh = self._fresh
            await self._lose(error)
            if was_fresh:
                return self._refused(request, error)
        except MeterError as error:
            await self._recover(error)
            return self._refused(request, error)
        return await self._once_more(request)

    def _refused(self, request: Request, error: MeterError) -> Answer:
        return refused(request.points, self._world.now_ms(), self._world.uptime(), error)

    async def _once_more(self, request: Request) -> Answer:
        """Ask again on a new connection: many devices close one that was idle for a while."""
        try:
            return await self._exchange(request)
        except MeterError as error:
            await self._recover(error)
            return self._refused(request, error)

    async def _exchange(self, request: Request) -> Answer:
        channel = self._channel or await self._open()
        self.counters.stale += channel.drain()
        await self._keep_silence()
        frame = request.request()
        measured_ms, sent_s = self._world.now_ms(), self._world.uptime()
        try:
            await channel.write(frame)
            reply = await self._collect(channel, request, sent_s)
        finally:
            now_s = self._world.uptime()
            self._quiet_since_s = now_s
            self.counters.busy_s += now_s - sent_s
        self._fresh = False
        values = request.decode(reply)
        if isinstance(values, Send):
            raise BadFrame("no dialogues here")
        return Answer(measured_ms, values, (now_s - sent_s) * 1000, asked_s=sent_s)

    async def _keep_silence(self) -> None:
        if self._silence_s > 0:
            wait_s = self._quiet_since_s + self._silence_s - self._world.uptime()
            if wait_s > 0:
                await self._world.sleep(wait_s)

    async def _collect(self, channel: Channel, request: Request, sent_s: float) -> bytes:
        timeout_s = self._settings.timeout + self.wire_s(request)
        received = b""
        while True:
            left_s = sent_s + timeout_s - self._world.uptime()
            data = await channel.read(left_s) if left_s > 0 else b""
            if not data:
                raise MeterSilent(_silent(len(received), timeout_s))
            received = received + data if received else data
            length = request.length_of(received)
            if length is not None and length <= len(received):
                self.counters.stale += len(received) - length
                return received[:length]
            if len(received) > _LONGEST_REPLY:
                raise BadFrame(Text("应答没有结尾", "a reply without an end"))

    def wire_s(self, request: Request) -> float:
        """Return how long request and reply take on the wire, seconds; 0 on a network."""
        if self._settings.serial is None:
            return 0.0
        return (request.request_bytes + request.reply_bytes) * _BITS_PER_BYTE / self._settings.baud

    # -- opening and losing

    async def _open(self) -> Channel:
        if self._world.uptime() < self._reopen_at_s:
            raise LineDown(self._problem)
        settings = self._settings
        try:
            if settings.tcp is not None:
                host, port = settings.tcp.rsplit(":", 1)
                channel = await self._world.open_tcp(host, int(port), max(settings.timeout, 1.0))
            else:
                channel = await self._world.open_serial(str(settings.serial), settings.baud, settings.frame)
        except MeterUnreachable as error:
            self._put_off(error)
            raise LineDown(error) from error
        self._channel = channel
        self._fresh = True
        self._failures = 0
        self.counters.open = True
        self.counters.opened += 1
        self.counters.problem = ""
        return channel

    def _put_off(self, error: MeterError) -> None:
        wait_s = backoff_s(self._failures, 0.5, LONGEST_REOPEN_S, self._world.random.random())
        self._failures += 1
        self._problem = error
        self._reopen_at_s = self._world.uptime() + wait_s
        self.counters.problem = str(error)

    async def _recover(self, error: MeterError) -> None:
        if isinstance(error, MeterRefused) or self._channel is None:
            return
        if isinstance(error, MeterUnreachable) or self._settings.tcp is not None:
            await self._lose(error)
        else:
            await self._wait_until_quiet(self._channel)

    async def _wait_until_quiet(self, channel: Channel) -> None:
        """Throw away what still arrives on a serial line until it has been quiet for a while."""
        end_s = self._world.uptime() + _LONGEST_DRAIN_S
        try:
            while self._world.uptime() < end_s:
                late = await channel.read(max(_QUIET_S, self._silence_s))
                if not late:
                    return
                self.counters.stale += len(late)
        except MeterUnreachable as error:
            await self._lose(error)

    async def _lose(self, error: MeterError) -> None:
        if isinstance(error, MeterUnreachable):
            self.counters.problem = str(error)
        await self.close()

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        self.counters.open = False
        if channel is not None:
            await channel.close()

    def requests(self, meter: Meter) -> Sequence[Request]:
        return self._requests[meter.id]


_HELD = Text("等待可能迟到的应答，暂不询问", "not asked while a late reply may still come")


def _silent(received: int, timeout_s: float) -> Text:
    if received:
        return Text(f"{timeout_s:g} 秒内只收到 {received} 字节", f"only {received} bytes came within {timeout_s:g} s")
    return Text(f"{timeout_s:g} 秒内没有应答", f"nothing came within {timeout_s:g} s")
