"""The ingester as a whole: every part is a context or a task of one group, and all stop in order.

Three threads: the writer owns all writes (commits, results, alerts) and derives; the reader makes the snapshot, judges and
answers; the loop talks to broker, page and commands. A failure to derive or judge is said once and tried again: receiving
goes on. On `stop` the broker is told that we go; a batch without its receipt will be sent again. All of it takes at most 5 s.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from ingester import strange_times
from ingester.alerts import Change, changes, cloud_event, orphans, standing_of
from ingester.completeness import MeterDay
from ingester.inspection import Inspector
from ingester.judge import Judge, Rule, Verdict, rules_of
from ingester.live import Snapshot
from ingester.page.feed import LiveSource
from ingester.receive import Receiver
from ingester.services import Services, control_socket
from ingester.snapshot import Watcher
from ingester.store.contract import AlertRow, Latest
from ingester.wiring import points_of
from link import control
from link.world import Broker, BrokerAddress, Connected, Disconnected, Message, Will, Worker, World
from metering.errors import MalformedBatch, SettingsFaults
from metering.text import Text
from metering.wire import AgentStatus, IngesterStatus, Topics, decode_as, encode, unpack
from settings.document import Document
from settings.ingester import IngesterSettings

log = logging.getLogger(__name__)

DERIVE_S = 1.0
SNAPSHOT_S = 1.0
JUDGE_S = 5.0
HEARTBEAT_S = 10.0
IDLE_DERIVES = 10
"""Turns without arrivals after which is derived all the same, so that the grace closes intervals."""
GOODBYE_S = 1.0


class Notify(Protocol):
    """What the service manager is told."""

    def ready(self) -> None: ...

    def stopping(self) -> None: ...

    def status(self, line: str) -> None: ...


ServePage = Callable[[LiveSource, asyncio.TaskGroup], AbstractAsyncContextManager[str]]
"""Serves page and API while inside, its tasks in the group; gives the address."""

NO_BROKER = Text("run 需要 mqtt 一节，其中写消息代理的地址 url", "`run` needs the section mqtt with the broker's url")
NO_BROKER_REMEDY = Text('例如 mqtt: {url: "mqtt://127.0.0.1:1883"}', 'Such as mqtt: {url: "mqtt://127.0.0.1:1883"}')


async def run(
    settings: IngesterSettings,
    document: Document,
    world: World,
    stop: asyncio.Event,
    notify: Notify | None = None,
    progress: Callable[[], None] = lambda: None,
    serve_page: ServePage | None = None,
) -> None:
    """Run the ingester until `stop` is set. `progress` is called as long as the writer really goes on.

    Raises:
        SettingsFaults: there is no broker in the settings, or the seed is wrong.
        StoreBusy: another process holds the series.
        StoreFailed: a store cannot be opened.
        LineBusy: the control socket or the page's port cannot be had.
        BrokerUnreachable: the broker's address can never work.
    """
    if settings.mqtt is None:
        raise SettingsFaults([document.fault((), NO_BROKER, NO_BROKER_REMEDY)])
    async with AsyncExitStack() as stack:
        centre = await _Centre.open(settings, document, world, progress, stack)
        try:
            await centre.run(stop, notify, serve_page)
        except ExceptionGroup as group:
            raise first_cause(group) from group


def first_cause(group: ExceptionGroup[Exception]) -> Exception:
    """Return what went wrong first: of a group of tasks the others were only cancelled."""
    found = group.exceptions[0]
    return first_cause(found) if isinstance(found, ExceptionGroup) else found


@dataclass
class _Centre:
    """All parts, wired together. Also the `LiveSource` of page and API."""

    world: World
    writer: Worker
    reader: Worker
    services: Services
    watcher: Watcher
    court: Judge
    rules: Sequence[Rule]
    broker: Broker
    receiver: Receiver
    topics: Topics
    status: IngesterStatus
    progress: Callable[[], None]
    agents: dict[str, AgentStatus] = field(default_factory=dict)
    _snapshot: Snapshot | None = None
    _arrived: bool = True
    _idle: int = 0

    @classmethod
    async def open(
        cls,
        settings: IngesterSettings,
        document: Document,
        world: World,
        progress: Callable[[], None],
        stack: AsyncExitStack,
    ) -> "_Centre":
        site = settings.site.id
        topics = Topics(site)
        writer = await stack.enter_async_context(world.worker("writer"))
        services = await writer.run(Services.open, settings, document, world.now_ms)
        stack.push_async_callback(writer.run, services.close)
        reader = await stack.enter_async_context(world.worker("reader"))
        status = IngesterStatus(ingester=site, epoch=world.new_id(), since=world.now_ms(), heartbeat=world.now_ms())
        broker = await stack.enter_async_context(
            world.broker(
                _address(settings), (topics.data("+"), topics.status("+")), Will(topics.ingester_status, _gone(status))
            )
        )
        points = points_of(settings)
        inspector = Inspector(
            topics,
            {name: str(point.unit) for name, point in points.items()},
            {name: meter.agent for name, meter in settings.meters.items() if meter.agent is not None},
            services.series.owners(),
        )
        name = settings.site.name.text if settings.site.name else Text(site, site)
        watcher = Watcher(
            services.accounts, services.series, services.records, services.deriver, services.instruments, services.grid,
            site, name, services.completeness,
        )  # fmt: skip
        receiver = Receiver(world, writer, services.series, inspector, broker.publish)
        rules, court = rules_of(settings.rules, points), Judge(services.series, services.accounts, services.grid)
        centre = cls(world, writer, reader, services, watcher, court, rules, broker, receiver, topics, status, progress)
        receiver.committed = centre._note_arrival
        await stack.enter_async_context(control.serve(control_socket(settings), centre._handlers()))
        return centre

    def _note_arrival(self) -> None:
        self._arrived = True

    async def run(self, stop: asyncio.Event, notify: Notify | None, serve_page: ServePage | None) -> None:
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as page:
            living = [
                tasks.create_task(self._listen(), name="listen"),
                tasks.create_task(self.receiver.run(), name="receive"),
                tasks.create_task(every(self.world, DERIVE_S, self._derive), name="derive"),
                tasks.create_task(every(self.world, SNAPSHOT_S, self._look), name="snapshot"),
                tasks.create_task(every(self.world, JUDGE_S, self._judge), name="judge"),
                tasks.create_task(every(self.world, HEARTBEAT_S, self._beat), name="heartbeat"),
            ]
            if serve_page is not None:
                log.info("page and API at %s", await page.enter_async_context(serve_page(self, tasks)))
            if notify is not None:
                notify.ready()
            await stop.wait()
            if notify is not None:
                notify.stopping()
            for task in living:
                task.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self.broker.publish(self.topics.ingester_status, _gone(self.status), retain=True)

    # What runs

    async def _listen(self) -> None:
        """Hand on what arrives. While the receiver is full this waits, and the broker with it."""
        said = ""
        async for event in self.broker.events():
            if isinstance(event, Connected):
                said = ""
                log.info("connected to the broker, epoch %s", self.status.epoch)
                await self._beat()
            elif isinstance(event, Disconnected):
                if event.reason != said:
                    said = event.reason
                    log.warning("not connected to the broker: %s", said)
            elif event.topic.endswith("/data"):
                await self.receiver.take(event)
            else:
                await self._note_status(event)

    async def _note_status(self, message: Message) -> None:
        agent = self.topics.agent_of(message.topic)
        if agent is None:
            return
        try:
            status = decode_as(AgentStatus, unpack(message.payload))
        except MalformedBatch as error:
            log.warning("status of agent %s is malformed: %r", agent, error.values["reason"])
            return
        before = self.agents.get(agent)
        if status.agent == agent:
            self.agents[agent] = status
            if before is None or before.online != status.online:
                log.info("agent %s is %s", agent, "online" if status.online else "offline")
            await self.receiver.hear(status)

    async def _derive(self) -> None:
        self._idle += 1
        if self._arrived or self._idle >= IDLE_DERIVES:
            self._arrived, self._idle = False, 0
            await self._derive_all({})
            self.watcher.instruments = self.services.instruments
        else:
            await self.writer.run(_nothing)
        self.progress()

    async def _derive_all(self, _: dict[str, Any]) -> dict[str, int]:
        """Derive piece by piece: commits and receipts go on between the pieces."""
        results = 0
        while (found := await self.writer.run(self.services.derive_step)) is not None:
            results += found
            self.progress()
        return {"results": results}

    async def _look(self) -> None:
        seen = await self.reader.run(self.watcher.snapshot, self.world.now_ms(), dict(self.agents))
        self._snapshot = replace(seen, receiving=self.receiver.counts())

    async def _judge(self) -> None:
        now_ms = self.world.now_ms()
        active, verdicts = await self.reader.run(self._verdicts, now_ms)
        judged = {key: alert for key, alert in active.items() if key[0] != strange_times.RULE}
        found = [
            *changes(judged, verdicts, now_ms, self.world.new_id),
            *orphans(judged, self.rules, now_ms),
            *self.receiver.inspector.strange.changes(active, now_ms, self.world.new_id),
        ]
        for change in found:
            await self.writer.run(self.services.records.save_alert, change.alert)
            await self._tell(change, now_ms)

    def _verdicts(self, now_ms: int) -> tuple[dict[tuple[str, str], AlertRow], list[tuple[Rule, Verdict]]]:
        """Return the active alerts, and what the rules say now."""
        active = {(alert.rule, alert.meter): alert for alert in self.services.records.alerts(active=True)}
        verdicts = []
        for rule in self.rules:
            alert = active.get((rule.id, rule.point.meter))
            verdicts.append((rule, self.court.judge(rule, now_ms, standing_of(alert) if alert else None)))
        return active, verdicts

    async def _tell(self, change: Change, now_ms: int) -> None:
        if change.kind != "updated":
            log.info(
                "alert %s %s: rule %s, meter %s", change.alert.id, change.kind, change.alert.rule, change.alert.meter
            )
        event = cloud_event(change, self.topics.site, self.world.new_id(), now_ms)
        await self.broker.publish(self.topics.alerts, event)

    async def _beat(self) -> None:
        status = IngesterStatus(
            ingester=self.status.ingester,
            epoch=self.status.epoch,
            since=self.status.since,
            heartbeat=self.world.now_ms(),
        )
        await self.broker.publish(self.topics.ingester_status, encode(status), retain=True)

    # What is asked by commands

    def _handlers(self) -> dict[str, control.Handler]:
        async def call(worker: Worker, answer: Callable[[Mapping[str, Any]], Any], args: dict[str, Any]) -> Any:
            return await worker.run(answer, args)

        handlers: dict[str, control.Handler] = {"ping": self._ping, "status": self._answer_status}
        for name, answer in self.services.writing().items():
            handlers[name] = partial(call, self.writer, answer)
        handlers["derive"] = self._derive_all
        for name, answer in self.services.reading().items():
            handlers[name] = partial(call, self.reader, answer)
        return handlers

    async def _ping(self, _: dict[str, Any]) -> dict[str, Any]:
        return {}

    async def _answer_status(self, _: dict[str, Any]) -> dict[str, Any]:
        series, records = self.services.series, self.services.records
        refused = await self.reader.run(series.refused, 20)
        points = await self.reader.run(series.points)
        active = await self.reader.run(records.alerts, True)
        return {
            "site": self.topics.site,
            "epoch": self.status.epoch,
            "since": self.status.since,
            "broker": self.broker.connected,
            "agents": {name: {"online": status.online, "at": status.at} for name, status in self.agents.items()},
            "points": len(points),
            "active_alerts": len(active),
            "receiving": self.receiver.counts(),
            "set_aside": [{"agent": row.agent, "at": row.received_ms, "reason": row.reason} for row in refused],
        }

    # What is asked by page and API

    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    async def report(
        self, start_ms: int, end_ms: int, by: str, source: str | None, as_of_ms: int | None, include_open: bool
    ) -> dict[str, Any]:
        question = {
            "from": start_ms, "to": end_ms, "by": by, "source": source, "as_of": as_of_ms, "include_open": include_open
        }  # fmt: skip
        return await self.reader.run(self.services.report, question)

    async def trace(self, source: str, at_ms: int) -> dict[str, Any]:
        return await self.reader.run(self.services.trace, {"source": source, "at": at_ms})

    async def readings(self, point: str, start_ms: int, end_ms: int, limit: int) -> Sequence[Latest]:
        return await self.reader.run(self.services.series.readings, point, start_ms, end_ms, limit)

    async def completeness(self, start_ms: int, end_ms: int, meter: str | None) -> Sequence[MeterDay]:
        found: list[MeterDay] = []
        for begin, end in self.services.grid.periods(start_ms, min(end_ms, self.world.now_ms()), "day"):
            found += await self.reader.run(
                self.services.slots, begin, end, meter
            )  # between days others have their turn
        return sorted(found, key=lambda day: (day.meter, day.start_ms))

    async def alerts(self, active: bool | None) -> Sequence[AlertRow]:
        return await self.reader.run(self.services.records.alerts, active)


async def every(world: World, period_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again and again. A failure is said once, until it succeeds or fails otherwise."""
    said = ""
    while True:
        try:
            await work()
            said = ""
        except Exception as error:
            if repr(error) != said:
                said = repr(error)
                log.exception("%s failed, receiving goes on", getattr(work, "__name__", work))
        await world.sleep(period_s)


def _nothing() -> None:
    """What the writer does to show that it lives."""


def _address(settings: IngesterSettings) -> BrokerAddress:
    assert settings.mqtt is not None
    mqtt = settings.mqtt
    ca = str(mqtt.ca) if mqtt.ca else None
    return BrokerAddress(mqtt.url, f"tanbiao-{settings.site.id}-ingester", mqtt.username, mqtt.password, ca)


def _gone(status: IngesterStatus) -> bytes:
    """Return the status that says we are not there, as will and as goodbye."""
    return encode(
        IngesterStatus(
            ingester=status.ingester, epoch=status.epoch, since=status.since, heartbeat=status.heartbeat, online=False
        )
    )
