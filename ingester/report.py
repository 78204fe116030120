"""Activity, emissions and intensity over any stretch of time, by interval, hour, day or month.

Arithmetic: Decimal, 34 digits, half even. A row adds the activities of its intervals; its emission is formed from that sum with one
division per factor; totals sum the rows in order of source and start. Nothing is rounded. Clauses 8.5 and 9.2 b.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ingester.accounts import Account, Accounts
from ingester.derive import Deriver
from ingester.grid import By, Grid
from ingester.store.contract import FactorUse, Result, SeriesStore
from metering.activity import Coverage, joined
from metering.emission import Ratio, summed
from metering.errors import MeteringError
from metering.quantity import EXACT, Unit, convert, plain, total, unit
from metering.text import Text

ADDED = ("fuel_combustion", "process", "purchased_electricity", "purchased_heat")
TAKEN_OFF = ("exported_electricity", "exported_heat", "recovered_co2")
CATEGORIES = (*ADDED, *TAKEN_OFF)
"""`total` = the added categories less those taken off. GB/T 32150-2015, clause 5.2.2."""


@dataclass(frozen=True)
class Question:
    """What a report is asked for. Times are Unix ms, both on an interval's edge."""

    start_ms: int
    end_ms: int
    by: By = "day"
    source: str | None = None
    as_of_ms: int | None = None
    include_open: bool = False


@dataclass(frozen=True)
class Row:
    """One account over one period."""

    account: Account
    start_ms: int
    end_ms: int
    activity: Decimal | None
    tonnes: Decimal | None
    biogenic_tonnes: Decimal
    coverage: Coverage
    substituted_ms: int
    factors: tuple[FactorUse, ...]
    flags: tuple[str, ...]
    uncertainty_percent: Decimal | None
    revision: int


@dataclass(frozen=True)
class Reporter:
    """Answers questions from the store. Blocking."""

    accounts: Accounts
    series: SeriesStore
    deriver: Deriver
    grid: Grid
    site: str

    def report(self, question: Question, now_ms: int) -> dict[str, Any]:
        """Return the report as `contracts.md` section 5 lays it out.

        Raises:
            MeteringError: an unknown source, or a time that is not on an interval's edge.
        """
        self._check(question)
        chosen = self.accounts.sources if question.source is None else [self.accounts.by_id[question.source]]
        rows = self.rows(question, [*chosen, *self.accounts.products], now_ms)
        shown = [row for row in rows if row.account.category is not None]
        return {
            "site": self.site,
            "from": self.grid.iso(question.start_ms),
            "to": self.grid.iso(question.end_ms),
            "by": question.by,
            "as_of": self.grid.iso(now_ms if question.as_of_ms is None else question.as_of_ms),
            "rows": [self._row(row) for row in shown],
            "totals": self._totals(rows, question.source),
        }

    def rows(self, question: Question, accounts: Sequence[Account], now_ms: int) -> list[Row]:
        """Return the rows, by account and start."""
        live = question.include_open and (question.as_of_ms is None or question.as_of_ms >= now_ms)
        opened = self.deriver.open_results(now_ms) if live else []
        found: list[Row] = []
        for account in accounts:
            stored = self.series.results(question.start_ms, question.end_ms, account.id, question.as_of_ms)
            results = [result for result in stored if self.grid.holds(result.start_ms, result.end_ms)]
            closed = {result.start_ms for result in results}
            results += [
                replace(result, end_ms=min(result.end_ms, now_ms))
                for result in opened
                if result.account == account.id and _starts_in(result, question) and result.start_ms not in closed
            ]
            expected = self.deriver.expected_until(account, now_ms, live)
            found += self._periods(account, results, question, expected)
        return found

    def _periods(self, account: Account, results: list[Result], question: Question, expected: int) -> Iterable[Row]:
        remaining = sorted(results, key=lambda result: result.start_ms)
        for start, end in self.grid.periods(question.start_ms, question.end_ms, question.by):
            mine = [result for result in remaining if result.start_ms < end]
            remaining = remaining[len(mine) :]
            if mine or start < expected:
                yield _row(account, start, end, mine, min(end, max(expected, start)))

    def _check(self, question: Question) -> None:
        if question.source is not None and question.source not in self.accounts.by_id:
            known = ", ".join(account.id for account in self.accounts.sources)
            raise MeteringError(
                Text("没有名为 {source} 的排放源；已配置：{known}", "no source {source}; there are {known}"),
                source=question.source,
                known=known,
            )
        for ms in (question.start_ms, question.end_ms):
            if self.grid.floor(ms) != ms:
                raise MeteringError(
                    Text(
                        "{time} 不在核算间隔的边界上；最近的边界是 {edge}",
                        "{time} is not on an interval's edge; the nearest is {edge}",
                    ),
                    time=self.grid.iso(ms),
                    edge=self.grid.iso(self.grid.floor(ms + self.grid.interval_ms // 2)),
                )

    def _row(self, row: Row) -> dict[str, Any]:
        length = sum((row.coverage.measured_ms, row.coverage.apportioned_ms, row.coverage.missing_ms))
        return {
            "source": row.account.id,
            "category": row.account.category,
            "start": self.grid.iso(row.start_ms),
            "end": self.grid.iso(row.end_ms),
            "activity": amount(row.activity, row.account.unit),
            "emission": {"value": _text(row.tonnes), "unit": "tCO2"},
            "factors": [
                {"set": use.set, "version": use.version, "row": use.row, "source_kind": use.source_kind}
                for use in row.factors
            ],
            "uncertainty_percent": _text(row.uncertainty_percent),
            "quality": {
                "measured": _share(row.coverage.measured_ms - row.substituted_ms, length),
                "apportioned": _share(row.coverage.apportioned_ms, length),
                "substituted": _share(row.substituted_ms, length),
                "missing": _share(row.coverage.missing_ms, length),
            },
            "flags": list(row.flags),
            "revision": row.revision,
            **({"part_of": row.account.part_of} if row.account.part_of else {}),
        }

    def _totals(self, rows: Sequence[Row], source: str | None) -> dict[str, Any]:
        counted = [row for row in rows if row.account.category is not None and (source or row.account.part_of is None)]
        tonnes = {
            category: _sum(row.tonnes for row in counted if row.account.category == category) for category in CATEGORIES
        }
        everything = site_total(tonnes)
        shown = {category for category in CATEGORIES if any(row.account.category == category for row in counted)}
        products = [] if source else self.accounts.products
        return {
            **{category: _tco2(tonnes[category]) for category in CATEGORIES if category in shown},
            "net_purchased_electricity": _tco2(_less(tonnes["purchased_electricity"], tonnes["exported_electricity"])),
            "total": _tco2(everything),
            "biogenic": _tco2(total(row.biogenic_tonnes for row in counted)),
            "intensity": {
                account.id.removeprefix("product:"): self._intensity(account, rows, everything) for account in products
            },
            "completeness": _missing_shares(rows),
        }

    def _intensity(self, product: Account, rows: Sequence[Row], tonnes: Decimal | None) -> dict[str, Any]:
        made = _sum(
            _in_unit(row.activity, row.account.unit, product.unit) for row in rows if row.account.id == product.id
        )
        value = EXACT.divide(tonnes, made) if tonnes is not None and made else None
        return {"value": _text(value), "unit": f"tCO2/{bare(product.unit)}", "activity": amount(made, product.unit)}


def _missing_shares(rows: Sequence[Row]) -> dict[str, float]:
    """Return the share of the time that is missing, of each source and product of which any is: totals hold the known part."""
    missing: dict[str, list[int]] = {}
    for row in rows:
        coverage = row.coverage
        sums = missing.setdefault(row.account.id, [0, 0])
        sums[0] += coverage.missing_ms
        sums[1] += coverage.measured_ms + coverage.apportioned_ms + coverage.missing_ms
    return {account: _share(part, whole) for account, (part, whole) in missing.items() if part}


def _in_unit(value: Decimal | None, given: Unit, wanted: Unit) -> Decimal | None:
    return None if value is None else convert(value, given, wanted)


def site_total(tonnes: dict[str, Decimal | None]) -> Decimal | None:
    """Return the site's total of its categories; None where nothing at all is known."""
    added = _sum(tonnes.get(category) for category in ADDED)
    taken_off = _sum(tonnes.get(category) for category in TAKEN_OFF)
    return _less(added, taken_off)


def row_tonnes(account: Account, results: Sequence[Result]) -> tuple[Decimal | None, Decimal]:
    """Return (tCO2, biogenic tCO2) of the known results of one account."""
    parts = [(r.activity, Ratio.parse(r.ratio)) for r in results if r.activity is not None and r.ratio is not None]
    if not parts:
        return None, Decimal(0)
    share = Fraction(account.biogenic_share)
    if not share:
        return summed(parts), Decimal(0)
    fossil = [(activity, Ratio(ratio.value * (1 - share))) for activity, ratio in parts]
    biogenic = [(activity, Ratio(ratio.value * share)) for activity, ratio in parts]
    return summed(fossil), summed(biogenic)


def _row(account: Account, start: int, end: int, results: list[Result], expected: int) -> Row:
    known = [result for result in results if result.activity is not None]
    tonnes, biogenic = row_tonnes(account, results)
    coverage = _coverage(results, start, max(expected, max((r.end_ms for r in results), default=start)))
    percents = {result.uncertainty_percent for result in known}
    return Row(
        account=account,
        start_ms=start,
        end_ms=end,
        activity=_activity_sum(account, known),
        tonnes=tonnes,
        biogenic_tonnes=biogenic,
        coverage=coverage,
        substituted_ms=sum(result.substituted_ms for result in results),
        factors=tuple(dict.fromkeys(use for result in results for use in result.factors)),
        flags=tuple(sorted({flag for result in results for flag in result.flags})),
        uncertainty_percent=_correlated(known) if None not in percents else None,
        revision=max((result.revision for result in results), default=0),
    )


def _activity_sum(account: Account, known: Sequence[Result]) -> Decimal | None:
    """Return the activity in the account's unit; results of a time when it had another one are converted."""
    alike = [r for r in known if r.activity is not None and unit(r.unit).like(account.unit)]
    if not alike:
        return None
    return total(convert(r.activity, unit(r.unit), account.unit) for r in alike if r.activity is not None)


def _correlated(results: Sequence[Result]) -> Decimal | None:
    """Return U of the row: intervals of one instrument and factor are fully correlated, so they add linearly."""
    parts = [
        (abs(r.activity), r.uncertainty_percent)
        for r in results
        if r.activity is not None and r.uncertainty_percent is not None
    ]
    whole = total(value for value, _ in parts)
    if not whole:
        return max((percent for _, percent in parts), default=None)
    if len({percent for _, percent in parts}) == 1:
        return parts[0][1]
    return EXACT.divide(total(EXACT.multiply(value, percent) for value, percent in parts), whole)


def _coverage(results: Sequence[Result], start: int, end: int) -> Coverage:
    """Return how the time of a row is known; intervals without a result are missing."""
    parts = [
        (r.start_ms, r.end_ms, Coverage(r.measured_ms, r.apportioned_ms, r.missing_ms, r.stretches)) for r in results
    ]
    if not parts:
        return Coverage(0, 0, end - start)
    known = joined(parts)
    covered = known.measured_ms + known.apportioned_ms + known.missing_ms
    return Coverage(
        known.measured_ms, known.apportioned_ms, known.missing_ms + max(end - start - covered, 0), known.stretches
    )


def _starts_in(result: Result, question: Question) -> bool:
    return question.start_ms <= result.start_ms < question.end_ms


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    known = [value for value in values if value is not None]
    return total(known) if known else None


def _less(value: Decimal | None, other: Decimal | None) -> Decimal | None:
    if value is None and other is None:
        return None
    return EXACT.subtract(value or Decimal(0), other or Decimal(0))


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def bare(unit: Unit) -> str:
    """Return the unit's symbol without the reference state."""
    return unit.symbol.split("@")[0]


def amount(value: Decimal | None, unit: Unit) -> dict[str, str | None]:
    """Return an activity as reports show it, the reference state of a gas volume beside its unit."""
    shown = {"value": _text(value), "unit": bare(unit)}
    return {**shown, "reference": unit.reference.replace("C", " C")} if unit.reference else shown


def _tco2(value: Decimal | None) -> dict[str, str | None]:
    return {"value": _text(value), "unit": "tCO2"}


def _share(part_ms: int, length_ms: int) -> float:
    return round(part_ms / length_ms, 9) if length_ms else 0.0
