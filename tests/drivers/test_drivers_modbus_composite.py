"""Modbus: values of several registers, scaled by registers, bits, texts and times, and numbers beyond doubles."""

import struct
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Send, Value
from metering.errors import MeteringError
from metering.profile import Profile
from metering.reading import Quality

MODBUS = driver("modbus")


def profile_of(point: dict[str, Any], **rest: Any) -> Profile:
    section = {"x": {"unit": "1", "role": "gauge", **point}} if "identity" not in rest else {}
    return Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "gas", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
         "points": section, **rest}
    )  # fmt: skip


def value_of(registers: dict[int, str], **point: Any) -> Value:
    (value,) = MODBUS.replay(profile_of({"address": 0, **point}), {"registers": registers})
    return value


def identity_of(registers: str, **place: Any) -> Value:
    profile = profile_of({}, identity={"serial": {"address": 0, **place}})
    (value,) = MODBUS.replay(profile, {"registers": {0: registers}})
    return value


def fault_of(point: dict[str, Any], **rest: Any) -> str:
    profile = profile_of({"address": 0, **point}, **rest)
    wrong = MODBUS.fault(profile.points["x"], profile)
    return wrong.en if wrong is not None else ""


# -- sums


def test_a_total_of_high_and_low_is_exact() -> None:
    """A precession vortex gas meter: total = high * 100 + low, the low part a float."""
    value = value_of(
        {8: "0001E240", 10: "4228F5C3"}, address=8, type="u32", scale=100, plus=[{"address": 10, "type": "f32"}]
    )
    assert (value.value, value.raw) == (12345642.24, bytes.fromhex("0001E2404228F5C3"))


def test_an_integer_and_a_fraction_are_added_in_the_order_of_the_place() -> None:
    """TUF-2000: the positive total is a 32-bit whole number and a 32-bit fraction, low word first."""
    fraction = struct.pack(">f", 0.25)
    registers = {8: "E2400001", 10: (fraction[2:] + fraction[:2]).hex()}
    assert (
        value_of(registers, address=8, type="i32", order="CDAB", plus=[{"address": 10, "type": "f32"}]).value
        == 123456.25
    )


def test_two_tariffs_of_64_bit_floats_are_one_total() -> None:
    """Siemens PAC2200: import is tariff 1 (801) and tariff 2 (805)."""
    registers = {801: struct.pack(">dd", 1234567.5, 0.1).hex()}
    assert value_of(registers, address=801, type="f64", plus=[{"address": 805}], scale=1).value == 1234567.6


def test_registers_of_four_decimal_digits_each_are_a_sum() -> None:
    """Schneider's MOD10K counters: each register holds 0 to 9999."""
    plus = [{"address": 1, "scale": 10_000}, {"address": 2, "scale": 100_000_000}]
    assert value_of({0: "162E 162E 0001".replace(" ", "")}, type="u16", plus=plus).value == 156785678.0


def test_a_total_with_a_part_that_is_not_there_has_no_value() -> None:
    parts = {"type": "f32", "plus": [{"address": 2}]}
    for registers in ("3F8000007FC00000", "7FC000003F800000"):
        value = value_of({0: registers}, **parts)
        assert (value.value, value.quality) == (None, Quality.BAD)


def test_parts_that_are_not_all_given_give_no_value() -> None:
    profile = profile_of({"address": 0, "type": "f32", "plus": [{"address": 2}]})
    assert MODBUS.replay(profile, {"registers": {0: "3F800000"}}) == []


def test_bits_and_sentinels_are_those_of_the_place_itself() -> None:
    parts = {"type": "f64", "sentinels": ["0x7FEFFFFFFFFFFFFF"], "plus": [{"address": 4, "type": "f32"}]}
    assert value_of({0: "3FF0000000000000" + "40000000"}, **parts).value == 3.0
    assert value_of({0: "7FEFFFFFFFFFFFFF" + "40000000"}, **parts).value is None
    assert value_of({0: "00F1" + "0100"}, type="u16", bits=[0, 3], plus=[{"address": 1}]).value == 257.0
    same = {"type": "u16", "sentinels": [0xFFFF], "plus": [{"address": 1}]}
    assert [value_of({0: words}, **same).value for words in ("0001FFFF", "FFFF0001", "00010001")] == [None, None, 2.0]


def test_a_vector_of_a_profile_with_a_fault_is_refused_by_that() -> None:
    with pytest.raises(MeteringError, match="x: no type 'f23'"):
        value_of({0: "0000"}, type="f23")
    with pytest.raises(MeteringError, match="x: 'here' is no register address"):
        MODBUS.replay(profile_of({"address": "here", "type": "u16"}), {"registers": {0: "0000"}})


# -- scale registers


@pytest.mark.parametrize(
    ("power", "expected"), [("0000", 1234.0), ("FFFE", 12.34), ("0003", 1234000.0), ("FFFF", 123.4)]
)
def test_a_power_of_ten_scales_a_sunspec_point(power: str, expected: float) -> None:
    assert value_of({0: "04D2", 1: power}, type="u16", scale_from={"address": 1}).value == expected


def test_a_scale_that_is_not_implemented_gives_no_value() -> None:
    value = value_of({0: "04D2", 1: "8000"}, type="u16", scale_from={"address": 1})
    assert (value.value, value.quality) == (None, Quality.BAD)


def test_a_scale_that_no_meter_has_gives_no_value_and_says_so() -> None:
    value = value_of({0: "04D2", 1: "0100"}, type="u16", scale_from={"address": 1})
    assert (value.value, value.why) == (None, "the scale register says 10^256")


@pytest.mark.parametrize(
    ("unit_code", "power", "expected"),
    [("0000", "0003", 1234.0), ("0001", "0003", 1.234), ("0001", "0006", 1234.0), ("0004", "0003", None), ("0000", "0063", None)],
)  # fmt: skip
def test_a_unit_and_a_power_of_ten_hold_together(unit_code: str, power: str, expected: float | None) -> None:
    scales = [{"address": 9, "units": {0: "m3", 1: "L"}}, {"address": 10, "type": "u16"}]
    value = value_of({0: "04D2", 9: unit_code + power}, type="u16", scale=0.001, unit="m3", scale_from=scales)
    assert value.value == expected
    assert (value.quality is Quality.BAD) == (expected is None)


def test_two_units_of_one_value_are_a_fault() -> None:
    units = {"address": 9, "units": {0: "m3"}}
    with pytest.raises(MeteringError, match="one register of scale_from can have units"):
        value_of({0: "04D2"}, type="u16", unit="m3", scale_from=[units, units])


def test_a_value_without_its_scale_register_is_no_value() -> None:
    profile = profile_of({"address": 0, "type": "u16", "scale_from": {"address": 1}})
    assert MODBUS.replay(profile, {"registers": {0: "04D2"}}) == []


@pytest.mark.parametrize(
    ("code", "expected"), [("0002", 1234.0), ("0003", 1234000.0), ("0008", 12340000 / 36), ("0009", None)]
)
def test_a_unit_by_code_is_converted_exactly(code: str, expected: float | None) -> None:
    units = {2: "kWh", 3: "MWh", 8: "GJ"}
    value = value_of({0: "04D2", 9: code}, type="u16", unit="kWh", scale_from={"address": 9, "units": units})
    assert value.value == expected
    assert value.why == ("" if expected else "the profile knows no unit with code 9")


def test_a_temperature_may_come_in_kelvin() -> None:
    scale = {"address": 9, "units": {0: "C", 1: "K"}}
    assert value_of({0: "0E30", 9: "0001"}, type="u16", scale=0.1, unit="C", scale_from=scale).value == 90.05


def test_a_far_scale_register_is_read_in_the_same_dialogue_and_never_remembered() -> None:
    profile = profile_of({"address": 0, "type": "u16", "scale_from": {"address": 500}})
    line = MODBUS.line_model.model_validate({"driver": "modbus", "tcp": "h:502"})
    (read,) = MODBUS.plan(line, MeterPlan("m", {}, profile, profile.points))  # type: ignore[attr-defined]

    def reply(frame: bytes, data: str) -> bytes:
        return frame[:4] + b"\0\x05" + frame[6:8] + b"\x02" + bytes.fromhex(data)

    for power, expected in (("0001", 12340.0), ("FFFF", 123.4)):
        first = read.request()
        step = read.decode(reply(first, "04D2"))
        assert isinstance(step, Send)
        assert (step.frame[8:10], step.frame[:2] != first[:2]) == (b"\x01\xf4", True)
        assert read.length_of(reply(step.frame, power)) == 11
        assert read.decode(reply(step.frame, power))[0].value == expected
    read.decode(reply(read.request(), "04D2"))
    begun_anew = read.request()
    assert isinstance(read.decode(reply(begun_anew, "0001")), Send), "the data of the slot before are forgotten"


# -- bits, large numbers, orders


@pytest.mark.parametrize(
    ("bits", "expected"), [((0, 0), 1), ((1, 1), 0), ((4, 7), 0xC), ((8, 15), 0xA5), ((0, 15), 0xA5C5)]
)
def test_bits_are_taken_out_of_a_whole_number(bits: tuple[int, int], expected: int) -> None:
    assert value_of({0: "A5C5"}, type="u16", bits=bits).value == expected
    assert value_of({0: "A5C5"}, type="i16", bits=bits).value == expected


def test_a_whole_number_beyond_doubles_keeps_its_digits() -> None:
    value = value_of({0: "FFFFFFFFFFFFFFFE"}, type="u64")
    assert (value.value, value.quality) == (2**64 - 2, Quality.GOOD)
    assert value_of({0: "FFDFFFFFFFFFFFFF"}, type="i64").value == -(2**53) - 1
    assert isinstance(value_of({0: "0020000000000000"}, type="u64").value, float), "2^53 itself is a double"


def test_a_number_that_must_lose_digits_says_so() -> None:
    value = value_of({0: "0020000000000002"}, type="u64", scale="0.1")
    assert (value.value, value.quality) == (900719925474099.4, Quality.GOOD), "16 digits that a double still holds"
    value = value_of({0: "FFFFFFFFFFFFFFFE"}, type="u64", scale="0.01")
    assert value.quality is Quality.UNCERTAIN
    assert "more digits" in value.why


NUMBER = 0x4142434445464748  # "ABCDEFGH"


@pytest.mark.parametrize(
    ("order", "sent"),
    [("ABCD", "ABCDEFGH"), ("CDAB", "GHEFCDAB"), ("BADC", "BADCFEHG"), ("DCBA", "HGFEDCBA"), ("EFGHABCD", "EFGHABCD"),
     ("CDABGHEF", "CDABGHEF"), ("DCBAHGFE", "DCBAHGFE"), ("FEHGBADC", "FEHGBADC")],
)  # fmt: skip
def test_an_order_says_which_byte_comes_when(order: str, sent: str) -> None:
    assert value_of({0: sent.encode().hex()}, type="u64", order=order).value == NUMBER
    double = struct.unpack(">d", b"ABCDEFGH")[0]
    assert value_of({0: sent.encode().hex()}, type="f64", order=order).value == double


def test_the_eight_orders_are_all_that_swapping_bytes_words_and_halves_can_make() -> None:
    def swapped(letters: str, size: int) -> str:
        pieces = [letters[at : at + size] for at in range(0, 8, size)]
        return "".join(second + first for first, second in zip(pieces[::2], pieces[1::2], strict=True))

    made = {"ABCDEFGH"}
    for sizes in permutations((1, 2, 4)):
        letters = "ABCDEFGH"
        for size in sizes:
            letters = swapped(letters, size)
            made |= {letters, swapped("ABCDEFGH", size)}
    assert made == {"ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA", "EFGHABCD", "CDABGHEF", "DCBAHGFE", "FEHGBADC"}


@given(
    st.binary(min_size=12, max_size=12), st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]), st.sampled_from([1, "0.1"])
)
def test_the_quick_way_and_the_whole_way_agree(data: bytes, order: str, scale: Any) -> None:
    """A sentinel that never comes, or a sum with a zero, takes the whole way to the same value."""
    for kind, size in (("u16", 2), ("i32", 4), ("f32", 4), ("u64", 8), ("f64", 8), ("bcd12", 6)):
        point = {"type": kind, "order": order, "scale": scale}
        quick = value_of({0: data[:size].hex()}, **point)
        whole = value_of({0: data[:size].hex() + "0000"}, **point, plus=[{"address": size // 2, "type": "u16"}])
        same = quick.value == whole.value or Decimal(repr(quick.value)) == Decimal(repr(whole.value))
        assert same, (kind, quick, whole)


# -- texts and times


@pytest.mark.parametrize(
    ("registers", "place", "expected"),
    [
        ("534F434F", {"type": "str4"}, "SOCO"),
        ("4F534F43", {"type": "str4", "order": "BADC"}, "SOCO"),
        ("43 4F 53 4F", {"type": "str4", "order": "CDAB"}, "SOCO"),
        ("504143 333230 30 00 FF", {"type": "str9"}, "PAC3200"),
        ("41424344", {"type": "str3"}, "ABC"),
        ("2041 4220", {"type": "str4"}, "AB"),
        ("E5AE89E7A791E7919E00", {"type": "str10"}, "安科瑞"),
        ("00000000", {"type": "str4"}, None),
        ("FFFFFFFF", {"type": "str4"}, None),
        ("41014142", {"type": "str4"}, None),
        ("07EA 000B 0017 0016 0005 003B", {"type": "datetime6"}, "2026-11-23T22:05:59"),
        ("001A 000B 0017 0016 0005 003B", {"type": "datetime6"}, "2026-11-23T22:05:59"),
        ("07EA 000D 0017 0016 0005 003B", {"type": "datetime6"}, None),
        ("1A0B 1716 053B", {"type": "datetime3"}, "2026-11-23T22:05:59"),
        ("2611 2322 0559", {"type": "datetime3_bcd"}, "2026-11-23T22:05:59"),
        ("2611 2322 055A", {"type": "datetime3_bcd"}, None),
        ("001A 0B37 1605 E678", {"type": "datetime_iec"}, "2026-11-23T22:05:59"),
        ("001A 0B37 1605 E69D", {"type": "datetime_iec"}, "2026-11-23T22:05:59.037"),
        ("001A 0B37 1685 E678", {"type": "datetime_iec"}, None),
        ("001A 0B37 1605 FFFF", {"type": "datetime_iec"}, None),
        ("6553F100", {"type": "unix32"}, "2023-11-14T22:13:20Z"),
        ("F1006553", {"type": "unix32", "order": "CDAB"}, "2023-11-14T22:13:20Z"),
        ("00000000", {"type": "unix32"}, None),
    ],
)
def test_a_text_is_read(registers: str, place: dict[str, Any], expected: str | None) -> None:
    hexadecimal = registers.replace(" ", "")
    value = identity_of(hexadecimal + "00" * (len(hexadecimal) // 2 % 2), **place)
    assert (value.value, value.text) == (None, expected)
    assert (value.quality is Quality.GOOD) == (expected is not None)


@given(
    st.binary(min_size=20, max_size=20),
    st.sampled_from(["datetime6", "datetime3", "datetime3_bcd", "datetime_iec", "unix32", "str20"]),
)
def test_any_bytes_are_a_text_or_none(data: bytes, kind: str) -> None:
    value = identity_of(data.hex(), type=kind)
    assert (value.text is None) == (value.quality is Quality.BAD)


# -- what a profile cannot say


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"type": "str8"}, "stands under identity"),
        ({"type": "datetime6"}, "stands under identity"),
        ({"type": "str251"}, "no type 'str251'"),
        ({"type": "str0"}, "no type 'str0'"),
        ({"type": "f32", "bits": [0, 3]}, "bits are taken from whole numbers"),
        ({"type": "u16", "bits": [0, 16]}, "do not lie in a u16"),
        ({"type": "u16", "bits": [4, 3]}, "do not lie in a u16"),
        ({"type": "u32", "order": "EFGHABCD"}, "an order of 64-bit values"),
        ({"type": "u32", "plus": [{"address": 90}]}, "too far apart"),
        ({"type": "u32", "plus": [{"address": 2, "type": "str4"}]}, "cannot be added"),
        ({"type": "u32", "plus": [{"address": 2, "type": "u31"}]}, "no type 'u31'"),
        ({"type": "u32", "plus": [{"address": 65535}]}, "no register address"),
        ({"type": "u32", "scale_from": {"address": 70000}}, "no register address"),
        ({"type": "u32", "scale_from": {"address": 9, "type": "f32"}}, "scale_from takes a whole number"),
        ({"type": "u32", "scale_from": {"address": 9, "units": {1: "kWh"}}}, "kWh cannot be converted to 1"),
        ({"type": "bool", "fc": 1, "scale_from": {"address": 9}}, "is not scaled"),
    ],
)
def test_what_cannot_be_read_is_explained(point: dict[str, Any], words: str) -> None:
    assert words in fault_of(point, limits={"max_registers": 60})


# -- vectors


def test_a_vector_may_be_a_captured_reply() -> None:
    profile = profile_of({"address": 12, "type": "f32", "order": "CDAB"})
    (value,) = MODBUS.replay(profile, {"reply": "01 03 04 BA 4A 41 F8 CF 2F", "address": "0x000C"})
    assert value.value == 31.090961


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ({"reply": "01 03 04 BA 4A 41 F8 CF 2E", "address": 12}, "checksum"),
        ({"reply": "01 83 02 C0 F1", "address": 12}, "exception 2"),
        ({"reply": "01 03", "address": 12}, "only 2 bytes"),
        ({"reply": "01 03 04 BA 4A 41 F8 CF 2F"}, "no vector"),
        ({"values": {}}, "no vector"),
        ({"registers": {0: "4"}}, "no vector"),
        ({"registers": {0: "0000"}, "variant": "h"}, "no variant 'h'"),
    ],
)
def test_a_vector_that_is_none_is_refused(vector: dict[str, Any], words: str) -> None:
    with pytest.raises(MeteringError, match=words):
        MODBUS.replay(profile_of({"address": 12, "type": "f32"}), vector)


def test_a_vector_may_be_of_a_variant() -> None:
    variant = {
        "name": "H",
        "probe": {"v": {"address": 0, "type": "f32", "within": [80, 300]}},
        "points": {"x": {"scale": 1}},
    }
    profile = profile_of({"address": 0, "type": "f32", "scale": "0.1"}, variants={"h": variant})
    vector = {"registers": {0: "43660000"}}
    assert MODBUS.replay(profile, vector)[0].value == 23.0
    assert MODBUS.replay(profile, {**vector, "variant": "h"})[0].value == 230.0


def test_bits_of_a_vector_are_registers_that_hold_one_or_zero() -> None:
    profile = profile_of({"address": 3, "fc": 2})
    assert [value.value for value in MODBUS.replay(profile, {"registers": {3: "0001"}})] == [1.0]
    assert [value.value for value in MODBUS.replay(profile, {"registers": {3: "0000", 12: "0001"}})] == [0.0]
    assert MODBUS.replay(profile, {"registers": {12: "0001"}}) == []


# -- texts: the default order of words is of numbers


def text_in(sent: bytes, default: str, **place: Any) -> Value:
    profile = profile_of({}, identity={"serial": {"address": 0, **place}}, defaults={"order": default})
    (value,) = MODBUS.replay(profile, {"registers": {0: sent.hex()}})
    return value


@pytest.mark.parametrize(
    ("default", "sent"), [("ABCD", b"BN07001X"), ("CDAB", b"BN07001X"), ("DCBA", b"BN07001X"), ("BADC", b"NB7000X1")]
)  # fmt: skip
def test_a_text_begins_in_its_first_register_whatever_the_order_of_words(default: str, sent: bytes) -> None:
    assert text_in(sent, default, type="str8").text == "BN07001X"


def test_a_text_may_have_an_order_of_its_own() -> None:
    assert text_in(b"1X00", "ABCD", type="str4", order="CDAB").text == "001X"


def test_the_words_of_a_date_are_not_exchanged_but_those_of_seconds_are() -> None:
    assert text_in(bytes([26, 11, 23, 8, 30, 0]), "CDAB", type="datetime3").text == "2026-11-23T08:30:00"
    assert text_in(bytes.fromhex("5678 1234"), "CDAB", type="unix32").text == "1979-09-05T22:51:36Z"


@pytest.mark.parametrize("sent", ["534F43FF", "534F4300", "534F4320", "534F00FF"])
def test_what_fills_a_text_up_is_no_part_of_it(sent: str) -> None:
    assert text_in(bytes.fromhex(sent), "ABCD", type="str4").text == ("SO" if sent == "534F00FF" else "SOC")


def rtu(frame: bytes) -> str:
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return (frame + crc.to_bytes(2, "little")).hex(" ")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ("01 2B 0E 01 01", "function 43 is no read"),
        ("01 05 00 00 FF 00", "function 5 is no read"),
        ("01 06 00 00 00 01", "function 6 is no read"),
        ("01 03 00", "0 data bytes"),
        ("01 03 FC" + " 00" * 252, "252 data bytes"),
        ("01 83 02", "illegal data address"),
        ("01 03 03 00 00 00", "no vector|data bytes"),
    ],
)
def test_a_captured_reply_that_holds_no_registers_is_refused_by_name(frame: str, said: str) -> None:
    profile = profile_of({"address": 0, "type": "u16"})
    with pytest.raises(MeteringError, match=said):
        MODBUS.replay(profile, {"reply": rtu(bytes.fromhex(frame)), "address": 0})
