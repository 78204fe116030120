"""How many intervals a second are derived from what is stored, and what an account costs at each commit.

The catch-up closes half an hour of 1 min intervals at once; the live row is what happens between: one reading of each account
was committed, and `derive` looks whether something has closed. The limit of the first is the sum alone, from the same readings
in memory; of the second, one query per account for its new readings.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from bench.alternate import Row, Size, alternate, seconds
from calibration.effect import Register
from ingester.accounts import Account, Accounts, FactorChoice, PointSpec
from ingester.derive import Deriver
from ingester.grid import Grid
from ingester.store.contract import Arrived, FactorUse
from ingester.store.duckdb_series import DuckdbSeries
from metering.activity import activity
from metering.emission import direct_ratio
from metering.quantity import quantity, unit
from metering.register import RegisterSpec, register_track
from metering.text import Text
from metering.wire import Batch, digest, encode

ACCOUNTS = 20
MINUTE_MS = 60_000
EVERY_MS = 10_000
STRETCH_MS = 30 * MINUTE_MS
LOOKS = 3
T0 = 1_763_884_800_000
SPEC = RegisterSpec()


class _Plant:
    """A store with one counter per account, and what derives from it."""

    def __init__(self, folder: Path, accounts: int) -> None:
        self.names = [f"meter-{number}/energy" for number in range(accounts)]
        self.series = DuckdbSeries(folder / "derive.duckdb")
        self.grid = Grid(MINUTE_MS, ZoneInfo("Asia/Shanghai"))
        self.deriver = Deriver(
            Accounts([_account(name) for name in self.names]), self.series, Register([], []), self.grid
        )
        self.now_ms = T0
        self._seq = 0
        self.bring(EVERY_MS)

    def bring(self, duration_ms: int) -> list[list[tuple[int, float]]]:
        """Commit a reading of each point every 10 s for a while; return them, point by point."""
        self._seq += 1
        times = range(self.now_ms, self.now_ms + duration_ms, EVERY_MS)
        self.series.commit([_arrived(self._seq, self.names, times)])
        self.now_ms = times[-1] + EVERY_MS
        return [[(ms, _shown(ms, number)) for ms in times] for number in range(len(self.names))]


def measure(size: Size, folder: Path) -> Iterator[Row]:
    plant = _Plant(folder, min(ACCOUNTS, size.of(5 * ACCOUNTS)))
    accounts, intervals = len(plant.names), STRETCH_MS // MINUTE_MS
    brought: list[list[tuple[int, float]]] = []

    def catch_up() -> float:
        brought[:] = plant.bring(STRETCH_MS + MINUTE_MS)
        count = 0

        def derive() -> None:
            nonlocal count
            count = len(plant.deriver.derive(plant.now_ms))

        took_s = seconds(derive)
        if count < accounts * intervals:
            raise AssertionError(f"{count} intervals closed")
        return count / took_s

    def sums() -> float:
        return accounts * intervals / seconds(lambda: _sums(brought, intervals))

    def look() -> float:
        took_s = 0.0
        for _ in range(LOOKS):
            plant.bring(EVERY_MS)
            took_s += seconds(lambda: plant.deriver.derive(plant.now_ms))
        return 1000 * took_s / LOOKS / accounts

    def query() -> float:
        after = plant.now_ms - EVERY_MS
        return (
            1000 * seconds(lambda: [plant.series.samples(name, after, plant.now_ms) for name in plant.names]) / accounts
        )

    found = alternate({"ours": catch_up, "sums": sums}, size.rounds)
    yield Row("Derive, catching up", "intervals/s", found["ours"], found["sums"], "the sums, readings in memory")
    found = alternate({"ours": look, "query": query}, size.rounds)
    yield Row(
        "… live, after a commit", "ms/account", found["ours"], found["query"], "one DuckDB query per account", True
    )
    plant.series.close()


def _account(name: str) -> Account:
    choice = FactorChoice(
        direct_ratio(unit("kWh"), quantity("0.5306 tCO2/MWh")), (FactorUse("s", "1", "r", "default"),), ""
    )
    terms = ((1, PointSpec(name, unit("kWh"), "counter", SPEC)),)
    return Account(name, Text("电", "power"), terms, unit("kWh"), "purchased_electricity", choose=lambda _: choice)


def _shown(ms: int, number: int) -> float:
    return round((ms - T0) / 36_000 + number, 2)


def _arrived(seq: int, names: Sequence[str], times: range) -> Arrived:
    sent = Batch(
        site="demo", agent="bench", stream="s", seq=seq, prev="", boot="b", up=0, clock="synced", config="c",
        points=[(name, "kWh") for name in names], t0=times[0], t=[ms - times[0] for ms in times for _ in names],
        p=[number for _ in times for number in range(len(names))],
        x=[_shown(ms, number) for ms in times for number in range(len(names))], q=[0] * (len(times) * len(names)),
    )  # fmt: skip
    body = encode(sent)
    return Arrived(sent, body, digest(body), times[0])


def _sums(points: Sequence[list[tuple[int, float]]], intervals: int) -> None:
    for readings in points:
        track = register_track(readings, SPEC)
        start = -(-readings[0][0] // MINUTE_MS) * MINUTE_MS
        for at in range(intervals):
            activity(track, start + at * MINUTE_MS, start + (at + 1) * MINUTE_MS, (), MINUTE_MS)
