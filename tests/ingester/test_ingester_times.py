"""Readings whose time cannot be right: kept, marked, in no total, and told by an alert."""

from typing import Any

import pytest

from ingester.alerts import alert_json, say
from ingester.inspection import AHEAD_MS, EARLIEST_MS, KEPT_MS, Inspector
from ingester.receive import Receiver
from ingester.strange_times import OVER_MS, RULE, UPDATE_MS, StrangeTimes
from link.world import Message
from metering.reading import Quality
from metering.wire import Topics

T0 = 1_763_884_800_000
TOPICS = Topics("demo")


def inspector() -> Inspector:
    return Inspector(TOPICS, {"main/energy": "kWh"}, {}, {})


def qualities(arrived: Any, offset_ms: int, received_ms: int = T0, quality: int = 0) -> list[int]:
    """Return the qualities of a reading at this offset from T0 and of one at T0, as they would be stored."""
    import msgspec

    from metering.wire import encode

    first = min(0, offset_ms)
    made = arrived(1, [(offset_ms - first, "main/energy", 1.0, quality), (-first, "main/energy", 2.0, 0)])
    batch = msgspec.structs.replace(made.batch, t0=T0 + first)
    taken, _ = inspector().inspect(Message(TOPICS.data("agent-a"), encode(batch)), received_ms)
    assert taken is not None
    return list(taken.batch.q)


@pytest.mark.parametrize(
    ("offset_ms", "counts"),
    [
        (AHEAD_MS, True),
        (AHEAD_MS + 1, False),
        (50 * 365 * 86_400_000, False),
        (-KEPT_MS, True),
        (-KEPT_MS - 1, False),
        (EARLIEST_MS - 1 - T0, False),
        (-T0, False),
        (-30 * 86_400_000, True),
    ],
    ids=["5 min ahead", "more", "50 years", "ten years old", "older", "before 2000", "1970", "30 days offline"],
)
def test_f53_a_reading_far_ahead_or_older_than_records_are_kept_does_not_count(
    arrived: Any, offset_ms: int, counts: bool
) -> None:
    assert qualities(arrived, offset_ms) == [Quality.GOOD if counts else Quality.BAD, Quality.GOOD]


def test_f53_what_was_no_value_stays_what_it_was(arrived: Any) -> None:
    assert qualities(arrived, AHEAD_MS + 1, quality=int(Quality.TIMEOUT))[0] == Quality.TIMEOUT


def test_f53_a_clock_of_ours_that_is_not_set_calls_nothing_the_future(arrived: Any) -> None:
    assert qualities(arrived, AHEAD_MS + 1, received_ms=5_000) == [Quality.GOOD, Quality.GOOD]


async def test_f53_it_is_stored_byte_for_byte_and_in_no_total(world: Any, pipe: Any, series: Any, arrived: Any) -> None:
    ahead = world.now_ms() - T0 + 10 * AHEAD_MS
    batch = arrived(1, [(0, "main/energy", 1.0, 0), (ahead, "main/energy", 9.0, 0)])
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, series, inspector(), pipe.publish)
        await receiver.handle([Message(TOPICS.data("agent-a"), batch.body)])
    assert series.samples("main/energy", 0, T0 * 2).readings == [(T0, 1.0)]
    assert [row.value for row in series.readings("main/energy", 0, T0 * 2, 9)] == [1.0, 9.0]
    assert series.body("agent-a", batch.batch.stream, 1) == batch.body
    assert receiver.counts()["strange_times_readings"] == 1
    assert len(pipe.published) == 1, "it is receipted: the agent need not keep it"


def told(strange: StrangeTimes, active: Any, now_ms: int) -> list[Any]:
    """Return the changes, and keep the alerts in `active` as the records do."""
    found = strange.changes(active, now_ms, lambda: f"a-{now_ms}")
    for change in found:
        active.pop((RULE, change.alert.meter), None)
        if change.kind != "cleared":
            active[RULE, change.alert.meter] = change.alert
    return [(change.kind, change.alert.meter, change.alert.values["readings"]) for change in found]


def test_f53_one_alert_an_agent_and_episode_updated_and_cleared() -> None:
    strange, active = StrangeTimes(), {}
    strange.note("agent-a", [5, 9], T0)
    strange.note("agent-a", [7], T0 + 10)
    strange.note("agent-b", [T0 * 40], T0)
    assert told(strange, active, T0 + 20) == [("raised", "agent-a", 3), ("raised", "agent-b", 1)]
    strange.note("agent-a", [1], T0 + 100)
    assert told(strange, active, T0 + 200) == [], "not written for each batch"
    strange.note("agent-a", [2], T0 + UPDATE_MS + 10)
    assert told(strange, active, T0 + UPDATE_MS + 20) == [("updated", "agent-a", 5)]
    assert told(strange, active, T0 + OVER_MS) == [("cleared", "agent-b", 1)]
    assert told(strange, active, T0 + OVER_MS + 2 * UPDATE_MS) == [("cleared", "agent-a", 5)]
    assert active == {}


def test_f53_an_alert_outlives_a_restart_and_ends_by_itself() -> None:
    before, active = StrangeTimes(), {}
    before.note("agent-a", [5], T0)
    told(before, active, T0)
    after = StrangeTimes()
    assert told(after, active, T0 + OVER_MS - 1) == []
    assert told(after, active, T0 + OVER_MS) == [("cleared", "agent-a", 1)]


def test_f53_an_alert_says_in_both_languages_how_far_off_the_times_are() -> None:
    strange, active = StrangeTimes(), {}
    strange.note("agent-a", [0, T0, 2**52], T0)
    told(strange, active, T0)
    (alert,) = active.values()
    assert "3 readings of agent agent-a have impossible times (1970-01-01T00:00:00Z to" in say(alert, "en")
    assert "agent-a" in say(alert, "zh")
    assert alert_json(alert)["text"]["zh"] != alert_json(alert)["text"]["en"]
