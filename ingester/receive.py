"""From a message to a committed batch and its receipt.

Promises
    * A receipt is published after the commit, never before; a known batch is receipted again.
    * What may not be used (ingester/inspection.py) or breaks its chain is set aside with its reason, and not receipted.
    * While the store fails nothing is receipted and nothing dropped: the group is tried again, and the broker's messages wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ingester.chain import Chain
from ingester.inspection import Inspector, Refused
from ingester.store.contract import Arrived, SeriesStore
from link.world import Message, Worker, World
from metering.errors import StoreFailed
from metering.wire import Receipt, encode

log = logging.getLogger(__name__)

GROUP = 500
"""Batches of one commit at most."""
FLUSH_S = 0.2
"""Longest wait of a batch for others to be committed with."""
WAITING = 1000
"""Messages that wait here at most; the others wait in the broker."""


@dataclass
class Receiver:
    """Takes messages, commits them in groups and answers with receipts."""

    world: World
    worker: Worker
    series: SeriesStore
    inspector: Inspector
    publish: Callable[[str, bytes], Awaitable[object]]
    committed: Callable[[], None] = lambda: None
    """Called after each commit."""
    waiting: int = WAITING

    def __post_init__(self) -> None:
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(self.waiting)
        self._chain = Chain(self.series)
        self._last_reason: dict[str, str] = {}

    async def take(self, message: Message) -> None:
        """Queue a message of a data topic; waits while the queue is full, so that the rest waits in the broker."""
        await self._waiting.put(message)

    async def run(self) -> None:
        """Commit and receipt until cancelled."""
        while True:
            await self.handle(await self._group())

    async def _group(self) -> list[Message]:
        group = [await self._waiting.get()]
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                while len(group) < GROUP:
                    group.append(await self._waiting.get())
        return group

    async def handle(self, group: Sequence[Message]) -> None:
        """Commit what may be used of a group, set the rest aside, then publish the receipts."""
        inspected = [self._inspect(message) for message in group]
        arrivals = [arrived for arrived, _ in inspected if arrived is not None]
        refused = [each for _, reasons in inspected for each in reasons]
        settled = await self._patiently(arrivals, refused)
        self.committed()
        async with asyncio.TaskGroup() as sending:
            for agent, receipt in self._receipts(settled):
                sending.create_task(self._send(agent, receipt))

    def _inspect(self, message: Message) -> tuple[Arrived | None, list[Refused]]:
        """Inspect one message; a failure of ours is the reason it is set aside, and never ends the receiving."""
        received_ms = self.world.now_ms()
        try:
            return self.inspector.inspect(message, received_ms)
        except Exception as error:
            log.exception("a message on %r could not be inspected", message.topic)
            agent = self.inspector.topics.agent_of(message.topic) or ""
            return None, [Refused(agent, received_ms, f"unexpected: {type(error).__name__}", message.payload)]

    async def _send(self, agent: str, receipt: Receipt) -> None:
        await self.publish(self.inspector.topics.receipt(agent), encode(receipt))

    async def _patiently(self, arrivals: Sequence[Arrived], refused: Sequence[Refused]) -> list[Arrived]:
        """Store until it succeeds, waiting longer each time; say when it fails and when it is back."""
        attempts = AsyncRetrying(retry=retry_if_exception_type(StoreFailed), wait=self._wait_s, sleep=self.world.sleep)
        settled: list[Arrived] = []
        async for attempt in attempts:
            with attempt:
                number = attempt.retry_state.attempt_number
                try:
                    settled = await self.worker.run(self._store, arrivals, refused)
                except StoreFailed as error:
                    if number == 1:
                        log.error("no receipts until the store works again: %s", error)
                    raise
                if number > 1:
                    log.warning("the store works again after %d attempts", number)
        return settled

    def _wait_s(self, state: RetryCallState) -> float:
        longest = min(0.5 * 2.0 ** min(state.attempt_number - 1, 10), 30.0)
        return self.world.random.uniform(longest / 2, longest)

    def _store(self, arrivals: Sequence[Arrived], refused: Sequence[Refused]) -> list[Arrived]:
        """Commit in the worker; return what is settled now, the new and the known."""
        sound, broken = self._chain.judge(arrivals)
        sound, contested = self.inspector.claim(sound)
        self.series.commit(sound)
        self._chain.note(sound)
        for arrived, reason in broken:
            self._set_aside(Refused(arrived.batch.agent, arrived.received_ms, reason, arrived.body))
        for each in [*refused, *contested]:
            self._set_aside(each)
        return sound

    def _set_aside(self, refused: Refused) -> None:
        if self._last_reason.get(refused.agent) != refused.reason:
            self._last_reason[refused.agent] = refused.reason
            log.warning("from agent %s set aside: %r", refused.agent, refused.reason)
        self.series.set_aside(refused.agent, refused.received_ms, refused.reason, refused.payload)

    def _receipts(self, settled: Sequence[Arrived]) -> list[tuple[str, Receipt]]:
        streams: dict[tuple[str, str], set[int]] = {}
        for arrived in settled:
            batch = arrived.batch
            streams.setdefault((batch.agent, batch.stream), set()).add(batch.seq)
        receipts = []
        for (agent, stream), seqs in streams.items():
            through = self.series.settled(agent, stream).through
            also = sorted(seq for seq in seqs if seq > through)
            receipts.append((agent, Receipt(stream=stream, through=through, also=also)))
        return receipts
