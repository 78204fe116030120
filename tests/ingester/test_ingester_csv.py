"""CSV files of readings and amounts: what they give, and what is refused with which words."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingester.csv_files import parse_csv, read_csv, rows_of
from ingester.store.contract import Amount, ImportedReading
from metering.errors import SettingsFaults
from metering.reading import Quality

POINTS = {"gas-main/volume", "main-power/energy", "oil-store/bought"}
HEADER = "meter,point,time,value,quality\n"
T0 = 1_763_884_800_000


def parse(text: str, encoding: str = "utf-8", simulated: bool = False):
    return parse_csv("data.csv", text.encode(encoding), POINTS, simulated)


def faults(text: str | bytes) -> list[str]:
    with pytest.raises(SettingsFaults) as raised:
        parse_csv("data.csv", text if isinstance(text, bytes) else text.encode(), POINTS)
    return [fault.say("en") for fault in raised.value.faults]


def test_readings_are_told_by_their_header():
    file = parse("meter,point,time,value\ngas-main,volume,2025-11-23T16:00:00+08:00,1.2345e3\n")
    assert file.readings == [ImportedReading("gas-main/volume", T0, 1234.5, Quality.GOOD)]
    assert file.amounts == []
    assert file.name == "data.csv"


def test_amounts_are_told_by_their_header_and_stay_exact():
    file = parse(
        "Meter,Point,From,To,Value\noil-store,bought,2025-11-23T08:00:00Z,2025-11-23T08:00:00.001Z,"
        "0.1000000000000000000000000001\n"
    )
    assert file.amounts == [Amount("oil-store/bought", T0, T0 + 1, Decimal("0.1000000000000000000000000001"))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_bom_line_endings_quotes_and_empty_lines_do_not_matter(encoding, ending):
    lines = ["meter,point,time,value,quality", "", '"gas-main", volume ,2025-11-23T08:00:00Z,"5",', ",,,,", ""]
    file = parse(ending.join(lines), encoding)
    assert file.readings == [ImportedReading("gas-main/volume", T0, 5.0, Quality.GOOD)]


def test_marked_readings_are_kept_and_counted_by_kind():
    rows = ["7,out of range", "8,bad_value", ",timeout", ",timeout", "9,frozen suspect", "9,good", "9,"]
    file = parse(HEADER + "".join(f"gas-main,volume,2025-11-23T08:00:0{i}Z,{row}\n" for i, row in enumerate(rows)))
    assert len(file.readings) == 7
    assert file.marked == {"out of range": 1, "bad value": 1, "timeout": 2}


def test_rows_can_be_flagged_simulated():
    file = parse(HEADER + "gas-main,volume,2025-11-23T08:00:00Z,7,good\n", simulated=True)
    assert file.readings[0].simulated


@pytest.mark.parametrize(
    ("row", "place", "said"),
    [
        ("gas-mian,volume,2025-11-23T08:00:00Z,7,good", "2:meter", "The nearest is gas-main"),
        ("gas-main,volum,2025-11-23T08:00:00Z,7,good", "2:point", "The nearest is gas-main/volume"),
        ("gas-main,volume,2025-11-23T08:00:00,7,good", "2:time", "with offset. Write it like"),
        ("gas-main,volume,23.11.2025,7,good", "2:time", "is no ISO 8601 time"),
        ("gas-main,volume,2025-11-23T08:00:00Z,\"7,5\",good", "2:value", "'7,5' is not a number"),
        ("gas-main,volume,2025-11-23T08:00:00Z,1e999,good", "2:value", "is not a number"),
        ("gas-main,volume,2025-11-23T08:00:00Z,nan,good", "2:value", "is not a number"),
        ("gas-main,volume,2025-11-23T08:00:00Z,1_000,good", "2:value", "is not a number"),
        ("gas-main,volume,2025-11-23T08:00:00Z,,good", "2:value", "there is no value"),
        ("gas-main,volume,2025-11-23T08:00:00Z,7,fine", "2:quality", "One of: good, uncertain"),
        ("gas-main,volume,2025-11-23T08:00:00Z,7,12", "2:quality", "is no quality"),
        ("gas-main,volume,2025-11-23T08:00:00Z,7", "2:meter", "4 fields instead of 5"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_with_its_remedy(row, place, said):
    (fault,) = faults(HEADER + row + "\n")
    assert fault.startswith(f"data.csv:{place}: ")
    assert said in fault


def test_an_amount_that_ends_before_it_begins_is_refused():
    row = "oil-store,bought,2025-11-23T08:00:00Z,2025-11-23T08:00:00Z,5\n"
    assert faults("meter,point,from,to,value\n" + row) == ["data.csv:2:to: to must be later than from"]


ROLES = {"gas-main/volume": "counter", "oil-store/bought": "quantity"}
AMOUNTS = "meter,point,from,to,value\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + "oil-store,bought,2025-11-23T08:00:00Z,7,good\n", "data.csv:2:point: point oil-store/bought is a quantity: a"
         " reading of it would never count. Write it under the header meter,point,from,to,value"),
        (AMOUNTS + "gas-main,volume,2025-11-23T08:00:00Z,2025-11-23T09:00:00Z,5\n", "data.csv:2:point: point gas-main/volume is a"
         " counter: an amount of it would never count. Write it under the header meter,point,time,value[,quality]"),
        (HEADER + "gas-main,volume,1999-12-31T23:59:59Z,7,good\n", "data.csv:2:time: 1999-12-31T23:59:59Z is before the year 2000."
         " Check the year"),
        (AMOUNTS + "oil-store,bought,2025-11-23T08:00:00Z,2052-11-23T08:00:00Z,7\n", "data.csv:2:to: 2052-11-23T08:00:00Z is more"
         " than a day in the future. Check the year"),
        (AMOUNTS + "oil-store,bought,2025-11-23T08:00:00Z,2025-11-23T09:00:00Z,1e9999999\n", "data.csv:2:value: '1e9999999' is not"
         " a number. Write it like 1234.5 or 1.2345e3, without separators"),
    ],
)  # fmt: skip
def test_a_row_that_could_never_count_is_a_fault(text, said):
    with pytest.raises(SettingsFaults) as raised:
        parse_csv("data.csv", text.encode(), ROLES, now_ms=T0)
    assert [fault.say("en") for fault in raised.value.faults] == [said]


def test_rows_up_to_a_day_ahead_and_a_row_said_twice_are_taken():
    row = "gas-main,volume,2025-11-24T08:00:00Z,7,good\n"
    assert len(parse_csv("data.csv", (HEADER + row + row).encode(), ROLES, now_ms=T0).readings) == 2


def test_tickets_of_one_stretch_travel_together():
    days = ["21", "20", "21", "21", "20"]
    rows = [f"oil-store,bought,2025-11-{day}T00:00:00Z,2025-11-{day}T12:00:00Z,{n}\n" for n, day in enumerate(days)]
    parts = list(parse(AMOUNTS + "".join(rows)).parts(2))
    assert [[row[3] for row in part["amounts"]] for part in parts] == [["1", "4"], ["0", "2", "3"]]
    assert [part["sha256"][-2:] for part in parts] == [":0", ":1"]


def test_all_faults_of_a_file_are_told_and_nothing_is_given():
    good = "gas-main,volume,2025-11-23T08:00:00Z,7,good\n"
    told = faults(HEADER + good + "x,y,z,w,v\n" + good)
    assert [fault.split(": ")[0] for fault in told] == [
        f"data.csv:3:{c}" for c in ("meter", "time", "quality", "value")
    ]
    assert len(faults(HEADER + "gas-main,volume,x,7,good\n" * 500)) == 100


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"meter;point;time;value\n", "Separate the columns by commas"),
        (b"", "It should be meter,point,time,value"),
        (b"time,value\n", "It should be meter,point,time,value"),
        (b"meter,point,time,value\n\xb9\xf8\xc2\xaf\n", "data.csv:2:1: it is not UTF-8. Save it as 'CSV UTF-8'"),
        (b'meter,point,time,value\n"gas-main,volume\n', "quotes do not match"),
    ],
)
def test_a_file_that_is_no_table_of_ours_is_refused(content, said):
    (fault,) = faults(content)
    assert said in fault


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsFaults, match="No such file"):
        read_csv(tmp_path / "missing.csv", POINTS)


def sizes():
    return st.just(0.0) | st.floats(1e-15, 1e15)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), sizes(), st.sampled_from(list(Quality))),
        max_size=30,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_sent_in_parts_is_what_was_read(rows):
    lines = [
        f"gas-main,volume,{datetime.fromtimestamp(10**9 + n, UTC).isoformat()},{value!r},{quality.text.en}\n"
        for n, value, quality in rows
    ]
    file = parse(HEADER + "".join(lines))
    sent = [json.loads(json.dumps(part)) for part in file.parts()]
    assert [row for part in sent for row in rows_of(part)[0]] == list(file.readings)
    assert [reading.value for reading in file.readings] == [value for _, value, _ in rows]
