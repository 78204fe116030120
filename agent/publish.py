"""The publisher: what waits in the outbox goes to the broker, until the ingester has receipted it.

Promises
    * Only a receipt settles a batch; the broker's acknowledgement does not.
    * At most `WINDOW` batches are under way. Live ones leave first; the backlog goes beside them, oldest first, in half
      the window and at most `BACKLOG_BYTES` at a time: as fast as receipts come, and so little ahead of a live batch
      that this one waits seconds at most, on a slow network or at a slow ingester.
    * What has no receipt is sent again after 10 s, then ever more rarely (300 s), and at once when the connection or the
      ingester begins anew.
    * A receipt is believed for our own streams only, and in a stream of this run never beyond what was given a number.
"""

import asyncio
import logging
import math
from collections import deque
from dataclasses import dataclass, field

from agent.outbox import Outbox
from agent.sealed import Sealed
from link.world import Broker, Connected, Disconnected, Message, World
from metering.errors import MalformedBatch
from metering.wire import MAX_SENT, IngesterStatus, Receipt, Topics, decode_as, unpack

log = logging.getLogger(__name__)

WINDOW = 64
BACKLOG_BYTES = 256 * 1024
"""Under way, as sent: two seconds of 1 Mbit/s."""
SENDERS = 16
RESEND_S = 10.0
LONGEST_RESEND_S = 300.0
SILENT_AFTER_S = 15.0
_PAUSE_S = 5.0
"""Before the backlog is read again, after the outbox's file had to be opened anew."""
_BACKLOG_CHUNK = 16
_MOST_ASKED = 100


@dataclass(slots=True)
class _Flight:
    """A batch under way."""

    row: Sealed
    tries: int = 0
    due_s: float = 0.0
    """When to send it (again)."""
    sending: bool = False


@dataclass
class Publisher:
    """Sends and resends; `run` lives as long as the agent."""

    outbox: Outbox
    broker: Broker
    world: World
    topics: Topics
    agent: str
    problem: str = ""
    """Why the broker was not reached, or lost, the last time."""
    _window: dict[tuple[str, int], _Flight] = field(default_factory=dict)
    _live: deque[Sealed] = field(default_factory=deque)
    _asked: deque[tuple[str, int, int]] = field(default_factory=deque)
    _cursor: int = 0
    """The backlog is read after this id."""
    _behind: bool = True
    """Whether the outbox may hold batches that were not offered live."""
    _given: dict[str, float] = field(default_factory=dict)
    """stream -> highest number given in this run; of an earlier stream any: the file may be an older copy of itself."""
    _epoch: str = ""
    """Of the ingester; empty while it is away."""
    _opening: int = 0
    """The opening of the outbox's file that `_cursor` belongs to."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be room for more of the backlog."""
    _unanswered_since_ms: int | None = None
    sent: int = 0
    receipted: int = 0

    async def run(self) -> None:
        """Publish until cancelled."""
        self._opening = self.outbox.opening
        self._given = dict.fromkeys(await self.outbox.streams(), math.inf) | self._given
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="receipts")
            tasks.create_task(self._feed(), name="backlog")
            for number in range(SENDERS):
                tasks.create_task(self._send_all(), name=f"sender-{number}")

    # -- what comes in

    def offer(self, rows: list[Sealed]) -> None:
        """Take batches that were just stored, to be sent before anything older."""
        for row in rows:
            self._given[row.stream] = row.seq
        if not self.broker.connected:
            self._behind = self._behind or bool(rows)
            return
        self._live.extend(rows)
        while len(self._live) > WINDOW:
            self._live.popleft()
            self._behind = True
        self._wake.set()

    async def _listen(self) -> None:
        receipts = self.topics.receipt(self.agent)
        said = ""
        async for event in self.broker.events():
            match event:
                case Connected():
                    log.info("connected to the broker")
                    said = ""
                    self._begin_anew()
                case Disconnected(reason):
                    self.problem = reason
                    if reason != said:
                        log.warning("no connection to the broker: %s", reason)
                    said = reason
                case Message(topic, payload) if topic == receipts:
                    self._receive(payload)
                case Message(topic, payload) if topic == self.topics.ingester_status:
                    self._hear_of_ingester(payload)
                case _:
                    pass

    def _begin_anew(self) -> None:
        """Send all again that has no receipt, and look through the outbox from its beginning."""
        for flight in self._window.values():
            flight.tries, flight.due_s = 0, 0.0
        self._cursor, self._behind = 0, True
        self._wake.set()
        self._settled.set()

    def _hear_of_ingester(self, payload: bytes) -> None:
        try:
            status = decode_as(IngesterStatus, unpack(payload))
        except MalformedBatch as error:
            log.warning("ingester status not understood: %s", error)
            return
        if not status.online:
            if self._epoch:
                log.info("the ingester is away")
            self._epoch = ""
        elif status.epoch != self._epoch:
            log.info("the ingester is there")
            self._epoch = status.epoch
            self._begin_anew()

    def _receive(self, payload: bytes) -> None:
        try:
            receipt = decode_as(Receipt, unpack(payload))
        except MalformedBatch as error:
            log.warning("receipt not understood: %s", error)
            return
        if receipt.stream not in self._given:
            return
        if max([receipt.through, *receipt.also]) > self._given[receipt.stream]:
            log.warning("a receipt of stream %s is beyond what was given", receipt.stream)
            return
        self._settle(receipt)
        self._settled.set()
        for first, last in receipt.resend:
            if first <= last and len(self._asked) < _MOST_ASKED:
                self._asked.append((receipt.stream, first, last))
        self._wake.set()

    def _settle(self, receipt: Receipt) -> None:
        also = set(receipt.also)
        settled = [
            key for key in self._window
            if key[0] == receipt.stream and (key[1] <= receipt.through or key[1] in also)
        ]  # fmt: skip
        for key in settled:
            del self._window[key]
        self.receipted += len(settled)
        self.outbox.settle(receipt)
        self._unanswered_since_ms = self.world.now_ms() if self._window else None

    @property
    def silent_since(self) -> int | None:
        """Since when the ingester has given no receipt for what was sent, Unix ms."""
        since = self._unanswered_since_ms
        return since if since is not None and self.world.now_ms() - since > SILENT_AFTER_S * 1000 else None

    @property
    def unsent(self) -> int:
        """Live batches that the broker has not acknowledged yet."""
        return len(self._live) + sum(flight.sending for flight in self._window.values())

    # -- what goes out

    async def _send_all(self) -> None:
        while True:
            flight = self._next() if self.broker.connected else None
            if flight is None:
                await self._rest()
            else:
                await self._send(flight)

    async def _rest(self) -> None:
        await _set_again(self._wake, 0.5)

    def _next(self) -> _Flight | None:
        """Return what to send now: live batches first, then what is due again."""
        while self._live and len(self._window) < WINDOW:
            flight = self._board(self._live.popleft())
            if flight is not None:
                return flight
        now_s = self.world.uptime()
        return next((one for one in self._window.values() if not one.sending and one.due_s <= now_s), None)

    def _board(self, row: Sealed) -> _Flight | None:
        """Take a batch into the window, unless it is there."""
        key = row.stream, row.seq
        if key in self._window:
            return None
        self._window[key] = flight = _Flight(row)
        self._given.setdefault(row.stream, math.inf)
        return flight

    async def _send(self, flight: _Flight) -> None:
        flight.sending = True
        flight.tries += 1
        wait_s = min(LONGEST_RESEND_S, RESEND_S * 2.0 ** min(flight.tries - 1, 10))
        flight.due_s = self.world.uptime() + wait_s * (1 + self.world.random.random() / 4)
        try:
            acknowledged = await self.broker.publish(self.topics.data(self.agent), flight.row.payload)
        finally:
            flight.sending = False
        self.sent += acknowledged
        if self._unanswered_since_ms is None:
            self._unanswered_since_ms = self.world.now_ms()
        if not acknowledged:
            flight.due_s = max(flight.due_s if self.broker.connected else 0.0, self.world.uptime() + 1.0)

    # -- the backlog

    async def _feed(self) -> None:
        """Bring batches from the outbox into the window, as long as there are any that were not offered live."""
        while True:
            if self._opening != self.outbox.opening:
                await self._look_again()
            room = self._room()
            if not (self.broker.connected and room > 0 and (self._behind or self._asked)):
                await _set_again(self._settled, 0.2)
                continue
            rows = await self._older(room)
            if sum(self._board(row) is not None for row in rows):
                self._wake.set()

    def _room(self) -> int:
        """Return how many batches of the backlog may join those under way."""
        sizes = [len(flight.row.payload) for flight in self._window.values()]
        left = BACKLOG_BYTES - sum(sizes)
        return max(0, min(WINDOW // 2 - len(sizes), _BACKLOG_CHUNK, left // MAX_SENT))

    async def _look_again(self) -> None:
        """Read from the beginning: the file was opened anew, so a read may have failed and ids may have changed."""
        self._opening = self.outbox.opening
        self._cursor, self._behind = 0, True
        await self.world.sleep(_PAUSE_S)

    async def _older(self, limit: int) -> list[Sealed]:
        if self._asked:
            stream, first, last = self._asked[0]
            rows = await self.outbox.stretch(stream, first, last, limit)
            if self._opening == self.outbox.opening:
                self._asked.popleft()
                if rows and rows[-1].seq < last:
                    self._asked.appendleft((stream, rows[-1].seq + 1, last))
            return rows
        after_id, self._behind = self._cursor, False
        rows = await self.outbox.unreceipted_after(after_id, limit)
        self._behind = self._behind or bool(rows)
        if rows and self._cursor == after_id:
            self._cursor = rows[-1].id
        return rows


async def _set_again(event: asyncio.Event, longest_s: float) -> None:
    """Wait until an event is set anew, at most so long."""
    event.clear()
    try:
        async with asyncio.timeout(longest_s):
            await event.wait()
    except TimeoutError:
        return
