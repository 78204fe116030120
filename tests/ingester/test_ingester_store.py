"""What a series store promises, on every adapter."""

import itertools
import random
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingester.store.contract import Amount, GapRow, ImportedReading, Link, Result, Samples, Settled
from metering.ranges import Ranges
from metering.reading import Quality
from metering.wire import Exchange, Gap, Lost, Restart, Thinned

STREAM = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
T0 = 1_763_884_800_000
POINT = "main/energy"
EXAMPLES = itertools.count()


def test_a_batch_delivered_twice_is_stored_once(series, arrived):
    batch = arrived(1, [(0, POINT, 1.5, 0), (1000, POINT, 2.5, 0)])
    assert series.commit([batch, batch]) == [True, False]
    assert series.commit([batch]) == [False]
    assert series.samples(POINT, T0, T0 + 5000).readings == [(T0, 1.5), (T0 + 1000, 2.5)]
    assert len(series.readings(POINT, T0, T0 + 5000, 10)) == 2


def test_a_body_comes_back_byte_for_byte(series, arrived):
    batch = arrived(1, [(0, POINT, "9007199254740993", 0)])
    series.commit([batch])
    assert series.body("agent-a", STREAM, 1) == batch.body
    assert series.body("agent-a", STREAM, 2) is None
    assert series.samples(POINT, T0, T0 + 1).readings == [(T0, 9007199254740992.0)]


def test_a_store_that_is_opened_again_knows_all_it_knew(open_series, arrived):
    store = open_series()
    store.commit([arrived(1, [(0, POINT, 1.0, 0)]), arrived(3, [(9, "gas/volume", 7.0, 5)], unit="m3")])
    store.import_rows("a.csv", "f" * 64, [ImportedReading("old/energy", T0 - 5, 3.0, Quality.GOOD, True)], [])
    before = (store.latest(), store.points(), store.owners(), store.touched(0, 100))
    store.close()
    again = open_series()
    assert (again.latest(), again.points(), again.owners(), again.touched(0, 100)) == before
    assert again.owners() == {"main": "agent-a", "gas": "agent-a"}
    assert again.settled("agent-a", STREAM) == Settled(1, (3,))
    assert again.commit([arrived(1), arrived(2), arrived(3)]) == [False, True, False]
    assert again.samples("old/energy", 0, T0 * 2).simulated == (T0 - 5, T0 - 5)


def test_settled_counts_through_and_beyond_holes(series, arrived):
    series.commit([arrived(n) for n in (1, 2, 5, 6, 9)])
    assert series.settled("agent-a", STREAM) == Settled(2, (5, 6, 9))
    series.commit([arrived(n) for n in (3, 4)])
    assert series.settled("agent-a", STREAM) == Settled(6, (9,))
    assert series.settled("agent-b", STREAM) == Settled(0, ())


@pytest.mark.parametrize("kind", [Lost, Thinned])
def test_batches_that_were_given_up_count_as_settled(open_series, arrived, kind):
    event = kind(stream=STREAM, from_seq=2, to_seq=5, sha256_of_b="b" * 64, readings=8, cause="full")
    store = open_series()
    store.commit([arrived(1), arrived(6, events=[event])])
    for known in (store, open_series()):
        assert known.settled("agent-a", STREAM) == Settled(6, ())
        assert known.links("agent-a", STREAM, [4, 5])[5] == Link("b" * 64, None)
        known.close()


def test_a_batch_that_was_given_up_and_arrives_after_all_is_stored(open_series, arrived):
    lost = Lost(stream=STREAM, from_seq=2, to_seq=3, sha256_of_b="b" * 64, readings=8, cause="full")
    late = arrived(3, [(5, POINT, 7.0, 0)])
    store = open_series()
    assert store.commit([arrived(1), arrived(4, events=[lost])]) == [True, True]
    assert store.commit([late, late]) == [True, False]
    store.close()
    again = open_series()
    assert again.samples(POINT, T0, T0 + 9).readings == [(T0 + 5, 7.0)]
    assert again.commit([late]) == [False]
    assert again.links("agent-a", STREAM, [3]) == {3: Link(late.sha256, "")}


def test_links_tell_the_hashes_of_known_batches(series, arrived):
    first = arrived(1)
    second = arrived(2, prev=first.sha256)
    series.commit([first, second])
    assert series.links("agent-a", STREAM, [0, 1, 2, 3]) == {
        1: Link(first.sha256, ""),
        2: Link(second.sha256, first.sha256),
    }


def test_the_later_received_of_two_values_wins_and_is_told(series, arrived):
    series.commit([arrived(1, [(0, POINT, 1.0, 0), (5, POINT, 4.0, 0)])])
    series.commit([arrived(2, [(0, POINT, 2.0, 0), (5, POINT, 4.0, 0)])])
    series.commit([arrived(3, [(0, POINT, 1.0, 0)])])
    assert series.samples(POINT, T0, T0 + 10) == Samples([(T0, 1.0), (T0 + 5, 4.0)], (T0,))
    assert len(series.readings(POINT, T0, T0 + 10, 99)) == 5


def test_only_what_counts_is_a_sample(series, arrived):
    rows = [(quality, POINT, float(quality), quality) for quality in range(10)]
    series.commit([arrived(1, [*rows, (20, POINT, None, 0)])])
    assert [value for _, value in series.samples(POINT, T0, T0 + 99).readings] == [0.0, 1.0, 6.0, 7.0, 8.0, 9.0]
    assert [row.quality for row in series.readings(POINT, T0, T0 + 99, 99)][:10] == list(Quality)


def test_the_neighbours_of_a_time_are_found_near_and_far(series, arrived):
    series.commit([arrived(1, [(0, POINT, 1.0, 0), (10, POINT, 1.0, 2), (90 * 86_400_000, POINT, 2.0, 0)])])
    far = T0 + 90 * 86_400_000
    assert series.last_sample_before(POINT, T0) is None
    assert series.last_sample_before(POINT, T0 + 1) == T0
    assert series.last_sample_before(POINT, far) == T0
    assert series.first_sample_after(POINT, T0) == T0
    assert series.first_sample_after(POINT, T0 + 1) == far
    assert series.first_sample_after(POINT, far + 1) is None


def test_the_latest_reading_is_the_newest_one_whatever_its_quality(series, arrived):
    series.commit([arrived(1, [(50, POINT, None, 3), (10, POINT, 1.0, 0)])])
    series.commit([arrived(2, [(20, POINT, 1.5, 0)])])
    (latest,) = series.latest()
    assert (latest.measured_ms, latest.value, latest.quality, latest.unit) == (T0 + 50, None, Quality.TIMEOUT, "kWh")


def test_values_come_back_in_the_declared_unit(series, arrived):
    series.commit([arrived(1, [(0, POINT, 1500.0, 0)], unit="Wh"), arrived(2, [(5, POINT, 2.5, 0)], unit="kWh")])
    series.commit([arrived(3, [(7, POINT, 9.0, 0)], unit="m3")])
    series.declare({POINT: "kWh"})
    assert series.samples(POINT, T0, T0 + 9).readings == [(T0, 1.5), (T0 + 5, 2.5)]
    assert [(row.value, row.unit) for row in series.readings(POINT, T0, T0 + 6, 9)] == [(1.5, "kWh"), (2.5, "kWh")]


def test_a_bare_volume_counts_at_the_declared_state(series, arrived):
    series.commit([arrived(1, [(0, "gas/volume", 12.0, 0)], unit="m3")])
    series.declare({"gas/volume": "m3@20C"})
    assert series.samples("gas/volume", T0, T0 + 9).readings == [(T0, 12.0)]
    series.declare({"gas/volume": "kWh"})
    assert series.samples("gas/volume", T0, T0 + 9).readings == []


def test_a_file_imported_twice_changes_nothing(series, arrived):
    readings = [ImportedReading(POINT, T0 + 1000 * i, float(i), Quality.GOOD) for i in range(4)]
    amounts = [Amount("oil/bought", T0, T0 + 10, Decimal("12.50"))]
    series.commit([arrived(1, [(0, POINT, 0.0, 0)])])
    assert series.import_rows("a.csv", "1" * 64, [*readings, readings[3]], amounts) == 4
    assert series.import_rows("a.csv", "1" * 64, readings, amounts) == 0
    assert series.import_rows("copy with a comment.csv", "2" * 64, readings, amounts) == 0
    assert len(series.readings(POINT, T0, T0 + 9999, 99)) == 4
    assert series.amounts("oil/bought", T0 + 9, T0 + 20) == amounts
    assert series.amounts("oil/bought", T0 + 10, T0 + 20) == []
    assert series.points() == [POINT, "oil/bought"]


def test_a_corrected_amount_replaces_the_earlier_one(series):
    series.import_rows("a.csv", "1" * 64, [], [Amount("oil/bought", T0, T0 + 10, Decimal(5))])
    series.import_rows("b.csv", "2" * 64, [], [Amount("oil/bought", T0, T0 + 10, Decimal(6), True)])
    assert series.amounts("oil/bought", 0, T0 * 2) == [Amount("oil/bought", T0, T0 + 10, Decimal(6), True)]


def test_a_correction_back_to_an_earlier_value_is_in_force(open_series):
    def file(value, quality=Quality.GOOD):
        return [ImportedReading(POINT, T0 + i, value + i, quality) for i in range(2)]

    store = open_series()
    assert store.import_rows("good.csv", "1" * 64, file(1.0), []) == 2
    assert store.import_rows("wrong.csv", "2" * 64, file(5.0), []) == 2
    assert store.import_rows("good.csv", "1" * 64, file(1.0), []) == 2
    assert store.import_rows("good.csv", "1" * 64, file(1.0), []) == 0
    assert store.samples(POINT, T0, T0 + 9) == Samples([(T0, 1.0), (T0 + 1, 2.0)], (T0, T0 + 1))


def test_an_imported_bad_value_withdraws_what_was_in_force_and_an_agents_does_not(open_series, arrived):
    store = open_series()
    store.commit([arrived(1, [(0, POINT, 1.0, 0), (5, POINT, 2.0, 0), (9, POINT, 3.0, 0), (9, POINT, None, 3)])])
    bad = [ImportedReading(POINT, T0 + 9, None, Quality.BAD), ImportedReading(POINT, T0, 1.0, Quality.BAD)]
    assert store.last_sample_before(POINT, T0 + 99) == T0 + 9
    assert [store.import_rows("bad.csv", "1" * 64, bad, []) for _ in "12"] == [2, 0]
    assert [(row.n, row.start_ms, row.end_ms) for row in store.touched(1, 9)] == [(2, T0, T0 + 9)]
    store.close()
    for known in (open_series(), open_series()):
        assert known.samples(POINT, T0, T0 + 99).readings == [(T0 + 5, 2.0)]
        assert known.last_sample_before(POINT, T0 + 99) == T0 + 5
        assert known.last_sample_before(POINT, T0 + 5) is None
        assert known.first_sample_after(POINT, T0) == T0 + 5
        assert known.first_sample_after(POINT, T0 + 6) is None
        known.close()


def test_the_newest_reading_that_counts_is_found_again_when_it_is_withdrawn(series, arrived):
    series.commit([arrived(1, [(0, POINT, 1.0, 0), (5, POINT, 2.0, 0)])])
    series.import_rows("bad.csv", "1" * 64, [ImportedReading(POINT, T0 + 5, 2.0, Quality.BAD)], [])
    assert series.last_sample_before(POINT, T0 + 99) == T0
    series.import_rows("bad2.csv", "2" * 64, [ImportedReading(POINT, T0, 1.0, Quality.BAD)], [])
    assert series.last_sample_before(POINT, T0 + 99) is None
    series.import_rows("good.csv", "3" * 64, [ImportedReading(POINT, T0, 1.0, Quality.GOOD)], [])
    assert series.last_sample_before(POINT, T0 + 99) == T0


def test_tickets_of_one_file_add_up_and_a_later_file_replaces_them(series):
    def tickets(*values):
        return [Amount("oil/bought", T0, T0 + 10, Decimal(value)) for value in values]

    def given():
        return [row.value for row in series.amounts("oil/bought", 0, T0 * 2)]

    assert series.import_rows("a.csv", "1" * 64, [], tickets(1000, 700, 700)) == 3
    assert given() == [2400]
    assert series.import_rows("a.csv", "1" * 64, [], tickets(1000, 700, 700)) == 0
    assert series.import_rows("b.csv", "2" * 64, [], tickets(5)) == 1
    assert given() == [5]
    assert series.import_rows("a.csv", "1" * 64, [], tickets(1000, 700, 700)) == 3
    assert given() == [2400]


def test_amounts_that_overlap_in_part_are_told(series):
    stretches = [(0, 10), (10, 20), (15, 16), (30, 40)]
    rows = [Amount("oil/bought", T0 + start, T0 + end, Decimal(1)) for start, end in stretches]
    series.import_rows("a.csv", "1" * 64, [], rows)
    assert [row.overlaps for row in series.amounts("oil/bought", 0, T0 * 2)] == [False, True, True, False]
    assert [row.overlaps for row in series.amounts("oil/bought", T0 + 16, T0 + 25)] == [True]


def test_touched_stretches_follow_the_order_of_arrival(series, arrived):
    hours = 3_600_000
    series.commit([arrived(1, [(0, POINT, 1.0, 0), (5, POINT, 2.0, 0)]), arrived(2, [(9, POINT, 3.0, 0)])])
    series.commit([arrived(3, [(50 * hours, POINT, 3.0, 0), (7, "gas/volume", 3.0, 2)])])
    series.import_rows("a.csv", "1" * 64, [], [Amount("oil/bought", T0, T0 + 10, Decimal(5))])
    assert [(row.n, row.point, row.start_ms - T0, row.end_ms - T0) for row in series.touched(0, 10)] == [
        (2, POINT, 0, 9),
        (3, POINT, 50 * hours, 50 * hours),
        (4, "oil/bought", 0, 10),
    ]
    assert [row.n for row in series.touched(0, 1)] == [1]
    assert [row.n for row in series.touched(2, 1)] == [3]
    assert series.touched(4, 10) == []


def test_arrivals_without_readings_do_not_hide_later_ones(series, arrived):
    series.commit([arrived(n) for n in range(1, 30)])
    series.commit([arrived(30, [(0, POINT, 1.0, 0)])])
    assert [row.n for row in series.touched(0, 5)] == [30]


def test_a_gap_is_told_in_its_newest_state(series, arrived):
    def gap(end, missed):
        return Gap(meter="main", start=T0, end=end, cause="timeout", missed=missed)

    series.commit([arrived(1, events=[gap(None, 1)])])
    assert series.gaps(T0 + 50, T0 + 60) == [GapRow("main", "agent-a", T0, None, "timeout", 1)]
    series.commit([arrived(2, events=[gap(None, 2), gap(T0 + 40, 4)])])
    assert series.gaps(T0 + 50, T0 + 60) == []
    assert series.gaps(T0 + 39, T0 + 60) == [GapRow("main", "agent-a", T0, T0 + 40, "timeout", 4)]
    assert series.gaps(0, T0) == []


def test_a_gap_that_lasts_is_known_after_a_restart(open_series, arrived):
    gaps = [
        Gap(meter="main", start=T0, cause="timeout", missed=1),
        Gap(meter="gas", start=T0, cause="timeout", missed=1),
    ]
    ended = Gap(meter="gas", start=T0, end=T0 + 5, cause="timeout", missed=2)
    store = open_series()
    store.commit([arrived(1, events=gaps), arrived(2, events=[ended])])
    store.close()
    again = open_series()
    assert [gap.meter for gap in again.gaps(T0 + 50, T0 + 60)] == ["main"]
    assert [(gap.meter, gap.end_ms) for gap in again.gaps(T0, T0 + 60)] == [("gas", T0 + 5), ("main", None)]


def test_events_of_a_kind_come_in_order_of_arrival(series, arrived):
    exchange = Exchange(at=T0, point=POINT, old_final="99.5", new_initial="0.1")
    series.commit([arrived(1, events=[Restart(at=T0)]), arrived(2, events=[exchange])])
    (stored,) = series.events("exchange")
    assert (stored.n, stored.agent, stored.event) == (2, "agent-a", exchange)
    assert series.events("exchange", after=2) == []


def test_what_is_set_aside_is_kept_once_and_bounded_per_agent(series):
    for i in range(205):
        series.set_aside("agent-a", T0 + i, "zstd", b"%d" % i)
    series.set_aside("agent-b", T0, "shape", b"\x00\xff")
    series.set_aside("agent-b", T0 + 1, "shape", b"\x00\xff")
    kept = series.refused(1000)
    assert [(row.agent, row.received_ms, row.payload) for row in kept[:2]] == [
        ("agent-b", T0, b"\x00\xff"),
        ("agent-a", T0 + 204, b"204"),
    ]
    assert len(kept) == 201


def result(start: int, revision: int, derived: int = 0, account: str = "grid") -> Result:
    return Result(
        account, start, start + 60_000, revision, derived, "closed", "d", Decimal("1.50"), "kWh", "57/100000", (), 60_000,
        0, 0, 0, ((1, 2),), ("provisional_factor",), Decimal("1.2"), {"points": {"a": [1, "2"]}},
    )  # fmt: skip


def test_results_come_in_their_newest_revision_with_the_cursor(open_series):
    store = open_series()
    assert store.cursor() == 0
    store.append_results([result(T0, 1, 10), result(T0 + 60_000, 1, 10), result(T0, 1, 10, "boiler")], 7)
    store.append_results([result(T0, 2, 20)], 9)
    store.close()
    again = open_series()
    assert again.cursor() == 9
    assert again.results(T0, T0 + 60_001) == [
        result(T0, 1, 10, "boiler"),
        result(T0, 2, 20),
        result(T0 + 60_000, 1, 10),
    ]
    assert again.results(T0, T0 + 1, "grid", as_of_ms=19) == [result(T0, 1, 10)]
    assert again.results(T0, T0 + 1, "grid", as_of_ms=9) == []


def test_what_accounts_rest_on_is_noted_with_the_cursor(open_series):
    store = open_series()
    store.append_results([], 3, {"grid": "a", "boiler": "b"})
    store.append_results([], 4, {"grid": "c"})
    store.append_results([], 5)
    store.close()
    assert open_series().bases() == {"grid": "c", "boiler": "b"}


@st.composite
def deliveries(draw):
    """Batches of two streams, cut anywhere, in any order, some again, in groups of any size."""
    count = draw(st.integers(1, 12))
    order = draw(st.permutations([(stream, seq) for stream in "ab" for seq in range(1, count + 1)]))
    again = draw(st.lists(st.sampled_from(order), max_size=10))
    sent = [*order, *again]
    random.Random(draw(st.integers(0, 9))).shuffle(sent)
    cuts = sorted(draw(st.sets(st.integers(1, len(sent)), max_size=5)))
    return count, [sent[i:j] for i, j in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries())
def test_any_order_of_arrival_gives_the_same_samples(open_series, arrived, delivered):
    count, groups = delivered
    example = next(EXAMPLES)
    stream_names = {name: f"{name}-{example}" for name in "ab"}
    point = f"m-{example}/energy"
    store = open_series()
    for group in groups:
        store.commit(
            [
                arrived(seq, [(seq * 10 + k, point, seq + k / 8, 0) for k in range(3)], stream=stream_names[name])
                for name, seq in group
            ]
        )
    samples = store.samples(point, T0, T0 + 10**6)
    settled = store.settled("agent-a", stream_names["a"])
    stored = len(store.readings(point, T0, T0 + 10**6, 10**6))
    store.close()
    assert samples.readings == [(T0 + seq * 10 + k, seq + k / 8) for seq in range(1, count + 1) for k in range(3)]
    assert samples.conflicts == ()
    assert settled == Settled(count, ())
    assert stored == 6 * count


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=15), st.integers(1, 60))
def test_settled_ranges_agree_with_a_set(pieces, limit):
    ranges, numbers = Ranges(), set()
    for first, length in pieces:
        ranges.add(first, first + length)
        numbers |= set(range(first, first + length + 1))
    through = next(n for n in range(1, 60) if n not in numbers) - 1
    assert ranges.through == through
    assert ranges.beyond(limit) == tuple(sorted(n for n in numbers if n > through))[-limit:]
    assert [n in ranges for n in range(60)] == [n in numbers for n in range(60)]
