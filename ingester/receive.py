"""From a message to a committed batch and its receipt.

Promises
    * A receipt is published after the commit, never before; a known batch is receipted again, and stored once.
    * What may not be used (ingester/inspection.py) or breaks its chain is set aside with its reason, and not receipted.
    * While the store fails nothing is receipted and nothing dropped: the group is tried again, and the broker's messages wait.
    * No agent delays another (ingester/intake.py), and garbage costs a bounded number of writes (ingester/dead_letters.py).
    * What the store lost and agents still hold is asked for (ingester/resends.py).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ingester.chain import Chain
from ingester.dead_letters import DeadLetters
from ingester.inspection import Inspector, Refused
from ingester.intake import MOST, Intake
from ingester.resends import Resends
from ingester.store.contract import Arrived, SeriesStore
from link.world import Message, Worker, World
from metering.errors import StoreBusy, StoreFailed
from metering.wire import AgentStatus, Receipt, encode

log = logging.getLogger(__name__)

GROUP = 500
"""Batches of one commit at most."""
FLUSH_S = 0.2
"""Longest wait of a batch for others to be committed with."""
PART_BYTES = 4 << 20
"""Bytes of bodies in one commit, more by one body at most: what unpacks to much is not in memory all at once."""
UNUSABLE = (StoreFailed, StoreBusy)
"""What a store raises that may work again later: busy is one that had to be opened again, and another process was quicker."""
RECEIPT_S = 2.0
"""Longest wait for the broker to take receipts. While reading rests, its acknowledgements are not read; receipts come again."""


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
    waiting: int = MOST
    """Messages that wait here at most; the others wait in the broker."""

    def __post_init__(self) -> None:
        self.intake = Intake(self.world.uptime, self.waiting)
        self.dead_letters = DeadLetters(self.series, self.world.uptime)
        self.resends = Resends(self.series, self.world.uptime)
        self.stored = 0
        """Batches committed since the start."""
        self.known = 0
        """Batches that came again: sent twice, replayed, or resent for want of a receipt."""
        self._chain = Chain(self.series)

    async def take(self, message: Message) -> None:
        """Queue a message of a data topic; waits while there is no room, so that the rest waits in the broker."""
        await self.intake.put(self.inspector.topics.agent_of(message.topic) or "", message)

    async def hear(self, status: AgentStatus) -> None:
        """Ask an agent for what the store lacks, by what it says it still holds."""
        await self._send([(status.agent, receipt) for receipt in self.resends.hear(status)])

    def counts(self) -> dict[str, int]:
        """Return what became of batches since the start; of readings, where the name says so."""
        return {
            "waiting": self.intake.waiting,
            "held_back": self.intake.held_back.total(),
            "stored": self.stored,
            "known": self.known,
            "set_aside": self.dead_letters.refused - self.dead_letters.unkept,
            "set_aside_unkept": self.dead_letters.unkept,
            "asked_for": self.resends.asked,
            "strange_times_readings": self.inspector.strange.readings,
        }

    async def run(self) -> None:
        """Commit and receipt until cancelled."""
        while True:
            await self.handle(await self.intake.group(GROUP, FLUSH_S))

    async def handle(self, group: Sequence[Message]) -> None:
        """Commit what may be used of a group, set the rest aside, then publish the receipts."""
        for arrivals, refused in self._parts(group):
            settled = await self._settle(arrivals, refused)
            self.committed()
            await self._send(self._receipts(settled))

    def _parts(self, group: Sequence[Message]) -> Iterator[tuple[list[Arrived], list[Refused]]]:
        """Inspect a group, and give it in parts that fit into memory."""
        arrivals: list[Arrived] = []
        refused: list[Refused] = []
        size = 0
        for message in group:
            arrived, reasons = self._inspect(message)
            refused += reasons
            if arrived is not None:
                arrivals.append(arrived)
                size += len(arrived.body)
            if size >= PART_BYTES:
                yield arrivals, refused
                arrivals, refused, size = [], [], 0
        if arrivals or refused:
            yield arrivals, refused

    def _inspect(self, message: Message) -> tuple[Arrived | None, list[Refused]]:
        """Inspect one message; a failure of ours is the reason it is set aside, and never ends the receiving."""
        received_ms = self.world.now_ms()
        try:
            return self.inspector.inspect(message, received_ms)
        except Exception as error:
            log.exception("a message on %r could not be inspected", message.topic)
            agent = self.inspector.topics.agent_of(message.topic) or ""
            return None, [Refused(agent, received_ms, f"unexpected: {type(error).__name__}", message.payload)]

    async def _send(self, receipts: Sequence[tuple[str, Receipt]]) -> None:
        topic = self.inspector.topics.receipt
        with suppress(TimeoutError):
            async with asyncio.timeout(RECEIPT_S), asyncio.TaskGroup() as sending:
                for agent, receipt in receipts:
                    sending.create_task(_published(self.publish(topic(agent), encode(receipt))))

    async def _settle(self, arrivals: Sequence[Arrived], refused: Sequence[Refused]) -> list[Arrived]:
        """Store a part; should one batch make that fail in a way of ours, set this one aside and store the others."""
        try:
            return await self._patiently(arrivals, refused)
        except Exception as error:
            if not arrivals:
                raise
            log.exception("%d batches could not be stored", len(arrivals))
            if len(arrivals) > 1:
                await self._patiently([], refused)
                return [settled for arrived in arrivals for settled in await self._settle([arrived], [])]
            (one,) = arrivals
            reason = f"unexpected: {type(error).__name__}"
            return await self._patiently([], [*refused, Refused(one.batch.agent, one.received_ms, reason, one.body)])

    async def _patiently(self, arrivals: Sequence[Arrived], refused: Sequence[Refused]) -> list[Arrived]:
        """Store until it succeeds, waiting longer each time; say when it fails and when it is back."""
        attempts = AsyncRetrying(retry=retry_if_exception_type(UNUSABLE), wait=self._wait_s, sleep=self.world.sleep)
        settled: list[Arrived] = []
        async for attempt in attempts:
            with attempt:
                number = attempt.retry_state.attempt_number
                try:
                    settled = await self.worker.run(self._store, arrivals, refused)
                except UNUSABLE as error:
                    self.intake.stall(True)
                    if number == 1:
                        log.error("no receipts until the store works again: %s", error)
                    raise
                if number > 1:
                    self.intake.stall(False)
                    log.warning("the store works again after %d attempts", number)
        return settled

    def _wait_s(self, state: RetryCallState) -> float:
        longest = min(0.5 * 2.0 ** min(state.attempt_number - 1, 10), 30.0)
        return self.world.random.uniform(longest / 2, longest)

    def _store(self, arrivals: Sequence[Arrived], refused: Sequence[Refused]) -> list[Arrived]:
        """Commit in the worker; return what is settled now, the new and the known."""
        sound, broken = self._chain.judge(arrivals)
        sound, contested = self.inspector.claim(sound)
        new = self.series.commit(sound).count(True)
        self._chain.note(sound)
        for arrived, reason in broken:
            self.dead_letters.keep(Refused(arrived.batch.agent, arrived.received_ms, reason, arrived.body))
        for each in [*refused, *contested]:
            self.dead_letters.keep(each)
        self.stored += new
        self.known += len(sound) - new
        return sound

    def _receipts(self, settled: Sequence[Arrived]) -> list[tuple[str, Receipt]]:
        streams: dict[tuple[str, str], set[int]] = {}
        for arrived in settled:
            batch = arrived.batch
            streams.setdefault((batch.agent, batch.stream), set()).add(batch.seq)
        receipts = []
        for (agent, stream), seqs in streams.items():
            through = self.series.settled(agent, stream).through
            also = sorted(seq for seq in seqs if seq > through)
            resend = self.resends.wanted(agent, stream)
            receipts.append((agent, Receipt(stream=stream, through=through, also=also, resend=resend)))
        return receipts


async def _published(publishing: Awaitable[object]) -> None:
    await publishing
