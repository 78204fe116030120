"""The series store of one machine: batches, readings, amounts and results in one DuckDB file.

Promises
    * One process holds the file (a second one gets StoreBusy with the first one's pid); one thread writes, readers use
      cursors of their own.
    * Writes are appends, columnar, one transaction each; the primary key of `batches` refuses a known one whatever else fails.
    * A batch's ordinal `n` is its place in the order of arrival; imports count in the same row of numbers.
    * After a failed write the file is closed and opened again before the next one: a failed fsync is never trusted twice.
    * DuckDB moves the write-ahead log into the file whenever it exceeds 16 MB, and when the store is closed.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import zstandard

from ingester.store.columns import (
    Columns,
    batch_columns,
    event_columns,
    imported_columns,
    point_columns,
    reading_columns,
)
from ingester.store.contract import (
    AgentEvent,
    Amount,
    Arrived,
    GapRow,
    ImportedReading,
    Latest,
    Link,
    Result,
    Samples,
    SeenIn,
    SetAside,
    Settled,
    Touched,
)
from ingester.store.known import COUNTS, Drafts, Known, event_of, load
from ingester.store.sampling import Array, convertible, joined, law, one_a_time
from ingester.store.slots import (
    ARRIVALS,
    FIRST_AFTER,
    HOUR_MS,
    LAST_BEFORE,
    SEEN,
    TOUCHED_HOURS,
    asked_slots,
    seen_in,
)
from metering.errors import QuantityError, StoreBusy, StoreFailed
from metering.quantity import total
from metering.ranges import Ranges
from metering.reading import Quality
from metering.slots import Grid as MeterSlots
from metering.wire import Gap

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches(n BIGINT, agent VARCHAR, stream VARCHAR, seq BIGINT, sha256 VARCHAR, prev VARCHAR,
    received_ms BIGINT, payload BLOB, config VARCHAR, clock VARCHAR, PRIMARY KEY (agent, stream, seq));
CREATE TABLE IF NOT EXISTS points(id INTEGER, name VARCHAR, unit VARCHAR, agent VARCHAR);
CREATE TABLE IF NOT EXISTS readings(point INTEGER, at_ms BIGINT, x DOUBLE, q UTINYINT, n BIGINT);
CREATE TABLE IF NOT EXISTS imports(n BIGINT, name VARCHAR, sha256 VARCHAR, received_ms BIGINT, simulated BOOLEAN);
CREATE TABLE IF NOT EXISTS amounts(n BIGINT, point VARCHAR, from_ms BIGINT, to_ms BIGINT, value VARCHAR, simulated BOOLEAN);
CREATE TABLE IF NOT EXISTS events(n BIGINT, agent VARCHAR, kind VARCHAR, about VARCHAR, start_ms BIGINT, end_ms BIGINT,
    document VARCHAR);
CREATE TABLE IF NOT EXISTS set_aside(n BIGINT, agent VARCHAR, received_ms BIGINT, reason VARCHAR, payload BLOB);
CREATE TABLE IF NOT EXISTS results(account VARCHAR, start_ms BIGINT, revision INTEGER, derived_ms BIGINT, document VARCHAR);
CREATE TABLE IF NOT EXISTS bases(account VARCHAR, basis VARCHAR, turn BIGINT);
CREATE SEQUENCE IF NOT EXISTS bases_turn;
CREATE TABLE IF NOT EXISTS cursor(n BIGINT);
INSERT INTO cursor SELECT 0 WHERE NOT EXISTS (FROM cursor);
"""
NEWEST_BEYOND = 500
SET_ASIDE_OF_AGENT = 200
JUDGED = f"({COUNTS} OR n IN (SELECT n FROM imports))"  # noqa: S608 - only constants in it
"""The rows of which the later received is in force."""
TOUCHED = f"""
SELECT p.name, r.n, min(at_ms), max(at_ms) FROM readings r JOIN points p ON p.id = r.point
    WHERE r.n > ? AND r.n <= ? AND {JUDGED} GROUP BY p.name, r.n
UNION ALL SELECT point, n, min(from_ms), max(to_ms) FROM amounts WHERE n > ? AND n <= ? GROUP BY point, n ORDER BY 1, 2
"""  # noqa: S608 - only constants in it
AMOUNTS_IN_FORCE = """
SELECT point, from_ms, to_ms, value, simulated FROM amounts
    QUALIFY n = max(n) OVER (PARTITION BY point, from_ms, to_ms) ORDER BY point, from_ms, to_ms, rowid
"""
"""What the last file that spoke of a stretch said of it."""
AMOUNTS = """
WITH tickets AS (SELECT *, rowid AS place FROM amounts WHERE point = ? QUALIFY n = max(n) OVER (PARTITION BY from_ms, to_ms)),
stretches AS (SELECT from_ms, to_ms, list(value ORDER BY place) AS tickets, bool_or(simulated) AS flag FROM tickets
    GROUP BY from_ms, to_ms),
overlapping AS (SELECT *, coalesce(from_ms < max(to_ms) OVER earlier, false) OR coalesce(to_ms > min(from_ms) OVER later, false) AS mixed
    FROM stretches WINDOW earlier AS (ORDER BY from_ms, to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    later AS (ORDER BY from_ms, to_ms ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING))
SELECT from_ms, to_ms, tickets, flag, mixed FROM overlapping WHERE from_ms < ? AND to_ms > ? ORDER BY from_ms, to_ms
"""
UNKNOWN = f"""
WITH in_force AS (
    SELECT r.point, r.at_ms, arg_max(r.x IS NULL, r.rowid) AS none, arg_max(coalesce(r.x, 0), r.rowid) AS x,
        arg_max(r.q, r.rowid) AS q
    FROM readings r WHERE (r.point, r.at_ms) IN (SELECT (point, at_ms) FROM offered) AND {JUDGED} GROUP BY r.point, r.at_ms)
SELECT min(o.i) AS i FROM offered o LEFT JOIN in_force f ON f.point = o.point AND f.at_ms = o.at_ms
    WHERE f.point IS NULL OR f.q <> o.q OR f.none <> (o.x IS NULL) OR f.x <> coalesce(o.x, 0)
    GROUP BY o.point, o.at_ms, o.x, o.q ORDER BY i
"""  # noqa: S608 - only constants in it
"""Of the rows of a file, those that change what is in force."""
_HOUR_MS = 3_600_000
_REACHES = (_HOUR_MS, 24 * _HOUR_MS, 31 * 24 * _HOUR_MS)
"""How far to look for a neighbouring reading before the whole table is asked, ms."""

_to_json = msgspec.json.Encoder().encode
_result = msgspec.json.Decoder(Result).decode


class DuckdbSeries:
    """A `SeriesStore` on one DuckDB file."""

    def __init__(self, path: Path, threads: int = 2, memory_limit: str = "1GB") -> None:
        """Open or create the store.

        Raises:
            StoreBusy: another process holds the file.
            StoreFailed: it cannot be opened, or is no DuckDB file.
        """
        self.path = path
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": memory_limit,
            "checkpoint_threshold": "16MB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._units: dict[str, str] = {}
        self._open()

    def _open(self) -> None:
        with self._translated():
            self._con = duckdb.connect(str(self.path), config=self._config)
            self._con.execute(SCHEMA)
            self._known: Known = load(self._con)
            self._trusted = True
            self._forget_withdrawn(list(self._known.units))

    def close(self) -> None:
        with self._translated():
            self._con.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn DuckDB's errors into ours; the only place that knows them."""
        try:
            yield
        except duckdb.Error as error:
            holder = re.search(r"PID (\d+)", str(error))
            if holder and "lock" in str(error):
                raise StoreBusy(path=self.path, pid=holder[1]) from error
            raise StoreFailed(path=self.path, reason=str(error).splitlines()[0]) from error

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give the writer's connection; commit on leaving, and trust the file no more when that fails."""
        if not self._trusted:
            with suppress(duckdb.Error):
                self._con.close()
            self._open()
            log.info("opened %s again after a failed write", self.path)
        self._trusted = False
        with self._translated():
            self._con.execute("BEGIN")
            try:
                yield self._con
                self._con.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.Error):
                    self._con.rollback()
                raise
        self._trusted = True

    def _ask(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._translated(), self._con.cursor() as reader:
            return reader.execute(query, list(parameters)).fetchall()

    def _named(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        with self._translated(), self._con.cursor() as reader:
            return reader.execute(query, parameters).fetchall()

    # Writing

    def declare(self, units: Mapping[str, str]) -> None:
        self._units = dict(units)

    def commit(self, arrivals: Sequence[Arrived]) -> list[bool]:
        with self._transaction() as con:
            drafts = Drafts(self._known)
            new = [drafts.settle(arrived) for arrived in arrivals]
            fresh = [arrived for arrived, is_new in zip(arrivals, new, strict=True) if is_new]
            readings = self._append_batches(con, fresh) if fresh else None
        drafts.adopt()
        if readings is not None:
            self._known.note_newest(readings, [arrived.batch.agent for arrived in fresh])
            self._known.note_gaps((arrived.batch.agent, event) for arrived in fresh for event in arrived.batch.events)
            self._known.next_n += len(fresh)
        return new

    def _append_batches(self, con: duckdb.DuckDBPyConnection, fresh: Sequence[Arrived]) -> Columns:
        first_n = self._known.next_n
        owner = {point: arrived.batch.agent for arrived in reversed(fresh) for point, _ in arrived.batch.points}
        with self._naming(con) as id_of:
            readings = reading_columns(fresh, first_n, lambda point, sent: id_of(point, sent, owner[point]))
        _append(con, "batches", batch_columns(fresh, first_n))
        _append(con, "readings", readings)
        if any(arrived.batch.events for arrived in fresh):
            _append(con, "events", event_columns(fresh, first_n))
        return readings

    @contextmanager
    def _naming(self, con: duckdb.DuckDBPyConnection) -> Iterator[Callable[[str, str, str], int]]:
        """Give what finds the id of (point, unit, agent that sends it); new ones are appended on leaving."""
        known, new = self._known, list[tuple[str, str, str]]()

        def id_of(name: str, sent_unit: str, agent: str) -> int:
            point = known.points.get((name, sent_unit))
            if point is None:
                point = len(known.points) + 1
                known.add_point(point, name, sent_unit, agent)
                new.append((name, sent_unit, agent))
            return point

        yield id_of
        if new:
            _append(con, "points", point_columns(new, len(known.points) - len(new) + 1))

    def import_rows(
        self,
        name: str,
        sha256: str,
        readings: Sequence[ImportedReading],
        amounts: Sequence[Amount],
        received_ms: int = 0,
    ) -> int:
        with self._transaction() as con:
            flags = sorted({row.simulated for row in readings} | {row.simulated for row in amounts})
            ordinals = {flag: self._known.next_n + i for i, flag in enumerate(flags)}
            appended = self._import_readings(con, readings, ordinals) if readings else None
            new = self._import_amounts(con, amounts, ordinals) if amounts else 0
            new += 0 if appended is None else len(appended["n"])
            for flag, n in ordinals.items() if new else ():
                con.execute("INSERT INTO imports VALUES (?, ?, ?, ?, ?)", [n, name, sha256, received_ms, flag])
        if not new:
            return 0
        self._known.simulated.update(n for flag, n in ordinals.items() if flag)
        if appended is not None:
            self._known.note_newest(appended, ())
        self._known.next_n += len(ordinals)
        self._forget_withdrawn({row.point for row in readings if row.value is None or not row.quality.counts})
        return new

    def _forget_withdrawn(self, points: Iterable[str]) -> None:
        """Look again for the newest reading in force of points whose remembered one may have been withdrawn."""
        counting = self._known.counting
        for point in points:
            ids = self._ids(point)
            for i in [i for i in ids if i in counting and not self._in_force(ids, counting[i])]:
                found = self._neighbour(point, "max", [(0, counting[i])])
                if found is None:
                    del counting[i]
                else:
                    counting[i] = found

    def _in_force(self, ids: Iterable[int], at_ms: int) -> bool:
        """Whether the reading in force at this time counts."""
        query = f"SELECT arg_max({COUNTS}, rowid) FROM readings WHERE point IN (SELECT unnest(?)) AND at_ms = ? AND {JUDGED}"  # noqa: S608
        return bool(self._ask(query, [list(ids), at_ms])[0][0])

    def _import_readings(
        self, con: duckdb.DuckDBPyConnection, readings: Sequence[ImportedReading], ordinals: Mapping[bool, int]
    ) -> Columns:
        with self._naming(con) as id_of:
            ids = {name: id_of(name, self._unit_of(name), "") for name in dict.fromkeys(row.point for row in readings)}
        columns = imported_columns(
            readings, [ids[row.point] for row in readings], [ordinals[row.simulated] for row in readings]
        )
        kept = self._unknown(con, columns)
        appended = {name: column[kept] for name, column in columns.items()}
        _append(con, "readings", appended)
        return appended

    def _unknown(self, con: duckdb.DuckDBPyConnection, rows: Columns) -> Array:
        """Return the indices of rows whose value and quality is not in force for (point, time), each once."""
        offered = {**rows, "i": np.arange(len(rows["n"]), dtype=np.int64)}
        con.register("offered", offered)
        try:
            found = con.execute(UNKNOWN).fetchnumpy()
        finally:
            con.unregister("offered")
        return np.asarray(found["i"], dtype=np.int64)

    def _import_amounts(
        self, con: duckdb.DuckDBPyConnection, amounts: Sequence[Amount], ordinals: Mapping[bool, int]
    ) -> int:
        in_force: dict[tuple[str, int, int], list[tuple[Decimal, bool]]] = {}
        for point, start, end, value, flag in con.execute(AMOUNTS_IN_FORCE).fetchall():
            in_force.setdefault((point, start, end), []).append((Decimal(value), flag))
        offered: dict[tuple[str, int, int], list[tuple[Decimal, bool]]] = {}
        for row in amounts:
            offered.setdefault((row.point, row.from_ms, row.to_ms), []).append((row.value, row.simulated))
        rows = [
            (ordinals[flag], *stretch, str(value), flag)
            for stretch, tickets in offered.items()
            if sorted(tickets) != sorted(in_force.get(stretch, []))
            for value, flag in tickets
        ]
        if rows:
            con.executemany("INSERT INTO amounts VALUES (?, ?, ?, ?, ?, ?)", rows)
        return len(rows)

    def set_aside(self, agent: str, received_ms: int, reason: str, payload: bytes) -> None:
        with self._transaction() as con:
            if con.execute(
                "SELECT 1 FROM set_aside WHERE agent = ? AND reason = ? AND payload = ?", [agent, reason, payload]
            ).fetchone():
                return
            con.execute(
                "INSERT INTO set_aside SELECT coalesce(max(n), 0) + 1, ?, ?, ?, ? FROM set_aside",
                [agent, received_ms, reason, payload],
            )
            con.execute(
                "DELETE FROM set_aside WHERE agent = ? AND n NOT IN"
                " (SELECT n FROM set_aside WHERE agent = ? ORDER BY n DESC LIMIT ?)",
                [agent, agent, SET_ASIDE_OF_AGENT],
            )

    def append_results(self, results: Sequence[Result], cursor: int, bases: Mapping[str, str] | None = None) -> None:
        with self._transaction() as con:
            if results:
                _append(con, "results", _result_columns(results))
            for account, basis in (bases or {}).items():
                con.execute("INSERT INTO bases VALUES (?, ?, nextval('bases_turn'))", [account, basis])
            con.execute("UPDATE cursor SET n = ? WHERE n <> ?", [cursor, cursor])

    def bases(self) -> dict[str, str]:
        return dict(self._ask("SELECT account, max_by(basis, turn) FROM bases GROUP BY account"))

    # Reading

    def refused(self, limit: int = 200) -> list[SetAside]:
        rows = self._ask("SELECT agent, received_ms, reason, payload FROM set_aside ORDER BY n DESC LIMIT ?", [limit])
        return [SetAside(*row) for row in rows]

    def settled(self, agent: str, stream: str) -> Settled:
        ranges = self._known.settled.get((agent, stream), Ranges())
        return Settled(ranges.through, ranges.beyond(NEWEST_BEYOND))

    def missing(self, agent: str, stream: str, first_seq: int, last_seq: int) -> list[tuple[int, int]]:
        ranges = self._known.settled.get((agent, stream), Ranges())
        return list(ranges.missing(first_seq, last_seq))

    def links(self, agent: str, stream: str, seqs: Sequence[int]) -> dict[int, Link]:
        ranges = self._known.settled.get((agent, stream), Ranges())
        asked = [seq for seq in seqs if seq in ranges]
        if not asked:
            return {}
        lost = self._known.bridges.get((agent, stream), {})
        links = {seq: Link(lost[seq], None) for seq in asked if seq in lost}
        query = "SELECT seq, sha256, prev FROM batches WHERE agent = ? AND stream = ? AND seq IN (SELECT unnest(?))"
        return links | {seq: Link(*link) for seq, *link in self._ask(query, [agent, stream, asked])}

    def owners(self) -> dict[str, str]:
        return dict(self._known.owners)

    def events(self, kind: str, after: int = 0) -> list[AgentEvent]:
        query = "SELECT n, agent, document FROM events WHERE kind = ? AND n > ? ORDER BY n, rowid"
        return [AgentEvent(n, agent, event_of(document)) for n, agent, document in self._ask(query, [kind, after])]

    def body(self, agent: str, stream: str, seq: int) -> bytes | None:
        query = "SELECT payload FROM batches WHERE agent = ? AND stream = ? AND seq = ?"
        rows = self._ask(query, [agent, stream, seq])
        return zstandard.ZstdDecompressor().decompress(rows[0][0]) if rows else None

    def points(self) -> list[str]:
        return sorted(set(self._known.units) | {row[0] for row in self._ask("SELECT DISTINCT point FROM amounts")})

    def latest(self) -> list[Latest]:
        found: dict[str, Latest] = {}
        for (name, sent_unit), point in list(self._known.points.items()):
            if point in self._known.latest:
                at_ms, x, q, agent = self._known.latest[point]
                seen = found.get(name)
                if seen is None or seen.measured_ms <= at_ms:
                    found[name] = self._in_unit(Latest(name, sent_unit, at_ms, x, Quality(q), agent))
        return [found[name] for name in sorted(found)]

    def samples(self, point: str, start_ms: int, end_ms: int) -> Samples:
        ids = self._ids(point)
        query = (
            f"SELECT point, at_ms, coalesce(x, 0) AS shown, n, {COUNTS} AS counts FROM readings"  # noqa: S608
            f" WHERE point IN (SELECT unnest(?)) AND at_ms >= ? AND at_ms < ? AND {JUDGED}"
            " ORDER BY at_ms, rowid"
        )
        with self._translated(), self._con.cursor() as reader:
            rows = reader.execute(query, [list(ids), start_ms, end_ms]).fetchnumpy()
        values = self._converted(point, rows, ids)
        flagged = rows["at_ms"][np.isin(rows["n"], list(self._known.simulated))]
        simulated = (int(flagged[0]), int(flagged[-1])) if len(flagged) else None
        return one_a_time(rows["at_ms"], values, np.asarray(rows["counts"], dtype=bool), simulated)

    def _converted(self, point: str, rows: Columns, ids: Mapping[int, str]) -> Array:
        values = np.asarray(rows["shown"])
        target = self._unit_of(point)
        for point_id, sent_unit in ids.items():
            convert = law(sent_unit, target)
            if convert is not None:
                mine = np.asarray(rows["point"]) == point_id
                values[mine] = [convert(value) for value in values[mine].tolist()]
        return values

    def _in_unit(self, row: Latest) -> Latest:
        target = self._unit_of(row.point)
        try:
            convert = law(row.unit, target)
        except QuantityError:
            return row
        if convert is None or row.value is None:
            return replace(row, unit=target)
        return replace(row, unit=target, value=convert(row.value))

    def _unit_of(self, point: str) -> str:
        """The unit a point's values are given in: as declared, else as last sent."""
        sent = list(self._known.units.get(point, {}).values())
        return self._units.get(point) or (sent[-1] if sent else "")

    def _ids(self, point: str) -> dict[int, str]:
        """The ids of a point and the unit of each, those that can be given in its unit."""
        target = self._unit_of(point)
        found = self._known.units.get(point, {})
        return {i: sent_unit for i, sent_unit in found.items() if convertible(sent_unit, target)}

    def last_sample_before(self, point: str, ms: int) -> int | None:
        newest_ms = self._newest(point)
        if newest_ms is None or newest_ms < ms:
            return newest_ms
        return self._neighbour(point, "max", [(ms - reach, ms) for reach in (*_REACHES, ms)])

    def first_sample_after(self, point: str, ms: int) -> int | None:
        newest_ms = self._newest(point)
        if newest_ms is None or newest_ms < ms:
            return None
        return self._neighbour(point, "min", [(ms, ms + reach) for reach in (*_REACHES, 1 << 60)])

    def _newest(self, point: str) -> int | None:
        """The time of the newest reading that counts; asked every second, so it is kept in memory."""
        known = [self._known.counting[i] for i in self._ids(point) if i in self._known.counting]
        return max(known, default=None)

    def _neighbour(self, point: str, which: str, windows: Sequence[tuple[int, int]]) -> int | None:
        query = f"SELECT {which}(at_ms) FROM readings WHERE point IN (SELECT unnest(?)) AND at_ms >= ? AND at_ms < ? AND {COUNTS}"  # noqa: S608
        ids = list(self._ids(point))
        for start, end in windows:
            found: int | None = self._ask(query, [ids, start, end])[0][0]
            while found is not None and not self._in_force(ids, found):  # an import withdrew it
                start, end = (start, found) if which == "max" else (found + 1, end)
                found = self._ask(query, [ids, start, end])[0][0]
            if found is not None:
                return found
        return None

    def amounts(self, point: str, start_ms: int, end_ms: int) -> list[Amount]:
        rows = self._ask(AMOUNTS, [point, end_ms, start_ms])
        return [
            Amount(point, begin, end, total(map(Decimal, tickets)), flag, overlaps)
            for begin, end, tickets, flag, overlaps in rows
        ]

    def readings(self, point: str, start_ms: int, end_ms: int, limit: int) -> list[Latest]:
        rows = self._ask(
            "SELECT p.name, p.unit, r.at_ms, r.x, r.q, coalesce(b.agent, '') FROM readings r JOIN points p ON p.id = r.point"
            " LEFT JOIN batches b ON b.n = r.n WHERE p.name = ? AND r.at_ms >= ? AND r.at_ms < ?"
            " ORDER BY r.at_ms, r.rowid LIMIT ?",
            [point, start_ms, end_ms, limit],
        )
        return [self._in_unit(Latest(name, sent, at, x, Quality(q), agent)) for name, sent, at, x, q, agent in rows]

    def gaps(self, start_ms: int, end_ms: int) -> list[GapRow]:
        rows = self._ask(
            "SELECT agent, document FROM events WHERE kind = 'gap' AND start_ms < ? AND end_ms > ?"
            " QUALIFY row_number() OVER (PARTITION BY agent, about, start_ms ORDER BY n DESC, rowid DESC) = 1",
            [end_ms, start_ms],
        )
        lasting = self._lasting()
        gaps = [(agent, event_of(document)) for agent, document in rows]
        gaps += [(agent, gap) for agent, gap in lasting if gap.start < end_ms]
        found = [GapRow(gap.meter, agent, gap.start, gap.end, gap.cause, gap.missed) for agent, gap in gaps]
        return sorted(found, key=lambda gap: (gap.start_ms, gap.meter, gap.agent))

    def _lasting(self) -> list[tuple[str, Gap]]:
        """Return the gaps that last. The word that one lasts may arrive after the word that it has ended."""
        lasting = dict(self._known.lasting)
        ended = (
            self._ask(
                "SELECT agent, about, start_ms FROM events WHERE kind = 'gap' AND end_ms > 0 AND start_ms IN (SELECT unnest(?))",
                [[start for _, _, start in lasting]],
            )
            if lasting
            else []
        )
        for key in ended:
            lasting.pop(key, None)
        return list(lasting.values())

    def seen(self, meters: Sequence[tuple[str, MeterSlots]], start_ms: int, end_ms: int) -> SeenIn:
        points: dict[str, list[int]] = {}
        for (name, _), point in list(self._known.points.items()):
            points.setdefault(name.partition("/")[0], []).append(point)
        asked = asked_slots((i, p, grid) for i, (meter, grid) in enumerate(meters) for p in points.get(meter, []))
        reach = max((grid.interval_ms for _, grid in meters), default=0)
        ((low, high),) = self._ask(ARRIVALS, [start_ms - reach, end_ms])
        with self._translated(), self._con.cursor() as reader:
            reader.register("asked_slots", asked)
            given = {"low": low, "high": high, "from": start_ms, "to": end_ms, "reach": reach}
            return seen_in(reader.execute(SEEN, given).fetchall())

    def arrived(self) -> int:
        return self._known.next_n - 1

    def touched_hours(self, after: int, through: int, reach_ms: int) -> set[int]:
        if through <= after:
            return set()
        rows = self._named(TOUCHED_HOURS, after=after, through=through, reach=reach_ms)
        return {hour * HOUR_MS for (hour,) in rows}

    def beside(
        self, agent: str, stream: str, from_seq: int, to_seq: int, told_in: int
    ) -> tuple[int | None, int | None]:
        known = {"agent": agent, "stream": stream, "past": int(Quality.BACKFILLED)}
        ((before,),) = self._named(LAST_BEFORE, seq=from_seq, **known)
        ((after,),) = self._named(FIRST_AFTER, seq=to_seq, told_in=told_in, **known)
        return before, after

    def touched(self, after: int, limit: int) -> list[Touched]:
        while after < self._known.next_n - 1:
            rows = self._ask(TOUCHED, [after, after + limit, after, after + limit])
            if rows:
                return sorted(joined(rows), key=lambda row: row.n)
            after += limit
        return []

    def cursor(self) -> int:
        cursor: int = self._ask("SELECT n FROM cursor")[0][0]
        return cursor

    def results(
        self, start_ms: int, end_ms: int, account: str | None = None, as_of_ms: int | None = None
    ) -> list[Result]:
        rows = self._ask(
            "SELECT arg_max(document, revision) FROM results WHERE start_ms >= ? AND start_ms < ?"
            " AND (? IS NULL OR account = ?) AND (? IS NULL OR derived_ms <= ?)"
            " GROUP BY account, start_ms ORDER BY account, start_ms",
            [start_ms, end_ms, account, account, as_of_ms, as_of_ms],
        )
        return [_result(row[0]) for row in rows]


def _append(con: duckdb.DuckDBPyConnection, table: str, arrays: Columns) -> None:
    """Append columns to a table. DuckDB finds `arrays` by its name: of four ways the fastest (10 M rows/s measured)."""
    con.execute(f"INSERT INTO {table} SELECT * FROM arrays")  # noqa: S608 - a name of ours


def _result_columns(results: Sequence[Result]) -> Columns:
    return {
        "account": np.array([result.account for result in results], dtype=object),
        "start_ms": np.array([result.start_ms for result in results], dtype=np.int64),
        "revision": np.array([result.revision for result in results], dtype=np.int32),
        "derived_ms": np.array([result.derived_ms for result in results], dtype=np.int64),
        "document": np.array([_to_json(result).decode() for result in results], dtype=object),
    }
