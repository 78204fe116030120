"""From what is stored to activity and emission: a pure function of readings, factors and certificates.

Promises
    * Deriving again gives the same results and no new revision; what changed gets one, the old one stays.
    * An interval closes with the first reading after its end, or after a grace of two intervals; until then it is open.
    * The cursor moves in the transaction that stores the results: killed anywhere, nothing is left out or done twice.
    * Late readings, corrected stretches and filled gaps restate every interval they reach, and no other.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from calibration.effect import Register
from ingester.accounts import Account, Accounts, FactorChoice, PointSpec
from ingester.grid import Grid
from ingester.store.contract import Result, Samples, SeriesStore
from metering.activity import Activity, Coverage, activity
from metering.quantity import EXACT, convert, exact, plain
from metering.register import RegisterEventKind, Track, amounts_track, register_track
from metering.uncertainty import of_product

GRACE_INTERVALS = 2
"""After so many intervals without a reading an interval is closed as it is."""
BATCH = 10_000
"""Touched stretches taken in one go."""
TROUBLE = frozenset(kind.value for kind in RegisterEventKind if kind != RegisterEventKind.EXCHANGE)
"""Flags of intervals whose judgement may change with readings before or after them."""


@dataclass
class Deriver:
    """Derives results for the accounts of a site. Blocking: run it in the store's Worker."""

    accounts: Accounts
    series: SeriesStore
    instruments: Register
    grid: Grid
    stored: int = 0
    """How many results this run has stored; grows with each change of what a report says."""
    _reached: dict[str, int] = field(default_factory=dict)
    """Per account the end of its last interval that was closed."""

    def derive(self, now_ms: int) -> list[Result]:
        """Take what has come since the cursor, and what the grace has closed; store and return the new revisions."""
        touched = self.series.touched(self.series.cursor(), BATCH)
        ranges = self._begun(now_ms) if not self._reached else {}
        for item in touched:
            for account in self.accounts.for_point(item.point):
                start, end = ranges.get(account.id, (item.start_ms, item.end_ms))
                ranges[account.id] = min(start, item.start_ms), max(end, item.end_ms)
        results = self._derive_ranges(ranges, now_ms)
        cursor = touched[-1].n if touched else self.series.cursor()
        if results or touched:
            self.series.append_results(results, cursor)
            self.stored += len(results)
        return results

    def recompute(self, start_ms: int, end_ms: int, now_ms: int) -> list[Result]:
        """Derive all accounts again over a stretch of time; store and return what changed."""
        ranges = {account.id: (start_ms, end_ms) for account in self.accounts.all}
        results = self._derive_ranges(ranges, now_ms)
        if results:
            self.series.append_results(results, self.series.cursor())
            self.stored += len(results)
        return results

    def open_results(self, now_ms: int) -> list[Result]:
        """Return the intervals still running, as they stand now: revision 0, never stored."""
        found: list[Result] = []
        for account in self.accounts.all:
            start = self._closed_until(account, now_ms)
            window = _Window.load(self.series, account, start, now_ms, self._before(account, start))
            for begin, end in self.grid.intervals(start, now_ms):
                result = self._result(account, window, begin, min(end, now_ms), now_ms)
                if result is not None:
                    found.append(replace(result, end_ms=end))
        return found

    def _begun(self, now_ms: int) -> dict[str, tuple[int, int]]:
        """Return where to begin after a start: what was open when we stopped may have been closed by the grace since."""
        newest = {
            account.id: [self._newest(point, now_ms) for _, point in account.terms] for account in self.accounts.all
        }
        known = {account: [ms for ms in times if ms is not None] for account, times in newest.items()}
        return {account: (min(times), max(times)) for account, times in known.items() if times}

    def _derive_ranges(self, ranges: dict[str, tuple[int, int]], now_ms: int) -> list[Result]:
        results: list[Result] = []
        for account in self.accounts.all:
            closed = self._closed_until(account, now_ms)
            start, end = ranges.get(account.id, (closed, closed))
            reached = self._reached.get(account.id)
            if reached is not None and reached < closed:
                start, end = min(start, reached), max(end, closed)
            if start < end or account.id in ranges:
                results += self._derive_account(account, start, end, closed, now_ms)
            if account.id in ranges or reached is not None:
                self._reached[account.id] = closed
        return results

    def expected_until(self, account: Account, now_ms: int, include_open: bool) -> int:
        """Return until when an account should have results: now, or the end of its last closed interval."""
        return now_ms if include_open else min(self._closed_until(account, now_ms), self.grid.floor(now_ms))

    def _closed_until(self, account: Account, now_ms: int) -> int:
        """Return the end of the last interval that is closed: by a later reading of every point, or by the grace."""
        by_grace = self.grid.floor(now_ms) - GRACE_INTERVALS * self.grid.interval_ms
        newest = [self._newest(point, now_ms) for _, point in account.terms]
        by_reading = min((self.grid.floor(ms) if ms is not None else by_grace) for ms in newest)
        return max(by_grace, by_reading)

    def _newest(self, point: PointSpec, now_ms: int) -> int | None:
        return self.series.last_sample_before(point.name, now_ms + 1) if point.role == "counter" else None

    def _derive_account(self, account: Account, start: int, end: int, closed: int, now_ms: int) -> list[Result]:
        """Derive the closed intervals that readings in [start, end] reach, and on from there while the register's state changes."""
        start, end = self._reach(account, start, end)
        first, last = self.grid.floor(start), min(self.grid.ceil(end + 1), closed)
        found: list[Result] = []
        previous = self._before(account, first)
        while first < last:
            known = {result.start_ms: result for result in self.series.results(first, last, account.id)}
            window = _Window.load(self.series, account, first, last, previous)
            for begin, stop in self.grid.intervals(first, last):
                previous = self._result(account, window, begin, stop, now_ms) or previous
                revised = _revised(previous, known.get(begin)) if previous and previous.start_ms == begin else None
                found += [revised] if revised else []
            stable = previous is None or _knots(previous) == _knots(known.get(last - self.grid.interval_ms))
            following = self.series.results(last, last + 1, account.id)
            first, last = last, last if stable or not following else min(last + self.grid.interval_ms, closed)
        return found

    def _before(self, account: Account, start: int) -> Result | None:
        """Return the stored result of the interval that ends at `start`."""
        return next(iter(self.series.results(start - self.grid.interval_ms, start, account.id)), None)

    def _reach(self, account: Account, start: int, end: int) -> tuple[int, int]:
        """Widen a touched stretch to the readings around it, and across intervals whose judgement is open."""
        for _, point in account.terms:
            if point.role != "counter":
                continue
            before = self._settled_before(account, point, start)
            after = self._settled_after(account, point, end)
            start = min(start, before) if before is not None else start
            end = max(end, after) if after is not None else end
        return start, end

    def _settled_before(self, account: Account, point: PointSpec, ms: int) -> int | None:
        before = self.series.last_sample_before(point.name, ms)
        while before is not None and self._troubled(account, before):
            earlier = self.series.last_sample_before(point.name, self.grid.floor(before))
            if earlier is None:
                break
            before = earlier
        return before

    def _settled_after(self, account: Account, point: PointSpec, ms: int) -> int | None:
        after = self.series.first_sample_after(point.name, ms + 1)
        while after is not None and self._troubled(account, after):
            later = self.series.first_sample_after(point.name, self.grid.floor(after) + self.grid.interval_ms)
            if later is None:
                break
            after = later
        return after

    def _troubled(self, account: Account, ms: int) -> bool:
        start = self.grid.floor(ms)
        results = self.series.results(start, start + 1, account.id)
        return any(TROUBLE & set(result.flags) for result in results)

    def _result(self, account: Account, window: "_Window", start: int, end: int, now_ms: int) -> Result | None:
        parts = [
            activity(window.tracks[point.name], start, end, point.multipliers, self.grid.interval_ms)
            for _, point in account.terms
        ]
        if all(part.value is None for part in parts):
            return None
        coverage = _worst([part.coverage for part in parts], end - start)
        choice = account.choose(start) if account.choose is not None else None
        instruments, flags = self._instruments(account, start)
        return Result(
            account=account.id,
            start_ms=start,
            end_ms=end,
            revision=0,
            derived_ms=now_ms,
            cause="open",
            basis=_basis(account, instruments),
            activity=_signed_sum(account, parts),
            unit=str(account.unit),
            ratio=str(choice.ratio) if choice else None,
            factors=choice.uses if choice else (),
            measured_ms=coverage.measured_ms,
            apportioned_ms=coverage.apportioned_ms,
            substituted_ms=0,
            missing_ms=coverage.missing_ms,
            stretches=coverage.stretches,
            flags=_flags(window, start, end, choice, flags),
            uncertainty_percent=_uncertainty(account, choice),
            evidence={"points": window.edges(start, end), "instruments": instruments},
        )

    def _instruments(self, account: Account, start: int) -> tuple[dict[str, dict[str, str | None]], set[str]]:
        """Return the instrument, certificate and state behind each meter on the day, and the flags that follow."""
        day = self.grid.local(start).date()
        standings = {point.meter: self.instruments.on(point.meter, day) for _, point in account.terms}
        found = {
            meter: {"instrument": on.instrument, "certificate": on.certificate, "state": on.state.value}
            for meter, on in standings.items()
        }
        return found, {on.flag for on in standings.values() if on.flag is not None}


def _revised(result: Result, known: Result | None) -> Result | None:
    """Return the next revision of an interval, or None where nothing changed."""
    if known is None:
        return replace(result, revision=1, cause="closed")
    if replace(result, revision=known.revision, derived_ms=known.derived_ms, cause=known.cause) == known:
        return None
    cause = "late" if result.basis == known.basis else "changed"
    return replace(result, revision=known.revision + 1, cause=cause)


def _knots(result: Result | None) -> dict[str, Any]:
    points: Mapping[str, Any] = result.evidence["points"] if result else {}
    return {point: edges.get("knot") for point, edges in points.items()}


@dataclass(frozen=True)
class _Window:
    """What is stored of an account's points over a stretch of time, judged."""

    tracks: dict[str, Track]
    flags: tuple[tuple[int, int, str], ...]
    """(start, end, flag) that come from the readings themselves."""

    @classmethod
    def load(cls, series: SeriesStore, account: Account, start: int, end: int, previous: Result | None) -> "_Window":
        """Read the points of an account over [start, end) and a reading beyond; `previous` is the result of the interval before."""
        knots = _knots(previous)
        tracks: dict[str, Track] = {}
        flags: list[tuple[int, int, str]] = []
        for _, point in account.terms:
            track, found = _track(series, point, start, end, knots.get(point.name))
            tracks[point.name] = track
            flags += found
            flags += [(event.start_ms, event.end_ms, event.kind.value) for event in track.events]
        return cls(tracks, tuple(flags))

    def edges(self, start: int, end: int) -> dict[str, dict[str, Any]]:
        """Return per point the readings the interval's edges rest on, and the register's state at its end."""
        return {name: _edges(track, start, end) for name, track in self.tracks.items()}


def _edges(track: Track, start: int, end: int) -> dict[str, Any]:
    knot = track.knot(end)
    return {
        "start": [[ms, plain(count)] for ms, count in track.neighbours(start)],
        "end": [[ms, plain(count)] for ms, count in track.neighbours(end)],
        "knot": [knot[0], plain(exact(knot[1]))] if knot else None,
    }


def _track(
    series: SeriesStore, point: PointSpec, start: int, end: int, knot: list[Any] | None
) -> tuple[Track, list[tuple[int, int, str]]]:
    if point.role == "quantity":
        amounts = series.amounts(point.name, start, end)
        flags = [(amount.from_ms, amount.to_ms, "simulated") for amount in amounts if amount.simulated]
        return amounts_track((amount.from_ms, amount.to_ms, amount.value) for amount in amounts), flags
    before = knot[0] if knot else series.last_sample_before(point.name, start + 1)
    after = series.first_sample_after(point.name, end)
    samples = series.samples(point.name, start if before is None else before, (end if after is None else after) + 1)
    readings = samples.readings
    spec = point.register
    if knot:
        readings = [(knot[0], float(knot[1])), *(reading for reading in readings if reading[0] > knot[0])]
    if before is not None:  # an exchange up to the first reading at hand has been counted already
        spec = replace(spec, exchanges=tuple(e for e in spec.exchanges if e.at_ms > before))
    return register_track(readings, spec), _sample_flags(samples)


def _sample_flags(samples: Samples) -> list[tuple[int, int, str]]:
    flags = [(ms, ms, "conflict") for ms in samples.conflicts]
    if samples.simulated is not None:
        flags.append((*samples.simulated, "simulated"))
    return flags


def _signed_sum(account: Account, parts: Sequence[Activity]) -> Decimal | None:
    total = Decimal(0)
    for (sign, point), part in zip(account.terms, parts, strict=True):
        if part.value is None:
            return None
        total = EXACT.add(total, EXACT.multiply(Decimal(sign), convert(part.value, point.unit, account.unit)))
    return total


def _worst(coverages: Sequence[Coverage], length_ms: int) -> Coverage:
    """Return the coverage of a sum: as incomplete as its worst term."""
    missing = max(coverage.missing_ms for coverage in coverages)
    apportioned = min(max(coverage.apportioned_ms for coverage in coverages), length_ms - missing)
    stretches = {stretch for coverage in coverages for stretch in coverage.stretches}
    return Coverage(length_ms - missing - apportioned, apportioned, missing, tuple(sorted(stretches)))


def _flags(
    window: _Window, start: int, end: int, choice: FactorChoice | None, instruments: Iterable[str]
) -> tuple[str, ...]:
    flags = {flag for begin, stop, flag in window.flags if begin < end and stop >= start}
    flags.update(instruments)
    if choice is not None:
        flags.update(choice.flags)
    return tuple(sorted(flags))


def _uncertainty(account: Account, choice: FactorChoice | None) -> Decimal | None:
    """Return U95 in percent of activity x factor; None while any part of it is unknown. IPCC approach 1."""
    parts = [point.uncertainty_percent for _, point in account.terms]
    if choice is not None:
        parts.append(choice.uncertainty_percent)
    known = [part for part in parts if part is not None]
    if len(account.terms) != 1 or len(known) != len(parts):
        return None
    return of_product(known)


def _basis(account: Account, instruments: object) -> str:
    return hashlib.sha256(f"{account.basis}|{instruments!r}".encode()).hexdigest()[:16]
