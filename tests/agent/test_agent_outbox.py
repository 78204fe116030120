"""The outbox's promises, one by one."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.books import OutboxSettings
from agent.outbox import Outbox, open_outbox
from agent.sealed import Sealed
from metering.errors import StoreBusy, StoreFailed
from metering.wire import Batch, Lost, Receipt, decode_batch, digest, unpack

Draft = Callable[..., Batch]


def batch_of(row: Sealed) -> Batch:
    return decode_batch(unpack(row.payload))


async def waiting(outbox: Outbox) -> list[Sealed]:
    rows: list[Sealed] = []
    while more := await outbox.unreceipted_after(rows[-1].id if rows else 0, 500):
        rows += more
    return rows


# -- identity


async def test_batches_are_numbered_without_holes_and_chained(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        rows = await outbox.put([draft(), draft()]) + await outbox.put([draft()])
    batches = [batch_of(row) for row in rows]
    assert [batch.seq for batch in batches] == [1, 2, 3]
    assert batches[0].prev == ""
    assert [batch.prev for batch in batches[1:]] == [digest(unpack(row.payload)) for row in rows[:2]]
    assert len({batch.stream for batch in batches}) == 1


async def test_each_start_begins_a_new_stream_and_what_waits_keeps_its_identity(
    world, outbox_settings, draft: Draft
) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        first = (await outbox.put([draft()]))[0]
        assert not outbox.stopped_cleanly
    async with open_outbox(outbox_settings, world) as outbox:
        assert outbox.stopped_cleanly
        second, third = await outbox.put([draft(), draft()])
        assert second.stream != first.stream
        assert [(row.stream, row.seq) for row in (second, third)] == [(second.stream, 1), (second.stream, 2)]
        assert [batch_of(row).prev for row in (second, third)] == ["", second.sha256]
        assert await waiting(outbox) == [first, second, third]
        outbox.settle(Receipt(stream=first.stream, through=1))
        outbox.settle(Receipt(stream=second.stream, through=1))
        assert await waiting(outbox) == [third]


async def test_f09_a_file_that_is_an_older_copy_of_itself_gives_no_number_twice(
    world, outbox_settings, draft: Draft
) -> None:
    path = outbox_settings.path
    async with open_outbox(outbox_settings, world) as outbox:
        given = await outbox.put([draft(seed=n + 1) for n in range(5)])
    copy = path.read_bytes()
    async with open_outbox(outbox_settings, world) as outbox:
        given += await outbox.put([draft(seed=n + 100) for n in range(5)])
    path.write_bytes(copy)
    async with open_outbox(outbox_settings, world) as outbox:
        given += await outbox.put([draft(seed=n + 200) for n in range(5)])
        assert await waiting(outbox) == given[:5] + given[10:]
    assert len({(row.stream, row.seq) for row in given}) == 15


async def test_a_file_opened_anew_in_the_same_run_goes_on(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        [first] = await outbox.put([draft(seed=1)])
        outbox._books._close_ledger()
        [second] = await outbox.put([draft(seed=2)])
    assert (second.stream, second.seq, batch_of(second).prev) == (first.stream, 2, first.sha256)


async def test_a_batch_too_long_to_send_is_split(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        rows = await outbox.put([draft(30_000)])
        whole = [value for row in rows for value in batch_of(row).x]
    assert len(rows) > 1
    assert whole == draft(30_000).x
    assert max(len(row.payload) for row in rows) <= 60_000


# -- receipts


async def test_a_batch_leaves_only_on_a_receipt(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        stream = (await outbox.put([draft() for _ in range(10)]))[0].stream
        outbox.settle(Receipt(stream=stream, through=3, also=[5, 7]))
        assert [row.seq for row in await waiting(outbox)] == [4, 6, 8, 9, 10]
        assert (await outbox.health()).unreceipted == 5
        await outbox.tidy()
    async with open_outbox(outbox_settings, world) as outbox:
        assert [row.seq for row in await waiting(outbox)] == [4, 6, 8, 9, 10]


async def test_receipts_for_what_was_never_given_are_ignored(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        rows = await outbox.put([draft(), draft()])
        outbox.settle(Receipt(stream="another", through=99))
        outbox.settle(Receipt(stream=rows[0].stream, through=-5, also=[0, 77]))
        assert len(await waiting(outbox)) == 2
        outbox.settle(Receipt(stream=rows[0].stream, through=10**15))
        await outbox.put([draft()])
        assert [row.seq for row in await waiting(outbox)] == [3]


async def test_delivered_batches_can_be_asked_for_again(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        rows = await outbox.put([draft(seed=n + 1) for n in range(5)])
        outbox.settle(Receipt(stream=rows[0].stream, through=5))
        assert await outbox.stretch(rows[0].stream, 2, 4) == rows[1:4]


async def test_delivered_batches_go_after_their_time(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        rows = await outbox.put([draft() for _ in range(5)])
        outbox.settle(Receipt(stream=rows[0].stream, through=5))
        await outbox.tidy()
        world.wall_offset_ms += 8 * 86_400_000
        await outbox.tidy()
        assert [row.seq for row in await outbox.stretch(rows[0].stream, 1, 5)] == [5], "the newest keeps the identity"
        assert (await outbox.put([draft()]))[0].seq == 6


async def test_a_backlog_receipted_after_the_live_batches_goes_too_and_is_never_called_lost(
    world, outbox_settings, draft: Draft
) -> None:
    settings = replace(outbox_settings, max_size=2 << 20, keep_delivered_s=60.0)
    async with open_outbox(settings, world) as outbox:
        stream = (await outbox.put([draft() for _ in range(100)]))[0].stream
        outbox.settle(Receipt(stream=stream, through=0, also=list(range(51, 100))))
        await outbox.tidy()
        world.wall_offset_ms += 100_000
        await outbox.tidy()
        outbox.settle(Receipt(stream=stream, through=50))
        await outbox.tidy()
        assert [row.seq for row in await outbox.stretch(stream, 1, 99)] == list(range(1, 51)), "not kept long enough"
        world.wall_offset_ms += 100_000
        await outbox.tidy()
        assert await outbox.stretch(stream, 1, 99) == []
        outbox.settle(Receipt(stream=stream, through=100))
        events = []
        while not events:
            rows = await outbox.put([draft(500, seed=n + 1) for n in range(16)])
            events = [event for row in rows for event in batch_of(row).events]
    assert min(event.from_seq for event in events if isinstance(event, Lost)) == 101


# -- size


async def test_the_size_is_never_exceeded_and_each_loss_is_told(world, outbox_settings, draft: Draft) -> None:
    settings = replace(outbox_settings, max_size=2 << 20)
    put = 0
    async with open_outbox(settings, world) as outbox:
        stream = ""
        for n in range(400):
            rows = await outbox.put([draft(500, seed=n + 1), draft(500, seed=n + 1000)])
            put += sum(row.readings for row in rows)
            stream = rows[0].stream
            assert (await outbox.health()).bytes <= settings.max_size
        kept = await waiting(outbox)
        events = [event for row in kept for event in batch_of(row).events]
    losses = [event for event in events if isinstance(event, Lost)]
    assert losses
    assert all(loss.stream == stream and loss.cause == "full" for loss in losses)
    settled = {seq for loss in losses for seq in range(loss.from_seq, loss.to_seq + 1)}
    assert settled == set(range(1, kept[0].seq)), "what is gone is told, once, and nothing else is"
    assert sum(loss.readings for loss in losses) + sum(row.readings for row in kept) == put
    assert len(kept) > 80


async def test_delivered_batches_make_room_before_waiting_ones(world, outbox_settings, draft: Draft) -> None:
    settings = replace(outbox_settings, max_size=2 << 20)
    async with open_outbox(settings, world) as outbox:
        first = await outbox.put([draft(500, seed=n + 1) for n in range(100)])
        outbox.settle(Receipt(stream=first[0].stream, through=0, also=[row.seq for row in first[50:]]))
        for n in range(60):
            await outbox.put([draft(500, seed=n + 1000)])
        kept = await waiting(outbox)
    assert {row.seq for row in first[:50]} <= {row.seq for row in kept}


# -- one agent


async def test_a_second_agent_is_refused_with_the_first_ones_process_id(world, outbox_settings, draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        await outbox.put([draft()])
        with pytest.raises(StoreBusy, match=f"in use by process {os.getpid()}"):
            async with open_outbox(outbox_settings, world):
                pass
        assert len(await outbox.put([draft()])) == 1


async def test_a_newer_file_is_refused_and_left_alone(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        await outbox.put([draft()])
    db = sqlite3.connect(outbox_settings.path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StoreFailed, match="newer version"):
        async with open_outbox(outbox_settings, world):
            pass
    assert sqlite3.connect(outbox_settings.path).execute("SELECT count(*) FROM batches").fetchone() == (1,)


# -- kill


WRITER = """
import asyncio, sys
from pathlib import Path
from agent.books import OutboxSettings
from agent.outbox import open_outbox
from link.real_world import RealWorld
from metering.wire import Batch, Receipt

async def main():
    world = RealWorld()
    async with open_outbox(OutboxSettings(Path(sys.argv[1]), 8 << 20, 60.0), world) as outbox:
        while True:
            now = world.now_ms()
            draft = Batch(site="demo", agent="a", stream="", seq=0, prev="", boot="b", up=0, clock="synced", config="",
                          points=[("m/p", "kWh")], t0=now, t=[0], p=[0], x=[1.5], q=[0])
            for row in await outbox.put([draft, draft]):
                sys.stdout.write(f"{row.stream} {row.seq} {row.sha256}\\n")
            sys.stdout.flush()
            if row.seq % 10 == 0:
                outbox.settle(Receipt(stream=row.stream, through=row.seq - 5))

asyncio.run(main())
"""


async def test_what_put_returned_for_survives_a_kill(world, outbox_settings: OutboxSettings) -> None:
    told: dict[tuple[str, int], str] = {}
    for run in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(outbox_settings.path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        told.update(read_lines(writer.stdout.readline()))
        time.sleep(0.05 + 0.07 * run)
        writer.send_signal(signal.SIGKILL)
        told.update(read_lines(writer.stdout.read()))
        writer.wait(10)
    async with open_outbox(outbox_settings, world) as outbox:
        assert not outbox.stopped_cleanly
        kept = []
        for stream, last_seq in (await outbox.streams()).items():
            kept += await outbox.stretch(stream, 1, last_seq, limit=10**6)
    assert len({stream for stream, _ in told}) == 4
    there = {(row.stream, row.seq): row.sha256 for row in kept}
    assert told.items() <= there.items()
    assert len(kept) - len(told) <= 8, "at most the puts that were under way"


def read_lines(text: str) -> dict[tuple[str, int], str]:
    lines = [line.split() for line in text.splitlines() if line.count(" ") == 2]
    return {(stream, int(seq)): sha for stream, seq, sha in lines if len(sha) == 64}


# -- a disk that refuses


async def test_a_full_disk_keeps_batches_in_memory_and_they_come_back(world, tmp_path: Path, draft: Draft) -> None:
    """F04: the file cannot grow (a folder takes its place), later it can."""
    path = tmp_path / "box" / "outbox.db"
    (tmp_path / "box").write_text("in the way")
    async with open_outbox(OutboxSettings(path, 8 << 20, 60.0), world) as outbox:
        first = await outbox.put([draft(seed=1), draft(seed=2)])
        health = await outbox.health()
        assert health.volatile
        assert health.unreceipted == 2
        assert await waiting(outbox) == first
        outbox.settle(Receipt(stream=first[0].stream, through=1))
        (tmp_path / "box").unlink()
        world.elapsed_s += 11
        second = await outbox.put([draft(seed=3)])
        assert (second[0].stream, second[0].seq, batch_of(second[0]).prev) == (first[0].stream, 3, first[1].sha256)
        assert not (await outbox.health()).volatile
        assert [row.seq for row in await waiting(outbox)] == [2, 3]
    async with open_outbox(OutboxSettings(path, 8 << 20, 60.0), world) as outbox:
        assert [row.seq for row in await waiting(outbox)] == [2, 3]


async def test_a_disk_lost_while_running_begins_a_new_stream(world, tmp_path: Path, draft: Draft) -> None:
    folder = tmp_path / "box"
    settings = OutboxSettings(folder / "outbox.db", 8 << 20, 60.0)
    async with open_outbox(settings, world) as outbox:
        first = await outbox.put([draft(seed=1)])
        drop_file_from_disk(outbox, folder)
        second = await outbox.put([draft(seed=2)])
        assert (await outbox.health()).volatile
        assert second[0].stream != first[0].stream, "its numbers might be given again after a crash"
        assert second[0].seq == 1
        folder.unlink()
        (tmp_path / "elsewhere").rename(folder)
        world.elapsed_s += 11
        await outbox.tidy()
        assert not (await outbox.health()).volatile
        assert [row.sha256 for row in await waiting(outbox)] == [first[0].sha256, second[0].sha256]


def drop_file_from_disk(outbox: Outbox, folder: Path) -> None:
    ledger = outbox._books._ledger
    assert ledger is not None
    ledger._db.execute("PRAGMA max_page_count=1")
    ledger._db.execute("PRAGMA query_only=ON")
    folder.rename(folder.parent / "elsewhere")
    folder.write_text("in the way")


async def test_memory_is_bounded_while_the_disk_is_away(world, tmp_path: Path, draft: Draft) -> None:
    (tmp_path / "box").write_text("in the way")
    async with open_outbox(OutboxSettings(tmp_path / "box" / "outbox.db", 8 << 20, 60.0), world) as outbox:
        await outbox.put([draft(seed=1)])
        ring = outbox._books._ring
        assert ring is not None
        ring._size = 200_000
        put = 20
        for n in range(200):
            put += sum(row.readings for row in await outbox.put([draft(500, seed=n + 2)]))
        kept = await waiting(outbox)
        assert sum(len(row.payload) for row in kept) <= 200_000 + 60_000
        losses = [event for row in kept for event in batch_of(row).events if isinstance(event, Lost)]
        told = sum(loss.readings for loss in losses)
        assert told + sum(loss.readings for loss in ring.untold) + sum(row.readings for row in kept) == put
        assert {loss.cause for loss in losses} == {"memory_full"}


# -- speed


def test_a_cycle_costs_little_more_than_its_fsync(tmp_path: Path, world, outbox_settings, draft: Draft) -> None:
    async def cycles(count: int) -> float:
        async with open_outbox(outbox_settings, world) as outbox:
            drafts = [draft(50, seed=n + 1) for n in range(count)]
            start = time.perf_counter()
            for one in drafts:
                rows = await outbox.put([one])
                outbox.settle(Receipt(stream=rows[0].stream, through=rows[0].seq))
            return time.perf_counter() - start

    spent = asyncio.run(cycles(100))
    raw = append_and_sync(tmp_path / "raw", 100)
    assert spent < 6 * raw + 0.5


def append_and_sync(path: Path, count: int) -> float:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    start = time.perf_counter()
    for _ in range(count):
        os.write(handle, b"x" * 600)
        os.fdatasync(handle)
    spent = time.perf_counter() - start
    os.close(handle)
    return spent
