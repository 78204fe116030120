"""The books of the outbox: the file, or memory while there is none. All of it runs in the outbox's one thread.

What goes wrong with the disk is dealt with here. A handle that failed is never used again: the file is opened anew and
the batches are written again from memory. A file that is not what was written is set aside and salvaged. When neither
helps, batches are kept in a ring in memory, and the disk is tried again every 10 s.
"""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.database import StoreDamaged
from agent.ledger import Ledger, with_losses
from agent.lock import Lock
from agent.ring import Ring
from agent.salvage import Salvage, holes
from agent.sealed import Head, Sealed, joined
from link.world import World
from metering.errors import StoreFailed
from metering.ranges import Ranges
from metering.wire import Batch, Lost, Receipt

log = logging.getLogger(__name__)
T = TypeVar("T")

AT_ONCE = 16
"""Batches in one transaction, so that the write-ahead log stays small."""
_RETRY_S = 10.0
_KEPT_DAMAGED = 2


@dataclass(frozen=True)
class OutboxSettings:
    path: Path
    max_size: int
    """Bytes of the file and its write-ahead log."""
    keep_delivered_s: float


@dataclass(frozen=True)
class Health:
    """The state of the outbox, for the status."""

    stream: str
    last_seq: int
    unreceipted: int
    bytes: int
    volatile: str
    """Why batches are kept in memory only; empty when they are on disk."""
    set_aside: str
    """The damaged file that was set aside in this run, if one was."""
    delivered: dict[str, list[tuple[int, int]]]
    """By stream, oldest first: what was receipted and is still in the file, as ranges of numbers."""


class Books:
    """The file, or memory while there is none."""

    def __init__(self, settings: OutboxSettings, world: World) -> None:
        self._settings = settings
        self._world = world
        self._lock: Lock | None = None
        self._ledger: Ledger | None = None
        self._ring: Ring | None = None
        self._retry_at = 0.0
        self._last_id = 0
        self._salvaged = ""
        """The damaged file that was salvaged to its end in this run."""
        self._end = Head(0, "")
        """The last identity this run gave."""
        self._untold: list[Lost] = []
        self._volatile = ""
        self._set_aside = ""
        self.receipts: deque[Receipt] = deque()
        self.opening = 0
        self.stopped_cleanly = False

    # -- opening and closing

    def open(self) -> None:
        try:
            self._open_ledger()
        except StoreDamaged as error:
            self._rescue(error)
        except StoreFailed as error:
            if "newer version" in str(error):
                raise
            self._leave_disk(error)
        if self._ledger is not None and self._ring is None:
            self.stopped_cleanly = self._ledger.fact("stopped") == str(self._ledger.last_id)

    def _open_ledger(self) -> Ledger:
        path = self._settings.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFailed(path=path, reason=error.strerror) from error
        if self._lock is None:
            self._lock = Lock(Path(f"{path}.lock"))
        ledger = Ledger(path, self._settings.max_size)
        if not self._goes_on(ledger.head):
            ledger.begin(self._world.new_id())
        self._last_id = max(self._last_id, ledger.last_id)
        self._ledger = ledger
        self.opening += 1
        if ledger.salvaging and ledger.salvaging != self._salvaged:
            self._salvage(path.with_name(ledger.salvaging), ledger)
        return ledger

    def _goes_on(self, head: Head | None) -> bool:
        """Return whether the file ends where this run left it.

        A file found at the start may be an older copy of itself (restored, or from a card that forgot), so that its
        numbers would be given a second time.
        """
        return head is not None and head.stream == self._end.stream and head.seq >= self._end.seq

    def close(self) -> None:
        self._absorb()
        if self._ledger is not None:
            with suppress(StoreFailed):
                if self._ring is None:
                    self._ledger.remember("stopped", str(self._ledger.last_id), self._world.now_ms())
            self._close_ledger()
        if self._lock is not None:
            self._lock.release()

    def _close_ledger(self) -> None:
        if self._ledger is not None:
            with suppress(StoreFailed):
                self._ledger.close()
            self._ledger = None

    # -- putting

    def put(self, drafts: list[Batch]) -> list[Sealed]:
        self._absorb()
        if self._ring is not None:
            self._try_disk()
        rows = self._store(drafts) if self._ring is None else None
        if rows is None and self._ring is not None:
            rows = self._ring.put(self._telling(drafts), self._world.now_ms())
            self._untold = []
        return rows or []

    def _telling(self, drafts: list[Batch]) -> list[Batch]:
        """Return the drafts with the losses found until now; these are told only when the put succeeds."""
        return with_losses(drafts, joined(self._untold))

    def _store(self, drafts: list[Batch]) -> list[Sealed] | None:
        """Commit the drafts; once more on a fresh handle after a failure; None when the disk is away."""
        for attempt in (1, 2):
            try:
                ledger = self._ledger or self._open_ledger()
                rows = ledger.put(self._telling(drafts), self._world.now_ms())
                self._untold = []
                self._last_id = ledger.last_id
                self._end = ledger.head or self._end
                return rows
            except StoreFailed as error:
                failure = error
                if attempt == 1 and not self._renewed(error):
                    return None
        self._leave_disk(failure)
        return None

    def _renewed(self, error: StoreFailed) -> bool:
        """Close the handle that failed (its fsync can no longer be trusted) and open a new one."""
        self._close_ledger()
        try:
            if isinstance(error, StoreDamaged):
                self._rescue(error)
                return self._ring is None
            ledger = self._open_ledger()
            if "SQLITE_FULL" in str(error):
                ledger.tidy(self._world.now_ms(), 0)
        except StoreDamaged as damage:
            self._rescue(damage)
        except StoreFailed as failure:
            self._leave_disk(failure)
        return self._ring is None

    def _absorb(self) -> None:
        while self.receipts:
            receipt = self.receipts.popleft()
            for keeper in (self._ledger, self._ring):
                if keeper is not None:
                    keeper.settle(receipt.stream, receipt.through, receipt.also)

    # -- without a disk

    def _leave_disk(self, error: StoreFailed) -> None:
        if self._ring is None:
            self._ring = Ring(Head(self._last_id, self._world.new_id()))
            log.error("outbox: %s; batches are kept in memory until the disk takes them again", error)
        self._volatile = str(error)
        self._retry_at = self._world.uptime() + _RETRY_S

    def _try_disk(self) -> None:
        """Go back to the file with all that memory holds, if it is time to try and the disk takes it."""
        ring = self._ring
        if ring is None or self._world.uptime() < self._retry_at:
            return
        self._close_ledger()
        try:
            self._bring_back(ring, self._open_ledger())
        except StoreDamaged as damage:
            self._rescue(damage)
        except StoreFailed as error:
            self._leave_disk(error)

    def _bring_back(self, ring: Ring, ledger: Ledger) -> None:
        if ring.head.stream not in ledger.streams and ledger.last_id >= ring.first_id:
            ring.shift(ledger.last_id + 1 - ring.first_id)
        rows = list(ring.rows.values())
        for at in range(0, len(rows), AT_ONCE):
            self._untold += ledger.adopt(rows[at : at + AT_ONCE], self._world.now_ms())
        ledger.follow(ring.head)
        self._end = ring.head
        ledger.mark_delivered(list(ring.delivered))
        self._untold += ring.untold
        self._ring = None
        self._volatile = ""
        log.warning("outbox: the disk takes batches again; %d brought back from memory", len(rows))

    # -- damage

    def _rescue(self, error: StoreFailed) -> None:
        """Set the damaged file aside, begin a new one, and bring over what can be proved."""
        self._close_ledger()
        aside = Path(f"{self._settings.path}.damaged-{self._world.now_ms() // 1000}")
        try:
            for end in ("-wal", "-shm", ""):
                file = Path(f"{self._settings.path}{end}")
                if file.exists():
                    file.rename(f"{aside}{end}")
            log.error("outbox: %s; set aside as %s", error, aside.name)
            ledger = self._open_ledger()
            ledger.salvage_from(aside.name, self._world.now_ms())
            self._salvage(aside, ledger)
            self._forget_old_damage()
        except (StoreFailed, OSError) as failure:
            self._leave_disk(StoreFailed(path=self._settings.path, reason=str(failure)))

    def _salvage(self, aside: Path, ledger: Ledger) -> None:
        """Bring over what can be proved; begun again from its beginning when a kill or the disk cut it short."""
        count = self._bring_over(Salvage(aside), ledger)
        self._salvaged, self._set_aside = aside.name, str(aside)
        log.warning("outbox: %d batches salvaged from %s", count, aside.name)

    def _bring_over(self, salvage: Salvage, ledger: Ledger) -> int:
        found, spans, chunk = Ranges(), dict[str, tuple[int, int, int]](), list[Sealed]()
        for row in salvage.rows():
            found.add(row.id, row.id)
            low, high, _ = spans.get(row.stream, (row.id, row.id, 0))
            spans[row.stream] = min(low, row.id), max(high, row.id), row.id - row.seq
            chunk.append(row)
            if len(chunk) == AT_ONCE:
                self._untold += ledger.adopt(chunk, self._world.now_ms())
                chunk = []
        if chunk:
            self._untold += ledger.adopt(chunk, self._world.now_ms())
        ledger.mark_delivered(salvage.delivered)
        for stream, (first_found, high, offset) in spans.items():
            delivered_below = [last for _, last in salvage.delivered if offset < last < first_found]
            unknown = offset if stream in salvage.placed_anew else first_found - 1
            low = max(delivered_below, default=unknown) + 1
            for first, last in holes(found, salvage.delivered, low, high):
                self._untold.append(ledger.hole(stream, first - offset, last - offset))
        ledger.mark_delivered(holes(found, [], ledger.first_id, ledger.last_id))
        ledger.begin(self._world.new_id())
        return found.count(1, ledger.last_id)

    def _forget_old_damage(self) -> None:
        path = self._settings.path
        aside = sorted(path.parent.glob(f"{path.name}.damaged-*"))
        names = sorted({file.name.removesuffix("-wal").removesuffix("-shm") for file in aside})
        for name in names[:-_KEPT_DAMAGED]:
            for end in ("", "-wal", "-shm"):
                Path(path.parent / f"{name}{end}").unlink(missing_ok=True)

    def streams(self) -> dict[str, int]:
        found = self._ledger.streams if self._ledger is not None else {}
        return found | ({self._ring.head.stream: self._ring.head.seq} if self._ring is not None else {})

    # -- reading

    def unreceipted_after(self, after_id: int, limit: int) -> list[Sealed]:
        self._absorb()
        rows = self._read(lambda ledger: ledger.unreceipted_after(after_id, limit))
        if self._ring is not None and len(rows) < limit:
            rows = rows + self._ring.unreceipted_after(after_id, limit - len(rows))
        return rows

    def stretch(self, stream: str, first_seq: int, last_seq: int, limit: int) -> list[Sealed]:
        return self._read(lambda ledger: ledger.stretch(stream, first_seq, last_seq, limit))

    def newest(self, limit: int, before_id: int | None) -> list[tuple[int, Batch]]:
        return self._read(lambda ledger: ledger.newest(limit, before_id))

    def _read(self, question: Callable[[Ledger], list[T]]) -> list[T]:
        """Ask the file; an error is answered with nothing, and `opening` rises as soon as there is a file again."""
        try:
            return question(self._ledger) if self._ledger is not None else []
        except StoreFailed as error:
            self._renewed(error)
            return []

    def tidy(self) -> None:
        self._absorb()
        self._try_disk()
        if self._ledger is None or self._ring is not None:
            return
        try:
            self._ledger.tidy(self._world.now_ms(), int(self._settings.keep_delivered_s * 1000))
        except StoreFailed as error:
            self._renewed(error)

    def health(self) -> Health:
        self._absorb()
        head = self._ring.head if self._ring is not None else self._ledger.head if self._ledger else None
        waiting = sum(keeper.unreceipted for keeper in (self._ledger, self._ring) if keeper is not None)
        size = 0
        with suppress(StoreFailed):
            size = self._ledger.size() if self._ledger else 0
        return Health(
            stream=head.stream if head else "", last_seq=head.seq if head else 0, unreceipted=waiting, bytes=size,
            volatile=self._volatile, set_aside=self._set_aside,
            delivered=self._ledger.delivered() if self._ledger else {},
        )  # fmt: skip
