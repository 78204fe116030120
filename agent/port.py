"""The far side of an exchange line: a port or connection that is ours alone, one conversation at a time.

Promises
    * Before a frame goes out, the line was silent as long as the driver asks, and nothing that came earlier is left.
    * A reply is read to the length its request states, and never further than the longest it may have.
    * Where the adapter hands back what we send, that is compared and thrown away; anything else is a collision.
    * A dialogue has a bounded number of steps, and leaves the line at its own speed however it ends.
    * Where replies name nothing, the first request waits for a quiet time-out: who asked before us may still be answered.
    * After a time-out or a frame that was no answer, whatever still arrives is thrown away before the next request: on a
      serial line by waiting until it is quiet, on a connection by opening a new one.
"""

from collections.abc import Sequence

from agent.answer import Answer, LineDown
from agent.breaker import backoff_s
from agent.counters import LineCounters, MeterCounters
from agent.pace import byte_s
from drivers.contract import ExchangeLine, Request, Send, Value
from link.world import Channel, TlsFiles, World
from metering.errors import BadFrame, MeterError, MeterRefused, MeterSilent, MeterUnreachable
from metering.text import Text

LONGEST_REOPEN_S = 10.0
MOST_STEPS = 64
"""Of one dialogue."""
_QUIET_S = 0.05
_LONGEST_DRAIN_S = 1.0
_TRIES_FOR_SILENCE = 3
_MOST_HEARD = 1024
_OWN_FRAME = 3
"""So many bytes of our own request at the head of a reply are no chance."""


class Port:
    """Opened when first needed, and again after every loss, at most every 10 s."""

    def __init__(self, settings: ExchangeLine, silence_s: float, world: World, counters: LineCounters) -> None:
        self._settings = settings
        self._silence_s = silence_s
        self._timeout_s = settings.timeout
        self._world = world
        self._counters = counters
        self._channel: Channel | None = None
        self.fresh = False
        """Whether nothing was answered yet on the open channel."""
        self._stranger = True
        """Whether nothing was asked yet."""
        self.has_sent = False
        """Whether a whole frame of the last request went out, so that a reply may come."""
        self._asked: MeterCounters | None = None
        """The meter asked last: what comes unasked is most likely its."""
        self._rest = b""
        """What came beyond the reply last heard: of a dialogue that listens on, the beginning of the next."""
        self._heard = b""
        """What came since the last request or step was sent."""
        self._quiet_since_s = 0.0
        self._failures = 0
        self._reopen_at_s = 0.0
        self._problem: MeterError = MeterUnreachable()

    # -- talking

    async def converse(self, request: Request, asked: MeterCounters, patience_s: float | None = None) -> Answer:
        """Send a request, and what its dialogue goes on with; return the values. `patience_s`, where it is less than the
        line's own time-out, is how long a reply may take to begin.

        Raises:
            LineDown: the line could not be opened.
            MeterError: there are none; `recover` is then to be called.
        """
        self.has_sent = False
        channel = self._channel or await self._open()
        if self._stranger and not request.replies_are_distinct:
            await self._acquaint(channel)
        await self._fall_silent(channel)
        self._asked = asked
        self._timeout_s = self._settings.timeout if patience_s is None else min(patience_s, self._settings.timeout)
        frame = request.request()
        measured_ms, sent_s = self._world.now_ms(), self._world.uptime()
        try:
            values = await self._dialogue(channel, request, frame)
        finally:
            self._drop_rest()
            self._quiet_since_s = now_s = self._world.uptime()
            self._counters.busy_s += now_s - sent_s
        self.fresh = False
        return Answer(measured_ms, values, (now_s - sent_s) * 1000, asked_s=sent_s)

    async def settle(self) -> None:
        """Open the line and listen before the first request, so that no slot waits for it."""
        try:
            await self._acquaint(self._channel or await self._open())
        except LineDown:
            return  # the first request says so
        except MeterUnreachable as error:
            await self.lose(error)

    async def _acquaint(self, channel: Channel) -> None:
        """Let what the process before ours asked for be answered."""
        await self._listen(channel, self._settings.timeout, 3 * self._settings.timeout)
        self._stranger = False

    async def _fall_silent(self, channel: Channel) -> None:
        """Keep the silence before a request; a byte that breaks it is thrown away, and it begins anew."""
        for _ in range(_TRIES_FOR_SILENCE):
            if self._silence_s > 0:
                wait_s = self._quiet_since_s + self._silence_s - self._world.uptime()
                if wait_s > 0:
                    await self._world.sleep(wait_s)
            dropped = channel.drain()
            if not dropped:
                return
            self._note_stale(dropped)
            self._quiet_since_s = self._world.uptime()

    async def _dialogue(self, channel: Channel, request: Request, frame: bytes) -> Sequence[Value]:
        own = speed = self._settings.baud
        try:
            for _ in range(MOST_STEPS):
                early, self._rest = await self._say(channel, frame, speed) if frame else self._rest, b""
                if speed != own:
                    await channel.set_speed(speed)
                found = request.decode(await self._hear(channel, request, frame, early, speed))
                if not isinstance(found, Send):
                    return found
                frame, speed = found.frame, found.baud or speed
                if frame:
                    self._drop_rest()
                    self._quiet_since_s = self._world.uptime()
                    await self._fall_silent(channel)
            raise BadFrame(_NO_END)
        finally:
            if speed != own:
                await channel.set_speed(own)

    async def _say(self, channel: Channel, frame: bytes, speed: int) -> bytes:
        """Send a frame; return what came beyond its echo."""
        self._heard = b""
        await channel.write(frame)
        self.has_sent = True
        if not self._settings.echo:
            return b""
        until_s = self._world.uptime() + self._timeout_s + self._wire_s(len(frame), speed)
        back = b""
        while len(back) < len(frame):
            left_s = until_s - self._world.uptime()
            data = await channel.read(left_s) if left_s > 0 else b""
            if not data and not back:
                raise MeterSilent(_NO_ECHO)
            back += data
            self._heard = back
            if not data or not frame.startswith(back[: len(frame)]):
                self._counters.echo_faults += 1
                raise BadFrame(_COLLISION)
        return back[len(frame) :]

    async def _hear(self, channel: Channel, request: Request, frame: bytes, received: bytes, speed: int) -> bytes:
        """Collect a whole reply: each part of it within the time-out, all of it within the time the longest takes."""
        timeout_s = self._timeout_s
        by_s = self._world.uptime() + timeout_s + self._wire_s(len(frame), speed)
        end_s = by_s + request.longest_reply * byte_s(self._settings, speed)
        while True:
            self._heard = received
            if received:
                length = self._length(request, frame, received)
                if length is not None and length <= len(received):
                    self._rest = received[length:]
                    return received[:length]
                if len(received) > request.longest_reply:
                    raise BadFrame(_TOO_LONG)
            left_s = by_s - self._world.uptime()
            data = await channel.read(left_s) if left_s > 0 else b""
            if not data:
                raise MeterSilent(_silent(len(received), timeout_s))
            received = received + data if received else data
            by_s = min(self._world.uptime() + timeout_s, end_s)

    @staticmethod
    def _length(request: Request, frame: bytes, received: bytes) -> int | None:
        try:
            return request.length_of(received)
        except BadFrame:
            head = min(len(received), len(frame))
            if head >= _OWN_FRAME and received[:head] == frame[:head]:
                raise BadFrame(_OUR_OWN) from None
            raise

    def _wire_s(self, count: int, speed: int) -> float:
        return 0.0 if self._settings.serial is None else count * byte_s(self._settings, speed)

    def _drop_rest(self) -> None:
        """Throw away what came beyond a reply and was not listened for."""
        if self._rest:
            self._note_stale(len(self._rest))
            self._rest = b""

    def _note_stale(self, count: int) -> None:
        self._counters.stale += count
        self._counters.stale_frames += 1
        if self._asked is not None:
            self._asked.stale += 1

    # -- opening and losing

    async def _open(self) -> Channel:
        if self._world.uptime() < self._reopen_at_s:
            raise LineDown(self._problem)
        try:
            channel = await self._channel_of(self._settings)
        except MeterUnreachable as error:
            self._put_off(error)
            raise LineDown(error) from error
        self._channel = channel
        self.fresh = True
        self._failures = 0
        self._counters.open = True
        self._counters.opened += 1
        self._counters.error = None
        return channel

    async def _channel_of(self, line: ExchangeLine) -> Channel:
        if line.serial is not None:
            return await self._world.open_serial(line.serial, line.baud, line.frame)
        host, _, port = line.where.rpartition(":")
        if line.udp is not None:
            return await self._world.open_udp(host, int(port))
        files = None
        if line.tls is not None:
            files = TlsFiles(line.tls.server_name or host, line.tls.ca, line.tls.cert, line.tls.key)
        return await self._world.open_tcp(host, int(port), max(line.timeout, 1.0), files)

    def _put_off(self, error: MeterError) -> None:
        wait_s = backoff_s(self._failures, 0.5, LONGEST_REOPEN_S, self._world.random.random())
        self._failures += 1
        self._problem = error
        self._reopen_at_s = self._world.uptime() + wait_s
        self._counters.error = error

    async def recover(self, error: MeterError) -> None:
        """Bring the line to where a next request can be sent, after `error`."""
        if isinstance(error, MeterRefused) or self._channel is None:
            return
        if isinstance(error, MeterUnreachable) or self._settings.serial is None:
            await self.lose(error)
        else:
            await self.quieten()

    async def quieten(self) -> None:
        """Throw away what still arrives on a serial line until it has been quiet for a while."""
        if self._channel is not None and self._settings.serial is not None:
            try:
                await self._listen(self._channel, max(_QUIET_S, self._silence_s), _LONGEST_DRAIN_S)
            except MeterUnreachable as error:
                await self.lose(error)

    async def _listen(self, channel: Channel, quiet_s: float, longest_s: float) -> None:
        """Throw away what arrives until nothing has come for `quiet_s`."""
        late, end_s = 0, self._world.uptime() + longest_s
        try:
            while self._world.uptime() < end_s and (data := await channel.read(quiet_s)):
                late += len(data)
                self._heard = (self._heard + data)[:_MOST_HEARD]
        finally:
            if late:
                self._note_stale(late)
            self._quiet_since_s = self._world.uptime()

    def has_heard_reply(self, request: Request) -> bool:
        """Return whether the reply to the last request came, however spoilt: if so, no late one is to be expected."""
        for at in range(len(self._heard)):
            try:
                length = request.length_of(self._heard[at:])
            except BadFrame:
                continue
            if length is not None and length <= len(self._heard) - at:
                return True
        return False

    async def lose(self, error: MeterError) -> None:
        if isinstance(error, MeterUnreachable):
            self._counters.error = error
        await self.close()

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        self._counters.open = False
        if channel is not None:
            await channel.close()


def _silent(received: int, timeout_s: float) -> Text:
    if received:
        return Text(f"{timeout_s:g} 秒内只收到 {received} 字节", f"only {received} bytes came within {timeout_s:g} s")
    return Text(f"{timeout_s:g} 秒内没有应答", f"nothing came within {timeout_s:g} s")


_NO_END = Text("对话没有结尾", "a dialogue without an end")
_TOO_LONG = Text("应答没有结尾", "a reply without an end")
_NO_ECHO = Text(
    "连自己的回波也没有：检查适配器；适配器不回送时写 echo: false",
    "not even our own echo came: check the adapter; where it hands nothing back, set echo: false",
)
_COLLISION = Text(
    "回波与所发不同：总线上另有主站同时发送，或 A、B 线接反；适配器不回送时写 echo: false",
    "the echo is not what was sent: a second master sends at the same time, or the wires A and B are swapped;"
    " where the adapter hands nothing back, set echo: false",
)
_OUR_OWN = Text(
    "收到的是自己发出的请求：适配器有回波，请在该线路写 echo: true",
    "our own request came back: the adapter echoes; set echo: true on this line",
)
