"""Batches as columns: what one commit appends, as numpy arrays. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import msgspec
import numpy as np
import zstandard

from ingester.store.contract import Arrived, ImportedReading
from metering.reading import COUNTING
from metering.wire import Event, Gap, Key, Lost, Seal, Thinned

Columns: TypeAlias = Mapping[str, "np.ndarray[Any, Any]"]
PointId: TypeAlias = Callable[[str, str], int]
"""The id of a (point, unit), made where it is new."""

_encoder = msgspec.json.Encoder()
COUNTING_NUMBERS = np.array(sorted(COUNTING), dtype=np.uint8)


def batch_columns(arrivals: Sequence[Arrived], first_n: int) -> Columns:
    """Return one row a batch; ordinals count from `first_n`."""
    compress = zstandard.ZstdCompressor(level=1).compress
    batches = [arrived.batch for arrived in arrivals]
    return {
        "n": np.arange(first_n, first_n + len(arrivals), dtype=np.int64),
        "agent": _objects(batch.agent for batch in batches),
        "stream": _objects(batch.stream for batch in batches),
        "seq": np.array([batch.seq for batch in batches], dtype=np.int64),
        "sha256": _objects(arrived.sha256 for arrived in arrivals),
        "prev": _objects(batch.prev for batch in batches),
        "received_ms": np.array([arrived.received_ms for arrived in arrivals], dtype=np.int64),
        "payload": _objects(compress(arrived.body) for arrived in arrivals),
        "config": _objects(batch.config for batch in batches),
        "clock": _objects(batch.clock for batch in batches),
    }


def point_columns(named: Sequence[tuple[str, str, str]], first_id: int) -> Columns:
    """Return one row a (point, unit, agent that first sent it); ids count from `first_id`."""
    names, units, agents = zip(*named, strict=True)
    return {
        "id": np.arange(first_id, first_id + len(named), dtype=np.int32),
        "name": _objects(iter(names)),
        "unit": _objects(iter(units)),
        "agent": _objects(iter(agents)),
    }


def reading_columns(arrivals: Sequence[Arrived], first_n: int, id_of: PointId) -> Columns:
    """Return one row a reading, in order of arrival. A value there is none of is NaN, which the store keeps as NULL."""
    batches = [arrived.batch for arrived in arrivals]
    lengths = [len(batch.t) for batch in batches]
    ids = [[id_of(point, unit) for point, unit in batch.points] for batch in batches]
    points = chain.from_iterable([own[i] for i in batch.p] for own, batch in zip(ids, batches, strict=True))
    times = np.fromiter(chain.from_iterable(batch.t for batch in batches), dtype=np.int64)
    return {
        "point": np.fromiter(points, dtype=np.int32),
        "at_ms": times + np.repeat(np.array([batch.t0 for batch in batches], dtype=np.int64), lengths),
        "x": np.array(list(chain.from_iterable(batch.x for batch in batches)), dtype=np.float64),
        "q": np.fromiter(chain.from_iterable(batch.q for batch in batches), dtype=np.uint8),
        "n": np.repeat(np.arange(first_n, first_n + len(batches), dtype=np.int64), lengths),
    }


def imported_columns(readings: Sequence[ImportedReading], ids: Sequence[int], ordinals: Sequence[int]) -> Columns:
    """Return one row an imported reading."""
    return {
        "point": np.array(ids, dtype=np.int32),
        "at_ms": np.array([reading.measured_ms for reading in readings], dtype=np.int64),
        "x": np.array([reading.value for reading in readings], dtype=np.float64),
        "q": np.array([reading.quality for reading in readings], dtype=np.uint8),
        "n": np.array(ordinals, dtype=np.int64),
    }


def event_columns(arrivals: Sequence[Arrived], first_n: int) -> Columns:
    """Return one row an event; `end_ms` is 0 while a gap lasts."""
    rows = list(_event_rows(arrivals, first_n))
    return {
        "n": np.array([row[0] for row in rows], dtype=np.int64),
        "agent": _objects(row[1] for row in rows),
        "kind": _objects(str(row[2].__struct_config__.tag) for row in rows),
        "about": _objects(_about(row[2]) for row in rows),
        "start_ms": np.array([_span(row[2], row[3])[0] for row in rows], dtype=np.int64),
        "end_ms": np.array([_span(row[2], row[3])[1] for row in rows], dtype=np.int64),
        "document": _objects(_encoder.encode(row[2]).decode() for row in rows),
    }


def _event_rows(arrivals: Sequence[Arrived], first_n: int) -> Iterator[tuple[int, str, Event, int]]:
    for n, arrived in enumerate(arrivals, first_n):
        for event in arrived.batch.events:
            yield n, arrived.batch.agent, event, arrived.batch.t0


def _about(event: Event) -> str:
    """The meter or stream an event concerns."""
    if isinstance(event, Gap):
        return event.meter
    return event.stream if isinstance(event, Lost | Thinned) else ""


def _span(event: Event, t0: int) -> tuple[int, int]:
    if isinstance(event, Gap):
        return event.start, event.end or 0
    at = t0 if isinstance(event, Lost | Thinned | Key | Seal) else event.at
    return at, at


def counts(readings: Columns) -> "np.ndarray[Any, Any]":
    """Return which of the readings count."""
    return np.isin(readings["q"], COUNTING_NUMBERS) & ~np.isnan(readings["x"])


def newest(readings: Columns) -> "np.ndarray[Any, Any]":
    """Return the index of the newest reading of each point; of one time the later arrived."""
    order = np.lexsort((readings["at_ms"], readings["point"]))
    points = readings["point"][order]
    last = np.append(points[1:] != points[:-1], True) if len(points) else np.zeros(0, dtype=bool)
    found: np.ndarray[Any, Any] = order[last]
    return found


def _objects(values: Iterator[Any]) -> "np.ndarray[Any, Any]":
    return np.array(list(values), dtype=object)
