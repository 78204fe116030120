import itertools

from hypothesis import given
from hypothesis import strategies as st

from metering.ranges import Ranges

SPANS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=30)


@given(SPANS, st.integers(1, 60), st.integers(1, 60))
def test_ranges_are_a_set_of_numbers(spans: list[tuple[int, int]], first: int, last: int) -> None:
    ranges = Ranges(spans)
    model = {number for a, b in spans for number in range(a, b + 1)}
    assert {number for a, b in ranges for number in range(a, b + 1)} == model
    assert all(number in ranges for number in model)
    assert 61 not in ranges
    missing = {number for a, b in ranges.missing(first, last) for number in range(a, b + 1)}
    assert missing == set(range(first, last + 1)) - model
    within = [number for a, b in ranges.within(first, last) for number in range(a, b + 1)]
    assert within == sorted(set(range(first, last + 1)) & model)
    assert ranges.count(first, last) == len(set(range(first, last + 1)) & model)


@given(SPANS)
def test_neighbouring_ranges_are_joined(spans: list[tuple[int, int]]) -> None:
    found = list(Ranges(spans))
    assert all(second[0] > first[1] + 1 for first, second in itertools.pairwise(found))
