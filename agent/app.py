"""The agent as a whole: every part is a context or a task of one group, and all stop in order.

Readings are stored as soon as a line has read what was due, together with what the others have read meanwhile: one
commit, after which they are published. So a power cut or a kill costs the readings of some milliseconds, of a line
that is long under way those of 250 ms, and each of them shows as a gap.

On `stop` the polling ends: a read under way finishes, or is ended with all it would still wait for. Then what was
collected is stored, the publisher has a goodbye of at most 3 s, and what is left waits in the outbox. All of it takes at
most 5 s.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

from agent.batch import Collector, Origin
from agent.books import OutboxSettings
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.memory import Memory
from agent.outbox import Outbox, open_outbox
from agent.publish import Publisher
from agent.start import Doubt, Former, begin_gaps, first_events, former_run
from agent.status import Reporter, will
from agent.tally import announcement
from agent.wiring import Meter, Wiring, wire
from link import control
from link.notify import Watchdog
from link.world import BrokerAddress, World
from metering.slots import Grid
from metering.wire import Topics
from settings.agent import AgentSettings
from settings.document import Document

log = logging.getLogger(__name__)

GATHER_S = 0.003
"""From a line's rest to the commit: so long may others add to it."""
LONGEST_GATHER_S = 0.25
"""A line that does not rest is not waited for any longer."""
TIDY_S = 60.0
ANNOUNCED_EVERY_S = 86_400.0
"""The ingester learns of the slots again, should the first word of them have been lost."""
GOODBYE_S = 3.0
LAST_READ_S = 1.5
"""Longest wait for reads under way when told to stop."""
_LET_GO_S = 0.1
_TIMES = 4
"""That a read is told to let go: each time ends one wait of its own way out (a speed set back, a session closed)."""
_SECRETS = ("password", "token", "secret")


class Notify(Protocol):
    """What the service manager is told."""

    def ready(self) -> None: ...

    def stopping(self) -> None: ...

    def status(self, line: str) -> None: ...


def control_socket(outbox: Path) -> Path:
    """Return where a running agent answers: beside its outbox."""
    return outbox.with_name("agent.sock")


def without_secrets(data: Any) -> Any:
    """Return settings as they may be sent and kept."""
    if isinstance(data, dict):
        return {
            key: "***" if any(word in str(key).lower() for word in _SECRETS) else without_secrets(value)
            for key, value in data.items()
        }
    return [without_secrets(item) for item in data] if isinstance(data, list) else data


def configuration(document: Document) -> tuple[str, str]:
    """Return the configuration's text without secrets, and its SHA-256."""
    text = json.dumps(without_secrets(document.data), ensure_ascii=False, sort_keys=True, default=str)
    return text, hashlib.sha256(text.encode()).hexdigest()


async def run(
    settings: AgentSettings,
    document: Document,
    world: World,
    stop: asyncio.Event,
    notify: Notify | None = None,
    watchdog: Watchdog | None = None,
) -> None:
    """Run the agent until `stop` is set. The watchdog is fed as long as the polling really goes on.

    Raises:
        SettingsFaults: the lines or meters are wrong.
        StoreBusy: another agent has the outbox.
        LineBusy: the control socket cannot be made.
        BrokerUnreachable: the broker's address can never work.
    """
    wiring = wire(settings, document)
    async with AsyncExitStack() as stack:
        agent = await _Agent.open(settings, document, wiring, world, stack)
        if notify is not None:
            notify.ready()
            notify.status(f"{len(wiring.lines)} lines, {len(list(wiring.meters))} meters")
        await agent.run(stop, notify, watchdog)


class _Agent:
    """All parts, wired together."""

    def __init__(self, world: World, outbox: Outbox, publisher: Publisher, collector: Collector) -> None:
        self._world = world
        self._outbox = outbox
        self._publisher = publisher
        self._collector = collector
        self._storing = asyncio.Lock()
        self._resting = asyncio.Event()
        """Set when a line has read what was due."""
        self._gaps = GapBook()
        self._lines: list[LineOwner] = []
        self._meters: Sequence[Meter] = ()
        self._since_ms = 0
        self._doubt: Doubt | None = None
        self._reporter: Reporter

    @classmethod
    async def open(
        cls, settings: AgentSettings, document: Document, wiring: Wiring, world: World, stack: AsyncExitStack
    ) -> "_Agent":
        text, config = configuration(document)
        agent, topics = settings.agent.id, Topics(settings.agent.site)
        box = settings.outbox
        outbox = await stack.enter_async_context(
            open_outbox(OutboxSettings(box.path, box.max_size, box.keep_delivered), world)
        )
        broker = await stack.enter_async_context(
            world.broker(_address(settings), (topics.receipt(agent), topics.ingester_status), will(topics, agent))
        )
        publisher = Publisher(outbox, broker, world, topics, agent)
        collector = Collector(Origin(settings.agent.site, agent, config, wiring.points), world)
        self = cls(world, outbox, publisher, collector)
        self._meters = tuple(wiring.meters)
        former = await self._remember(wiring, config, text)
        changed = asyncio.Event()
        memory = Memory(box.path.with_name("meters.json"))
        self._lines = [
            LineOwner(line, world, collector, self._gaps, changed.set, memory, self._resting.set, former.stands)
            for line in wiring.lines
        ]
        self._reporter = Reporter(
            agent, config, world, topics, outbox, broker, publisher, self._lines, self._gaps, changed
        )
        await stack.enter_async_context(control.serve(control_socket(box.path), {"status": self._answer_status}))
        return self

    async def _remember(self, wiring: Wiring, config: str, text: str) -> Former:
        """Tell how the run before ended, and open the gaps that the stop has made; return what is known of that run."""
        clean = self._outbox.stopped_cleanly
        former = await former_run(self._outbox, {meter.id: meter.interval_ms for meter in wiring.meters})
        now_ms = self._since_ms = self._world.now_ms()
        for meter in self._meters:
            self._gaps.follow(meter.id, Grid(meter.interval_ms, meter.phase_ms))
        begin_gaps(former, clean, self._world.boot_id, config, wiring.meters, self._gaps, now_ms, self._world.uptime())
        if self._world.clock_state() == "unsynced":
            self._doubt = Doubt(former, clean, self._world.boot_id, self._meters, self._offset_ms())
        self._collector.tell(first_events(former, clean, now_ms, config, text))
        self._announce(now_ms)
        return former

    def _announce(self, now_ms: int) -> None:
        """Tell which meters are read, and when."""
        self._collector.tell(announcement(self._meters, self._world.boot_id, self._since_ms, now_ms))

    async def _announce_daily(self) -> None:
        while True:
            await self._world.sleep(ANNOUNCED_EVERY_S)
            self._announce(self._world.now_ms())

    async def _answer_status(self, _: dict[str, Any]) -> dict[str, Any]:
        return await self._reporter.live()

    async def run(self, stop: asyncio.Event, notify: Notify | None, watchdog: Watchdog | None) -> None:
        async with asyncio.TaskGroup() as tasks:
            polling = [tasks.create_task(owner.run(stop), name=owner.line.id) for owner in self._lines]
            others = [
                tasks.create_task(self._publisher.run(), name="publisher"),
                tasks.create_task(self._reporter.run(), name="status"),
                tasks.create_task(self._store_when_resting(), name="store"),
                tasks.create_task(self._look_on(watchdog), name="look"),
                tasks.create_task(self._tidy(), name="tidy"),
                tasks.create_task(self._announce_daily(), name="announce"),
            ]
            if watchdog is not None:
                others.append(tasks.create_task(watchdog.run(), name="watchdog"))
            await stop.wait()
            if notify is not None:
                notify.stopping()
            await _ended(polling)
            self._collector.tell(self._gaps.still_open())
            await self._store()
            await self._say_goodbye()
            for task in others:
                task.cancel()

    async def _store_when_resting(self) -> None:
        while True:
            await self._resting.wait()
            await self._world.sleep(GATHER_S)
            self._resting.clear()
            if self._collector.holds_any:
                await self._store()

    async def _look_on(self, watchdog: Watchdog | None) -> None:
        """Tell of gaps, see that nothing waits too long for a line to rest, and that the polling goes on."""
        turns = -1
        while True:
            await self._world.sleep(LONGEST_GATHER_S)
            self._look_at_clock()
            self._collector.tell(self._gaps.due(self._world.uptime()))
            self._resting.set()
            before, turns = turns, sum(owner.turns for owner in self._lines)
            if watchdog is not None and turns != before:
                watchdog.progress()

    def _offset_ms(self) -> int:
        return self._world.now_ms() - round(self._world.uptime() * 1000)

    def _look_at_clock(self) -> None:
        if self._doubt is None:
            return
        read_ms = {meter: one.last_good_ms for owner in self._lines for meter, one in owner.meters.items()}
        synced = self._world.clock_state() != "unsynced"
        self._collector.tell(self._doubt.look(self._offset_ms(), synced, read_ms))
        if self._doubt.over:
            self._doubt = None

    async def _store(self) -> None:
        """Put what was collected into the outbox, and offer it to the publisher.

        The end of a gap goes with the reading that ended it: a kill cannot part them.
        """
        async with self._storing:
            self._collector.tell(self._gaps.due(self._world.uptime()))
            drafts = self._collector.drafts()
            if drafts:
                self._publisher.offer(await self._outbox.put(drafts))

    async def _tidy(self) -> None:
        while True:
            await self._world.sleep(TIDY_S)
            await self._outbox.tidy()

    async def _say_goodbye(self) -> None:
        """Let the publisher send what is new, and say that we go."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                while self._reporter.broker.connected and self._publisher.unsent:
                    await self._world.sleep(0.02)
                if self._reporter.broker.connected:
                    await self._reporter.publish(online=False)
        except TimeoutError:
            log.info("the rest waits in the outbox")


async def _ended(polling: list[asyncio.Task[None]]) -> None:
    """Wait for reads under way; end those that take longer, and what they wait for on their way out."""
    late, wait_s = set(polling), LAST_READ_S
    for _ in range(1 + _TIMES):
        if not late:
            break
        _, late = await asyncio.wait(late, timeout=wait_s)
        for task in late:
            task.cancel()
        wait_s = _LET_GO_S
    if late:
        log.warning("still busy: %s", ", ".join(sorted(task.get_name() for task in late)))


def _address(settings: AgentSettings) -> BrokerAddress:
    mqtt = settings.mqtt
    return BrokerAddress(
        url=mqtt.url, client_id=f"tanbiao-{settings.agent.site}-{settings.agent.id}", username=mqtt.username,
        password=mqtt.password, ca=str(mqtt.ca) if mqtt.ca else None,
    )  # fmt: skip
