"""What the agent says of itself: a retained message every 5 s or on change, and the answer on the control socket."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from agent.gaps import GapBook
from agent.line import LineOwner
from agent.outbox import Outbox
from agent.publish import WINDOW, Publisher
from agent.shorten import payload
from link.world import Broker, Will, World
from metering.wire import AgentStatus, Topics, encode

EVERY_S = 5.0
_LOOKS = 3
"""Statuses over which the pace of the backlog is taken."""


def own_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("tanbiao")
    except PackageNotFoundError:
        return "0"


def will(topics: Topics, agent: str) -> Will:
    """Return what the broker says for us when we are gone."""
    offline = AgentStatus(online=False, agent=agent, version=own_version(), at=0)
    return Will(topics.status(agent), encode(offline))


@dataclass
class Reporter:
    """Puts the status together and publishes it."""

    agent: str
    config: str
    world: World
    topics: Topics
    outbox: Outbox
    broker: Broker
    publisher: Publisher
    lines: list[LineOwner]
    gaps: GapBook
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something changed that should not wait 5 s."""
    _waiting: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_LOOKS))
    """Uptime, and batches without a receipt then."""

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self.changed.clear()
            if self.broker.connected:
                await self.publish(online=True)
            try:
                async with asyncio.timeout(EVERY_S):
                    await self.changed.wait()
                await self.world.sleep(0.2)  # changes come in flocks
            except TimeoutError:
                continue

    async def publish(self, online: bool) -> None:
        status = await self.status(online)
        self._waiting.append((self.world.uptime(), status.unreceipted))
        await self.broker.publish(self.topics.status(self.agent), payload(status), retain=True)

    async def status(self, online: bool = True) -> AgentStatus:
        health = await self.outbox.health()
        return AgentStatus(
            online=online, agent=self.agent, version=own_version(), at=self.world.now_ms(), config=self.config,
            clock=self.world.clock_state(), stream=health.stream, last_seq=health.last_seq,
            unreceipted=health.unreceipted, delivered=health.delivered, outbox_bytes=health.bytes,
            silent_since=self.publisher.silent_since,
            alarms=[text for text in (health.volatile, health.set_aside) if text],
            lines={owner.line.id: owner.counters.report() for owner in self.lines},
            meters={
                meter: counters.report() | {"line": owner.line.id} | self.gaps.slots(meter, self.world.now_ms())
                for owner in self.lines for meter, counters in owner.meters.items()
            },
        )  # fmt: skip

    async def live(self) -> dict[str, Any]:
        """Return the answer to `tanbiao agent status`: the status, the connection and when the backlog will be through."""
        status = await self.status()
        return {
            **{name: getattr(status, name) for name in status.__struct_fields__},
            "connected": self.broker.connected,
            "broker_problem": "" if self.broker.connected else self.publisher.problem,
            "sent": self.publisher.sent,
            "receipted": self.publisher.receipted,
            "backlog_eta_s": self._eta_s(status.unreceipted) if self.broker.connected else None,
        }

    def _eta_s(self, unreceipted: int) -> int | None:
        """Return when the backlog will be through at the pace of late, seconds; None while it does not shrink."""
        now_s = self.world.uptime()
        if unreceipted <= WINDOW:
            return 0
        if not self._waiting:
            return None
        then_s, before = self._waiting[0]
        if not before > unreceipted or now_s <= then_s:
            return None
        return round(unreceipted * (now_s - then_s) / (before - unreceipted))
