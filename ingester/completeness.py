"""The ledger of slots: what became of every slot of every meter, by what is stored. The words are those of metering/slots.py.

Promises
    * expected = read + late + backfilled + missed of every meter and day, exactly; a slot nobody accounts for is missed with
      the cause `unknown`, as soon as it could have been told of.
    * It is computed from readings and events alone, so it is the same after a restart, whatever order they came in.
Which slots hold readings is kept by the hour and asked again where something arrived; gaps and stops are laid over it when asked.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

from ingester.grid import Grid as Calendar
from ingester.inspection import AHEAD_MS, EARLIEST_MS
from ingester.store.contract import GapRow, SeriesStore
from metering.ranges import Ranges
from metering.slots import UNKNOWN, Account, Grid, Seen, Told, account
from metering.wire import ClockStep, Event, Lost, Restart, Slots, Thinned

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
TOLD_WITHIN_MS = 90_000
"""How soon after its end an agent tells of a missed slot: gaps are told once a minute."""
MOST_KEPT = 400_000
"""Runs of slots in memory."""
LIVE_EVERY_MS = 5_000
STOPS = frozenset({"stopped", "crashed", "power_loss", "agent_down"})
"""Causes of gaps that a start tells of the time before it: what was stored of that time counts all the same."""


@dataclass(frozen=True)
class MeterDay:
    """One meter in one day of the site, or in the part of it that was asked for."""

    meter: str
    agent: str
    start_ms: int
    end_ms: int
    interval_ms: int
    """At its end."""
    slots: Account


@dataclass(frozen=True)
class SlotsNow:
    """One meter in the current hour and today."""

    hour: Account
    today: Account


@dataclass(frozen=True)
class _Piece:
    """How a run of an agent reads a meter."""

    agent: str
    since_ms: int
    until_ms: int
    grid: Grid


@dataclass
class _Run:
    """What one run of an agent told of itself."""

    boot: str
    meters: dict[str, Grid] = field(default_factory=dict)


@dataclass
class _Told:
    """What agents told, and up to which arrival it is known."""

    through: int = 0
    runs: dict[str, dict[int, _Run]] = field(default_factory=dict)
    """By agent and beginning."""
    steps: dict[str, list[ClockStep]] = field(default_factory=dict)
    restarts: dict[str, dict[int, Restart]] = field(default_factory=dict)
    given_up: dict[str, list[tuple[int, Lost | Thinned]]] = field(default_factory=dict)


@dataclass
class Completeness:
    """Answers for any stretch of time. Blocking; one thread at a time."""

    series: SeriesStore
    calendar: Calendar
    bound: Mapping[str, str] = field(default_factory=dict)
    """The agent of each meter that is bound to one by configuration."""
    _told: _Told = field(default_factory=_Told)
    _kept: dict[int, dict[tuple[str, Grid], list[Seen]]] = field(default_factory=dict)
    """Hour -> which slots of it hold readings."""
    _live: tuple[int, dict[str, SlotsNow]] = (-LIVE_EVERY_MS, {})

    def days(self, start_ms: int, end_ms: int, now_ms: int, meter: str | None = None) -> list[MeterDay]:
        """Return the account of each meter and day in [start, end), by meter and day; of what is to come nothing."""
        self._learn()
        end_ms = min(end_ms, now_ms)
        if start_ms >= end_ms:
            return []
        pieces = {
            name: found for name, found in self._pieces(start_ms, end_ms, now_ms).items() if meter in (None, name)
        }
        days = list(self.calendar.periods(start_ms, end_ms, "day"))
        book = _Book(self, pieces, start_ms, end_ms, now_ms)
        return [found for name in sorted(pieces) for day in days if (found := book.day(name, *day)) is not None]

    def now(self, now_ms: int) -> dict[str, SlotsNow]:
        """Return each meter's current hour and today; asked again every 5 s."""
        at_ms, found = self._live
        if not 0 <= now_ms - at_ms < LIVE_EVERY_MS:
            midnight, hour = self.calendar.midnight(now_ms), self.calendar.start_of(now_ms, "hour")
            today = {day.meter: day.slots for day in self.days(midnight, now_ms, now_ms)}
            hours = {day.meter: day.slots for day in self.days(hour, now_ms, now_ms)}
            found = {meter: SlotsNow(hours.get(meter, Account()), slots) for meter, slots in today.items()}
            self._live = now_ms, found
        return found

    # What is known

    def _learn(self) -> None:
        """Take in what arrived since: events, and which hours have to be looked at again."""
        told = self._told
        after, told.through = told.through, self.series.arrived()
        if self._kept:
            longest = max((grid.interval_ms for hour in self._kept.values() for _, grid in hour), default=0)
            for hour in self.series.touched_hours(after, told.through, longest // 4):
                self._kept.pop(hour, None)
        for kind in ("slots", "clock", "restart", "lost", "thinned"):
            for one in self.series.events(kind, after):
                if one.n <= told.through:
                    self._note(one.n, one.agent, one.event)

    def _note(self, n: int, agent: str, event: Event) -> None:
        told = self._told
        match event:
            case Slots():
                run = told.runs.setdefault(agent, {}).setdefault(event.since, _Run(event.boot))
                run.meters |= {meter: Grid(*slots) for meter, slots in event.meters.items()}
            case ClockStep():
                told.steps.setdefault(agent, []).append(event)
            case Restart():
                told.restarts.setdefault(agent, {})[event.at] = event
            case Lost() | Thinned():
                told.given_up.setdefault(agent, []).append((n, event))
            case _:
                pass

    def _pieces(self, start_ms: int, end_ms: int, now_ms: int) -> dict[str, list[_Piece]]:
        """Return by meter how it was read in [start, end), by the agent it belongs to or belonged to."""
        owners = self.series.owners()
        found: dict[str, list[_Piece]] = {}
        for agent, runs in self._told.runs.items():
            begun = sorted((self._begin(agent, since, now_ms), since) for since in runs)
            ends = [*(begin for begin, _ in begun[1:]), now_ms + DAY_MS]
            for (begin, since), end in zip(begun, ends, strict=True):
                if begin < min(end, end_ms) and end > start_ms:
                    for name, grid in runs[since].meters.items():
                        if agent in (self.bound.get(name), owners.get(name, agent)):
                            found.setdefault(name, []).append(_Piece(agent, begin, end, grid))
        for name, agent in self.bound.items():
            found[name] = self._rebound(name, agent, found.get(name, []), now_ms)
        return {name: pieces for name, pieces in found.items() if pieces}

    def _rebound(self, meter: str, agent: str, pieces: Sequence[_Piece], now_ms: int) -> list[_Piece]:
        """Return the pieces of a meter that is bound to an agent: another's end where the agent began to read it."""
        runs = self._told.runs.get(agent, {}).items()
        first = min((self._begin(agent, since, now_ms) for since, run in runs if meter in run.meters), default=None)
        return [
            piece if piece.agent == agent or first is None else replace(piece, until_ms=min(piece.until_ms, first))
            for piece in pieces
            if piece.agent == agent or first is None or piece.since_ms < first
        ]

    def _begin(self, agent: str, since: int, now_ms: int) -> int:
        """Return when a run began; where its clock was not set yet, when it was set."""
        if EARLIEST_MS <= since <= now_ms + AHEAD_MS:
            return since
        later = sorted((step.before, step.after) for step in self._told.steps.get(agent, []) if step.before >= since)
        return next((after for _, after in later if EARLIEST_MS <= after <= now_ms + AHEAD_MS), max(since, now_ms))

    def seen(
        self, meters: Sequence[tuple[str, Grid]], start_ms: int, end_ms: int
    ) -> dict[tuple[str, Grid], list[Seen]]:
        """Return which slots of each meter hold readings, of all hours that [start, end) touches."""
        hours = range(start_ms // HOUR_MS * HOUR_MS, end_ms, HOUR_MS)
        for first, last in _stretches(hour for hour in hours if not self._has(hour, meters)):
            answer = self.series.seen(meters, first, last + HOUR_MS)
            for hour in range(first, last + HOUR_MS, HOUR_MS):
                self._kept.setdefault(hour, {}).update({key: answer.get((i, hour), []) for i, key in enumerate(meters)})
        found: dict[tuple[str, Grid], list[Seen]] = {key: [] for key in meters}
        for hour in hours:
            kept = self._kept[hour] = self._kept.pop(hour)
            for key in meters:
                found[key] += kept[key]
        self._forget()
        return found

    def _has(self, hour: int, meters: Sequence[tuple[str, Grid]]) -> bool:
        return hour in self._kept and self._kept[hour].keys() >= set(meters)

    def _forget(self) -> None:
        """Forget the hours that were not asked for the longest."""
        size = sum(len(hour) for hour in self._kept.values())
        for hour in list(self._kept):
            if size <= MOST_KEPT:
                return
            size -= len(self._kept.pop(hour))

    def stops(self, agent: str) -> Iterator[Told]:
        """Return what an agent tells of itself: when it was down, when its clock was set."""
        runs = sorted(self._told.runs.get(agent, {}).items())
        boots = {since: run.boot for since, run in runs}
        before = {since: run.boot for (since, _), (_, run) in zip(runs[1:], runs, strict=False)}
        for at, restart in sorted(self._told.restarts.get(agent, {}).items()):
            if restart.stopped is not None and restart.stopped < at:
                rebooted = before.get(at, boots.get(at)) != boots.get(at)
                cause = "stopped" if restart.clean else "power_loss" if rebooted else "agent_down"
                yield Told(restart.stopped, at, cause)
        for step in self._told.steps.get(agent, []):
            if step.before < step.after:
                yield Told(step.before, step.after, "clock")

    def dropped(self, agent: str, now_ms: int) -> Iterator[Told]:
        """Return the times of batches an agent gave up, by the readings beside them."""
        lost: dict[str, Ranges] = {}
        for n, event in self._told.given_up.get(agent, []):
            if isinstance(event, Lost):
                lost.setdefault(event.stream, Ranges()).add(event.from_seq, event.to_seq)
            else:  # what was kept of them lies between
                yield self._between(agent, event.stream, (event.from_seq, event.to_seq), n, now_ms)
        for stream, ranges in lost.items():
            for stretch in ranges:
                yield self._between(agent, stream, stretch, 0, now_ms)

    def _between(self, agent: str, stream: str, seqs: tuple[int, int], told_in: int, now_ms: int) -> Told:
        before, after = self.series.beside(agent, stream, *seqs, told_in)
        return Told(before or 0, now_ms if after is None else after, "dropped")


class _Book:
    """What one question needs of the store, asked once."""

    def __init__(
        self, of: Completeness, pieces: Mapping[str, Sequence[_Piece]], start_ms: int, end_ms: int, now_ms: int
    ) -> None:
        self._of = of
        self._pieces = pieces
        self._now_ms = now_ms
        meters = {
            (name, piece.grid): None
            for name, found in pieces.items()
            for piece in found
            if piece.since_ms < end_ms and piece.until_ms > start_ms
        }
        self._seen = of.seen(list(meters), start_ms, end_ms)
        self._gaps: dict[tuple[str, str], list[GapRow]] = {}
        for gap in of.series.gaps(start_ms, end_ms):
            self._gaps.setdefault((gap.agent, gap.meter), []).append(gap)
        agents = {piece.agent for found in pieces.values() for piece in found}
        self._stops = {agent: list(of.stops(agent)) for agent in agents}
        self._dropped: dict[str, list[Told]] = {}

    def day(self, meter: str, start_ms: int, end_ms: int) -> MeterDay | None:
        """Return a meter's account of [start, end); None where it was not to be read."""
        found: list[Account] = []
        last: _Piece | None = None
        for piece in self._pieces[meter]:
            begin, end = max(start_ms, piece.since_ms), min(end_ms, piece.until_ms)
            if begin < end:
                last = piece
                found.append(self._account(meter, piece, begin, end))
        if last is None:
            return None
        return MeterDay(meter, last.agent, start_ms, end_ms, last.grid.interval_ms, reduce(add, found))

    def _account(self, meter: str, piece: _Piece, begin: int, end: int) -> Account:
        due_ms = self._now_ms - TOLD_WITHIN_MS - piece.grid.interval_ms
        told = [*_gaps(self._gaps.get((piece.agent, meter), []), due_ms), *self._stops[piece.agent]]
        near = [one for one in told if one.start_ms < end and one.end_ms > begin]
        found = account(piece.grid, begin, end, self._seen[meter, piece.grid], near, due_ms)
        if not found.missed.get(UNKNOWN):
            return found
        near += self._given_up(piece.agent)
        return account(piece.grid, begin, end, self._seen[meter, piece.grid], near, due_ms)

    def _given_up(self, agent: str) -> list[Told]:
        """Return the times of what an agent gave up; asked for only where something is not accounted for."""
        if agent not in self._dropped:
            self._dropped[agent] = list(self._of.dropped(agent, self._now_ms))
        return self._dropped[agent]


def _gaps(gaps: Sequence[GapRow], due_ms: int) -> Iterator[Told]:
    """Return a meter's gaps as far as they are known. One without an end lasts until the next one begins."""
    for at, gap in enumerate(gaps):
        if gap.end_ms is not None:
            yield Told(gap.start_ms, gap.end_ms, gap.cause, sure=gap.cause not in STOPS)
        else:
            following = next((later.start_ms for later in gaps[at + 1 :] if later.start_ms > gap.start_ms), due_ms + 1)
            yield Told(gap.start_ms, min(following, due_ms + 1), gap.cause)


def _stretches(hours: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Return the first and last of hours that follow each other, a day's worth at most."""
    first = last = None
    for hour in hours:
        if first is not None and last is not None and (hour != last + HOUR_MS or hour - first >= DAY_MS):
            yield first, last
            first = None
        first, last = hour if first is None else first, hour
    if first is not None and last is not None:
        yield first, last
