"""Deviations: the rate of a point against the same hour of earlier days, or against a limit.

Promises
    * A judgement is a function of what is stored and of the standing deviation, if any: asked again it says the same.
    * A deviation begins when the rate over the rule's window has been too high for the rule's `for`; it is over when half of
      the permitted excess is left (a limit: 5 % below it).
    * Where readings or earlier days are missing there is no judgement: a deviation neither begins nor ends.
    * The same hour is that of the site's clock, on earlier days of the same kind (working day or weekend) where enough of
      them have data; of these the median is expected. Across the hour the expectation changes by time.
Clause 9.2 c of the specification: abnormal fluctuation is found, and its size told.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from statistics import median
from typing import Literal

from ingester.accounts import Accounts, PointSpec
from ingester.grid import Grid
from ingester.store.contract import SeriesStore
from metering.activity import activity, multiplier_at
from metering.quantity import EXACT, convert, exact, total
from metering.register import Track, register_track
from metering.text import Text
from settings.meters import per_time
from settings.rules import RuleSection

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LOOKS = 20
"""How often, evenly over the rule's `for`, the rate must have been too high."""
STALE_MS = 5 * 60_000
"""Beyond its window and this, a point without new readings is not judged."""
ENOUGH = Decimal("0.5")
"""Share of a window or hour that must be covered by readings."""
LIMIT_CLEARS = Decimal("0.95")


@dataclass(frozen=True)
class Rule:
    """A rule with what it needs of the configuration."""

    id: str
    name: Text
    point: PointSpec
    compare: Literal["same_hour", "limit"]
    window_ms: int
    lasting_ms: int
    days: int
    min_days: int
    share: Decimal
    """Permitted excess over what is expected."""
    limit: Decimal
    """Per hour in the point's unit; of a gauge in its unit."""


@dataclass(frozen=True)
class Standing:
    """A deviation that lasts, as it stood when it was last judged."""

    since_ms: int
    until_ms: int
    excess: Decimal


@dataclass(frozen=True)
class Deviation:
    """A rate that is too high."""

    rule: Rule
    rate: Decimal
    """Per hour in the point's unit; of a gauge in its unit."""
    expected: Decimal
    """What it is compared with: the median of earlier days, or the limit."""
    days: int
    """How many earlier days that median is of."""
    since_ms: int
    until_ms: int
    """The newest reading it rests on."""
    excess: Decimal
    """What was counted beyond the expected since then, in the point's unit; of a gauge unit-hours."""
    kg_co2: Decimal | None
    """Emission of the excess; None where the point is no activity of a source."""


Verdict = Deviation | Literal["fine"] | None
"""None: cannot be judged now."""


def rules_of(rules: Mapping[str, RuleSection], points: Mapping[str, PointSpec]) -> list[Rule]:
    return [_rule(name, section, points[section.point]) for name, section in rules.items()]


def _rule(name: str, section: RuleSection, point: PointSpec) -> Rule:
    limit = Decimal(0)
    if section.limit is not None and point.role == "counter":
        limit = per_time(section.limit, point.unit)
    elif section.limit is not None:
        limit = section.limit.to(point.unit).value
    return Rule(
        id=name,
        name=section.name.text if section.name else Text(name, name),
        point=point,
        compare=section.compare,
        window_ms=int(section.window * 1000),
        lasting_ms=int(section.lasting * 1000),
        days=section.days,
        min_days=section.min_days,
        share=EXACT.divide(section.by.value, Decimal(100)),
        limit=limit,
    )


class Rates:
    """The mean rate of a point over any stretch of the time that was loaded."""

    def __init__(self, series: SeriesStore, point: PointSpec, start_ms: int, end_ms: int) -> None:
        before = series.last_sample_before(point.name, start_ms + 1)
        first = start_ms if before is None or point.role == "gauge" else before
        self._point = point
        self._readings = series.samples(point.name, first, end_ms + 1).readings
        self._track = Track() if point.role == "gauge" else register_track(self._readings, point.register)

    @property
    def newest_ms(self) -> int | None:
        return self._readings[-1][0] if self._readings else None

    def mean(self, start_ms: int, end_ms: int) -> Decimal | None:
        """Return the mean rate over [start, end), or None where readings cover less than half of it."""
        if self._point.role == "gauge":
            return self._mean_of_gauge(start_ms, end_ms)
        longest = max(end_ms - start_ms, HOUR_MS)
        counted = activity(self._track, start_ms, end_ms, self._point.multipliers, longest)
        known_ms = counted.coverage.measured_ms + counted.coverage.apportioned_ms
        if counted.value is None or known_ms < ENOUGH * (end_ms - start_ms):
            return None
        return EXACT.divide(counted.value * HOUR_MS, Decimal(known_ms))

    def _mean_of_gauge(self, start_ms: int, end_ms: int) -> Decimal | None:
        values = [exact(value) for ms, value in self._readings if start_ms <= ms < end_ms]
        if not values:
            return None
        mean = EXACT.divide(total(values), Decimal(len(values)))
        return EXACT.multiply(mean, multiplier_at(self._point.multipliers, start_ms))

    def rising_since(self, ms: int, earliest_ms: int, too_high: Callable[[Decimal, int], bool]) -> int:
        """Return how far back from `ms` the readings one by one speak of a rate that is too high."""
        for start, end in reversed(list(self._track.spans(earliest_ms, ms))):
            rate = self.mean(start, end)
            if rate is None or not too_high(rate, start):
                break
            ms = start
        return ms


@dataclass
class Judge:
    """Judges rules on the stored readings. Blocking."""

    series: SeriesStore
    accounts: Accounts
    grid: Grid
    _expected: dict[tuple[str, int], tuple[Decimal, int] | None] = field(default_factory=dict)

    def judge(self, rule: Rule, now_ms: int, standing: Standing | None) -> Verdict:
        """Return the deviation there is, `fine`, or None where it cannot be said."""
        begin = now_ms - rule.lasting_ms - 2 * rule.window_ms - STALE_MS
        if standing is not None:
            begin = max(min(begin, standing.until_ms), now_ms - DAY_MS)
        rates = Rates(self.series, rule.point, begin, now_ms)
        newest = rates.newest_ms
        if newest is None or newest < now_ms - rule.window_ms - STALE_MS:
            return None
        rate = rates.mean(newest - rule.window_ms, newest)
        expected = self._expectation(rule, newest - rule.window_ms, newest)
        if rate is None or expected is None:
            return None
        if standing is None:
            since = self._since(rule, rates, newest)
            return (
                "fine"
                if since is None
                else self._deviation(rule, rates, rate, newest, Standing(since, since, Decimal(0)))
            )
        return self._deviation(rule, rates, rate, newest, standing) if rate > _clears_at(rule, expected) else "fine"

    def _since(self, rule: Rule, rates: Rates, newest: int) -> int | None:
        """Return when the rate became too high, if it has been so for long enough."""

        def too_high(rate: Decimal, start_ms: int) -> bool:
            expected = self._expectation(rule, start_ms, start_ms + 1)
            return expected is not None and rate > _raises_at(rule, expected)

        for at in _looks(newest, rule.lasting_ms):
            rate = rates.mean(at - rule.window_ms, at)
            expected = self._expectation(rule, at - rule.window_ms, at)
            if rate is None or expected is None or rate <= _raises_at(rule, expected):
                return None
        first = newest - rule.lasting_ms
        return rates.rising_since(first, first - rule.window_ms, too_high)

    def _deviation(self, rule: Rule, rates: Rates, rate: Decimal, newest: int, standing: Standing) -> Deviation:
        excess = standing.excess
        for start, end in _hours(standing.until_ms, newest):
            mean, expected = rates.mean(start, end), self._expectation(rule, start, end)
            if mean is not None and expected is not None:
                hours = EXACT.divide(Decimal(end - start), Decimal(HOUR_MS))
                excess = EXACT.add(excess, EXACT.multiply(mean - expected, hours))
        expected = self._expectation(rule, newest - rule.window_ms, newest)
        assert expected is not None
        days = self._same_hour(rule, newest)
        return Deviation(
            rule=rule,
            rate=rate,
            expected=expected,
            days=days[1] if days else 0,
            since_ms=standing.since_ms,
            until_ms=newest,
            excess=excess,
            kg_co2=self._kg_co2(rule.point, excess, newest),
        )

    def _kg_co2(self, point: PointSpec, excess: Decimal, ms: int) -> Decimal | None:
        """Return the emission of an excess by the sources that count this point; those part of another are in it already."""
        found: list[Decimal] = []
        for account in self.accounts.for_point(point.name):
            if point.role == "counter" and account.choose is not None and account.part_of is None:
                signs = total(Decimal(sign) for sign, term in account.terms if term.name == point.name)
                counted = convert(EXACT.multiply(excess, signs), point.unit, account.unit)
                choice = account.choose(ms)
                found += [choice.ratio.tonnes(counted) * 1000] if choice else []
        return total(found) if found else None

    def _expectation(self, rule: Rule, start_ms: int, end_ms: int) -> Decimal | None:
        """Return what is expected over [start, end): by time of the hours it lies in."""
        if rule.compare == "limit":
            return rule.limit
        weighted = Decimal(0)
        for start, end in _hours(start_ms, end_ms):
            known = self._same_hour(rule, start)
            if known is None:
                return None
            weighted = EXACT.add(weighted, EXACT.multiply(known[0], Decimal(end - start)))
        return EXACT.divide(weighted, Decimal(end_ms - start_ms))

    def _same_hour(self, rule: Rule, ms: int) -> tuple[Decimal, int] | None:
        """Return the median rate of the earlier days' same hour, and of how many days; None: too few."""
        if rule.compare == "limit":
            return None
        hour = self.grid.start_of(ms, "hour")
        if (rule.id, hour) not in self._expected:
            self._expected = {key: value for key, value in self._expected.items() if key[1] >= hour - DAY_MS}
            self._expected[rule.id, hour] = self._median(rule, hour)
        return self._expected[rule.id, hour]

    def _median(self, rule: Rule, hour: int) -> tuple[Decimal, int] | None:
        here = self.grid.local(hour)
        found: list[tuple[bool, Decimal]] = []
        for days in range(1, rule.days + 1):
            there = here - timedelta(days=days)
            start = int(there.timestamp() * 1000)
            rate = Rates(self.series, rule.point, start, start + HOUR_MS).mean(start, start + HOUR_MS)
            if rate is not None:
                found.append(((there.weekday() < 5) == (here.weekday() < 5), rate))
        alike = [rate for same_kind, rate in found if same_kind]
        rates = alike if len(alike) >= rule.min_days else [rate for _, rate in found]
        return (median(rates), len(rates)) if len(rates) >= rule.min_days else None


def _raises_at(rule: Rule, expected: Decimal) -> Decimal:
    return expected if rule.compare == "limit" else EXACT.multiply(expected, 1 + rule.share)


def _clears_at(rule: Rule, expected: Decimal) -> Decimal:
    factor = LIMIT_CLEARS if rule.compare == "limit" else 1 + rule.share / 2
    return EXACT.multiply(expected, factor)


def _looks(newest: int, lasting_ms: int) -> Iterator[int]:
    steps = LOOKS if lasting_ms else 0
    for step in range(steps + 1):
        yield newest - lasting_ms * step // max(steps, 1)


def _hours(start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """Cut [start, end) at the hours; time zones off the full hour are cut finer than needed."""
    while start_ms < end_ms:
        edge = min((start_ms // (HOUR_MS // 4) + 1) * (HOUR_MS // 4), end_ms)
        yield start_ms, edge
        start_ms = edge
