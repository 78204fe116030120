"""Damage done to the outbox's file on purpose: nothing wrong comes out, polling goes on, the rest is told."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.books import OutboxSettings
from agent.ledger import Ledger
from agent.outbox import Outbox, open_outbox
from agent.sealed import Sealed
from metering.wire import Batch, Lost, Receipt, decode_batch, unpack

Draft = Callable[..., Batch]


async def filled(settings: OutboxSettings, world, draft: Draft, count: int = 60) -> list[Sealed]:
    async with open_outbox(settings, world) as outbox:
        rows = []
        for n in range(count):
            rows += await outbox.put([draft(60, seed=n + 1)])
            if n == 9:
                outbox.settle(Receipt(stream=rows[0].stream, through=5))
    return rows


async def reopened(settings: OutboxSettings, world, draft: Draft) -> list[Sealed]:
    """Open, put one batch (polling goes on), return all that waits."""
    async with open_outbox(settings, world) as outbox:
        await outbox.unreceipted_after(0, 1000)
        assert len(await outbox.put([draft(60, seed=9999)])) == 1
        await outbox.put([draft(60, seed=9998)])
        rows = await outbox.unreceipted_after(0, 1000)
    async with open_outbox(settings, world) as outbox:
        assert not (await outbox.health()).set_aside, "what was salvaged is sound"
        assert await outbox.unreceipted_after(0, 1000) == rows
    return rows


def losses_in(rows: list[Sealed]) -> list[Lost]:
    batches = [decode_batch(unpack(row.payload)) for row in rows]
    return [event for batch in batches for event in batch.events if isinstance(event, Lost)]


def damage(path: Path, dice: random.Random) -> str:
    data = bytearray(path.read_bytes())
    how = dice.choice(["flip", "flip", "zero", "cut", "head"])
    at = dice.randrange(len(data))
    if how == "flip":
        data[at] ^= 1 << dice.randrange(8)
    elif how == "zero":
        at -= at % 4096
        data[at : at + 4096] = bytes(4096)
    elif how == "cut":
        del data[at:]
    else:
        data[: dice.randrange(1, 100)] = dice.randbytes(50)
    path.write_bytes(data)
    return f"{how} at {at}"


@pytest.mark.parametrize("seed", range(60))
async def test_f08_damage_yields_less_never_something_else(seed: int, world, outbox_settings, draft: Draft) -> None:
    rows = await filled(outbox_settings, world, draft)
    how = damage(outbox_settings.path, random.Random(seed))
    true = {(row.stream, row.seq): row.sha256 for row in rows}
    after = await reopened(outbox_settings, world, draft)
    ours = [row for row in after if (row.stream, row.seq) in true]
    news = [row for row in after if (row.stream, row.seq) not in true]
    assert all(true[row.stream, row.seq] == row.sha256 for row in ours), how
    assert [decode_batch(unpack(row.payload)).x for row in news][-2:] == [draft(60, seed=n).x for n in (9999, 9998)]
    there = {row.seq for row in ours}
    told = {seq for loss in losses_in(after) for seq in range(loss.from_seq, loss.to_seq + 1)}
    if there:
        assert set(range(6, max(there) + 1)) <= there | told, how


async def test_a_damaged_payload_is_given_up_and_told(world, outbox_settings, draft: Draft) -> None:
    rows = await filled(outbox_settings, world, draft)
    data = bytearray(outbox_settings.path.read_bytes())
    at = data.find(rows[20].payload)
    data[at + 100] ^= 4
    outbox_settings.path.write_bytes(data)
    after = await reopened(outbox_settings, world, draft)
    [loss] = losses_in(after)
    assert (loss.from_seq, loss.to_seq, loss.readings, loss.cause) == (21, 21, 60, "damaged")
    assert loss.sha256_of_b == rows[20].sha256, "the chain goes on from its hash"
    ours = {row.seq for row in after if row.stream == rows[0].stream}
    assert ours == set(range(6, 61)) - {21}, "the rest of the file is sound"
    assert not list(outbox_settings.path.parent.glob("*.damaged-*"))


async def test_salvaged_batches_keep_their_identity_and_a_new_stream_begins(
    world, outbox_settings, draft: Draft
) -> None:
    rows = await filled(outbox_settings, world, draft)
    with outbox_settings.path.open("r+b") as file:
        file.write(b"\0" * 4096)
    after = await reopened(outbox_settings, world, draft)
    assert {row.sha256 for row in after} >= {row.sha256 for row in rows[5:]}
    assert len({row.stream for row in after}) == 2
    aside = [path.name for path in outbox_settings.path.parent.glob("*.damaged-*")]
    assert aside, "the damaged file is kept"
    assert after[-2].seq == 1


async def test_losses_found_in_the_middle_of_a_put_are_told(world, outbox_settings, draft: Draft) -> None:
    async with open_outbox(outbox_settings, world) as outbox:
        for n in range(100):
            await outbox.put([draft(200, seed=n + 1)])
        ruin_behind_its_back(outbox, outbox_settings.path)
        news = await outbox.put([draft(200, seed=9999)]) + await outbox.put([draft(200, seed=9998)])
        assert (await outbox.health()).set_aside
        kept = {row.seq for row in await outbox.unreceipted_after(0, 1000) if row.stream != news[0].stream}
    told = {seq for loss in losses_in(news) for seq in range(loss.from_seq, loss.to_seq + 1)}
    assert told
    assert told == set(range(1, max(kept) + 1)) - kept


async def test_a_salvage_cut_short_is_taken_up_at_the_next_start(world, outbox_settings, draft: Draft) -> None:
    """Killed after a few batches were brought over: the new file holds them, and the name of the damaged one."""
    path = outbox_settings.path
    rows = await filled(outbox_settings, world, draft)
    data = bytearray(path.read_bytes())
    for row in rows[30:35]:
        at = data.find(row.payload)
        data[at + 20 : at + 60] = bytes(40)
    aside = path.with_name(f"{path.name}.damaged-1")
    aside.write_bytes(data)
    path.unlink()
    ledger = Ledger(path, outbox_settings.max_size)
    ledger.begin(world.new_id())
    ledger.salvage_from(aside.name, world.now_ms())
    ledger.adopt(rows[:16], world.now_ms())
    ledger.close()
    async with open_outbox(outbox_settings, world) as outbox:
        assert (await outbox.health()).set_aside == str(aside)
    after = await reopened_once(outbox_settings, world, draft)
    assert {row.seq for row in after if row.stream == rows[0].stream} == set(range(6, 61)) - set(range(31, 36))
    assert [(loss.from_seq, loss.to_seq) for loss in losses_in(after)] == [(31, 35)]
    async with open_outbox(outbox_settings, world) as outbox:
        assert not (await outbox.health()).set_aside, "told once"


async def reopened_once(settings: OutboxSettings, world, draft: Draft) -> list[Sealed]:
    async with open_outbox(settings, world) as outbox:
        await outbox.put([draft(60, seed=9999)])
        return await outbox.unreceipted_after(0, 1000)


def ruin_behind_its_back(outbox: Outbox, path: Path) -> None:
    """Zero the root of the batches and some of them, so that the next put meets it."""
    ledger = outbox._books._ledger
    assert ledger is not None
    ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = ledger._db.execute("SELECT rootpage FROM sqlite_schema WHERE name='batches'").fetchone()
    with path.open("r+b") as file:
        for page, count in ((root - 1, 1), (30, 20)):
            file.seek(page * 4096)
            file.write(bytes(count * 4096))
    ledger._db.execute("PRAGMA shrink_memory")
