"""What a series store keeps in memory of its file: known batches, points, owners and the newest readings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import duckdb
import msgspec

from ingester.store.columns import Columns, counts, newest
from ingester.store.contract import Arrived
from metering.ranges import Ranges
from metering.reading import COUNTING
from metering.wire import Event, Gap, Lost, Thinned

COUNTS = f"x IS NOT NULL AND q IN ({', '.join(str(int(quality)) for quality in sorted(COUNTING))})"
event_of = msgspec.json.Decoder(Event).decode


@dataclass
class Known:
    """What the store keeps in memory of its file; rebuilt from it on opening."""

    stored: dict[tuple[str, str], Ranges]
    """Batches whose bodies are in the store."""
    settled: dict[tuple[str, str], Ranges]
    """Those, and what the agent says was lost."""
    bridges: dict[tuple[str, str], dict[int, str]]
    """Of streams with lost batches: the hash the chain goes on from, by the last lost seq."""
    points: dict[tuple[str, str], int]
    """The id of each (point, unit)."""
    units: dict[str, dict[int, str]]
    """Per point its ids and the unit of each, in the order they came."""
    owners: dict[str, str]
    latest: dict[int, tuple[int, float | None, int, str]]
    """By point id: time, value, quality, agent."""
    counting: dict[int, int]
    """By point id: the time of its newest reading that counts."""
    simulated: set[int]
    """Ordinals of imports flagged so."""
    next_n: int
    lasting: dict[tuple[str, str, int], tuple[str, Gap]] = field(default_factory=dict)
    """Agent and gap of those that have no end yet, by agent, meter and start."""

    def add_point(self, point: int, name: str, sent_unit: str, agent: str) -> None:
        self.points[name, sent_unit] = point
        self.units[name] = {**self.units.get(name, {}), point: sent_unit}
        if agent:
            self.owners.setdefault(name.partition("/")[0], agent)

    def note_gaps(self, events: Iterable[tuple[str, Event]]) -> None:
        """Note which gaps last, of an agent's events in their order."""
        for agent, event in events:
            if isinstance(event, Gap):
                key = agent, event.meter, event.start
                self.lasting.pop(key, None)
                if event.end is None:
                    self.lasting[key] = agent, event

    def note_newest(self, readings: Columns, agents: Sequence[str]) -> None:
        """Note the newest readings of what was appended; `agents` by ordinal from `next_n`, none for an import."""
        rows = newest(readings)
        values = (readings[name][rows].tolist() for name in ("point", "at_ms", "x", "q", "n"))
        for point, at_ms, x, q, n in zip(*values, strict=True):
            if point not in self.latest or self.latest[point][0] <= at_ms:
                agent = agents[n - self.next_n] if agents else ""
                self.latest[point] = (at_ms, None if x != x else x, q, agent)
        counting = {name: column[counts(readings)] for name, column in readings.items()}
        rows = newest(counting)
        for point, at_ms in zip(counting["point"][rows].tolist(), counting["at_ms"][rows].tolist(), strict=True):
            self.counting[point] = max(at_ms, self.counting.get(point, at_ms))


class Drafts:
    """What would be known if the transaction succeeds."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._stored: dict[tuple[str, str], Ranges] = {}
        self._settled: dict[tuple[str, str], Ranges] = {}
        self._bridges: dict[tuple[str, str], dict[int, str]] = {}

    def settle(self, arrived: Arrived) -> bool:
        """Settle a batch and what it says was lost; False when its body is stored already.

        A batch that was given up and arrives after all is no less welcome.
        """
        batch = arrived.batch
        stream = batch.agent, batch.stream
        stored = _draft(self._stored, self._known.stored, stream)
        if batch.seq in stored:
            return False
        stored.add(batch.seq, batch.seq)
        _draft(self._settled, self._known.settled, stream).add(batch.seq, batch.seq)
        for event in batch.events:
            if isinstance(event, Lost | Thinned):
                lost = batch.agent, event.stream
                _draft(self._settled, self._known.settled, lost).add(event.from_seq, event.to_seq)
                self._bridges.setdefault(lost, {})[event.to_seq] = event.sha256_of_b
        return True

    def adopt(self) -> None:
        """Make the drafts what is known."""
        self._known.stored.update(self._stored)
        self._known.settled.update(self._settled)
        for stream, hashes in self._bridges.items():
            self._known.bridges.setdefault(stream, {}).update(hashes)


def _draft(
    drafts: dict[tuple[str, str], Ranges],
    known: Mapping[tuple[str, str], Ranges],
    stream: tuple[str, str],
) -> Ranges:
    if stream not in drafts:
        drafts[stream] = known.get(stream, Ranges()).copy()
    return drafts[stream]


def load(con: duckdb.DuckDBPyConnection) -> Known:
    known = Known({}, {}, {}, {}, {}, {}, {}, {}, set(), 1)
    ranges = con.execute(
        "SELECT agent, stream, min(seq), max(seq) FROM (SELECT agent, stream, seq,"
        " seq - row_number() OVER (PARTITION BY agent, stream ORDER BY seq) AS island FROM batches)"
        " GROUP BY agent, stream, island ORDER BY agent, stream, min(seq)"
    ).fetchall()
    for (agent, stream), islands in groupby(ranges, key=lambda row: row[:2]):
        known.stored[agent, stream] = Ranges((first, last) for _, _, first, last in islands)
    known.settled = {stream: ranges.copy() for stream, ranges in known.stored.items()}
    for agent, document in con.execute(
        "SELECT agent, document FROM events WHERE kind IN ('lost', 'thinned') ORDER BY n"
    ).fetchall():
        lost = event_of(document)
        known.settled.setdefault((agent, lost.stream), Ranges()).add(lost.from_seq, lost.to_seq)
        known.bridges.setdefault((agent, lost.stream), {})[lost.to_seq] = lost.sha256_of_b
    for point, name, sent_unit, agent in con.execute("SELECT id, name, unit, agent FROM points ORDER BY id").fetchall():
        known.add_point(point, name, sent_unit, agent)
    known.simulated = {row[0] for row in con.execute("SELECT n FROM imports WHERE simulated").fetchall()}
    last = con.execute("SELECT max(n) FROM (SELECT n FROM batches UNION ALL SELECT n FROM imports)").fetchone()
    known.next_n = ((last and last[0]) or 0) + 1
    known.latest = _load_latest(con)
    newest_counting = f"SELECT point, max(at_ms) FROM readings WHERE {COUNTS} GROUP BY point"  # noqa: S608
    known.counting = dict(con.execute(newest_counting).fetchall())
    gaps = con.execute(
        "SELECT agent, document FROM events WHERE kind = 'gap'"
        " QUALIFY row_number() OVER (PARTITION BY agent, about, start_ms ORDER BY n DESC, rowid DESC) = 1 AND end_ms = 0"
    ).fetchall()
    known.note_gaps((agent, event_of(document)) for agent, document in gaps)
    return known


def _load_latest(con: duckdb.DuckDBPyConnection) -> dict[int, tuple[int, float | None, int, str]]:
    rows = con.execute(
        "WITH newest AS (SELECT point, max(at_ms) AS at_ms FROM readings GROUP BY point)"
        " SELECT r.point, r.at_ms, r.x, r.q, coalesce(b.agent, '') FROM readings r JOIN newest USING (point, at_ms)"
        " LEFT JOIN batches b ON b.n = r.n ORDER BY r.rowid"
    ).fetchall()
    return {point: (at_ms, x, q, agent) for point, at_ms, x, q, agent in rows}
