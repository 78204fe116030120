"""For which slots of a meter a store holds readings: the questions in SQL, and their answers as runs of slots."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

import numpy as np

from ingester.store.columns import Columns
from ingester.store.contract import SeenIn
from ingester.store.known import COUNTS
from metering.reading import Quality
from metering.slots import LATE_MS, Grid, Kind, Seen

HOUR_MS = 3_600_000
_KINDS: tuple[Kind, ...] = get_args(Kind)
_NO_ANSWER = f"{int(Quality.TIMEOUT)}, {int(Quality.PROTOCOL_ERROR)}"
"""Qualities of a reading that says that there was none."""

SEEN = f"""
WITH hit AS (
    SELECT a.i, a.interval_ms, a.phase_ms, (r.at_ms - a.phase_ms + a.interval_ms // 4) // a.interval_ms AS k,
        min(CASE WHEN b.n IS NULL OR r.q = {int(Quality.BACKFILLED)} THEN 2 WHEN b.received_ms - r.at_ms > {LATE_MS} THEN 1 ELSE 0 END)
            AS kind
    FROM readings r JOIN asked_slots a ON a.point = r.point
        LEFT JOIN (SELECT n, received_ms FROM batches WHERE n >= $low AND n <= $high) b ON b.n = r.n
    WHERE r.at_ms >= $from - $reach AND r.at_ms < $to AND r.q NOT IN ({_NO_ANSWER}) AND (b.n IS NOT NULL OR {COUNTS})
    GROUP BY ALL),
placed AS (SELECT i, k, kind, phase_ms + k * interval_ms AS slot_ms FROM hit),
islands AS (SELECT i, kind, k, slot_ms // {HOUR_MS} AS hour,
    k - row_number() OVER (PARTITION BY i, kind, slot_ms // {HOUR_MS} ORDER BY k) AS island
    FROM placed WHERE slot_ms >= $from AND slot_ms < $to)
SELECT i, hour, kind, min(k), max(k) FROM islands GROUP BY i, hour, kind, island ORDER BY 1, 4
"""  # noqa: S608 - only constants in it
ARRIVALS = "SELECT coalesce(min(n), 0), coalesce(max(n), 0) FROM readings WHERE at_ms >= ? AND at_ms < ?"
TOUCHED_HOURS = f"""
SELECT DISTINCT at_ms // {HOUR_MS} FROM readings WHERE n > $after AND n <= $through
UNION SELECT DISTINCT (at_ms + $reach) // {HOUR_MS} FROM readings WHERE n > $after AND n <= $through
"""  # noqa: S608 - only constants in it
LAST_BEFORE = """
SELECT max(at_ms) FROM readings WHERE q <> $past AND n IN
    (SELECT n FROM batches WHERE agent = $agent AND stream = $stream AND seq < $seq ORDER BY seq DESC LIMIT 20)
"""
FIRST_AFTER = """
SELECT min(at_ms) FROM readings WHERE q <> $past AND n IN
    (SELECT n FROM batches WHERE agent = $agent AND stream = $stream AND seq > $seq AND n <> $told_in ORDER BY seq LIMIT 20)
"""


def asked_slots(points: Iterable[tuple[int, int, Grid]]) -> Columns:
    """Return the columns of `asked_slots`: of each (number of the question, point id, slots of its meter) one row."""
    rows = [(i, point, grid.interval_ms, grid.phase_ms) for i, point, grid in points]
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return {name: table[:, at].copy() for at, name in enumerate(("i", "point", "interval_ms", "phase_ms"))}


def seen_in(rows: Sequence[tuple[Any, ...]]) -> SeenIn:
    """Return the answer of `SEEN` by question and hour."""
    found: SeenIn = {}
    for i, hour, kind, first, last in rows:
        found.setdefault((i, hour * HOUR_MS), []).append(Seen(_KINDS[kind], first, last))
    return found
