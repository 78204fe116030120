"""From what is stored to activity and emission: a pure function of readings, factors and certificates.

Promises
    * Deriving again gives the same results and no new revision; what changed gets one, the old one stays.
    * An interval closes with the first reading after its end, or after a grace of two intervals; until then it is open.
    * The cursor moves in the transaction that stores the results: killed anywhere, nothing is left out or done twice.
    * Late readings, corrected stretches and filled gaps restate every interval they reach, and no other.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from calibration.effect import Register
from ingester.accounts import Account, Accounts, FactorChoice, PointSpec
from ingester.grid import Grid
from ingester.store.contract import Result, SeriesStore
from ingester.window import Window, falls_in, installed, judged_again_from, knots_of
from metering.activity import Activity, Coverage, activity
from metering.quantity import EXACT, convert
from metering.register import LOOK_MS, RegisterEventKind
from metering.uncertainty import of_product

GRACE_INTERVALS = 2
"""After so many intervals without a reading an interval is closed as it is."""
BATCH = 10_000
"""Touched stretches taken in one go."""
PIECE = 500
"""Intervals derived and stored in one piece of work, so that commits and receipts never wait long."""
RIPPLE = 32
"""Intervals derived further while a register's state differs from what was stored."""
LONGEST_AMOUNT_MS = 400 * 86_400_000
"""An amount that ended longer ago than this is not looked at again at a start."""
Ranges = dict[str, list[tuple[int, int]]]
CALM = frozenset({RegisterEventKind.EXCHANGE, RegisterEventKind.REFUSED})
"""Events that no later reading can turn into something else."""
TROUBLE = frozenset(kind.value for kind in RegisterEventKind if kind not in CALM)


@dataclass
class Deriver:
    """Derives results for the accounts of a site. Blocking: run it in the store's Worker."""

    accounts: Accounts
    series: SeriesStore
    instruments: Register
    grid: Grid
    stale: bool = True
    """Whether settings, factors or instruments may be others than those of the last time."""
    stored: int = 0
    """How many results this run has stored; grows with each change of what a report says."""
    _work: Iterator[list[Result]] | None = None
    _reached: dict[str, int] = field(default_factory=dict)
    """Per account the end of its last interval that was closed."""
    _shown: dict[tuple[str, str], float] = field(default_factory=dict)
    """Per account and point what the register showed last, where it is counting on without trouble."""

    def derive(self, now_ms: int) -> list[Result]:
        """Take what has come since the cursor, and what the grace has closed; store and return the new revisions."""
        found: list[Result] = []
        while (results := self.step(now_ms)) is not None:
            found += results
        return found

    def refresh(self, now_ms: int) -> list[Result]:
        """Derive again, over all their time, the accounts whose settings, factors or instruments are no longer those of the last
        time; store and return what changed."""
        self.stale = True
        return self.derive(now_ms)

    def step(self, now_ms: int) -> list[Result] | None:
        """Do one bounded piece of the work there is, store and return its revisions; None when nothing is left."""
        if self._work is None:
            self._work = self._all_work(now_ms)
        try:
            return next(self._work)
        except BaseException as error:
            self._work = None
            if isinstance(error, StopIteration):
                return None
            raise

    def _all_work(self, now_ms: int) -> Iterator[list[Result]]:
        if self.stale:
            self.stale = False
            yield from self._restate(now_ms)
        fresh = not self._reached
        while True:
            touched = self.series.touched(self.series.cursor(), BATCH)
            ranges = self._begun(now_ms) if fresh else {}
            fresh = False
            for item in touched:
                for account in self.accounts.for_point(item.point):
                    ranges.setdefault(account.id, []).append((item.start_ms, item.end_ms))
            yield from self._work_off(ranges, now_ms)
            if not touched:
                return
            self.series.append_results([], touched[-1].n)

    def _restate(self, now_ms: int) -> Iterator[list[Result]]:
        known = self.series.bases()
        wanted = {account.id: self._rests_on(account) for account in self.accounts.all}
        for name, basis in wanted.items():
            if known.get(name) == basis:
                continue
            account = self.accounts.by_id[name]
            first = self._first(account, now_ms)
            if first is not None:
                last = self._last(account, now_ms)
                yield from self._pieces(account, first, last, self._closed_until(account, now_ms), now_ms)
            self.series.append_results([], self.series.cursor(), {name: basis})

    def _store(self, results: list[Result]) -> list[Result]:
        if results:
            self.series.append_results(results, self.series.cursor())
            self.stored += len(results)
        return results

    def _rests_on(self, account: Account) -> str:
        history = [self.instruments.history(point.meter) for _, point in account.terms]
        grid = self.grid.interval_ms, self.grid.origin_ms
        return hashlib.sha256(f"{account.basis}|{history!r}|{grid}".encode()).hexdigest()[:16]

    def _first(self, account: Account, now_ms: int) -> int | None:
        """Return from when on anything may be known of an account."""
        times: list[int | None] = []
        for _, point in account.terms:
            first = self._first_known(point, now_ms)
            times.append(first if point.role == "quantity" or first is None else min(first, installed(point, first)))
        return min((ms for ms in times if ms is not None), default=None)

    def _last(self, account: Account, now_ms: int) -> int:
        """Return until when anything may be known of an account: nothing is derived for the time after it."""
        times = [self._newest(point, now_ms) for _, point in account.terms]
        amounts = [self.series.amounts(point.name, 0, now_ms) for _, point in account.terms if point.role == "quantity"]
        times += [min(amount.to_ms, now_ms) for found in amounts for amount in found]
        return max((ms for ms in times if ms is not None), default=0)

    def _first_known(self, point: PointSpec, now_ms: int) -> int | None:
        if point.role != "quantity":
            return self.series.first_sample_after(point.name, 0)
        return min((amount.from_ms for amount in self.series.amounts(point.name, 0, now_ms)), default=None)

    def recompute(self, start_ms: int, end_ms: int, now_ms: int) -> list[Result]:
        """Derive all accounts again over a stretch of time; store and return what changed."""
        ranges = {account.id: [(start_ms, end_ms)] for account in self.accounts.all}
        return [result for results in self._work_off(ranges, now_ms) for result in results]

    def open_results(self, now_ms: int) -> list[Result]:
        """Return the intervals without a stored result yet, as they stand now: revision 0, never stored."""
        found: list[Result] = []
        for account in self.accounts.all:
            start = self._stored_until(account, self._closed_until(account, now_ms))
            window = Window.load(self.series, account, start, now_ms, self._before(account, start), now_ms)
            for begin, end in self.grid.intervals(start, now_ms):
                result = self._result(account, window, begin, min(end, now_ms), now_ms)
                if result.activity is not None:
                    found.append(replace(result, end_ms=end))
        return found

    def _stored_until(self, account: Account, closed: int) -> int:
        """Return the edge up to which results are stored: a closed interval may wait a moment for its result."""
        edge = closed
        for _ in range(GRACE_INTERVALS + 1):
            if self._before(account, edge) is not None:
                return edge
            edge -= self.grid.interval_ms
        return closed

    def _begun(self, now_ms: int) -> Ranges:
        """Return where to begin after a start: what was open when we stopped may have been closed by the grace since."""
        found: Ranges = {}
        for account in self.accounts.all:
            spans = [span for _, point in account.terms for span in self._unfinished(point, now_ms)]
            if spans:
                found[account.id] = spans
        return found

    def _unfinished(self, point: PointSpec, now_ms: int) -> list[tuple[int, int]]:
        if point.role == "quantity":
            amounts = self.series.amounts(point.name, now_ms - LONGEST_AMOUNT_MS, now_ms)
            return [(amount.from_ms, min(amount.to_ms, now_ms)) for amount in amounts]
        newest = self._newest(point, now_ms)
        return [] if newest is None else [(newest, newest)]

    def _work_off(self, ranges: Ranges, now_ms: int) -> Iterator[list[Result]]:
        for account in self.accounts.all:
            closed = self._closed_until(account, now_ms)
            spans = list(ranges.get(account.id, ()))
            reached = self._reached.get(account.id)
            if reached is not None and reached < closed:
                spans.append((reached, closed))
            for start, end in self._apart(spans):
                if start >= closed and reached == closed and self._calm(account, start, end):
                    continue
                yield from self._pieces(account, start, end, closed, now_ms)
                self._note_state(account, closed, now_ms)
            if account.id in ranges or reached is not None:
                self._reached[account.id] = closed

    def _apart(self, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return stretches in order, those that are close joined: live readings and a backlog stay two stretches."""
        joined: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if joined and start <= joined[-1][1] + 2 * self.grid.interval_ms:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            else:
                joined.append((start, end))
        return joined

    def _pieces(self, account: Account, start: int, end: int, closed: int, now_ms: int) -> Iterator[list[Result]]:
        """Derive a stretch piece by piece, each stored before the next begins."""
        begin = start
        while True:
            stop = min(begin + PIECE * self.grid.interval_ms, end)
            derived = yield from self._derive_account(account, begin, stop, closed, now_ms)
            begin = max(stop, derived)
            if begin >= end:
                return

    def _calm(self, account: Account, start: int, end: int) -> bool:
        """Whether what came lies in the open interval and only counts on, so that no closed interval can be touched by it."""
        for _, point in account.terms:
            shown = self._shown.get((account.id, point.name))
            if shown is None:
                return False
            values = [value for _, value in self.series.samples(point.name, start, end + 1).readings]
            if falls_in(shown, values, point):
                return False
            self._shown[account.id, point.name] = max([shown, *values])
        return True

    def _note_state(self, account: Account, closed: int, now_ms: int) -> None:
        """Keep what each register shows while it has nothing to come back from."""
        knots = knots_of(self._before(account, closed))
        for _, point in account.terms:
            knot = knots.get(point.name)
            self._shown.pop((account.id, point.name), None)
            if knot and not knot["open"] and point.role == "counter":
                values = [value for _, value in self.series.samples(point.name, knot["at"], now_ms + 1).readings]
                if not falls_in(float(knot["shown"]), values, point):
                    self._shown[account.id, point.name] = max([float(knot["shown"]), *values])

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

    def _derive_account(
        self, account: Account, start: int, end: int, closed: int, now_ms: int
    ) -> Generator[list[Result], None, int]:
        """Derive the closed intervals that readings in [start, end] reach, and on from there while the register's state changes.

        Returns the edge up to which all readings were taken in.
        """
        first, end = self._reach(account, start, end)
        last = min(self.grid.ceil(end + 1), closed)
        previous = self._before(account, first)
        window = Window.load(self.series, account, first, last, previous, now_ms)
        while (further := self._look_ahead(window, account, last, closed)) > last:
            last = further
            window = Window.load(self.series, account, first, last, previous, now_ms)
        changed = False
        for begin in range(first, last, PIECE * self.grid.interval_ms):
            stop = min(begin + PIECE * self.grid.interval_ms, last)
            found, previous, changed = self._revisions(account, window, begin, stop, now_ms)
            yield self._store(found)
        taken_in = last
        while changed and last < closed and self.series.results(last, last + 1, account.id):
            first, last = last, min(last + RIPPLE * self.grid.interval_ms, closed)
            window = Window.load(self.series, account, first, last, previous, now_ms)
            found, previous, changed = self._revisions(account, window, first, last, now_ms)
            yield self._store(found)
        return taken_in

    def _revisions(
        self, account: Account, window: Window, first: int, last: int, now_ms: int
    ) -> tuple[list[Result], Result, bool]:
        """Return the revisions of [first, last), its last result, and whether the registers' state after it is another now."""
        found: list[Result] = []
        known = {result.start_ms: result for result in self.series.results(first, last, account.id)}
        for begin, stop in self.grid.intervals(first, last):
            newest = self._result(account, window, begin, stop, now_ms)
            revised = _revised(newest, known.get(begin))
            found += [revised] if revised else []
        return found, newest, knots_of(newest) != knots_of(known.get(last - self.grid.interval_ms))

    def _look_ahead(self, window: Window, account: Account, last: int, closed: int) -> int:
        """Return until when readings may change how what happened in a window is judged."""
        wanted = last
        for _, point in account.terms:
            newest = self._newest(point, closed)
            for event in window.tracks[point.name].events:
                if event.kind in CALM or newest is None or newest <= last:
                    continue
                until = newest if event.kind == RegisterEventKind.UNRESOLVED else min(newest, event.end_ms + LOOK_MS)
                returns = self._returns(point, last, until, float(event.before))
                wanted = max(wanted, self.grid.ceil(returns + 1)) if returns is not None else wanted
        return min(wanted, closed)

    def _returns(self, point: PointSpec, after: int, until: int, level: float) -> int | None:
        """Return when a register next shows at least `level`."""
        for start in range(after, until + 1, LOOK_MS):
            readings = self.series.samples(point.name, start, min(start + LOOK_MS, until + 1)).readings
            for ms, value in readings:
                if value >= level and not point.register.refuses(value):
                    return ms
        return None

    def _before(self, account: Account, start: int) -> Result | None:
        """Return the stored result of the interval that ends at `start`."""
        found = self.series.results(start - self.grid.interval_ms, start, account.id)
        return next((result for result in found if self.grid.holds(result.start_ms, result.end_ms)), None)

    def _reach(self, account: Account, start: int, end: int) -> tuple[int, int]:
        """Return the edge to derive from and the reading to derive to: the readings around a touched stretch, and further back
        where it may change how earlier readings are judged."""
        first = self.grid.floor(start)
        for _, point in account.terms:
            if point.role != "counter":
                continue
            after = self.series.first_sample_after(point.name, end + 1)
            end = end if after is None else max(end, after)
            values = [
                value
                for _, value in self.series.samples(point.name, start, end + 1).readings
                if not point.register.refuses(value)
            ]
            first = min(first, self._reach_back(account, point, start, values))
        return first, end

    def _reach_back(self, account: Account, point: PointSpec, start: int, values: Sequence[float]) -> int:
        """Return the edge from which the judgement of a point may change: that of the last accepted reading before `start`;
        a day before it where the register falls; where it once fell and now comes back, from there."""
        reached = start
        while True:
            before = self.series.last_sample_before(point.name, reached)
            if before is None:
                return self.grid.floor(min(reached, installed(point, start)))
            edge = self.grid.floor(before)
            holding = self._before(account, edge + self.grid.interval_ms)
            states = [knot for r in (holding, self._before(account, edge)) if (knot := knots_of(r).get(point.name))]
            if states:
                edge = min(edge, self.grid.floor(states[-1]["at"]))
            wanted = judged_again_from(states, point, values, start)
            if wanted is None or wanted >= edge:
                return edge
            reached = wanted + 1

    def _result(self, account: Account, window: Window, start: int, end: int, now_ms: int) -> Result:
        parts = [
            activity(window.tracks[point.name], start, end, point.multipliers, self.grid.interval_ms)
            for _, point in account.terms
        ]
        coverage = _worst([part.coverage for part in parts], end - start)
        choice = account.choose(start) if account.choose is not None else None
        instruments, flags = self._instruments(account, start)
        if choice is None and account.category is not None:
            flags.add("no_factor")
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
    """Return the next revision of an interval, or None where nothing changed, or nothing was ever known of it."""
    if known is None:
        speaks = result.activity is not None or TROUBLE & set(result.flags)
        return replace(result, revision=1, cause="closed") if speaks else None
    if replace(result, revision=known.revision, derived_ms=known.derived_ms, cause=known.cause) == known:
        return None
    cause = "late" if result.basis == known.basis else "changed"
    return replace(result, revision=known.revision + 1, cause=cause)


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
    window: Window, start: int, end: int, choice: FactorChoice | None, instruments: Iterable[str]
) -> tuple[str, ...]:
    flags = {flag for begin, stop, flag in window.flags if begin < end and (stop > start or begin == stop == start)}
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
