from agent.gaps import GapBook
from metering.wire import Gap


def test_a_gap_reaches_from_its_first_missed_slot_to_the_next_reading() -> None:
    book = GapBook()
    book.missed("m", 1000, "timeout", 0.0)
    book.missed("m", 2000, "breaker", 1.0)
    assert book.due(2.0) == []
    book.read("m", 3000)
    assert book.due(2.0) == [Gap(meter="m", start=1000, end=3000, cause="timeout", missed=2)]
    assert book.due(99.0) == []


def test_an_open_gap_is_told_once_a_minute() -> None:
    book = GapBook()
    book.missed("m", 1000, "timeout", 0.0)
    assert book.due(59.0) == []
    book.missed("m", 2000, "timeout", 60.0, 5)
    told = Gap(meter="m", start=1000, end=None, cause="timeout", missed=6)
    assert book.due(60.0) == [told]
    assert book.due(61.0) == []
    assert book.still_open() == [told]


def test_a_reading_without_a_gap_says_nothing() -> None:
    book = GapBook()
    book.read("m", 1000)
    assert book.due(0.0) == []


def test_a_meter_the_line_had_no_time_for_and_that_is_then_silent_has_two_gaps() -> None:
    book = GapBook()
    book.missed("m", 1000, "overrun", 0.0, 2)
    book.missed("m", 3000, "timeout", 1.0)
    book.missed("m", 4000, "breaker", 2.0)
    book.missed("m", 5000, "overrun", 3.0)
    book.read("m", 6000)
    assert book.due(4.0) == [
        Gap(meter="m", start=1000, end=3000, cause="overrun", missed=2),
        Gap(meter="m", start=3000, end=6000, cause="timeout", missed=3),
    ]
