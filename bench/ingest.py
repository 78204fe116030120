"""How fast batches become rows on disk, against a bare columnar insert of the same rows into DuckDB in the same run."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np

from ingester.store.contract import Arrived
from ingester.store.duckdb_series import DuckdbSeries
from metering.wire import Batch, digest, encode

BATCHES = 500
GROUPS = 8
T0 = 1_763_884_800_000


def measure(folder: Path, readings_of_batch: int) -> dict[str, float]:
    """Return rows/s of `commit` (500 batches a group) and of the bare insert, both durable."""
    groups = [list(_group(number, readings_of_batch)) for number in range(GROUPS)]
    store = DuckdbSeries(folder / f"store-{readings_of_batch}.duckdb", threads=1)
    commit_s = _seconds(lambda: [store.commit(group) for group in groups])
    store.close()
    with duckdb.connect(str(folder / f"bare-{readings_of_batch}.duckdb"), config={"threads": 1}) as con:
        con.execute("CREATE TABLE readings(point INTEGER, at_ms BIGINT, x DOUBLE, q UTINYINT, n BIGINT)")
        arrays = [_arrays(group) for group in groups]
        bare_s = _seconds(lambda: [_insert(con, rows) for rows in arrays])
    rows = BATCHES * GROUPS * readings_of_batch
    return {"rows": rows, "commit_rows_per_s": rows / commit_s, "bare_rows_per_s": rows / bare_s}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _group(number: int, readings: int) -> Iterator[Arrived]:
    for agent in range(BATCHES):
        batch = Batch(
            site="demo", agent=f"agent-{agent}", stream=f"stream-{agent}", seq=number + 1, prev="", boot="b", up=0,
            clock="synced", config="c", points=[(f"m-{agent}-{i}/energy", "kWh") for i in range(20)], t0=T0 + number * 10_000,
            t=[0] * readings, p=[i % 20 for i in range(readings)], x=[1234.5 + i for i in range(readings)], q=[0] * readings,
        )  # fmt: skip
        body = encode(batch)
        yield Arrived(batch, body, digest(body), T0)


def _arrays(group: list[Arrived]) -> dict[str, "np.ndarray[tuple[int], np.dtype[np.generic]]"]:
    batches = [arrived.batch for arrived in group]
    lengths = [len(batch.t) for batch in batches]
    return {
        "point": np.concatenate([np.array(batch.p, dtype=np.int32) for batch in batches]),
        "at_ms": np.concatenate([np.array(batch.t, dtype=np.int64) + batch.t0 for batch in batches]),
        "x": np.concatenate([np.array(batch.x, dtype=np.float64) for batch in batches]),
        "q": np.concatenate([np.array(batch.q, dtype=np.uint8) for batch in batches]),
        "n": np.repeat(np.arange(len(batches), dtype=np.int64), lengths),
    }


def _insert(con: duckdb.DuckDBPyConnection, arrays: dict[str, "np.ndarray[tuple[int], np.dtype[np.generic]]"]) -> None:
    con.execute("INSERT INTO readings SELECT * FROM arrays")


if __name__ == "__main__":
    import tempfile

    for size in (20, 50, 200):
        with tempfile.TemporaryDirectory() as folder:
            print(size, {name: round(value) for name, value in measure(Path(folder), size).items()})
