"""DL/T 645-2007: published frames, refusals, and what arbitrary bytes may do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Request
from drivers.dlt645.codec import READS, Frame, error_text, frame_length
from drivers.dlt645.settings import Dlt645Meter
from drivers.dlt645.table import layout
from metering.errors import BadFrame, MeteringError, MeterRefused
from metering.profile import Profile
from metering.reading import Quality
from settings.profiles import load_profile

GOLDEN = YAML(typ="safe").load(Path("tests/golden/dlt645/frames.yaml").read_text())


def unit_of(point: dict[str, Any]) -> str:
    found = layout(str(point["address"]), None)
    return found.unit if found is not None and found.unit is not None else "1"


def reads_of(number: str, **points: dict[str, Any]) -> Sequence[Request]:
    """The reads of points of a meter, of the edition their addresses are of."""
    edition = 1997 if all(len(str(point["address"])) == 4 for point in points.values()) else 2007
    filled = {name: {"unit": unit_of(point), "role": "gauge", **point} for name, point in points.items()}
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "dlt645", "status": "unverified",
         "source": {"title": "x"}, "points": filled}
    )  # fmt: skip
    dlt645 = driver("dlt645")
    line = dlt645.line_model.model_validate({"driver": "dlt645", "serial": "/dev/null"})
    return dlt645.plan(line, MeterPlan("m", {"number": number, "edition": edition}, profile, profile.points))  # type: ignore[attr-defined, no-any-return]


def read_of(number: str, di: str, **point: Any) -> Request:
    (read,) = reads_of(number, x={"address": di, **point})
    return read


def framed(number: str, control: int, data: bytes) -> bytes:
    """Compose a frame as the standard draws it, without the driver's code."""
    body = bytes([0x68, *bytes.fromhex(number)[::-1], 0x68, control, len(data)])
    body += bytes((byte + 0x33) % 256 for byte in data)
    return body + bytes([sum(body) % 256, 0x16])


ENERGY = framed("000000000161", 0x91, bytes.fromhex("00000100 26000000"))


@pytest.mark.parametrize("case", GOLDEN["requests"], ids=lambda case: case["frame"])
def test_a_published_request_is_what_we_send(case: dict[str, Any]) -> None:
    frame = bytes.fromhex(case["frame"]).lstrip(b"\xfe")
    kind = {"type": case["type"]} if "type" in case else {}
    assert read_of(case["number"], case["di"], **kind).request() == b"\xfe\xfe\xfe\xfe" + frame


@pytest.mark.parametrize("preamble", [0, 1, 4, 32])
@pytest.mark.parametrize("case", GOLDEN["replies"], ids=lambda case: case["frame"])
def test_a_published_reply_gives_its_value(case: dict[str, Any], preamble: int) -> None:
    reply = b"\xfe" * preamble + bytes.fromhex(case["frame"])
    read = read_of(case["number"], case["di"])
    assert [read.length_of(reply[:length]) for length in range(len(reply))] == [None] * len(reply)
    assert read.length_of(reply + b"\x16\xfe") == len(reply)
    (value,) = read.decode(reply)
    assert (value.value, value.quality) == (case["value"], Quality.GOOD)


@pytest.mark.parametrize("case", GOLDEN["others"], ids=lambda case: case["frame"])
def test_other_published_frames_are_understood(case: dict[str, Any]) -> None:
    whole = bytes.fromhex(case["frame"])
    frame = Frame.of(whole)
    assert frame == Frame(case["number"], case["control"], bytes.fromhex(case["data"]))
    if frame.control in READS:
        assert frame.to_bytes() == whole.lstrip(b"\xfe")


@pytest.mark.parametrize("case", GOLDEN["wrong"], ids=lambda case: case["because"])
def test_f32_a_published_frame_with_a_wrong_checksum_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(BadFrame, match=case["because"]):
        Frame.of(bytes.fromhex(case["frame"]))


@pytest.mark.parametrize("case", GOLDEN["values"], ids=lambda case: f"{case['type']}-{case['data']}")
def test_the_digits_of_a_value(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["data"])
    reply = framed("000000000161", 0x91, bytes.fromhex("78563412") + data)
    (value,) = read_of("161", "12345678", type=case["type"]).decode(reply)
    assert (value.value, value.raw) == (case["value"], data)


@pytest.mark.parametrize("case", GOLDEN["numbers"], ids=lambda case: case["number"])
def test_a_number_goes_out_lowest_pair_first(case: dict[str, Any]) -> None:
    assert read_of(case["number"], "00010000").request()[5:11] == bytes.fromhex(case["address"])


def test_the_scale_of_the_profile_joins_the_decimals_of_the_di() -> None:
    assert read_of("161", "00010000", scale="1000").decode(ENERGY)[0].value == 260.0


def test_f32_digits_above_nine_are_not_available() -> None:
    (value,) = read_of("161", "00010000").decode(framed("000000000161", 0x91, bytes.fromhex("00000100 FFFFFFFF")))
    assert (value.value, value.quality) == (None, Quality.BAD)


def test_a_wildcard_takes_the_answer_of_any_meter_it_means() -> None:
    assert read_of("AAAAAAAAAAAA", "00010000").decode(ENERGY)[0].value == 0.26
    assert read_of("AAAAAAAAAA61", "00010000").decode(ENERGY)[0].value == 0.26
    with pytest.raises(BadFrame, match="from meter 000000000161"):
        read_of("AAAAAAAAAA62", "00010000").decode(ENERGY)


def test_a_value_that_is_whole_is_taken_though_more_frames_follow() -> None:
    more = framed("000000000161", 0xB1, bytes.fromhex("00000100 26000000"))
    assert read_of("161", "00010000").decode(more)[0].value == 0.26


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (framed("000000000162", 0x91, bytes.fromhex("00000100 26000000")), "from meter 000000000162"),
        (framed("000000000161", 0x91, bytes.fromhex("00000200 26000000")), "DI 00020000, not 00010000"),
        (framed("000000000161", 0x91, bytes.fromhex("00000100 2600")), "a value of 2 bytes, not 4"),
        (framed("000000000161", 0x91, b""), r"DI \?"),
        (framed("000000000161", 0x92, bytes.fromhex("00000100 26000000 01")), "control code 92"),
        (framed("000000000161", 0x11, bytes.fromhex("00000100")), "control code 11"),
        (framed("000000000161", 0xD1, b""), "0 data bytes"),
        (ENERGY[:-1] + b"\x17", "ends with 17"),
        (ENERGY[:-2] + b"\x00\x16", "checksum"),
        (ENERGY[:-1], "not one whole frame"),
        (b"\x68" + ENERGY, "no frame begins"),
        (b"\xfe" * 33 + ENERGY, "33 bytes before the 68"),
        (b"\x68\x61\x01\x00\x00\x00\x00\x68\x91\xc9", "201 data bytes"),
    ],
)
def test_f32_what_is_not_the_answer_is_refused(reply: bytes, words: str) -> None:
    with pytest.raises(BadFrame, match=words):
        read_of("161", "00010000").decode(reply)


@pytest.mark.parametrize(
    ("lang", "words"), [("en", "error 02 (it has no such data)"), ("zh", "错误字 02（无请求数据）")]
)
def test_an_error_reply_is_named_in_both_languages(lang: Any, words: str) -> None:
    read = read_of("161", "00010000")
    reply = framed("000000000161", 0xD1, b"\x02")
    assert read.length_of(reply) == len(reply)
    with pytest.raises(MeterRefused) as refused:
        read.decode(reply)
    assert refused.value.code == 2
    assert words in refused.value.say(lang)


def test_each_bit_of_the_error_byte_has_a_meaning() -> None:
    assert error_text(0b101).en == "other error, wrong password or not authorised"
    assert error_text(0).zh == "未说明原因"
    assert len({error_text(1 << bit).zh for bit in range(8)}) == 8


@pytest.mark.parametrize("control", sorted(set(range(256)) - set(READS)))
def test_no_frame_that_writes_can_be_made(control: int) -> None:
    with pytest.raises(ValueError, match="does not read"):
        Frame("000000000161", control).to_bytes()


@given(st.binary(max_size=260), st.booleans())
def test_f32_any_bytes_give_a_value_or_a_refusal(noise: bytes, begins_well: bool) -> None:
    read = read_of("161", "00010000")
    received = ENERGY[:10] + noise if begins_well else noise
    try:
        whole = read.length_of(received)
        assert whole is None or whole <= min(len(received), 260)
        read.decode(received)
    except (BadFrame, MeterRefused):
        pass


@given(st.integers(0, len(ENERGY) * 8 - 1))
def test_f32_a_flipped_bit_never_gives_another_value(bit: int) -> None:
    mangled = bytearray(ENERGY)
    mangled[bit // 8] ^= 1 << bit % 8
    with pytest.raises((BadFrame, MeterRefused)):
        read_of("161", "00010000").decode(bytes(mangled))


@given(st.integers(0, 10**8 - 1), st.integers(0, 12))
def test_every_register_content_comes_back(hundredths: int, preamble: int) -> None:
    digits = bytes.fromhex(f"{hundredths:08d}")[::-1]
    reply = b"\xfe" * preamble + framed("000000000161", 0x91, bytes.fromhex("00000100") + digits)
    assert read_of("161", "00010000").decode(reply)[0].value == hundredths / 100


def test_a_frame_begins_with_68_or_not_at_all() -> None:
    assert frame_length(b"") is None
    assert frame_length(b"\xfe\xfe\x68") is None


@pytest.mark.parametrize(
    ("number", "words"),
    [(161, 'number: "000000000161"'), ("1234567890123", "12 digits at most"), ("12B", "12 digits"), ("9" * 12, "broadcast")],
)  # fmt: skip
def test_a_wrong_meter_number_is_explained(number: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Dlt645Meter.model_validate({"number": number})


@pytest.mark.parametrize(
    ("point", "words"),
    [({"address": 10000}, "no DI"), ({"address": "00010"}, "no DI"), ({"address": "0001ff00"}, "no DI"),
     ({"address": "0001FF00"}, "not in the table"), ({"address": "00010000", "type": "f32"}, "bcd4.2"),
     ({"address": "00010000", "scale": 0}, "scale 0")],
)  # fmt: skip
def test_a_point_that_cannot_be_read_is_explained(point: dict[str, Any], words: str) -> None:
    with pytest.raises(MeteringError, match=words):
        reads_of("161", x=point)


def test_tariffs_share_the_layout_of_their_total() -> None:
    assert layout("00010400", None) == layout("00010000", None)
    assert layout("00000000", None) != layout("00010000", None)


def test_the_predicted_bytes_are_those_on_the_line() -> None:
    read = read_of("161", "00010000")
    assert (read.request_bytes, read.reply_bytes) == (20, 4 + len(ENERGY))
    assert (read.label, read.points) == ("DI 00010000, 4 bytes", ("x",))
    assert driver("dlt645").silence_s(driver("dlt645").line_model.model_validate(  # type: ignore[attr-defined]
        {"driver": "dlt645", "serial": "/dev/x", "turnaround": "50 ms"})) == 0.05  # fmt: skip


@pytest.mark.parametrize(
    ("di", "data", "unit", "expected"),
    [
        ("00010000", "26000000", "MWh", 0.00026),
        ("00010000", "78563412", "GJ", 444.444408),
        ("02030000", "563482", "W", -2345.6),
        ("02010100", "0122", "kV", 0.2201),
        ("00030000", "78563492", "varh", -123456780.0),
    ],
)
def test_what_the_standard_counts_in_is_converted_to_the_points_unit(
    di: str, data: str, unit: str, expected: float
) -> None:
    read = read_of("1", di, unit=unit)
    (value,) = read.decode(framed("000000000001", 0x91, bytes.fromhex(di)[::-1] + bytes.fromhex(data)))
    assert value.value == expected


@pytest.mark.parametrize(
    ("di", "point", "said"),
    [
        ("00010000", {"unit": "kW"}, "is in kWh, which cannot be converted to kW"),
        ("00030000", {"unit": "kWh"}, "is in kvarh"),
        ("00090000", {"unit": "kWh"}, "is in kVAh"),
        ("00010000", {"type": "bcd4.3", "unit": "m3"}, "is in kWh"),
        ("02030000", {"unit": "kWh"}, "is in kW,"),
        ("9110", {"unit": "kWh"}, "is in kvarh"),
    ],
)
def test_a_unit_unlike_that_of_the_di_is_a_fault(di: str, point: dict[str, Any], said: str) -> None:
    with pytest.raises(MeteringError, match=said):
        read_of("1", di, **point)


def test_a_di_that_is_not_in_the_table_is_taken_as_written() -> None:
    read = read_of("1", "0E000001", type="bcd4.2", unit="MWh")
    (value,) = read.decode(framed("000000000001", 0x91, bytes.fromhex("0100000E") + bytes.fromhex("26000000")))
    assert value.value == 0.26  # type: ignore[index, union-attr]


def test_an_error_reply_among_vectors_is_refused_as_on_the_line() -> None:
    profile = load_profile("generic/dlt645-2007")
    with pytest.raises(MeterRefused, match="it has no such data"):
        driver("dlt645").replay(profile, {"reply": framed("000000000001", 0xD1, b"\x02").hex(" ")})
