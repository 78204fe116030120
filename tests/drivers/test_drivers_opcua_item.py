"""What a subscription told of one node: its times, what was lost, and whether readings agree with it."""

from datetime import UTC, datetime

import pytest
from asyncua import ua

from drivers.opcua.codec import target
from drivers.opcua.item import MOST_KEPT, Item
from metering.profile import ProfilePoint
from metering.reading import Quality

NOW_MS = 1_800_000_000_000


def data(value: float, status: int = 0, when: datetime | None = None) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value), ua.StatusCode(ua.UInt32(status)), SourceTimestamp=when or datetime.now(UTC))


def item(deadband: float = 0.0) -> Item:
    return Item(target("mass", ProfilePoint(address="ns=2;s=mass", unit="kg", role="gauge")), deadband)


def hear(
    watched: Item, value: float, at_ms: int, status: int = 0, now_ms: int = NOW_MS, published_ms: int = NOW_MS
) -> bool:
    when = datetime.fromtimestamp(at_ms / 1000, UTC)
    return watched.hear(data(value, status, when), now_ms, published_ms, 600_000)


def test_values_lost_in_the_servers_queue_mark_the_next() -> None:
    watched = item()
    hear(watched, 1.0, NOW_MS)
    assert hear(watched, 2.0, NOW_MS, status=0x0000_0480)
    assert not hear(watched, 3.0, NOW_MS)
    assert [value.quality for value in watched.take()] == [Quality.UNCERTAIN, Quality.GOOD]


def test_no_more_than_a_bounded_number_is_kept_and_the_loss_is_marked() -> None:
    watched = item()
    for at in range(MOST_KEPT + 3):
        hear(watched, float(at), NOW_MS)
    told = watched.take()
    assert len(told) == MOST_KEPT
    assert told[-1].quality is Quality.UNCERTAIN


def test_the_time_of_a_server_whose_clock_differs_is_moved_to_ours() -> None:
    watched = item()
    hear(watched, 1.0, NOW_MS)
    ahead = NOW_MS + 30_000
    hear(watched, 2.0, ahead - 400, published_ms=ahead)
    (told,) = watched.take()
    assert (told.at_ms, told.source_ms) == (NOW_MS - 400, ahead - 400)


@pytest.mark.parametrize("source_ms", [NOW_MS + 3_600_000, NOW_MS - 86_400_000])
def test_f30_a_told_value_with_an_impossible_source_time_has_the_time_it_came_in(source_ms: int) -> None:
    watched = item()
    hear(watched, 1.0, NOW_MS)
    hear(watched, 2.0, source_ms)
    (told,) = watched.take()
    assert told.at_ms == NOW_MS
    assert told.quality is not Quality.GOOD


def test_a_difference_is_believed_only_when_it_lasts() -> None:
    watched = item(deadband=0.5)
    hear(watched, 10.0, NOW_MS)
    assert watched.agrees(data(10.5), 0.0, 3.0)
    assert watched.agrees(data(11.0), 1.0, 3.0)
    assert watched.agrees(data(11.0), 3.9, 3.0)
    assert not watched.agrees(data(11.0), 4.0, 3.0)
    hear(watched, 11.0, NOW_MS)
    assert watched.agrees(data(11.0), 9.0, 3.0)
