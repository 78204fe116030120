"""What a store promises. Every adapter passes the one suite in tests/ingester/.

Series (batches, readings, amounts, results) are appended and never changed; records (instruments, certificates, alerts) are
what people and rules wrote. All calls block: they run in a Worker. Times are Unix milliseconds UTC; ranges are [start, end).

Promises of a series store
    * `commit` is one transaction, durable when it returns: a known (agent, stream, seq) is refused, the rest appended whole.
    * What is read back is what was sent: the body byte for byte, readings in order of time and arrival.
    * Of one (point, time) the later received is in force, whatever its quality: an imported bad value withdraws a good one.
      An agent's reading without a counting value withdraws nothing.
    * Results and the cursor they were derived up to are written in one transaction, so deriving may be killed at any moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

from metering.activity import Stretch
from metering.reading import Quality
from metering.slots import Grid, Seen
from metering.wire import Batch, Event


@dataclass(frozen=True, slots=True)
class Arrived:
    """A batch that was checked and may be committed."""

    batch: Batch
    """What of the body is used: a reading that was refused is in the body alone."""
    body: bytes
    """As hashed; stored compressed, given back byte for byte."""
    sha256: str
    received_ms: int


@dataclass(frozen=True, slots=True)
class Amount:
    """What a person or file said of [from, to): an invoice, a weighbridge ticket, production."""

    point: str
    from_ms: int
    to_ms: int
    value: Decimal
    simulated: bool = False
    overlaps: bool = False
    """Whether another amount of the point says something of a part of this stretch: both are added."""


@dataclass(frozen=True, slots=True)
class ImportedReading:
    """A reading that came by file, not by an agent."""

    point: str
    measured_ms: int
    value: float | None
    quality: Quality
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """What is committed of one stream: every seq up to `through`, and `also` beyond holes."""

    through: int
    also: tuple[int, ...]
    """The newest 500 of them."""


@dataclass(frozen=True, slots=True)
class Link:
    """A known batch's place in its chain."""

    sha256: str
    prev: str | None
    """None where the batch itself was lost, and only its hash is known."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A message, or a part of one, that was kept and not used."""

    agent: str
    received_ms: int
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """An event an agent sent."""

    n: int
    """Ordinal of the batch it came in."""
    agent: str
    event: Event


@dataclass(frozen=True, slots=True)
class Samples:
    """Readings of one point that count, in order of time, one a time: the later received of different values wins."""

    readings: list[tuple[int, float]]
    conflicts: tuple[int, ...] = ()
    """Times at which different values were received."""
    simulated: tuple[int, int] | None = None
    """First and last time of readings that were imported as simulated."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest reading of a point, counting or not."""

    point: str
    unit: str
    measured_ms: int
    value: float | None
    quality: Quality
    agent: str
    """Empty for an imported reading."""


@dataclass(frozen=True, slots=True)
class GapRow:
    """A stored gap event; `end_ms` None while it lasts."""

    meter: str
    agent: str
    start_ms: int
    end_ms: int | None
    cause: str
    missed: int


SeenIn: TypeAlias = dict[tuple[int, int], list[Seen]]
"""Slots with readings, in their order, by the place of the meter in the question and the start of the hour (UTC ms)."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A stretch of a point's time that new readings or amounts fell into, in order of arrival."""

    n: int
    """Ordinal of arrival; cursors count these."""
    point: str
    start_ms: int
    end_ms: int
    """The last reading's time, or the amount's end."""


@dataclass(frozen=True, slots=True)
class FactorUse:
    """The factor row behind a number."""

    set: str
    version: str
    row: str
    source_kind: str
    """default: of a factor set; declared: a value of this plant, out of ingester.yaml."""


@dataclass(frozen=True, slots=True)
class Result:
    """The activity and emission of one account in one interval: one revision of it."""

    account: str
    """A source's id, or `product:<id>`."""
    start_ms: int
    end_ms: int
    revision: int
    """From 1; 0 for an open interval, which is never stored."""
    derived_ms: int
    cause: str
    """closed, late, changed: why this revision exists."""
    basis: str
    """Digest of what the result rests on besides readings: settings, factors, certificates."""
    activity: Decimal | None
    """In `unit`, after the multiplier; the known part."""
    unit: str
    ratio: str | None
    """tCO2 per unit of activity as an exact fraction `a/b`; None for a product."""
    factors: tuple[FactorUse, ...]
    measured_ms: int
    apportioned_ms: int
    substituted_ms: int
    missing_ms: int
    stretches: tuple[Stretch, ...]
    flags: tuple[str, ...]
    uncertainty_percent: Decimal | None
    evidence: dict[str, Any]
    """For the trace: per point the readings at both edges, the instrument and certificate of the day."""


class SeriesStore(Protocol):
    def declare(self, units: Mapping[str, str]) -> None:
        """Say in which unit the values of a point are given back. Others come in the unit they were last sent in.

        A value in a unit that cannot be converted to it is not given back by `samples`.
        """
        ...

    def commit(self, arrivals: Sequence[Arrived]) -> list[bool]:
        """Append batches in one transaction; False for one that was known. Raises StoreFailed when nothing was committed."""
        ...

    def import_rows(
        self,
        name: str,
        sha256: str,
        readings: Sequence[ImportedReading],
        amounts: Sequence[Amount],
        received_ms: int = 0,
    ) -> int:
        """Append the rows of a file that change what is in force, in one transaction; return how many these are.

        Amounts of one stretch in one file add up; together they replace what earlier files said of that stretch.
        """
        ...

    def set_aside(self, agent: str, received_ms: int, reason: str, payload: bytes) -> None:
        """Keep a message that could not be used, with its reason, once: the newest 200 of an agent."""
        ...

    def refused(self, limit: int = 200) -> list[SetAside]:
        """Return what was set aside, newest first."""
        ...

    def settled(self, agent: str, stream: str) -> Settled: ...

    def missing(self, agent: str, stream: str, first_seq: int, last_seq: int) -> list[tuple[int, int]]:
        """Return the ranges of first_seq..last_seq that are not settled."""
        ...

    def links(self, agent: str, stream: str, seqs: Sequence[int]) -> dict[int, Link]:
        """Return the hashes of those of these batches that are known."""
        ...

    def owners(self) -> dict[str, str]:
        """Return the agent that first sent each meter."""
        ...

    def events(self, kind: str, after: int = 0) -> list[AgentEvent]:
        """Return the events of a kind (`exchange`, `restart`, …) from batches after ordinal `after`, in order of arrival."""
        ...

    def body(self, agent: str, stream: str, seq: int) -> bytes | None: ...

    def latest(self) -> list[Latest]: ...

    def points(self) -> list[str]: ...

    def samples(self, point: str, start_ms: int, end_ms: int) -> Samples:
        """Return the readings that count in [start, end)."""
        ...

    def last_sample_before(self, point: str, ms: int) -> int | None:
        """Return the time of the last reading that counts before `ms`."""
        ...

    def first_sample_after(self, point: str, ms: int) -> int | None:
        """Return the time of the first reading that counts at or after `ms`."""
        ...

    def amounts(self, point: str, start_ms: int, end_ms: int) -> list[Amount]:
        """Return the amounts that overlap [start, end), one a stretch: of files that speak of it the later received counts."""
        ...

    def readings(self, point: str, start_ms: int, end_ms: int, limit: int) -> list[Latest]:
        """Return all readings in [start, end), whatever their quality, oldest first."""
        ...

    def gaps(self, start_ms: int, end_ms: int) -> list[GapRow]:
        """Return gaps that overlap [start, end), the newest state of each."""
        ...

    def seen(self, meters: Sequence[tuple[str, Grid]], start_ms: int, end_ms: int) -> SeenIn:
        """Return for which slots in [start, end) there are readings, by the meter's place in `meters` and the hour (UTC)."""
        ...

    def arrived(self) -> int:
        """Return the ordinal of the newest arrival."""
        ...

    def touched_hours(self, after: int, through: int, reach_ms: int) -> set[int]:
        """Return the hours (UTC) that readings of arrivals after `after` may concern: those of their time and `reach_ms` later."""
        ...

    def beside(
        self, agent: str, stream: str, from_seq: int, to_seq: int, told_in: int
    ) -> tuple[int | None, int | None]:
        """Return when readings end before batches A to B of a stream and begin after them; `told_in` is no neighbour."""
        ...

    def touched(self, after: int, limit: int) -> list[Touched]:
        """Return what the next `limit` arrivals touched, each arrival whole: the last row's `n` may become the cursor."""
        ...

    def append_results(self, results: Sequence[Result], cursor: int, bases: Mapping[str, str] | None = None) -> None:
        """Append revisions, move the derive cursor, and note what accounts now rest on, in one transaction."""
        ...

    def bases(self) -> dict[str, str]:
        """Return per account the digest of the settings, factors and instruments it was last derived with as a whole."""
        ...

    def cursor(self) -> int: ...

    def results(
        self, start_ms: int, end_ms: int, account: str | None = None, as_of_ms: int | None = None
    ) -> list[Result]:
        """Return the newest revision of each interval that starts in [start, end), by account and start.

        `as_of_ms` leaves out what was derived after it.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert: one cause, one episode."""

    id: str
    rule: str
    meter: str
    raised_ms: int
    since_ms: int
    """When the deviation began."""
    cleared_ms: int | None
    acknowledged_ms: int | None
    acknowledged_by: str | None
    code: str
    """Names the Text it is worded by when read."""
    values: dict[str, Any]
    """Named values of that Text: actual, expected, compared with what, kg CO2."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One writing of a document."""

    document: dict[str, Any]
    at_ms: int
    by: str


class RecordStore(Protocol):
    """Documents people and rules wrote, as validated JSON: the rooms that own them give them their types."""

    def put(self, kind: str, key: str, document: dict[str, Any], at_ms: int, by: str) -> None:
        """Write a document (instrument, certificate, exchange); an earlier one of that key is kept as history.

        A document that is in force already is not written again.
        """
        ...

    def documents(self, kind: str) -> list[dict[str, Any]]:
        """Return the documents of a kind in force, by key."""
        ...

    def history(self, kind: str, key: str) -> list[Entry]:
        """Return every writing of a document, oldest first."""
        ...

    def version(self) -> int:
        """Return a number that grows with every change."""
        ...

    def save_alert(self, alert: AlertRow) -> None:
        """Insert or update an alert by its id."""
        ...

    def alerts(self, active: bool | None = None, limit: int = 200) -> list[AlertRow]:
        """Return alerts, newest first; `active`: not cleared, or cleared."""
        ...

    def close(self) -> None: ...
