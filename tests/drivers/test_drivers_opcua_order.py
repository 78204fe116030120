"""OPC UA: readings, told changes and history of one counter stand in the order in which they were sampled."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Value
from drivers.opcua.order import Readings


def sample(sampled_ms: int, at_ms: int | None = None) -> Value:
    """A counter that counts one each ms of the source's clock."""
    return Value("mass", float(sampled_ms), source_ms=sampled_ms, at_ms=at_ms)


def told(readings: Readings, *values: Value) -> list[tuple[int | None, float | None]]:
    return [(value.at_ms, value.value) for value in readings.told(values)]


def test_a_change_sampled_after_a_reading_stands_after_it() -> None:
    readings = Readings()
    readings.add(10_000, [sample(8_500)])  # the source's clock is 1.5 s behind
    assert told(readings, sample(8_700, at_ms=8_700)) == [(10_001, 8700.0)]


def test_a_change_the_reading_had_already_is_not_given_after_it() -> None:
    readings = Readings()
    readings.add(10_000, [sample(10_005)])
    assert told(readings, sample(10_003, at_ms=10_003), sample(10_005, at_ms=10_005)) == []
    assert told(readings, sample(9_990, at_ms=9_990)) == [(9_990, 9990.0)]


def test_a_change_without_a_source_time_is_given_as_it_is() -> None:
    readings = Readings()
    readings.add(10_000, [sample(10_005)])
    value = Value("mass", 1.0, at_ms=10_002)
    assert list(readings.told([value])) == [value]


def test_a_clock_set_back_begins_a_new_order() -> None:
    readings = Readings()
    readings.add(10_000, [sample(10_000)])
    assert told(readings, sample(9_000, at_ms=9_000)) == [(9_000, 9000.0)]
    readings.add(4_000, [sample(11_000)])
    assert told(readings, sample(10_500, at_ms=3_500)) == [(3_500, 10500.0)]


def test_history_ends_before_the_sample_of_the_reading_that_ends_the_gap() -> None:
    readings = Readings()
    readings.add(10_900, [sample(10_300)])
    recorded = [sample(ms, at_ms=ms) for ms in (10_000, 10_300, 10_500)]
    assert [value.at_ms for value in readings.past(recorded, to_ms=10_900)] == [10_000]
    assert readings.past(recorded, to_ms=99_000) == recorded


@given(st.integers(-1900, 1900), st.lists(st.tuples(st.integers(1, 400), st.integers(0, 20)), min_size=2, max_size=20))
def test_a_counter_read_and_told_never_steps_back(behind_ms: int, slots: Sequence[tuple[int, int]]) -> None:
    """Readings at some times, each sampled after a delay; told is every 7 ms of the source's clock."""
    readings, given_out, now_ms, heard_ms = Readings(), [], 1_000_000, 1_000_000
    for wait_ms, delay_ms in slots:
        asked_ms = now_ms = now_ms + wait_ms
        now_ms += delay_ms
        read = sample(now_ms - behind_ms)
        changes = [sample(at - behind_ms, at_ms=min(at - behind_ms, at)) for at in range(heard_ms, now_ms, 7)]
        heard_ms += 7 * len(changes)
        readings.add(asked_ms, [read])
        given_out += [(value.at_ms, value.value) for value in readings.told(changes)]
        given_out.append((asked_ms, read.value))
    values = [value for _, value in sorted(given_out, key=lambda one: (one[0], one[1]))]
    assert values == sorted(values)
