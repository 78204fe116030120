"""What page and API ask of the ingester, and the one snapshot a second all browsers share.

Promises
    * The source is asked once a second, however many browsers are open.
    * Whoever waits for the next snapshot is let go at once when the feed closes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from ingester.completeness import MeterDay
from ingester.live import Snapshot
from ingester.page.words import DAY_MS, HOUR_MS
from ingester.store.contract import AlertRow, Latest
from link.world import World

PERIOD_S = 1.0
STALE_AFTER_MS = 10_000
"""A snapshot older than this is shown as stale."""


class LiveSource(Protocol):
    """What the ingester gives to page and API. The awaited calls run in its Worker."""

    def snapshot(self) -> Snapshot | None:
        """Return the newest snapshot at once; None before the first."""
        ...

    async def report(
        self,
        start_ms: int,
        end_ms: int,
        by: str,
        source: str | None,
        as_of_ms: int | None,
        include_open: bool,
    ) -> dict[str, Any]:
        """Return the report of [start, end) as contracts.md section 5 has it.

        Raises:
            MeteringError: the source is unknown.
        """
        ...

    async def trace(self, source: str, at_ms: int) -> dict[str, Any]:
        """Return why the number of `source` at that time is what it is.

        Raises:
            MeteringError: the source is unknown, or there is no result at that time.
        """
        ...

    async def readings(self, point: str, start_ms: int, end_ms: int, limit: int) -> Sequence[Latest]:
        """Return readings in [start, end), oldest first."""
        ...

    async def completeness(self, start_ms: int, end_ms: int, meter: str | None) -> Sequence[MeterDay]:
        """Return what became of the slots of each meter, or of one, by day of the site."""
        ...

    async def alerts(self, active: bool | None) -> Sequence[AlertRow]:
        """Return alerts, newest first; `active`: not cleared, or cleared."""
        ...


@dataclass(frozen=True)
class Site:
    """What page and API say about the installation itself."""

    zone: ZoneInfo
    version: str
    demo: bool
    """Simulated plant, open to whoever sits at this machine: the banner says so."""
    interval_ms: int

    def row_ms(self, by: str) -> int:
        """Return the length of a report's row; of a month its shortest."""
        return {"hour": HOUR_MS, "day": DAY_MS, "month": 28 * DAY_MS}.get(by, self.interval_ms)


class Feed:
    """The newest snapshot, taken once a second."""

    def __init__(self, source: LiveSource, world: World) -> None:
        self._source = source
        self._world = world
        self._turned = asyncio.Event()
        self.closed = False
        self.snapshot = source.snapshot()

    async def run(self) -> None:
        while True:
            await self._world.sleep(PERIOD_S)
            self.snapshot = self._source.snapshot()
            self._turn()

    async def next(self) -> Snapshot | None:
        """Wait for the next snapshot; None when the feed has closed, or while there is none."""
        if not self.closed:
            await self._turned.wait()
        return None if self.closed else self.snapshot

    def close(self) -> None:
        self.closed = True
        self._turn()

    def _turn(self) -> None:
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    def now_ms(self) -> int:
        return self._world.now_ms()

    @property
    def clock_state(self) -> str:
        return self._world.clock_state()

    @property
    def stale(self) -> bool:
        """Whether what is shown is too old to be called live."""
        return self.snapshot is None or self.now_ms() - self.snapshot.at_ms > STALE_AFTER_MS
