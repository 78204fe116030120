"""The connection to the MQTT broker, that keeps itself up.

Promises
    * The first attempt is immediate; after the n-th failure in a row it waits uniform(0, min(120, 2^n)) s (full jitter),
      counted anew once a session has stood for 60 s. It never gives up.
    * `publish` returns True on PUBACK, False when the session ended first or there is none; nothing is sent later.
    * `events` gives Connected once all subscriptions are granted, then the messages in order, then Disconnected. A failed
      attempt gives Disconnected too.
    * A consumer that falls behind stops the reading of the socket: at most about 1000 messages wait here.
    * Leaving says goodbye to the broker, so that the will stays unspoken, in at most 3 s.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from link.endpoint import Endpoint
from link.inbox import Inbox
from link.session import Session
from link.world import Broker, BrokerAddress, Connected, Disconnected, Message, Will
from metering.errors import BrokerUnreachable

log = logging.getLogger(__name__)

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 120.0
STABLE_S = 60.0
INBOX_LIMIT = 1000


class Backoff:
    """How long to wait before the next attempt. Full jitter keeps ten thousand agents from returning at once."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._failures = 0

    def wait_s(self, lasted_s: float) -> float:
        """Return the wait after a session that stood for `lasted_s`; 0 for an attempt that failed."""
        if lasted_s >= STABLE_S:
            self._failures = 0
        limit_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return self._dice.uniform(0.0, limit_s)


@asynccontextmanager
async def connection(
    address: BrokerAddress, subscriptions: tuple[str, ...], will: Will, dice: random.Random
) -> AsyncIterator[Broker]:
    """Keep a connection up while the context lasts. An unreachable broker is an event, not an error.

    Raises:
        BrokerUnreachable: the address or its CA file can never work; on entering.
    """
    broker = _Connection(Endpoint.of(address), subscriptions, will, Backoff(dice))
    keeper = asyncio.create_task(broker.keep_up(), name="mqtt")
    try:
        yield broker
    finally:
        keeper.cancel()
        await asyncio.wait({keeper})


class _Connection:
    def __init__(self, endpoint: Endpoint, subscriptions: tuple[str, ...], will: Will, backoff: Backoff) -> None:
        self._endpoint = endpoint
        self._subscriptions = subscriptions
        self._will = will
        self._backoff = backoff
        self._session: Session | None = None
        self._inbox: Inbox[Message | Connected | Disconnected] = Inbox(INBOX_LIMIT, self._pause, self._resume)

    @property
    def connected(self) -> bool:
        return self._session is not None and not self._session.ended.done()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        if self._session is None:
            return False
        return await self._session.publish(topic, payload, retain)

    def events(self) -> AsyncIterator[Message | Connected | Disconnected]:
        return self._inbox

    async def keep_up(self) -> None:
        """Connect for ever. An error of ours is raised to whoever reads `events`."""
        try:
            while True:
                lasted_s = await self._one_session()
                await asyncio.sleep(self._backoff.wait_s(lasted_s))
        except Exception as error:
            log.exception("the connection to the broker cannot be kept up")
            self._inbox.fail(error)

    async def _one_session(self) -> float:
        """Return how long the session stood, seconds."""
        loop = asyncio.get_running_loop()
        session = Session(self._endpoint, self._will)
        try:
            await session.open(self._subscriptions)
            began_at = loop.time()
            reason = await self._use(session)
        except BrokerUnreachable as error:
            self._inbox.put(Disconnected(str(error)))
            return 0.0
        finally:
            self._session = None
            await session.close()
        self._inbox.put(Disconnected(reason))
        return loop.time() - began_at

    async def _use(self, session: Session) -> str:
        self._session = session
        self._inbox.put(Connected())
        session.deliver(self._inbox.put)
        if self._inbox.paused:
            session.pause()
        return await session.live()

    def _pause(self) -> None:
        if self._session is not None:
            self._session.pause()

    def _resume(self) -> None:
        if self._session is not None:
            self._session.resume()
