"""CJ/T 188: captured frames, makers' habits, refusals, and what arbitrary bytes may do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from drivers.catalogue import driver
from drivers.cjt188.codec import READS, Frame, frame_length
from drivers.cjt188.settings import Cjt188Meter
from drivers.cjt188.table import HEAT, UNITS, VOLUME
from drivers.contract import MeterPlan, Value
from metering.errors import BadFrame, MeteringError, MeterRefused
from metering.profile import Place, Profile
from metering.quantity import unit
from metering.reading import Quality

GOLDEN = YAML(typ="safe").load(Path("tests/golden/cjt188/frames.yaml").read_text())
UNIT = {"total": "m3", "settlement": "m3", "heat": "kWh", "settlement_heat": "kWh", "power": "kW", "flow": "m3/h",
        "supply_temperature": "C", "return_temperature": "C", "hours": "h", "status": "1"}  # fmt: skip


def profile_of(kind: str, points: Mapping[str, dict[str, Any]], **meter: Any) -> Profile:
    filled = {name: {"unit": UNIT[point["address"]], "role": "gauge", **point} for name, point in points.items()}
    return Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": kind, "protocol": "cjt188", "status": "unverified", "meter": meter,
         "source": {"title": "x"}, "points": filled, "identity": {"clock": {"address": "clock"}}}
    )  # fmt: skip


def read_of(number: str = "2611230052", *, kind: str = "water", clock: bool = False, **told: Any) -> Any:
    """The read of everything a meter has, or of its clock."""
    names = HEAT if kind == "heat" else VOLUME
    profile = profile_of(kind, {name: {"address": name} for name in names if name in UNIT})
    cjt188: Any = driver("cjt188")
    line = cjt188.line_model.model_validate({"driver": "cjt188", "serial": "/dev/null"})
    address = Cjt188Meter.model_validate({"number": number, **told}).model_dump()
    (read,) = cjt188.plan(line, MeterPlan("m", address, profile, profile.identity if clock else profile.points))
    return read


def framed(number: str, control: int, data: bytes, kind: int = 0x10) -> bytes:
    """Compose a frame as the standard draws it, without the driver's code."""
    body = bytes([0x68, kind, *bytes.fromhex(number.zfill(14))[::-1], control, len(data)]) + data
    return body + bytes([sum(body) % 256, 0x16])


REST = bytes.fromhex("00000000 2C 30150923112620 0000")
TOTAL = bytes.fromhex("1F9000 78563412 2C") + REST
WATER = framed("2611230052", 0x81, TOTAL)


def values(read: Any, reply: bytes) -> dict[str, Value]:
    return {value.point: value for value in read.decode(reply)}


@pytest.mark.parametrize("case", GOLDEN["requests"], ids=lambda case: case["frame"])
def test_a_published_request_is_what_we_send(case: dict[str, Any]) -> None:
    kind = "heat" if case["type"] == "20" else "water"
    read = read_of(case["number"], kind=kind, type=case["type"], di_order=case.get("order", "normal"), preamble=2)
    for _ in range(case["serial"]):
        read.request()
    assert read.request() == b"\xfe\xfe" + bytes.fromhex(case["frame"])


def told_of(frame: bytes, unit_position: str = "after") -> dict[str, Any]:
    begin = frame.index(0x68)
    return {"number": frame[begin + 8 : begin + 1 : -1].hex(), "unit_position": unit_position,
            "kind": "heat" if frame[begin + 1] & 0xF0 == 0x20 else "gas" if frame[begin + 1] == 0x30 else "water"}  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN["replies"], ids=lambda case: case["frame"][:60])
def test_a_reply_gives_its_values(case: dict[str, Any]) -> None:
    reply = bytes.fromhex(case["frame"])
    told = told_of(reply, case.get("unit", "after"))
    found, clock = read_of(**told), read_of(**told, clock=True)
    for _ in range(reply[reply.index(0x68) + 13] + 1):
        found.request(), clock.request()
    assert [found.length_of(reply[:length]) for length in range(len(reply))] == [None] * len(reply)
    assert found.length_of(reply + b"\x16\xfe") == len(reply)
    got = values(found, reply)
    assert {name: got[name].value for name in case["values"]} == case["values"]
    assert {value.quality for value in got.values()} == {Quality.GOOD}
    assert values(clock, reply)["clock"].text == case["clock"]


@pytest.mark.parametrize("case", GOLDEN["wrong"], ids=lambda case: case["because"])
def test_f32_a_published_frame_with_a_wrong_checksum_is_refused(case: dict[str, Any]) -> None:
    reply = bytes.fromhex(case["frame"])
    with pytest.raises(BadFrame, match=case["because"]):
        read_of(**told_of(reply)).decode(reply)
    taken = values(read_of(**told_of(reply), checksum="lenient"), reply)
    for name, value in case["values"].items():
        assert (taken[name].value, taken[name].quality, taken[name].why) == (value, Quality.UNCERTAIN, "wrong checksum")


def test_the_question_who_a_meter_is_and_its_answer() -> None:
    cjt188: Any = driver("cjt188")
    asked, given = GOLDEN["addresses"]["request"], GOLDEN["addresses"]["reply"]
    line = cjt188.line_model.model_validate({"driver": "cjt188", "tcp": "h:1"})
    profile = profile_of("water", {"total": {"address": "total"}})
    told = {"number": asked["number"], "type": asked["type"], "di_order": asked["order"], "preamble": 0}
    (read,) = cjt188.identify(line, MeterPlan("m", told, profile, {}))
    assert read.request() == bytes.fromhex(asked["frame"])
    for frame in (bytes.fromhex(given["frame"]), framed("12", 0x83, bytes.fromhex("0A8100 12000000000000"))):
        (value,) = read.decode(frame)
        assert (value.point, value.value, value.text) == ("serial", None, given["number"])
    with pytest.raises(BadFrame, match="not that of its frame"):
        read.decode(framed("12", 0x83, bytes.fromhex("0A8100 13000000000000")))


@pytest.mark.parametrize("preamble", [b"", b"\xfe" * 32, b"\x00\xfe\xfe", b"\xff"])
def test_what_wakes_the_line_is_not_looked_at(preamble: bytes) -> None:
    assert values(read_of(), preamble + WATER)["total"].value == 123456.78


def test_each_question_has_its_own_serial_number_and_a_late_answer_is_refused() -> None:
    read = read_of()
    assert [read.request()[-3] for _ in range(257)] == [*range(256), 0]
    read.request()
    with pytest.raises(BadFrame, match="serial number 00, not 01"):
        read.decode(WATER)


@pytest.mark.parametrize("type_", ["10", "11", "AA", 10])
def test_a_meter_of_the_same_family_may_answer(type_: Any) -> None:
    reply = framed("2611230052", 0x81, TOTAL, kind=0x12)
    assert values(read_of(type=type_), reply)["total"].value == 123456.78


def test_a_heat_profile_reads_heat_from_a_meter_of_any_type() -> None:
    read = read_of(kind="heat", type="AA")
    assert (read.label, len(read.points)) == ("DI 901F, 46 bytes", 9)


def test_the_status_is_cut_into_bits() -> None:
    profile = profile_of("gas", {
        "valve": {"address": "status", "bits": [0, 1]}, "battery_low": {"address": "status", "bits": [2, 2]},
        "maker": {"address": "status", "bits": [8, 15]},
    })  # fmt: skip
    frame = framed("1", 0x81, TOTAL[:-2] + b"\x07\x84", kind=0x30)
    found = {value.point: value.value for value in driver("cjt188").replay(profile, {"reply": frame.hex(" ")})}
    assert found == {"valve": 3, "battery_low": 1, "maker": 0x84, "clock": None}


@pytest.mark.parametrize(
    ("code", "wanted", "value"),
    [(0x05, "GJ", 0.36), (0x11, "kWh", 100 / 0.0036), (0x08, "MWh", 100), (0x0A, "kWh", 1e7), (0x13, "GJ", 1e4),
     (0x0E, "GJ", 0.1), (0x01, "J", 100), (0x06, "kWh", 1000)],
)  # fmt: skip
def test_a_unit_is_converted_exactly(code: int, wanted: str, value: float) -> None:
    profile = profile_of("heat", {"heat": {"address": "heat", "unit": wanted}})
    data = bytes.fromhex("1F9000 00000000") + bytes([code]) + bytes.fromhex("00000100") + bytes([code])
    frame = framed("1", 0x81, data.ljust(46, b"\0"), kind=0x20)
    (heat, _) = driver("cjt188").replay(profile, {"reply": frame.hex()})
    assert heat.value == value


def test_every_unit_of_the_table_is_known() -> None:
    assert len(UNITS) == 50
    assert {str(unit(symbol)) for symbol, _ in UNITS.values()} >= {"Wh", "GJ", "kW", "L", "m3", "m3/h", "GJ/h", "J/h"}
    assert (UNITS[0x2C], UNITS[0x2E], UNITS[0x37], UNITS[0x19]) == (("m3", 1), ("m3", 100), ("m3/h", 100), ("kW", 100))


@pytest.mark.parametrize("code", [0x00, 0x05, 0x35, 0xFF])
def test_a_unit_that_cannot_be_its_own_gives_no_value(code: int) -> None:
    data = TOTAL[:7] + bytes([code]) + REST
    value = values(read_of(), framed("2611230052", 0x81, data))["total"]
    assert (value.value, value.quality, value.why) == (None, Quality.BAD, f"unit byte {code:02X} is none of its units")


@pytest.mark.parametrize("digits", ["FFFFFFFF", "0000A000", "0000000F"])
def test_f32_digits_above_nine_give_no_value(digits: str) -> None:
    data = TOTAL[:3] + bytes.fromhex(digits) + TOTAL[7:]
    value = values(read_of(), framed("2611230052", 0x81, data))["total"]
    assert (value.value, value.quality) == (None, Quality.BAD)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (framed("2611230053", 0x81, TOTAL), "from meter 00002611230053"),
        (framed("2611230052", 0x81, TOTAL, kind=0x20), "a meter of type 20, not 10"),
        (framed("2611230052", 0x81, b"\x2f\x90" + TOTAL[2:]), "DI 2F 90, not 1F 90"),
        (framed("2611230052", 0x81, TOTAL[:-1]), "21 data bytes, not 22"),
        (framed("2611230052", 0x81, TOTAL + b"\0"), "23 data bytes, not 22"),
        (framed("2611230052", 0x81, b""), r"DI \?"),
        (framed("2611230052", 0x84, TOTAL), "control code 84"),
        (framed("2611230052", 0x01, TOTAL[:3]), "control code 01"),
        (framed("2611230052", 0xA1, TOTAL), "control code A1"),
        (framed("2611230052", 0xC1, b"\0"), "1 data bytes, not 3"),
        (framed("2611230052", 0xC1, b"\x05\0\0"), "serial number 05"),
        (WATER[:-1] + b"\x17", "ends with 17"),
        (WATER[:-2] + b"\x00\x16", "checksum"),
        (WATER[:-1], "not one whole frame"),
        (WATER + b"\0", "not one whole frame"),
        (b"\xfe" * 33 + WATER, "33 bytes before the 68"),
        (WATER[:10] + b"\x65" + WATER[11:], "101 data bytes"),
    ],
)
def test_f32_what_is_not_the_answer_is_refused(reply: bytes, words: str) -> None:
    read = read_of()
    read.request()
    with pytest.raises(BadFrame, match=words):
        read.decode(reply)


def test_an_error_reply_is_named_in_both_languages() -> None:
    with pytest.raises(MeterRefused) as refused:
        read_of().decode(framed("2611230052", 0xC1, bytes.fromhex("00 04 00")))
    assert refused.value.code == 4
    assert "status 0004" in refused.value.say("en")
    assert "状态 0004" in refused.value.say("zh")


@pytest.mark.parametrize("control", sorted(set(range(256)) - READS))
def test_no_frame_that_writes_can_be_made(control: int) -> None:
    with pytest.raises(ValueError, match="does not read"):
        Frame("10", "0" * 14, control).to_bytes()


@given(st.binary(max_size=160), st.integers(0, len(WATER)), st.sampled_from(["strict", "lenient"]))
def test_f32_any_bytes_give_values_or_a_refusal(noise: bytes, keep: int, checksum: str) -> None:
    read = read_of(checksum=checksum)
    received = WATER[:keep] + noise
    try:
        whole = read.length_of(received)
        assert whole is None or whole <= min(len(received), read.longest_reply)
        read.decode(received)
    except (BadFrame, MeterRefused):
        pass


@given(st.integers(0, len(WATER) * 8 - 1))
def test_f32_a_flipped_bit_never_gives_another_value(bit: int) -> None:
    mangled = bytearray(WATER)
    mangled[bit // 8] ^= 1 << bit % 8
    with pytest.raises((BadFrame, MeterRefused)):
        read_of().decode(bytes(mangled))


@given(st.integers(0, 10**8 - 1))
def test_every_register_content_comes_back(hundredths: int) -> None:
    data = TOTAL[:3] + bytes.fromhex(f"{hundredths:08d}")[::-1] + TOTAL[7:]
    assert values(read_of(), framed("2611230052", 0x81, data))["total"].value == hundredths / 100


def test_a_frame_is_whole_when_its_end_has_come() -> None:
    assert frame_length(b"") is None
    assert frame_length(b"\xfe\x68\x10") is None
    assert frame_length(WATER + b"\x68") == len(WATER)


@pytest.mark.parametrize(
    ("told", "words"),
    [({"number": 11223344}, 'number: "0011223344"'), ({"number": "123456789012345"}, "10 digits at most"),
     ({"number": "0011223344F"}, "10 digits"), ({"number": "1", "type": "7A"}, "no kind of meter"),
     ({"number": "1", "type": 99}, "no kind of meter"), ({"number": "1", "preamble": 33}, "32")],
)  # fmt: skip
def test_a_wrong_meter_setting_is_explained(told: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Cjt188Meter.model_validate(told)


@pytest.mark.parametrize(
    ("kind", "point", "words"),
    [("water", {"address": "heat", "unit": "kWh"}, "no data 'heat'; such a meter has total"),
     ("water", {"address": "total", "unit": "kWh"}, "cannot be counted in kWh"),
     ("heat", {"address": "hours", "unit": "d"}, "hours is in h"),
     ("heat", {"address": "heat", "unit": "kWh", "type": "f32"}, "takes no type"),
     ("heat", {"address": "heat", "unit": "kWh", "bits": [0, 1]}, "from status only"),
     ("heat", {"address": "clock", "unit": "1"}, "under identity"),
     ("heat", {"address": "heat", "unit": "kWh", "scale": 0}, "scale 0")],
)  # fmt: skip
def test_a_point_that_cannot_be_read_is_explained(kind: str, point: dict[str, Any], words: str) -> None:
    profile = profile_of(kind, {"total": {"address": "total"}})
    wanted = type(profile.points["total"]).model_validate({"role": "gauge", **point})
    fault = driver("cjt188").fault(wanted, profile)
    assert fault is not None
    assert words in fault.en
    cjt188: Any = driver("cjt188")
    line = cjt188.line_model.model_validate({"driver": "cjt188", "serial": "/dev/null"})
    with pytest.raises(MeteringError, match="m/x: "):
        cjt188.plan(line, MeterPlan("m", {"number": "1"}, profile, {"x": wanted}))


def test_a_place_with_a_unit_is_no_identity() -> None:
    profile = profile_of("heat", {"total": {"address": "total"}})
    fault = driver("cjt188").fault(Place(address="total"), profile)
    assert fault is not None
    assert "can only be a point" in fault.en


def test_a_gas_volume_keeps_the_reference_state_the_profile_names() -> None:
    profile = profile_of("gas", {"total": {"address": "total", "unit": "m3@20C"}})
    frame = framed("1", 0x81, TOTAL, kind=0x30)
    assert driver("cjt188").replay(profile, {"reply": frame.hex()})[0].value == 123456.78


@pytest.mark.parametrize("vector", [{}, {"reply": "68 zz"}, {"reply": ""}, {"reply": "68 10"}, {"reply": ["68"]}])
def test_a_vector_of_another_form_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(MeteringError):
        driver("cjt188").replay(profile_of("gas", {"total": {"address": "total"}}), vector)


def test_a_vector_of_a_meter_with_a_number_that_is_none_is_refused() -> None:
    profile = profile_of("gas", {"total": {"address": "total"}})
    with pytest.raises(MeteringError, match="number 000000000000BC"):
        driver("cjt188").replay(profile, {"reply": framed("BC", 0x81, TOTAL, kind=0x30).hex()})


def test_the_predicted_bytes_are_those_on_the_line() -> None:
    read = read_of()
    cjt188: Any = driver("cjt188")
    assert (read.request_bytes, read.reply_bytes) == (len(read.request()), 4 + len(WATER))
    assert (read.label, read.points, read.halves()) == ("DI 901F, 22 bytes", ("total", "settlement", "status"), [])
    line = cjt188.line_model.model_validate({"driver": "cjt188", "tcp": "h:1", "turnaround": "50 ms"})
    assert cjt188.silence_s(line) == 0.05
    assert cjt188.history(line, MeterPlan("m", {"number": "1"}, profile_of("gas", {}), {}), 0, 1) == []
