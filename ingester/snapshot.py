"""Builds the snapshot of this moment from the stores: once a second, for all who look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from calibration.effect import Register
from ingester.accounts import Account, Accounts
from ingester.completeness import Completeness
from ingester.derive import Deriver
from ingester.grid import Grid
from ingester.live import ProductNow, Snapshot, SourceNow
from ingester.report import CATEGORIES, row_tonnes, site_total
from ingester.store.contract import RecordStore, Result, SeriesStore
from metering.activity import multiplier_at
from metering.emission import Ratio
from metering.quantity import EXACT, convert, total
from metering.register import register_track
from metering.text import Text
from metering.wire import AgentStatus

RATE_WINDOW_MS = 5 * 60_000
"""The live rate is what was counted between the first and last reading of this long."""
DAY_MS = 86_400_000


@dataclass
class Watcher:
    """Keeps today's closed results between snapshots and asks the store only for what is new. Blocking."""

    accounts: Accounts
    series: SeriesStore
    records: RecordStore
    deriver: Deriver
    instruments: Register
    grid: Grid
    site: str
    name: Text
    completeness: Completeness
    _today: Sequence[Result] = ()
    _today_key: tuple[int, int] = (0, -1)

    def snapshot(self, now_ms: int, agents: Mapping[str, AgentStatus]) -> Snapshot:
        """Return the snapshot of `now_ms`."""
        midnight = self.grid.midnight(now_ms)
        opened = [r for r in self.deriver.open_results(now_ms) if r.start_ms >= midnight]
        closed = self._closed_today(midnight, now_ms)
        stored = {(result.account, result.start_ms) for result in closed}
        results = [*closed, *(r for r in opened if (r.account, r.start_ms) not in stored)]
        of = {account.id: [r for r in results if r.account == account.id] for account in self.accounts.all}
        sources = [self._source(account, of[account.id], midnight, now_ms) for account in self.accounts.sources]
        everything = site_total(_by_category(sources))
        return Snapshot(
            at_ms=now_ms,
            site=self.site,
            name=self.name,
            total_tonnes_today=everything,
            sources=sources,
            products=[_product(account, of[account.id], everything) for account in self.accounts.products],
            readings=self.series.latest(),
            agents=list(agents.values()),
            alerts=self.records.alerts(limit=50),
            gaps=sorted(self.series.gaps(now_ms - DAY_MS, now_ms), key=lambda gap: -gap.start_ms)[:50],
            due=self.instruments.due(self.grid.local(now_ms).date()),
            today=[r for r in results if self.accounts.by_id[r.account].category is not None],
            slots=self.completeness.now(now_ms),
        )

    def _closed_today(self, midnight: int, now_ms: int) -> Sequence[Result]:
        key = (midnight, self.deriver.stored)
        if key != self._today_key:
            self._today, self._today_key = self.series.results(midnight, now_ms), key
        return [r for r in self._today if r.account in self.accounts.by_id and self.grid.holds(r.start_ms, r.end_ms)]

    def _source(self, account: Account, results: Sequence[Result], midnight: int, now_ms: int) -> SourceNow:
        known = [r.activity for r in results if r.activity is not None]
        tonnes, _ = row_tonnes(account, results)
        closed_ms = self.deriver.expected_until(account, now_ms, include_open=False) - midnight
        covered_ms = sum(r.measured_ms + r.apportioned_ms for r in results if r.revision)
        return SourceNow(
            id=account.id,
            name=account.name,
            category=account.category or "",
            activity_today=total(known) if known else None,
            unit=str(account.unit),
            tonnes_today=tonnes,
            kg_per_hour=self._rate(account, now_ms),
            missing_share=max(0.0, 1 - covered_ms / closed_ms) if closed_ms > 0 else 0.0,
            flags=tuple(sorted({flag for r in results for flag in r.flags})),
            part_of=account.part_of,
        )

    def _rate(self, account: Account, now_ms: int) -> Decimal | None:
        """Return kg CO2 per hour by the readings of the last minutes; None where a point has fewer than two."""
        choice = account.choose(now_ms) if account.choose else None
        if choice is None:
            return None
        per_hour = Decimal(0)
        for sign, point in account.terms:
            readings = self.series.samples(point.name, now_ms - RATE_WINDOW_MS, now_ms + 1).readings
            track = register_track(readings, point.register)
            if point.role != "counter" or len(readings) < 2:
                return None
            counted = track.counted(readings[0][0], readings[-1][0]) or Decimal(0)
            hourly = EXACT.divide(counted * 3_600_000, Decimal(readings[-1][0] - readings[0][0]))
            scaled = hourly * multiplier_at(point.multipliers, now_ms)
            per_hour += sign * convert(scaled, point.unit, account.unit)
        return Ratio(choice.ratio.value).tonnes(per_hour) * 1000


def _by_category(sources: Sequence[SourceNow]) -> dict[str, Decimal | None]:
    found: dict[str, Decimal | None] = {}
    for category in CATEGORIES:
        known = [
            source.tonnes_today
            for source in sources
            if source.category == category and source.part_of is None and source.tonnes_today is not None
        ]
        found[category] = total(known) if known else None
    return found


def _product(account: Account, results: Sequence[Result], tonnes: Decimal | None) -> ProductNow:
    known = [r.activity for r in results if r.activity is not None]
    made = total(known) if known else None
    intensity = EXACT.divide(tonnes, made) if tonnes is not None and made else None
    return ProductNow(account.id.removeprefix("product:"), account.name, made, str(account.unit), intensity)
