from hypothesis import given
from hypothesis import strategies as st

from agent.breaker import LONGEST_S, Breaker


def test_three_failures_in_a_row_open_the_breaker() -> None:
    breaker = Breaker(shortest_s=1.0)
    for _ in range(2):
        breaker.failed(10.0, 0.5)
        assert breaker.lets_through(10.0)
    breaker.failed(10.0, 0.5)
    assert not breaker.lets_through(10.9)
    assert breaker.lets_through(12.0)


def test_a_success_closes_it() -> None:
    breaker = Breaker(shortest_s=1.0)
    for _ in range(9):
        breaker.failed(10.0, 1.0)
    breaker.succeeded()
    assert breaker.lets_through(10.0)


@given(st.integers(3, 200), st.floats(0, 1), st.floats(0.1, 86400))
def test_probes_become_rarer_up_to_once_a_minute(failures: int, dice: float, interval_s: float) -> None:
    breaker = Breaker(shortest_s=interval_s)
    for _ in range(failures):
        breaker.failed(0.0, dice)
    assert 0 < breaker.probe_at_s <= LONGEST_S
    assert failures < 15 or breaker.probe_at_s >= LONGEST_S / 2
