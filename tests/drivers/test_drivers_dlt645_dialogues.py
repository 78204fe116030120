"""DL/T 645 beyond one value: blocks, frames that follow, the nameplate, daily freezes, the edition of 1997."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Request, Send, Value
from drivers.dlt645.settings import Dlt645Line, Dlt645Meter
from drivers.dlt645.table import block_of, layout
from metering.errors import BadFrame, MeterError, MeteringError, MeterRefused
from metering.profile import Profile
from metering.reading import Quality

GOLDEN = YAML(typ="safe").load(Path("tests/golden/dlt645/frames.yaml").read_text())
DLT645: Any = driver("dlt645")
LINE = Dlt645Line(driver="dlt645", serial="/dev/null")
N = "202611230047"
SHANGHAI = ZoneInfo("Asia/Shanghai")


def framed(control: int, data: str | bytes, number: str = N) -> bytes:
    """Compose a frame as the standard draws it, without the driver's code; `data` before the 0x33."""
    data = bytes.fromhex(data) if isinstance(data, str) else data
    body = bytes([0x68, *bytes.fromhex(number)[::-1], 0x68, control, len(data)])
    body += bytes((byte + 0x33) % 256 for byte in data)
    return body + bytes([sum(body) % 256, 0x16])


def unit_of(point: dict[str, Any]) -> str:
    found = layout(str(point["address"]), None)
    return found.unit if found is not None and found.unit not in (None, "kVAh") else "1"


def profile_of(points: dict[str, Any], **rest: Any) -> Profile:
    given = {name: at if isinstance(at, dict) else {"address": at} for name, at in points.items()}
    filled = {name: {"unit": unit_of(at), "role": "gauge", **at} for name, at in given.items()}
    return Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "dlt645", "status": "unverified",
         "source": {"title": "x"}, "points": filled, **rest}
    )  # fmt: skip


def plan_of(points: dict[str, Any], **told: Any) -> MeterPlan:
    profile = profile_of(points)
    return MeterPlan("m", Dlt645Meter.model_validate({"number": N, **told}).model_dump(), profile, profile.points)


def reads_of(points: dict[str, Any], **told: Any) -> Sequence[Request]:
    found: Sequence[Request] = DLT645.plan(LINE, plan_of(points, **told))
    return found


def values(found: Sequence[Value] | Send) -> dict[str, float | None]:
    assert not isinstance(found, Send)
    return {value.point: value.value for value in found}


def sent(found: Sequence[Value] | Send) -> bytes:
    assert isinstance(found, Send)
    return found.frame


TARIFFS = {"total": "00010000", "t1": "00010100", "t2": "00010200", "t4": "00010400"}
BLOCK = "00FF0100 56341200 10020000 20100500 11110600 15110100"


# -- blocks


@pytest.mark.parametrize("case", GOLDEN["blocks"], ids=lambda case: case["frame"][:60])
def test_a_block_is_cut_into_its_values(case: dict[str, Any]) -> None:
    first = {"0": 0, "9": 0, "B": 1}[case["di"][0]] if case["di"][:4] not in ("0201", "0202") else 1
    low = [f"{at:X}" for at in range(first, first + len(case["values"]))]
    members = [case["di"].replace("FF", f"0{at}") if len(case["di"]) == 8 else case["di"][:3] + at for at in low]
    profile = profile_of({f"p{at}": di for at, di in enumerate(members)})
    found = DLT645.replay(profile, {"reply": case["frame"]})
    assert [value.value for value in found] == case["values"]
    assert all((value.value is None) == (value.quality is Quality.BAD) for value in found)


def test_neighbours_are_asked_for_together_where_the_meter_has_blocks() -> None:
    points = {
        **TARIFFS,
        "v1": "02010100",
        "v3": "02010300",
        "f": "02800002",
        "own": {"address": "00010300", "type": "bcd4.1"},
    }
    reads = reads_of(points, blocks=True)
    assert [read.label for read in reads] == [
        "DI 0001FF00, block of 4 values or more", "DI 0201FF00, block of 2 values or more", "DI 02800002, 2 bytes",
        "DI 00010300, 4 bytes",
    ]  # fmt: skip
    block = next(read for read in reads if "0001FF00" in read.label)
    assert block.request()[4:] == framed(0x11, "00FF0100")
    assert values(block.decode(framed(0x91, BLOCK))) == {"total": 1234.56, "t1": 2.1, "t2": 510.2, "t4": 111.15}


def test_a_meter_without_the_block_is_asked_one_by_one() -> None:
    (block,) = reads_of(TARIFFS, blocks=True)
    block.request()
    with pytest.raises(MeterRefused):
        block.decode(framed(0xD1, "02"))
    halves = block.halves()
    assert [half.points for half in halves] == [("total",), ("t1",), ("t2",), ("t4",)]
    assert halves[0].request()[4:] == framed(0x11, "00000100")
    assert halves[0].halves() == []


def test_without_blocks_every_value_is_asked_for_alone() -> None:
    assert [read.points for read in reads_of(TARIFFS)] == [("total",), ("t1",), ("t2",), ("t4",)]


def test_what_a_short_block_lacks_has_no_value() -> None:
    (block,) = reads_of(TARIFFS, blocks=True)
    found = block.decode(framed(0x91, "00FF0100 56341200 10020000"))
    assert values(found) == {"total": 1234.56, "t1": 2.1, "t2": None, "t4": None}
    assert isinstance(found, list)
    assert found[3].why == "not in the block the meter sent"


@pytest.mark.parametrize("data", ["00FF0100", "00FF0100 563412", "00FF0100 56341200 AA"])
def test_f32_a_block_of_broken_values_is_refused(data: str) -> None:
    (block,) = reads_of(TARIFFS, blocks=True)
    with pytest.raises(BadFrame, match="no multiple of 4"):
        block.decode(framed(0x91, data))


def test_bits_of_one_word_are_read_once() -> None:
    points = {
        name: {"address": "04000501", "bits": [bit, bit]} for name, bit in (("clock_battery", 2), ("direction", 4))
    }
    (read,) = reads_of(points)
    assert values(read.decode(framed(0x91, "01050004 1400"))) == {"clock_battery": 1, "direction": 1}
    assert values(read.decode(framed(0x91, "01050004 1000"))) == {"clock_battery": 0, "direction": 1}


def test_every_block_has_its_members_in_one_layout() -> None:
    for di in (
        "00010000",
        "00011F00",
        "01010000",
        "02010100",
        "02030300",
        "02060000",
        "04000507",
        "9010",
        "B613",
        "B650",
    ):
        place = block_of(di)
        assert place is not None
        assert place[1] >= 0
        assert layout(di, None) is not None
    assert block_of("02800002") is None
    assert block_of("C010") is None


# -- frames that follow


def test_the_data_of_all_frames_are_one() -> None:
    (block,) = reads_of(TARIFFS, blocks=True)
    block.request()
    ask = block.decode(framed(0xB1, "00FF0100 56341200 1002"))
    assert sent(ask) == b"\xfe\xfe\xfe\xfe" + framed(0x12, "00FF0100 01")
    second = framed(0xB2, "00FF0100 0000 20100500 11110600 01")
    assert block.length_of(second[:-1]) is None
    assert block.length_of(second) == len(second)
    ask = block.decode(second)
    assert sent(ask)[4:] == framed(0x12, "00FF0100 02")
    third = block.decode(framed(0x92, "00FF0100 15110100 02"))
    assert values(third) == {"total": 1234.56, "t1": 2.1, "t2": 510.2, "t4": 111.15}


def test_a_dialogue_begins_anew_with_each_request() -> None:
    (block,) = reads_of(TARIFFS, blocks=True)
    sent(block.decode(framed(0xB1, "00FF0100 56341200 1002")))
    block.request()
    assert values(block.decode(framed(0x91, BLOCK)))["total"] == 1234.56


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (framed(0x92, "00FF0100 0000 02"), "follow-up frame 2, not 1"),
        (framed(0x92, "00FF0100 0000 00"), "follow-up frame 0, not 1"),
        (framed(0x92, "00FF0100"), r"follow-up frame \?, not 1"),
        (framed(0x92, "00FF0200 0000 01"), "DI 0002FF00, not 0001FF00"),
        (framed(0x91, "00FF0100 0000 01"), "control code 91"),
        (framed(0x92, "00FF0100 0000 01", "202611230048"), "from meter 202611230048"),
    ],
)
def test_f32_a_frame_out_of_turn_is_refused(reply: bytes, words: str) -> None:
    (block,) = reads_of(TARIFFS, blocks=True)
    sent(block.decode(framed(0xB1, "00FF0100 56341200 1002")))
    with pytest.raises(BadFrame, match=words):
        block.decode(reply)


def test_f32_frames_of_two_meters_are_never_put_together() -> None:
    (block,) = reads_of(TARIFFS, blocks=True, number="A" * 12)
    sent(block.decode(framed(0xB1, "00FF0100 56341200 1002")))
    with pytest.raises(BadFrame, match="from meter 202611230048, not 202611230047"):
        block.decode(framed(0x92, "00FF0100 0000 01", "202611230048"))


def test_f32_frames_without_end_are_refused() -> None:
    (block,) = reads_of(TARIFFS, blocks=True)
    block.decode(framed(0xB1, "00FF0100 56341200"))
    for number in range(1, 15):
        sent(block.decode(framed(0xB2, bytes.fromhex("00FF0100 56341200") + bytes([number]))))
    with pytest.raises(BadFrame, match="after 16 frames"):
        block.decode(framed(0xB2, "00FF0100 56341200 0F"))


def test_a_single_value_too_may_come_in_two_frames() -> None:
    (read,) = reads_of({"total": "00010000"})
    assert sent(read.decode(framed(0xB1, "00000100 5634")))[4:] == framed(0x12, "00000100 01")
    assert values(read.decode(framed(0x92, "00000100 1200 01"))) == {"total": 1234.56}


@given(st.lists(st.binary(max_size=220), max_size=4), st.booleans())
def test_f32_any_dialogue_ends_in_values_or_a_refusal(noise: list[bytes], framing: bool) -> None:
    (block,) = reads_of(TARIFFS, blocks=True)
    for data in noise:
        reply = framed(0x92 if framing else 0xB1, data[:200]) if data else framed(0xB1, "00FF0100 56341200 1002")
        try:
            block.length_of(reply)
            if not isinstance(block.decode(reply), Send):
                return
        except (BadFrame, MeterRefused):
            return


# -- the edition of 1997


def test_the_edition_of_1997_asks_without_a_number() -> None:
    (read,) = reads_of({"total": "9010"}, edition=1997)
    assert read.request()[4:] == framed(0x01, "1090")
    assert sent(read.decode(framed(0xA1, "1090 7856")))[4:] == framed(0x02, "1090")
    assert values(read.decode(framed(0x82, "1090 3412"))) == {"total": 123456.78}


def test_a_block_of_1997_may_end_with_aa() -> None:
    points = {"t0": "9010", "t2": "9012"}
    (block,) = reads_of(points, edition=1997, blocks=True)
    assert block.request()[4:] == framed(0x01, "1F90")
    for end in ("", "AA"):
        block.request()
        found = block.decode(framed(0x81, f"1F90 78563412 00000000 01000000 {end}"))
        assert values(found) == {"t0": 123456.78, "t2": 0.01}


@pytest.mark.parametrize(
    ("di", "data", "value"),
    [("9013", "78563412", 123456.78), ("9110", "01000000", 0.01), ("B611", "2002", 220), ("B621", "1205", 5.12),
     ("B630", "562301", 1.2356), ("B640", "5612", 12.56), ("B650", "8509", 0.985), ("A010", "563412", 12.3456),
     ("9410", "78563412", 123456.78)],
)  # fmt: skip
def test_the_forms_of_1997(di: str, data: str, value: float) -> None:
    (read,) = reads_of({"x": di}, edition=1997)
    assert values(read.decode(framed(0x81, bytes.fromhex(di)[::-1] + bytes.fromhex(data)))) == {"x": value}


def test_an_error_of_1997_has_its_own_meaning() -> None:
    (read,) = reads_of({"x": "9010"}, edition=1997)
    with pytest.raises(MeterRefused) as refused:
        read.decode(framed(0xC1, "01"))
    assert "非法数据" in refused.value.say("zh")


def test_a_point_of_the_other_edition_is_explained() -> None:
    with pytest.raises(MeteringError, match="DI 9010 is not of the edition of 2007"):
        reads_of({"x": "9010"})
    profile = profile_of({"x": "00010000"}, meter={"edition": 1997})
    fault = DLT645.fault(profile.points["x"], profile)
    assert fault.zh == "数据标识 00010000 不属于 1997 版"


def test_the_line_says_the_edition_of_meters_that_do_not() -> None:
    line = Dlt645Line(driver="dlt645", tcp="h:1", edition=1997)
    (read,) = DLT645.plan(line, plan_of({"x": "9010"}))
    assert read.request()[4:] == framed(0x01, "1090")


# -- forms of 2007


@pytest.mark.parametrize(
    ("di", "data", "value"),
    [("00000000", "56341280", -1234.56), ("00010000", "56341280", 80001234.56 / 100), ("00050000", "01000000", 0.01),
     ("00080400", "01000000", 0.01), ("00150000", "01000000", 0.01), ("00030001", "01000080", -0.01),
     ("01010000", "563412 4530 150711"[:-2] + "26", 12.3456), ("02010300", "0323", 230.3), ("02020100", "500180", -0.15),
     ("02030100", "563482", -2.3456), ("02040000", "563402", 2.3456), ("02050000", "563402", 2.3456),
     ("02060100", "8789", -0.987), ("02070100", "0512", 120.5), ("02080100", "0512", 12.05), ("020A0103", "0512", 12.05),
     ("02800001", "500100", 0.15), ("02800002", "0150", 50.01), ("02800004", "563482", -2.3456),
     ("02800007", "5382", -25.3), ("02800008", "6003", 3.6), ("0280000A", "78563412", 12345678), ("04000306", "200000", 20),
     ("04000601", "05", 5), ("04000409", "006400", 6400)],
)  # fmt: skip
def test_the_forms_of_2007(di: str, data: str, value: float) -> None:
    (read,) = reads_of({"x": di})
    data = data.replace(" ", "")
    found = layout(di, None)
    assert found is not None
    reply = framed(0x91, bytes.fromhex(di)[::-1] + bytes.fromhex(data.ljust(2 * found.size, "0")))
    assert values(read.decode(reply)) == {"x": value if di != "00010000" else 801234.56}


@pytest.mark.parametrize("case", GOLDEN["texts"], ids=lambda case: case["frame"][:60])
def test_a_text_is_read(case: dict[str, Any]) -> None:
    profile = profile_of({"total": "00010000"}, identity={"x": {"address": case["di"], "type": None}})
    if case["di"] in ("04000404", "04000405", "04000407"):
        assert DLT645.fault(profile.identity["x"], profile) is None
    (value,) = DLT645.replay(profile, {"reply": case["frame"]})
    assert (value.value, value.text, value.quality) == (None, case["text"], Quality.GOOD)


@pytest.mark.parametrize(
    ("type_", "data", "number", "text"),
    [("u2", "0180", 0x8001, None), ("digits6", "470023112620", None, N), ("text3", "4D5443", None, "CTM"),
     ("bcd2", "3412", 1234, None)],
)  # fmt: skip
def test_a_type_names_what_the_table_lacks(type_: str, data: str, number: float | None, text: str | None) -> None:
    profile = profile_of({"total": "00010000"}, identity={"x": {"address": "04AB0001", "type": type_}})
    (value,) = DLT645.replay(profile, {"reply": framed(0x91, "0100AB04" + data).hex()})
    assert (value.value, value.text) == (number, text)


@pytest.mark.parametrize("type_", ["u7", "bcd9", "bcd2.5", "f32", "text", "digits0"])
def test_a_type_there_is_none_of_is_explained(type_: str) -> None:
    profile = profile_of({"x": {"address": "04AB0001", "type": type_}})
    assert f"no type {type_!r}" in DLT645.fault(profile.points["x"], profile).en


def test_a_text_that_is_none_is_bad() -> None:
    profile = profile_of({"total": "00010000"}, identity={"x": {"address": "0400040B"}, "day": {"address": "04000101"}})
    for reply in (framed(0x91, "0B040004" + "00" * 10), framed(0x91, "0B040004" + "80" * 10), framed(0x91, "01010004 FFFFFFFF"),
                  framed(0x91, "01010004 00000000")):  # fmt: skip
        (value,) = DLT645.replay(profile, {"reply": reply.hex()})
        assert (value.text, value.quality) == (None, Quality.BAD)


def test_a_text_is_no_point() -> None:
    profile = profile_of({"x": "0400040B"})
    assert "under identity" in DLT645.fault(profile.points["x"], profile).en
    bits = profile_of({"x": {"address": "00010000", "bits": [0, 1]}})
    assert "words only" in DLT645.fault(bits.points["x"], bits).en
    parts = profile_of({"x": {"address": "00010000", "plus": [{"address": "00020000"}]}})
    assert "neither plus" in DLT645.fault(parts.points["x"], parts).en


# -- who it is


@pytest.mark.parametrize("case", GOLDEN["addresses"], ids=lambda case: case["frame"])
def test_the_only_meter_on_a_line_says_its_address(case: dict[str, Any]) -> None:
    read = DLT645.identify(LINE, plan_of({"x": "00010000"}, number="A" * 12))[0]
    assert read.request()[4:] == bytes.fromhex("68 AA AA AA AA AA AA 68 13 00 DF 16")
    reply = bytes.fromhex(case["frame"])
    assert read.length_of(reply) == len(reply)
    (value,) = read.decode(reply)
    assert (value.point, value.text) == ("address", case["number"])


@pytest.mark.parametrize("data", ["4700231126", "480023112620", ""])
def test_f32_an_address_that_is_not_that_of_its_frame_is_refused(data: str) -> None:
    read = DLT645.identify(LINE, plan_of({"x": "00010000"}, number="A" * 12))[0]
    with pytest.raises(BadFrame, match="not that of its frame"):
        read.decode(framed(0x93, data))
    with pytest.raises(BadFrame, match="control code 91"):
        read.decode(framed(0x91, data))


def test_a_meter_among_others_is_asked_by_its_number() -> None:
    reads = DLT645.identify(LINE, plan_of({"x": "00010000"}))
    assert [read.points[0] for read in reads] == ["address", "serial", "asset", "model", "firmware", "maker"]
    assert reads[0].request()[4:] == framed(0x11, "01040004")
    (value,) = reads[0].decode(framed(0x91, "01040004 470023112620"))
    assert value.text == N
    old = DLT645.identify(LINE, plan_of({"x": "9010"}, edition=1997))
    (value,) = old[0].decode(framed(0x81, "32C0 470023112620"))
    assert (value.point, value.text) == ("serial", N)


@pytest.mark.parametrize("case", GOLDEN["errors"], ids=lambda case: case["frame"])
def test_a_captured_error_is_named(case: dict[str, Any]) -> None:
    (read,) = reads_of({"x": "02030000"}, number=case["number"])
    with pytest.raises(MeterRefused, match="it has no such data"):
        read.decode(bytes.fromhex(case["frame"]))


# -- daily freezes

COUNTERS = {
    "power": "02030000",
    "import": {"address": "00010000", "role": "counter"},
    "valley": {"address": "00010400", "role": "counter"},
    "export": {"address": "00020000", "role": "counter", "scale": "10"},
    "combined": {"address": "00000000", "role": "counter"},
}


def ms(*when: int) -> int:
    return round(datetime(*when, tzinfo=SHANGHAI).timestamp() * 1000)  # type: ignore[arg-type, misc]


def history(from_ms: int, to_ms: int, **told: Any) -> Sequence[Request]:
    found: Sequence[Request] = DLT645.history(LINE, plan_of(COUNTERS, **told), from_ms, to_ms)
    return found


class FrozenMeter:
    """A meter that has frozen at some times, the latest first, at registers that say which day it was."""

    def __init__(self, *frozen: datetime) -> None:
        self.frozen = frozen
        self.asked: list[str] = []

    def answer(self, request: bytes) -> bytes:
        di = bytes((byte - 0x33) % 256 for byte in request[request.index(0x68) + 10 : -2])
        self.asked.append(di[::-1].hex())
        which = di[0] - 1
        if which >= len(self.frozen):
            return framed(0xD1, "02")
        at = self.frozen[which]
        if di[1] == 0:
            return framed(0x91, di + bytes.fromhex(at.strftime("%y%m%d%H%M"))[::-1])
        return framed(
            0x91, di + b"".join(bytes([tariff, 0, at.day // 10 * 16 + at.day % 10, 0]) for tariff in range(5))
        )

    def talk(self, read: Request) -> list[Value]:
        found = read.decode(self.answer(read.request()))
        while isinstance(found, Send):
            found = read.decode(self.answer(found.frame))
        return list(found)


MIDNIGHTS = [datetime(2026, 11, day) for day in (23, 22, 21, 20, 19)]  # noqa: DTZ001 - in the meter's own zone


def test_the_counters_of_each_midnight_between_are_read_back() -> None:
    reads = history(ms(2026, 11, 20, 12), ms(2026, 11, 22, 18))
    assert [read.label for read in reads] == ["daily freeze of 2026-11-21", "daily freeze of 2026-11-22"]
    meter = FrozenMeter(*MIDNIGHTS)
    found = meter.talk(reads[0])
    assert meter.asked == ["05060001", "05060003", "05060103", "05060203"]
    assert [(value.point, value.value) for value in found] == [("import", 2100), ("valley", 2100.04), ("export", 21000)]
    assert {value.at_ms for value in found} == {ms(2026, 11, 21)}
    assert {value.quality for value in found} == {Quality.BACKFILLED}


def test_midnight_is_that_of_the_meters_time_zone() -> None:
    (read,) = history(ms(2026, 11, 21, 9), ms(2026, 11, 22, 12), timezone="UTC")
    assert read.label == "daily freeze of 2026-11-22"
    found = FrozenMeter(*MIDNIGHTS).talk(read)
    assert found[0].at_ms == round(datetime(2026, 11, 22, tzinfo=UTC).timestamp() * 1000)


def test_the_two_ends_are_not_between() -> None:
    assert history(ms(2026, 11, 21), ms(2026, 11, 22)) == []
    assert len(history(ms(2026, 11, 21) - 1, ms(2026, 11, 22) + 1)) == 2


def test_no_more_is_asked_for_than_a_meter_keeps() -> None:
    reads = history(ms(2026, 1, 1), ms(2026, 11, 22, 12))
    assert (len(reads), reads[-1].label) == (62, "daily freeze of 2026-11-22")


def test_a_meter_that_was_without_power_has_fewer_freezes() -> None:
    older = [datetime(2026, 11, day) for day in (18, 17)]  # noqa: DTZ001 - in the meter's own zone
    meter = FrozenMeter(MIDNIGHTS[0], MIDNIGHTS[3], MIDNIGHTS[4], *older)
    (read,) = history(ms(2026, 11, 19, 12), ms(2026, 11, 20, 12))
    assert values(meter.talk(read))["import"] == 2000
    assert meter.asked == ["05060001", "05060004", "05060002", "05060102", "05060202"]


def test_the_registers_of_a_freeze_may_come_in_two_frames() -> None:
    (read,) = history(ms(2026, 11, 22, 12), ms(2026, 11, 23, 12))
    read.request()
    ask = sent(read.decode(framed(0x91, "01000605 0000231126")))
    assert ask[4:] == framed(0x11, "01010605")
    assert sent(read.decode(framed(0xB1, "01010605 00230000")))[4:] == framed(0x12, "01010605 01")
    assert sent(read.decode(framed(0x92, "01010605 01230000 01")))[4:] == framed(0x11, "01020605")
    found = read.decode(framed(0x91, "01020605 00010000"))
    assert values(found) == {"import": 23, "export": 10}
    assert (read.points, read.halves()) == (("import", "valley", "export"), [])


def test_a_freeze_that_says_another_day_is_refused() -> None:
    meter = FrozenMeter(*(MIDNIGHTS[at] for at in (0, 1, 4)))
    (read,) = history(ms(2026, 11, 20, 12), ms(2026, 11, 21, 12))
    with pytest.raises(MeterRefused, match="no daily freeze of 2026-11-21") as refused:
        meter.talk(read)
    assert "没有 2026-11-21 的日冻结" in refused.value.say("zh")


def test_a_freeze_at_another_hour_counts_for_that_hour() -> None:
    late = [at + timedelta(hours=8) for at in MIDNIGHTS]
    (read,) = history(ms(2026, 11, 20, 12), ms(2026, 11, 21, 12))
    assert FrozenMeter(*late).talk(read)[0].at_ms == ms(2026, 11, 21, 8)
    (read,) = history(ms(2026, 11, 20, 12), ms(2026, 11, 21, 7))
    with pytest.raises(MeterRefused, match="not in the gap"):
        FrozenMeter(*late).talk(read)


def test_f32_a_freeze_without_a_time_is_refused() -> None:
    (read,) = history(ms(2026, 11, 20, 12), ms(2026, 11, 21, 12))
    read.request()
    with pytest.raises(BadFrame, match="no time of a freeze"):
        read.decode(framed(0x91, "01000605 FFFFFFFFFF"))


def test_a_meter_of_1997_has_no_freezes_nor_a_meter_without_counters() -> None:
    assert DLT645.history(LINE, plan_of({"x": "9010"}, edition=1997), 0, 10**12) == []
    assert DLT645.history(LINE, plan_of({"x": "02030000"}), 0, 10**12) == []


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_f32_any_freezes_end_in_values_or_a_refusal(replies: list[bytes]) -> None:
    (read,) = history(ms(2026, 11, 20, 12), ms(2026, 11, 21, 12))
    request = read.request()
    for noise in replies:
        di = bytes((byte - 0x33) % 256 for byte in request[request.index(0x68) + 10 : -2])
        try:
            found = read.decode(framed(0x91, di + noise))
        except MeterError:
            return
        if not isinstance(found, Send):
            assert {value.at_ms for value in found} <= {ms(2026, 11, 21)}
            return
        request = found.frame


# -- vectors and settings


@pytest.mark.parametrize(
    ("vector", "words"),
    [({}, "a vector is"), ({"reply": []}, "a vector is"), ({"reply": "68 zz"}, "a vector is"), ({"reply": 7}, "a vector is"),
     ({"reply": framed(0x91, "00000200 00000000").hex()}, "no point at DI 00020000"),
     ({"reply": framed(0x11, "00000100").hex()}, "control code 11"),
     ({"reply": framed(0x93, "470023112620").hex()}, "no answer to a read"),
     ({"reply": framed(0xB1, "00000100 5634").hex()}, "lacks the frames")],
)  # fmt: skip
def test_a_vector_of_another_form_is_refused(vector: dict[str, Any], words: str) -> None:
    with pytest.raises(MeteringError, match=words):
        DLT645.replay(profile_of({"x": "00010000"}), vector)


@pytest.mark.parametrize(
    "told", [{"timezone": "Mars/Olympus"}, {"timezone": "../etc"}, {"preamble": 17}, {"edition": 2014}]
)
def test_a_wrong_setting_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(told))):
        Dlt645Meter.model_validate({"number": "1", **told})


def test_the_meter_is_woken_as_it_wants() -> None:
    (read,) = reads_of({"x": "00010000"}, preamble=0)
    assert read.request() == framed(0x11, "00000100")
    assert read.longest_reply >= 16 + 12 + 200
