"""Modbus: what the registers of one point mean, and what can go wrong in them."""

import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from drivers.catalogue import driver
from drivers.contract import Request, Value
from drivers.measure import shortest_f32
from metering.profile import Profile
from metering.reading import Quality

GOLDEN = YAML(typ="safe").load(Path("tests/golden/modbus/frames.yaml").read_text())


@pytest.fixture
def decoded(
    modbus_profile: Callable[..., Profile],
    modbus_reads: Callable[..., Sequence[Request]],
    tcp_reply: Callable[[bytes, bytes], bytes],
) -> Callable[..., Value]:
    """Return the value of one point whose registers hold `registers` (hex)."""

    def decode(registers: str, **point: Any) -> Value:
        (read,) = modbus_reads(modbus_profile({"x": {"address": 16, **point}}))
        (value,) = read.decode(tcp_reply(read.request(), bytes.fromhex(registers)))
        return value

    return decode


@pytest.mark.parametrize("case", GOLDEN["registers"], ids=lambda case: case["registers"])
def test_published_registers_give_the_published_value(case: dict[str, Any], decoded: Callable[..., Value]) -> None:
    value = decoded(case["registers"], type=case["type"], order=case["order"], scale=case.get("scale", 1))
    assert (value.value, value.quality) == (case["value"], Quality.GOOD)
    assert value.raw == bytes.fromhex(case["registers"])


@pytest.mark.parametrize(
    ("type_name", "number", "code"),
    [("u32", 0x01020304, ">I"), ("i32", -123456789, ">i"), ("u64", 0x01020304050607, ">Q"), ("i64", -(2**40), ">q"),
     ("f32", 2127.984, ">f"), ("f64", -1234.5678, ">d"), ("u16", 0x0102, ">H"), ("i16", -2, ">h")],
)  # fmt: skip
def test_each_word_order_is_undone(type_name: str, number: float, code: str, decoded: Callable[..., Value]) -> None:
    plain = struct.pack(code, number)
    words = [plain[at : at + 2] for at in range(0, len(plain), 2)]
    swapped = [word[::-1] for word in words]
    on_the_wire = {"ABCD": words, "CDAB": words[::-1], "BADC": swapped, "DCBA": swapped[::-1]}
    for order, sent in on_the_wire.items():
        assert decoded(b"".join(sent).hex(), type=type_name, order=order).value == number


def test_the_64_bit_orders_are_those_of_the_data_sheets(decoded: Callable[..., Value]) -> None:
    number = 0x4142434445464748  # "ABCDEFGH"
    for order, letters in {"ABCD": b"ABCDEFGH", "CDAB": b"GHEFCDAB", "BADC": b"BADCFEHG", "DCBA": b"HGFEDCBA"}.items():
        assert decoded(letters.hex(), type="u64", order=order).value == number


@pytest.mark.parametrize(
    ("registers", "type_name", "expected"),
    [("0042", "bcd2", 42), ("1234", "bcd4", 1234), ("00123456", "bcd6", 123456), ("12345678", "bcd8", 12345678),
     ("123456789012", "bcd12", 123456789012)],
)  # fmt: skip
def test_bcd_digits_are_read(registers: str, type_name: str, expected: int, decoded: Callable[..., Value]) -> None:
    assert decoded(registers, type=type_name).value == expected


@pytest.mark.parametrize(
    ("registers", "type_name"),
    [("123A", "bcd4"), ("FFFF", "bcd4"), ("0142", "bcd2"), ("7FC00000", "f32"), ("FFC00000", "f32"), ("7F800000", "f32"),
     ("FF800000", "f32"), ("7FF8000000000000", "f64"), ("7FF0000000000000", "f64"), ("FFF0000000000001", "f64")],
)  # fmt: skip
def test_what_is_no_number_is_bad_and_has_no_value(
    registers: str, type_name: str, decoded: Callable[..., Value]
) -> None:
    value = decoded(registers, type=type_name)
    assert (value.value, value.quality) == (None, Quality.BAD)


@pytest.mark.parametrize(
    ("registers", "type_name", "sentinel"),
    [("7FFFFFFF", "i32", 0x7FFFFFFF), ("8000", "i16", 0x8000), ("8000", "i16", -32768), ("FFFF", "u16", "0xFFFF"),
     ("C61C3C00", "f32", -9999), ("7F7FFFFF", "f32", "0x7F7FFFFF"), ("FFFFFFFFFFFFFFFF", "u64", 0xFFFFFFFFFFFFFFFF),
     ("9999", "bcd4", 9999)],
)  # fmt: skip
def test_a_sentinel_is_not_available(
    registers: str, type_name: str, sentinel: Any, decoded: Callable[..., Value]
) -> None:
    value = decoded(registers, type=type_name, sentinels=[sentinel], scale=0.1)
    assert (value.value, value.quality) == (None, Quality.BAD)


def test_a_value_that_cannot_be_true_is_kept_and_marked(decoded: Callable[..., Value]) -> None:
    value = decoded("1388", type="u16", scale=0.1, valid=[0, 400])
    assert (value.value, value.quality) == (500.0, Quality.OUT_OF_RANGE)


def test_the_edges_of_the_valid_range_are_true(decoded: Callable[..., Value]) -> None:
    assert decoded("0FA0", type="u16", scale=0.1, valid=[0, 400]).quality is Quality.GOOD
    assert decoded("0000", type="u16", scale=0.1, valid=[0, 400]).quality is Quality.GOOD


def test_scaling_that_leaves_the_range_of_doubles_is_bad(decoded: Callable[..., Value]) -> None:
    assert decoded("7FEFFFFFFFFFFFFF", type="f64", scale=1000).quality is Quality.BAD


def test_minus_zero_is_zero(decoded: Callable[..., Value]) -> None:
    for scale in (1, 0.1):
        assert str(decoded("80000000", type="f32", scale=scale).value) == "0.0"


@given(st.integers(0, 2**32 - 1), st.integers(-9, 9), st.integers(1, 9999))
def test_a_whole_number_scales_as_decimal_does(raw: int, exponent: int, digits: int) -> None:
    scale = Decimal(digits).scaleb(exponent)
    value = _one("u32", raw.to_bytes(4, "big"), scale)
    exact = Decimal(raw) * scale
    assert value.value == (float(exact) if exact <= 2**53 or exact % 1 else int(exact))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(["1", "0.1", "0.001", "1000"]))
def test_a_32_bit_float_enters_as_its_shortest_text(x: float, scale: str) -> None:
    text = repr(shortest_f32(x))
    assert struct.unpack(">f", struct.pack(">f", float(text)))[0] == x
    value = _one("f32", struct.pack(">f", x), Decimal(scale))
    assert value.value == float(Decimal(text) * Decimal(scale))


@given(st.integers(-999999, 999999), st.integers(0, 6))
def test_six_digits_come_back_from_a_32_bit_float(digits: int, places: int) -> None:
    shown = float(Decimal(digits).scaleb(-places))
    assert shortest_f32(struct.unpack(">f", struct.pack(">f", shown))[0]) == shown


def _one(type_name: str, registers: bytes, scale: Decimal) -> Value:
    point = {"address": 0, "unit": "1", "role": "gauge", "scale": scale, "type": type_name}
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "gas", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
         "points": {"x": point}}
    )  # fmt: skip
    (value,) = driver("modbus").replay(profile, {"registers": {0: registers.hex()}})
    return value


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"address": 0, "type": "f23"}, "Did you mean f32?"),
        ({"address": 0}, "no type"),
        ({"address": 65535, "type": "u32"}, "no register address"),
        ({"address": -1, "type": "u16"}, "no register address"),
        ({"address": "ns=2;s=x", "type": "u16"}, "no register address"),
        ({"address": 0, "type": "u16", "fc": 1}, "bool goes with"),
        ({"address": 0, "type": "bool"}, "bool goes with"),
        ({"address": 0, "type": "u64"}, "more than limits.max_registers"),
        ({"address": 0, "type": "u16", "scale": 0}, "scale 0 cannot be used"),
        ({"address": 0, "type": "u16", "sentinels": ["none"]}, "not a number"),
        ({"address": 0, "type": "u16", "sentinels": ["0xFFFFFFFF"]}, "longer than a u16"),
    ],
)
def test_a_point_that_cannot_be_read_is_explained(
    point: dict[str, Any], words: str, modbus_profile: Callable[..., Profile]
) -> None:
    profile = modbus_profile({"x": point}, limits={"max_registers": 2})
    text = driver("modbus").fault(profile.points["x"], profile)
    assert text is not None
    assert words in text.en
    assert text.zh != text.en
