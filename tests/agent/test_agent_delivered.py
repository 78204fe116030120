"""What the status says of delivered batches: a restored ingester asks for these, so it must be what is still there."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.outbox import Outbox, open_outbox
from metering.wire import Receipt


def receipt(outbox: Outbox, stream: str, through: int, *also: int) -> None:
    outbox.settle(Receipt(stream=stream, through=through, also=list(also)))


async def delivered(outbox: Outbox) -> list[list[tuple[int, int]]]:
    """Return the ranges of each stream, oldest first."""
    return list((await outbox.health()).delivered.values())


def test_only_what_was_receipted_is_told_stream_by_stream(
    world: Any, outbox_settings: Any, draft: Callable[..., Any], in_virtual_time: Any
) -> None:
    async def story() -> None:
        for end, also in ((3, ()), (1, (5,))):
            async with open_outbox(outbox_settings, world) as outbox:
                rows = [row for seed in range(1, 7) for row in await outbox.put([draft(5, seed=seed)])]
                receipt(outbox, rows[0].stream, end, *also)
                await outbox.tidy()
        async with open_outbox(outbox_settings, world) as outbox:
            assert await delivered(outbox) == [[(1, 3)], [(1, 1), (5, 5)]]
            for stream, ranges in (await outbox.health()).delivered.items():
                for first, last in ranges:
                    assert [row.seq for row in await outbox.stretch(stream, first, last)] == [*range(first, last + 1)]

    in_virtual_time(story())


def test_what_was_kept_long_enough_is_told_no_more(
    world: Any, outbox_settings: Any, draft: Callable[..., Any], in_virtual_time: Any
) -> None:
    async def story() -> None:
        async with open_outbox(replace(outbox_settings, keep_delivered_s=100.0), world) as outbox:
            rows = [row for seed in range(1, 5) for row in await outbox.put([draft(5, seed=seed)])]
            receipt(outbox, rows[0].stream, 3)
            await outbox.tidy()
            assert await delivered(outbox) == [[(1, 3)]]
            await world.sleep(200)
            await outbox.tidy()
            assert await delivered(outbox) == []

    in_virtual_time(story())
