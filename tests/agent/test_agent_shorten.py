"""A status message of any number of meters fits, and says what it left out."""

import random
from typing import Any

import pytest

from agent.counters import LineCounters, MeterCounters
from agent.shorten import payload
from metering.errors import MeterSilent
from metering.wire import MAX_SENT, AgentStatus, decode_as, unpack


def meter(dice: random.Random, silent: bool) -> dict[str, Any]:
    counters = MeterCounters(expected=dice.randrange(10**7), read=dice.randrange(10**7), ok=dice.randrange(10**7))
    counters.missed.update(timeout=dice.randrange(10**5), breaker=dice.randrange(10**5))
    counters.last_good_ms = 1_763_884_800_000 + dice.randrange(10**7)
    counters.identity = {"serial": str(dice.randrange(10**9)), "maker": "Eastron", "model": "SDM630"}
    counters.round_trips_ms.extend(dice.random() * 100 for _ in range(64))
    if silent:
        counters.silent_since_ms, counters.error = 1_763_884_800_000, MeterSilent("nothing came")
    return counters.report() | {"line": "a"}


def said(meters: int, silent: int = 1, lines: int = 20) -> tuple[AgentStatus, bytes]:
    dice = random.Random(meters)
    told = {f"meter-{n}": meter(dice, n >= meters - silent) for n in range(meters)}
    roads = {f"line-{n}": LineCounters(open=n > 0, busy_s=dice.random() * 1e6).report() for n in range(lines)}
    sent = payload(AgentStatus(online=True, agent="a", version="1", at=1, meters=told, lines=roads))
    return decode_as(AgentStatus, unpack(sent)), sent


def test_a_status_that_fits_is_told_in_full() -> None:
    status, _ = said(300)
    assert status.alarms == []
    assert all("identity" in facts for facts in status.meters.values())


@pytest.mark.parametrize(
    ("meters", "silent", "lines"), [(1500, 1, 20), (5000, 100, 5000), (20_000, 3, 1), (9000, 9000, 9000)]
)
def test_a_status_of_any_size_fits_and_says_that_it_was_shortened(meters: int, silent: int, lines: int) -> None:
    status, sent = said(meters, silent, lines)
    assert len(sent) <= MAX_SENT
    [alarm] = status.alarms
    left_out = meters - len(status.meters), lines - len(status.lines)
    assert alarm.startswith(f"status shortened: {left_out[0]} meters and {left_out[1]} lines are not named")


def test_what_is_wrong_is_named_before_what_is_well() -> None:
    status, _ = said(20_000, silent=3)
    assert {facts["state"] for facts in status.meters.values()} == {"silent"}
    assert len(status.meters) == 3
    assert all(facts["cause"] == "timeout" and facts["since"] for facts in status.meters.values())
    assert status.lines["line-0"]["state"] == "closed"


def test_meters_that_are_well_keep_their_slots_as_long_as_there_is_room() -> None:
    status, _ = said(1200)
    assert len(status.meters) == 1200
    assert all("read" in facts and "missed" in facts for facts in status.meters.values())
    assert "detail" in status.meters["meter-1199"], "the one in trouble is told in full"
