"""The agent's outbox: batches wait here until the ingester has committed them.

Promises
    * A batch that `put` has returned for survives a kill and a power cut (SQLite, WAL, synchronous=FULL), unless the
      disk itself refuses; then `volatile` says so.
    * A batch is deleted only after the ingester's receipt, so it may arrive twice, never not at all.
    * It has its identity (stream, seq) and the hash of its forerunner before it is first written. A number is given
      once: when numbers might be given again (a start, a file lost, a disk away), a new stream begins.
    * At most `max_size` bytes are kept. Delivered batches stay `keep_delivered` seconds while there is room; they go
      first, then the oldest, and each loss is itself delivered, as a `lost` event.
    * A damaged file never stops the polling: it is set aside, what can be proved is salvaged, the rest is told as lost.
    * While the disk is full or refuses, batches are kept in memory (bounded) and sent from there; it recovers by itself.
    * A second agent on the same outbox is refused, with the first one's process id.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent.books import AT_ONCE, Books, Health, OutboxSettings
from agent.sealed import Sealed
from link.world import Worker, World
from metering.wire import Batch, Receipt


class Outbox:
    """The open outbox; made by `open_outbox`."""

    def __init__(self, books: Books, worker: Worker) -> None:
        self._books = books
        self._worker = worker

    async def put(self, drafts: Sequence[Batch]) -> list[Sealed]:
        """Seal the drafts, commit them (one fsync), return them as they will be sent."""
        sealed: list[Sealed] = []
        for at in range(0, len(drafts), AT_ONCE):
            sealed += await self._worker.run(self._books.put, list(drafts[at : at + AT_ONCE]))
        return sealed

    def settle(self, receipt: Receipt) -> None:
        """Note a receipt; it is written with the next batches, or by `tidy`."""
        self._books.receipts.append(receipt)

    async def unreceipted_after(self, after_id: int, limit: int) -> list[Sealed]:
        """Return batches without a receipt, oldest first."""
        return await self._worker.run(self._books.unreceipted_after, after_id, limit)

    async def stretch(self, stream: str, first_seq: int, last_seq: int, limit: int = 64) -> list[Sealed]:
        """Return what is left of a stretch of a stream, delivered or not."""
        return await self._worker.run(self._books.stretch, stream, first_seq, last_seq, limit)

    async def newest(self, limit: int, before_id: int | None = None) -> list[tuple[int, Batch]]:
        """Return the last batches with their ids, newest first."""
        return await self._worker.run(self._books.newest, limit, before_id)

    async def streams(self) -> dict[str, int]:
        """Return each stream there is, with the highest number given in it."""
        return await self._worker.run(self._books.streams)

    async def tidy(self) -> None:
        """Write waiting receipts, delete what was kept long enough, try the disk again if it was away."""
        await self._worker.run(self._books.tidy)

    async def health(self) -> Health:
        return await self._worker.run(self._books.health)

    @property
    def opening(self) -> int:
        """How often the file was opened in this run; after another opening, what was read before must be read again."""
        return self._books.opening

    @property
    def stopped_cleanly(self) -> bool:
        """Whether the run before this one was told to stop."""
        return self._books.stopped_cleanly


@asynccontextmanager
async def open_outbox(settings: OutboxSettings, world: World) -> AsyncIterator[Outbox]:
    """Open or create the outbox.

    Raises:
        StoreBusy: another agent has it.
        StoreFailed: it was written by a newer version.
    """
    books = Books(settings, world)
    async with world.worker("outbox") as worker:
        await worker.run(books.open)
        try:
            yield Outbox(books, worker)
        finally:
            await worker.run(books.close)
