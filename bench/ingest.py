"""How fast batches become rows on disk, against a bare columnar insert of the same rows into DuckDB.

Ours is `commit` of a group of 500 batches: the bodies, their identities, the rows and the latest value of each point. The
limit inserts the rows alone, from arrays that are ready; same settings, both durable.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from bench.alternate import Row, Size, alternate, seconds
from bench.batches import T0, batch
from ingester.store.columns import Columns, reading_columns
from ingester.store.contract import Arrived
from ingester.store.duckdb_series import DuckdbSeries
from metering.wire import digest, encode

AGENTS = 500
SIZES = {20: 3, 200: 1}
"""Readings of a batch: groups of a round."""
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2, "memory_limit": "1GB", "checkpoint_threshold": "16MB",
}  # fmt: skip


def measure(size: Size, folder: Path) -> Iterator[Row]:
    for readings, groups in SIZES.items():
        yield _measure(size, folder, readings, groups)


def _measure(size: Size, folder: Path, readings: int, groups: int) -> Row:
    agents = min(AGENTS, size.of(2 * AGENTS))
    store = DuckdbSeries(folder / f"store-{readings}.duckdb")
    rows = agents * readings * groups
    given: list[list[Arrived]] = []
    first_seq = 1

    def ours() -> float:
        nonlocal first_seq
        given[:] = [_group(agents, seq, readings) for seq in range(first_seq, first_seq + groups)]
        first_seq += groups
        return rows / seconds(lambda: [store.commit(group) for group in given])

    with duckdb.connect(str(folder / f"bare-{readings}.duckdb"), config=CONFIG) as con:
        con.execute("CREATE TABLE readings(point INTEGER, at_ms BIGINT, x DOUBLE, q UTINYINT, n BIGINT)")

        def bare() -> float:
            ready = [_arrays(agents, seq, readings) for seq in range(first_seq, first_seq + groups)]
            return rows / seconds(lambda: _insert(con, ready))

        found = alternate({"ours": ours, "bare": bare}, size.rounds)
    store.close()
    return Row(
        f"Store, {readings} readings a batch",
        "rows/s",
        found["ours"],
        found["bare"],
        "bare columnar insert of the same rows",
    )


def _group(agents: int, seq: int, readings: int) -> list[Arrived]:
    return [_arrived(f"agent-{number}", seq, readings) for number in range(agents)]


def _arrived(agent: str, seq: int, readings: int) -> Arrived:
    sent = batch(readings, agent=agent, stream=f"stream-of-{agent}", seq=seq, seed=seq)
    body = encode(sent)
    return Arrived(sent, body, digest(body), T0)


def _arrays(agents: int, seq: int, readings: int) -> Columns:
    """Return the rows of a group as the store would append them."""
    ids: dict[str, int] = {}
    return reading_columns(
        _group(agents, seq, readings), seq * agents, lambda point, _: ids.setdefault(point, len(ids) + 1)
    )


def _insert(con: duckdb.DuckDBPyConnection, groups: Sequence[Columns]) -> None:
    """DuckDB finds `arrays` by its name."""
    for arrays in groups:  # noqa: B007
        con.execute("INSERT INTO readings SELECT * FROM arrays")
