from hypothesis import given
from hypothesis import strategies as st

from agent.backwards import FIRST_MS, Backwards

MONTH_MS = 30 * 86_400_000


def asked(past: Backwards, recorded: list[int], most: int) -> tuple[list[int], int]:
    """Return what comes of asking a server that gives `most` values at once, and how often it was asked."""
    found, times = [], 0
    while past.piece is not None:
        begin, end = past.piece
        some = [at for at in recorded if begin < at < end][:most]
        past.took(some)
        found += some
        times += 1
    return found, times


@given(
    st.lists(st.integers(-10_000, 5_000_000), max_size=200, unique=True), st.integers(1, 50), st.integers(1, 4_900_000)
)
def test_each_value_strictly_between_is_asked_for_once_however_little_a_server_gives(
    recorded: list[int], most: int, to_ms: int
) -> None:
    found, _ = asked(Backwards(0, to_ms), sorted(recorded), most)
    assert sorted(found) == sorted(at for at in recorded if 0 < at < to_ms)


def test_the_newest_piece_comes_first() -> None:
    assert Backwards(0, MONTH_MS).piece == (MONTH_MS - FIRST_MS, MONTH_MS)


def test_a_server_without_a_past_is_soon_left_alone() -> None:
    _, times = asked(Backwards(0, MONTH_MS), [], 100)
    assert times < 20


def test_a_server_with_much_past_is_asked_for_little_at_once() -> None:
    recorded = list(range(0, 3_600_000, 50))
    past, sizes = Backwards(0, 3_600_000), []
    while past.piece is not None:
        begin, end = past.piece
        some = [at for at in recorded if begin < at < end]
        sizes.append(len(some))
        past.took(some)
    assert max(sizes[8:]) <= 2000


def test_nothing_between_is_not_asked_for() -> None:
    assert Backwards(5, 5).piece is None
