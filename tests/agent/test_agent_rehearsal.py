import pytest

from agent.rehearsal import losses
from metering.slots import Grid


def test_a_line_that_has_the_time_loses_nothing() -> None:
    assert losses([(Grid(1000, 250 * n), 0.2) for n in range(4)]) == [0.0] * 4
    assert losses([]) == []


def test_meters_alike_share_what_a_slow_line_loses() -> None:
    found = losses([(Grid(1000, 125 * n), 0.25) for n in range(8)])
    assert found == pytest.approx([0.5] * 8, abs=0.05)


def test_a_meter_that_takes_longer_than_its_interval_loses_every_other_slot() -> None:
    [lost] = losses([(Grid(1000, 0), 1.8)])
    assert lost == pytest.approx(0.5, abs=0.05)


def test_a_slow_meter_is_read_on_a_line_that_a_fast_one_keeps_busy() -> None:
    fast, slow = losses([(Grid(1000, 0), 1.5), (Grid(60_000, 0), 2.0)])
    assert fast > 0.3
    assert slow < 0.2
