"""Messages that wait to be committed: a queue for each agent, taken in turn.

Promises
    * No agent delays another: a group takes one message of each agent in turn.
    * An agent that sends more than `RATE` messages a second (`BURST` at once), or has `OF_AGENT` waiting, is held back: what is
      above that is counted and not taken. It has no receipt, so the agent sends it again.
    * When `most` messages or `MOST_BYTES` wait in all, `put` waits, and with it the reading from the broker; while the store
      fails, it waits for the queue of one agent too.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from link.world import Message

log = logging.getLogger(__name__)

MOST = 1000
MOST_BYTES = 16 << 20
OF_AGENT = 300
RATE = 500.0
BURST = 1000.0
_AGENTS = 1000
"""Agents beyond which those that are silent are forgotten."""


@dataclass(slots=True)
class _Place:
    """What waits of one agent, and what it may still send."""

    seen_s: float
    tokens: float = BURST
    queue: deque[Message] = field(default_factory=deque)
    held_back: bool = False

    def refill(self, now_s: float) -> None:
        self.tokens = min(BURST, self.tokens + (now_s - self.seen_s) * RATE)
        self.seen_s = now_s
        if self.tokens >= BURST:
            self.held_back = False


class Intake:
    """The queues. Used on the loop alone."""

    def __init__(self, uptime: Callable[[], float], most: int = MOST) -> None:
        self._uptime = uptime
        self._most = most
        self._places: dict[str, _Place] = {}
        self._turns: deque[str] = deque()
        """Agents of which something waits."""
        self._count = 0
        self._bytes = 0
        self._changed = asyncio.Event()
        self._stalled = False
        self._forget_beyond = _AGENTS
        self.held_back: Counter[str] = Counter()
        """Messages not taken, by agent."""

    @property
    def waiting(self) -> int:
        return self._count

    def stall(self, stalled: bool) -> None:
        """Say whether the store fails: then nobody is held back, and the broker keeps what does not fit."""
        self._stalled = stalled
        self._changed.set()

    async def put(self, agent: str, message: Message) -> None:
        """Queue a message, or count it as held back; wait while there is no room at all."""
        place = self._place(agent)
        while self._is_full() or (self._stalled and len(place.queue) >= OF_AGENT):
            await self._change()
        if not self._stalled and (place.tokens < 1 or len(place.queue) >= OF_AGENT):
            self._hold_back(agent, place)
            return
        place.tokens = max(0.0, place.tokens - 1)
        if not place.queue:
            self._places[agent] = place
            self._turns.append(agent)
        place.queue.append(message)
        self._count += 1
        self._bytes += len(message.payload)
        self._changed.set()

    async def group(self, limit: int, flush_s: float) -> list[Message]:
        """Return what waits, at most `limit`, one of each agent in turn; wait for a first one, and `flush_s` for others."""
        while not self._count:
            await self._change()
        with suppress(TimeoutError):
            async with asyncio.timeout(flush_s):
                while self._count < limit and not self._is_full():
                    await self._change()
        taken = [self._take() for _ in range(min(limit, self._count))]
        self._changed.set()
        return taken

    def _take(self) -> Message:
        agent = self._turns.popleft()
        place = self._places[agent]
        message = place.queue.popleft()
        if place.queue:
            self._turns.append(agent)
        self._count -= 1
        self._bytes -= len(message.payload)
        return message

    def _is_full(self) -> bool:
        return self._count >= self._most or self._bytes >= MOST_BYTES

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _place(self, agent: str) -> _Place:
        now_s = self._uptime()
        place = self._places.get(agent)
        if place is None:
            self._forget_silent(now_s)
            place = self._places[agent] = _Place(now_s)
        place.refill(now_s)
        return place

    def _forget_silent(self, now_s: float) -> None:
        if len(self._places) < self._forget_beyond:
            return
        silent_s = now_s - BURST / RATE
        for agent in [name for name, place in self._places.items() if not place.queue and place.seen_s < silent_s]:
            del self._places[agent]
        self._forget_beyond = max(_AGENTS, 2 * len(self._places))

    def _hold_back(self, agent: str, place: _Place) -> None:
        self.held_back[agent if len(self.held_back) < _AGENTS else ""] += 1
        if not place.held_back:
            place.held_back = True
            log.warning("agent %s sends too much at once: the rest is not taken, and will be sent again", agent)
