"""A series file over kill -9, a second owner, a full disk and its write-ahead log."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from ingester.inspection import Inspector
from ingester.receive import Receiver
from ingester.store.contract import Settled
from ingester.store.duckdb_series import DuckdbSeries
from link.world import Message
from metering.errors import StoreBusy, StoreFailed
from metering.wire import Receipt, Topics, decode_as

STREAM = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
T0 = 1_763_884_800_000

COMMITS_UNTIL_KILLED = """
import sys
import time
from pathlib import Path
from ingester.store.contract import Arrived
from ingester.store.duckdb_series import DuckdbSeries
from metering.wire import Batch, digest, encode

store = DuckdbSeries(Path(sys.argv[1]))
for seq in range(1, 100000):
    batch = Batch(site="demo", agent="agent-a", stream=sys.argv[2], seq=seq, prev="", boot="b", up=0, clock="synced", config="c",
                  points=[("main/energy", "kWh")], t0=1763884800000 + seq * 1000, t=[0], p=[0], x=[float(seq)], q=[0])
    body = encode(batch)
    store.commit([Arrived(batch, body, digest(body), 0)])
    print(seq, flush=True)
"""


def start(program: str, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", program, *args], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())


@pytest.mark.parametrize("commits", [1, 40])
def test_f55_what_was_committed_survives_a_kill(tmp_path, commits):
    path = tmp_path / "series.duckdb"
    process = start(COMMITS_UNTIL_KILLED, str(path), STREAM)
    assert process.stdout is not None
    committed = [int(process.stdout.readline()) for _ in range(commits)][-1]
    process.send_signal(signal.SIGKILL)
    committed = max([committed, *map(int, process.stdout.read().split())])
    process.wait()

    store = DuckdbSeries(path)
    through = store.settled("agent-a", STREAM).through
    rows = store.samples("main/energy", 0, T0 * 2).readings
    store.close()
    assert committed <= through <= committed + 1
    assert store.settled("agent-a", STREAM) == Settled(through, ())
    assert rows == [(T0 + seq * 1000, float(seq)) for seq in range(1, through + 1)]


def test_f58_a_second_owner_is_told_the_first_ones_process_id(tmp_path):
    path = tmp_path / "series.duckdb"
    process = start(COMMITS_UNTIL_KILLED, str(path), STREAM)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        with pytest.raises(StoreBusy) as busy:
            DuckdbSeries(path)
    finally:
        process.kill()
        process.wait()
    assert busy.value.values["pid"] == str(process.pid)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "series.duckdb").write_bytes(b"not a database, " * 1000)
    with pytest.raises(StoreFailed, match="not a valid DuckDB"):
        DuckdbSeries(tmp_path / "series.duckdb")


def test_f56_a_failed_commit_leaves_nothing_and_the_next_one_succeeds(tmp_path, arrived):
    store = DuckdbSeries(tmp_path / "series.duckdb")
    store.commit([arrived(1, [(0, "main/energy", 1.0, 0)])])
    store._con.close()
    with pytest.raises(StoreFailed):
        store.commit([arrived(2, [(5, "main/energy", 2.0, 0)])])
    assert store.settled("agent-a", STREAM) == Settled(1, ())
    assert store.commit([arrived(1), arrived(2, [(5, "main/energy", 2.0, 0)])]) == [False, True]
    assert store.samples("main/energy", 0, T0 * 2).readings == [(T0, 1.0), (T0 + 5, 2.0)]
    store.close()


def test_the_primary_key_refuses_what_memory_forgot(tmp_path, arrived):
    store = DuckdbSeries(tmp_path / "series.duckdb")
    batch = arrived(1, [(0, "main/energy", 1.0, 0)])
    store.commit([batch])
    store._known.stored.clear()
    with pytest.raises(StoreFailed, match=r"[Dd]uplicate"):
        store.commit([batch])
    assert store.commit([batch]) == [False]
    store.close()


def test_the_write_ahead_log_does_not_grow_for_ever(tmp_path, arrived):
    path = tmp_path / "series.duckdb"
    store = DuckdbSeries(path)
    for group in range(12):
        rows = [(i, f"m-{i % 50}/energy", float(i), 0) for i in range(50_000)]
        store.commit([arrived(group + 1, rows)])
    log = Path(f"{path}.wal")
    assert not log.exists() or log.stat().st_size < 24_000_000
    store.close()
    assert not log.exists()
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM readings").fetchone() == (600_000,)


KILLED_BEFORE_THE_RECEIPT = """
import asyncio, os, signal, sys
from pathlib import Path
from ingester.inspection import Inspector
from ingester.receive import Receiver
from ingester.store.duckdb_series import DuckdbSeries
from link.real_world import RealWorld
from link.world import Message
from metering.wire import Topics

async def publish(topic, payload):
    os.kill(os.getpid(), signal.SIGKILL)

async def receive():
    world, store = RealWorld(), DuckdbSeries(Path(sys.argv[1]))
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, store, Inspector(Topics("demo"), {}, {}, {}), publish)
        await receiver.handle([Message("tanbiao/v1/demo/agent-a/data", bytes.fromhex(sys.argv[2]))])

asyncio.run(receive())
"""


async def test_f55_a_kill_between_commit_and_receipt_loses_and_doubles_nothing(tmp_path, world, arrived):
    path = tmp_path / "series.duckdb"
    batch = arrived(1, [(0, "main/energy", 1.0, 0), (5, "main/energy", 2.0, 0)])
    process = start(KILLED_BEFORE_THE_RECEIPT, str(path), batch.body.hex())
    assert process.wait() == -signal.SIGKILL

    store = DuckdbSeries(path)
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, store, Inspector(Topics("demo"), {}, {}, {}), world.pipe.publish)
        await receiver.handle([Message("tanbiao/v1/demo/agent-a/data", batch.body)])
    assert [decode_as(Receipt, message.payload).through for message in world.pipe.published] == [1]
    assert len(store.readings("main/energy", T0, T0 + 99, 99)) == 2
    store.close()


RECEIVES_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from ingester.inspection import Inspector
from ingester.receive import Receiver
from ingester.store.duckdb_series import DuckdbSeries
from link.real_world import RealWorld
from link.world import Message
from metering.wire import Batch, Receipt, Topics, decode_as, digest, encode

def batches():
    prev = ""
    for seq in range(1, 2001):
        batch = Batch(site="demo", agent="agent-a", stream="s-1", seq=seq, prev=prev, boot="b", up=0, clock="synced", config="c",
                      points=[("main/energy", "kWh")], t0=1763884800000 + seq * 1000, t=[0, 1], p=[0, 0], x=[float(seq), 0.5], q=[0, 0])
        body = encode(batch)
        prev = digest(body)
        yield Message("tanbiao/v1/demo/agent-a/data", body)

async def receive(path, given_up_before):
    world, store = RealWorld(), DuckdbSeries(path)
    async def publish(topic, payload): print(decode_as(Receipt, payload).through, flush=True)
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, store, Inspector(Topics("demo"), {}, {}, {}), publish)
        unreceipted = list(batches())[given_up_before:]
        for at in range(0, len(unreceipted), 7):
            await receiver.handle(unreceipted[at : at + 7])

asyncio.run(receive(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_f55_kills_at_any_moment_lose_nothing_that_was_receipted_and_store_each_row_once(tmp_path):
    """The sender goes on from the last receipt that reached it, as an agent does: what was committed and not receipted comes again."""
    path, dice, receipted = tmp_path / "series.duckdb", random.Random(55), 0
    for _ in range(8):
        process = start(RECEIVES_UNTIL_KILLED, str(path), str(receipted))
        assert process.stdout is not None
        for _ in range(dice.randint(1, 20)):
            receipted = int(process.stdout.readline())
        time.sleep(dice.random() / 50)
        process.kill()
        process.wait()
        store = DuckdbSeries(path)
        through = store.settled("agent-a", "s-1").through
        rows = [row.value for row in store.readings("main/energy", 0, T0 * 2, 10_000)]
        store.close()
        assert through >= receipted
        assert rows == [value for seq in range(1, through + 1) for value in (float(seq), 0.5)]
