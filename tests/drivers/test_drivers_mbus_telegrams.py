"""M-Bus telegrams: captured and documented ones, the types and tables of EN 13757-3, and what is refused."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from drivers.catalogue import driver
from drivers.contract import Value
from drivers.mbus.address import wanted
from drivers.mbus.codec import LongFrame
from drivers.mbus.telegram import Record, telegram
from metering.errors import BadFrame, MeterError, MeteringError, MeterRefused
from metering.profile import Place, Profile
from metering.reading import Quality

CASES = YAML(typ="safe").load((Path(__file__).parents[1] / "golden/mbus/telegrams.yaml").read_text())["telegrams"]
LONG_HEADER = bytes.fromhex("78563412 2D2C 08 04 2A 00 0000")


def framed(ci: int, data: bytes, control: int = 0x08, address: int = 5) -> bytes:
    """Compose a long frame as the standard draws it, without the driver's code."""
    body = bytes([control, address, ci]) + data
    return bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) % 256, 0x16])


def answer(records: str, status: int = 0) -> bytes:
    return framed(0x72, LONG_HEADER[:9] + bytes([status]) + LONG_HEADER[10:] + bytes.fromhex(records))


def record(text: str) -> Record:
    (found,) = telegram(LongFrame.of(answer(text))).records
    return found


def profile_of(**points: dict[str, Any]) -> Profile:
    filled = {name: {"role": "gauge", "unit": "1", **point} for name, point in points.items()}
    return Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "heat", "protocol": "mbus", "status": "unverified",
         "source": {"title": "x"}, "points": filled}
    )  # fmt: skip


def value_of(reply: bytes, **point: Any) -> Value:
    found: Sequence[Value] = driver("mbus").replay(profile_of(x=point), {"reply": reply.hex()})
    return found[0]


@pytest.mark.parametrize(
    ("case", "address", "held"),
    [(case, address, held) for case in CASES for address, held in case["records"].items()],
    ids=lambda value: value["name"] if isinstance(value, dict) else value,
)
def test_a_captured_telegram_gives_its_values(case: dict[str, Any], address: str, held: str | None) -> None:
    number, _, unit = (held or "").rpartition(" ")
    measured = bool(number.strip()) and number.replace(".", "").replace("-", "").isdecimal()
    reply = bytes.fromhex(case["frame"])
    if measured:
        value = value_of(reply, address=address, unit=unit)
        assert (value.value, value.text) == (float(number), None)
        return
    records = telegram(LongFrame.of(reply)).records
    value = value_of(reply, address=address, type="raw")
    if held is None:
        assert (value.value, value.quality) == (None, Quality.BAD)
    elif address in ("id", "maker"):
        assert value.text == held
    else:
        (one,) = [one for one in records if wanted(address).fits(one)]
        shown = one.content.text if one.content.number is None else str(one.content.number).zfill(len(held))
        assert shown == held


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("01 06 FF", "-1"), ("02 06 00 80", None), ("02 06 FF 7F", "32767"), ("03 06 FE FF FF", "-2"),
        ("04 06 FF FF FF 7F", "2147483647"), ("04 06 00 00 00 80", None), ("06 06 01 00 00 00 00 01", "1099511627777"),
        ("07 06 FE FF FF FF FF FF FF FF", "-2"), ("09 06 12", "12"), ("0A 06 34 12", "1234"), ("0B 06 56 34 12", "123456"),
        ("0C 06 78 56 34 12", "12345678"), ("0E 06 12 90 78 56 34 12", "123456789012"), ("0B 06 23 01 F0", "-123"),
        ("0A 06 FF FF", None), ("0A 06 3A 12", None), ("0C 06 01 00 00 A0", None), ("0C 06 01 00 00 0F", None),
        ("05 06 00 00 20 41", "10"), ("05 06 CD CC CC 3D", "0.1"), ("05 06 00 00 C0 7F", None), ("05 06 00 00 80 FF", None),
        ("00 06", None), ("08 06", None), ("0D 06 C2 34 12", "1234"), ("0D 06 D2 34 12", "-1234"),
        ("0D 06 C0", None), ("0D 06 D0", None), ("0D 06 FB 00", None),
        ("0D 06 E9 01" + "00" * 8, "1"), ("0D 06 EF" + "FF" * 15, "-1"), ("0D 06 F0 02" + "00" * 15, "2"),
        ("0D 06 F0" + "00" * 15 + "80", None),
        ("0D 06 E3 01 00 00", "1"), ("0D 06 E0", None), ("01 78 FF", None), ("02 78 FE FF", "65534"),
        ("01 83 FC 11 FE", "254"), ("01 83 FC 11 FF", None), ("01 83 FC 01 FF", "-1"), ("01 83 FC 12 FF", "255"),
        ("01 83 FC 81 FC 11 FE", "254"), ("01 FF FC 11 FE", "-2"), ("01 83 FF FC 11 FE", "-2"),
        ("01 FD 17 FF", "255"), ("02 FD 18 FF FF", "65535"), ("01 FD 1A FF", "255"), ("01 FD 1B FF", "255"), ("01 FD 67 FF", "255"),
        ("01 FD 0E FF", None),
    ],
)  # fmt: skip
def test_every_type_of_number_is_read(text: str, number: str | None) -> None:
    held = record(text).content.number
    assert held == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("02 6C DF 1C", "2014-12-31"), ("02 6C FF FF", None), ("02 6C 00 00", None), ("02 6C E1 F1", None),
        ("02 6C 21 A6", "1981-06-01"), ("04 6D 1A 2F 65 11", "2011-01-05T15:26"), ("04 6D 9A 2F 65 11", None),
        ("04 6D 3C 2F 65 11", None), ("04 6D 1A 38 65 11", None), ("06 6D 1E 0A 08 65 11 00", "2011-01-05T08:10:30"),
        ("06 6D 1E 8A 08 65 11 00", None), ("03 6D 1E 0A 08", "08:10:30"), ("0D 78 03 43 42 41", "ABC"),
        ("0D 7C 02 57 50 F1 " + "01 " * 20, "01" * 20),
        ("02 6C 7F 22", None), ("02 6C 5D 22", None), ("02 6C 9D 22", "2020-02-29"), ("0D 78 05 00 43 42 41 00", "ABC"),
        ("0D 6D E4 1A 2F 65 11", None), ("0C 6C 31 12 19 20", None), ("05 6D 00 00 80 3F", None), ("0C 93 39 31 12 19 20", None),
        ("04 6D 1A 4F 21 A6", "2181-06-01T15:26") , ("04 6D 1A 2F 21 A6", "2081-06-01T15:26"), ("04 6D 1A 0F 21 A6", "1981-06-01T15:26"),
        ("04 AD 6F 32 14 7A 18", "2011-08-26T20:50"),
    ],
)  # fmt: skip
def test_dates_and_texts_are_texts(text: str, held: str | None) -> None:
    content = record(text).content
    assert (content.number, content.text) == (None, held)


@pytest.mark.parametrize(
    ("text", "point", "value"),
    [
        ("04 00 01 00 00 00", {"address": "energy", "unit": "Wh"}, 0.001),
        ("04 07 01 00 00 00", {"address": "energy", "unit": "kWh"}, 10.0),
        ("04 0F 24 00 00 00", {"address": "energy", "unit": "kWh"}, 100.0),
        ("04 FB 01 02 00 00 00", {"address": "energy", "unit": "kWh"}, 2000.0),
        ("04 FB 09 03 00 00 00", {"address": "energy", "unit": "GJ"}, 3.0),
        ("04 FB 83 75 04 00 00 00", {"address": "reactive_energy", "unit": "kvarh"}, 4.0),
        ("04 10 01 00 00 00", {"address": "volume", "unit": "L"}, 0.001),
        ("04 FB 10 01 00 00 00", {"address": "volume", "unit": "m3"}, 100.0),
        ("04 1F 01 00 00 00", {"address": "mass", "unit": "t"}, 10.0),
        ("04 FB 19 01 00 00 00", {"address": "mass", "unit": "t"}, 1000.0),
        ("04 FB 28 01 00 00 00", {"address": "power", "unit": "kW"}, 100.0),
        ("04 34 E8 03 00 00", {"address": "power", "unit": "MJ/h"}, 10.0),
        ("04 43 3C 00 00 00", {"address": "flow", "unit": "m3/h"}, 0.36),
        ("04 4D 01 00 00 00", {"address": "flow", "unit": "m3/h"}, 0.36),
        ("04 57 01 00 00 00", {"address": "mass_flow", "unit": "t/h"}, 10.0),
        ("02 5A 64 00", {"address": "supply_temperature", "unit": "K"}, 283.15),
        ("02 6B 05 00", {"address": "pressure", "unit": "kPa"}, 500.0),
        ("02 FD 48 FC 08", {"address": "voltage", "unit": "V"}, 230.0),
        ("02 FD C8 FC 01 FC 08", {"address": "voltage L1", "unit": "V"}, 230.0),
        ("04 FD 59 D2 04 00 00", {"address": "current", "unit": "A"}, 1.234),
        ("02 FB 2E A0 0F", {"address": "frequency", "unit": "Hz"}, 400.0),
        ("02 FB 1A F4 01", {"address": "humidity", "unit": "%"}, 50.0),
        ("02 FD 3A 07 00", {"address": "count", "unit": "pcs", "type": "raw"}, 7.0),
        ("04 96 75 07 00 00 00", {"address": "volume", "unit": "m3"}, 0.7),
        ("04 96 7D 07 00 00 00", {"address": "volume", "unit": "m3"}, 7000.0),
        ("04 96 00 07 00 00 00", {"address": "volume", "unit": "m3"}, 7.0),
        ("04 96 22 07 00 00 00", {"address": "volume vife=22", "unit": "m3/h"}, 7.0),
        ("04 96 3A 07 00 00 00", {"address": "volume uncorrected", "unit": "m3"}, 7.0),
        ("04 86 3C 07 00 00 00", {"address": "energy backward", "unit": "kWh"}, 7.0),
        ("04 FB 22 0A 00 00 00", {"address": "volume", "unit": "gal"}, 1.0),
        ("04 FB 23 01 00 00 00", {"address": "volume", "unit": "L"}, 3.785411784),
        ("04 FB 24 E8 03 00 00", {"address": "flow", "unit": "gal/min"}, 1.0),
        ("04 FB 25 01 00 00 00", {"address": "flow", "unit": "gal/h"}, 60.0),
        ("04 FB 26 01 00 00 00", {"address": "flow", "unit": "L/h"}, 3.785411784),
        ("01 83 FC 11 FE", {"address": "energy", "unit": "Wh"}, 254.0),
        ("01 83 FC 11 FE", {"address": "energy vife=7C11", "unit": "Wh"}, 254.0),
        ("01 83 FC 81 FC 11 FE", {"address": "energy L1", "unit": "Wh"}, 254.0),
        ("01 BB 41 05", {"address": "flow vife=41", "unit": "1"}, 5.0),
        ("01 BB 49 05", {"address": "#0", "unit": "1"}, 5.0),
        ("01 BB 51 05", {"address": "#0", "unit": "min"}, 5.0),
        ("01 BB 5A 05", {"address": "01 BB 5A", "unit": "min"}, 300.0),
        ("01 BB 67 02", {"address": "flow vife=67", "unit": "h"}, 48.0),
        ("01 BB 48 05", {"address": "flow vife=48", "unit": "m3/h"}, 0.005),
        ("04 93 3D 78 56 00 00", {"address": "#0", "unit": "m3", "type": "raw", "scale": "0.001"}, 22.136),
        ("04 FF 13 07 00 00 00", {"address": "04 FF 13", "unit": "kWh", "type": "raw", "scale": "0.5"}, 3.5),
        ("02 FC 03 48 52 25 74 D4 11", {"address": "#0", "unit": "%", "type": "raw", "scale": "0.01"}, 45.64),
    ],
)  # fmt: skip
def test_a_unit_of_the_telegram_becomes_the_points_own_exactly(text: str, point: dict[str, Any], value: float) -> None:
    found = value_of(answer(text), **point)
    assert (found.value, found.quality) == (value, Quality.GOOD)


@pytest.mark.parametrize(
    ("text", "address", "why"),
    [
        ("04 96 15 07 00 00 00", "volume", "no data available"),
        ("04 96 18 07 00 00 00", "volume", "data error"),
        ("04 96 16 07 00 00 00", "volume", "data overflow"),
        ("0C 16 FF FF FF FF", "volume", "invalid or no data"),
        ("04 16 00 00 00 80", "volume", "invalid or no data"),
        ("0C 16 34 12 00 A0", "volume", "invalid or no data"),
        ("04 06 01 00 00 00", "volume", "no record volume"),
        ("44 16 01 00 00 00", "volume", "no record volume"),
        ("04 16 01 00 00 00 04 13 01 00 00 00", "volume", "2 records are volume: #0, #1"),
        ("04 FB 0E 01 00 00 00", "#0", "its unit is not known here"),
        ("04 06 01 00 00 00", "#0", "which is not m3"),
        ("0D 16 02 31 32", "volume", "holds a text"),
        ("05 16 FF FF 7F 7F", "volume", "out of all proportion"),
    ],
)  # fmt: skip
def test_a_record_without_a_true_number_is_no_value_and_says_why(text: str, address: str, why: str) -> None:
    found = value_of(answer(text), address=address, unit="m3")
    assert (found.value, found.quality) == (None, Quality.BAD)
    assert why in found.why


@pytest.mark.parametrize(
    "vifes",
    ["13", "14", "1E", "1F", "3D", "3F", "25", "2C", "34", "44", "78", "FC 12", "FC 15", "FC 7F", "D1 74", "7C"],
)
@pytest.mark.parametrize("address", ["#0", "hex", "vife"])
def test_a_vife_that_changes_the_unit_or_is_reserved_gives_no_value_however_the_record_is_named(
    vifes: str, address: str
) -> None:
    codes = bytes(byte & 0x7F for byte in bytes.fromhex(vifes)).hex()
    named = {"#0": "#0", "hex": f"04 93 {vifes}", "vife": f"volume vife={codes.removesuffix('74') or codes}"}[address]
    found = value_of(answer(f"04 93 {vifes} 78 56 00 00"), address=named, unit="m3")
    assert (found.value, found.quality) == (None, Quality.BAD)
    assert found.why.startswith("its unit is not known here (volume"), found.why


def identity_of(reply: bytes, address: str) -> Value:
    profile = profile_of().model_copy(update={"identity": {"serial": Place(address=address)}})
    (found,) = driver("mbus").replay(profile, {"reply": reply.hex()})
    return found


@pytest.mark.parametrize(
    ("text", "address", "serial"),
    [
        ("0D 78 C4 78 56 34 12", "fabrication_number", "12345678"),
        ("0D 78 C4 78 56 34 00", "fabrication_number", "00345678"),
        ("0D 78 C5 78 56 34 12 00", "fabrication_number", "0012345678"),
        ("0D 78 E4 4E 61 BC 00", "fabrication_number", "12345678"),
        ("04 78 4E 61 BC 00", "fabrication_number", "12345678"),
        ("0C 78 78 56 34 00", "fabrication_number", "00345678"),
        ("0D 78 06 00 00 34 33 20 31", "fabrication_number", "1 34"),
        ("01 FD 17 FF", "error_flags", "255"),
        ("0C 78 78 56 34 F2", "fabrication_number", None),
        ("0D 78 00", "fabrication_number", None), ("0D 78 C0", "fabrication_number", None),
        ("0D 78 02 00 20", "fabrication_number", None), ("00 78", "fabrication_number", None),
        ("04 78 FF FF FF FF", "fabrication_number", None),
    ],
)  # fmt: skip
def test_an_identity_is_told_with_its_own_zeros_or_not_at_all(text: str, address: str, serial: str | None) -> None:
    found = identity_of(answer(text), address)
    assert (found.value, found.text) == (None, serial)
    assert (found.quality, bool(found.why)) == ((Quality.BAD, True) if serial is None else (Quality.GOOD, False))


def test_an_answer_without_a_header_says_neither_status_nor_access() -> None:
    reply = framed(0x78, bytes.fromhex("0416 07000000"))
    for field in ("status", "access"):
        found = value_of(reply, address=field)
        assert (found.value, found.quality, found.why) == (None, Quality.BAD, "the header does not say")


def test_records_before_one_of_reserved_length_hold_and_those_behind_it_say_why_not() -> None:
    reply = answer("04 16 07 00 00 00 0D 78 FB 01 02 04 06 01 00 00 00")
    assert value_of(reply, address="volume", unit="m3").value == 7.0
    behind = value_of(reply, address="energy", unit="Wh")
    assert (behind.value, behind.quality) == (None, Quality.BAD)
    assert "nothing behind #1 can be read, its LVAR FB is reserved" in behind.why


def test_a_frame_that_is_no_answer_is_no_vector() -> None:
    with pytest.raises(BadFrame, match="control field 53 is no data answer"):
        value_of(framed(0x72, LONG_HEADER + bytes.fromhex("0416 07000000"), control=0x53), address="volume", unit="m3")


def test_what_a_maker_puts_behind_his_own_vife_is_no_error_and_no_factor() -> None:
    """Behind 7F the codes are the maker's: 01 is his phase, not `too many DIFE`, and 75 no power of ten."""
    held = record("02 FD C8 FF 01 D1 08")
    assert (held.error, held.content.number) == ("", 2257)
    assert value_of(answer("04 96 FF 75 07 00 00 00"), address="volume vife=7F75", unit="m3").value == 7.0
    assert record("01 FF 18 00").error == ""


@pytest.mark.parametrize(
    ("status", "quality", "words"),
    [
        (0x00, Quality.GOOD, ""), (0x04, Quality.GOOD, ""), (0x03, Quality.GOOD, ""), (0xE0, Quality.GOOD, ""),
        (0x08, Quality.UNCERTAIN, "status 08: permanent error"), (0x10, Quality.UNCERTAIN, "temporary error"),
        (0x01, Quality.UNCERTAIN, "busy"), (0x02, Quality.UNCERTAIN, "application error"),
        (0x18, Quality.UNCERTAIN, "permanent error, temporary error"),
    ],
)  # fmt: skip
def test_a_meter_that_reports_an_error_makes_its_values_uncertain(status: int, quality: Quality, words: str) -> None:
    found = value_of(answer("04 16 01 00 00 00", status), address="volume", unit="m3")
    assert (found.value, found.quality) == (1.0, quality)
    assert words in found.why


def test_a_value_out_of_its_valid_range_is_marked() -> None:
    found = value_of(answer("04 16 09 00 00 00"), address="volume", unit="m3", valid=[0, 5])
    assert (found.value, found.quality) == (9.0, Quality.OUT_OF_RANGE)
    none = value_of(answer("04 16 09 00 00 00"), address="volume", unit="m3", sentinels=[9])
    assert (none.value, none.quality) == (None, Quality.BAD)


def test_the_bytes_of_the_record_come_along() -> None:
    assert value_of(answer("0C 16 78 56 34 12"), address="volume", unit="m3").raw == bytes.fromhex("0C1678563412")


def test_storage_tariff_and_subunit_are_spread_over_the_extensions() -> None:
    held = record("C4 F1 C2 03 06 01 00 00 00")
    assert (held.storage, held.tariff, held.subunit) == (1 | 1 << 1 | 2 << 5 | 3 << 9, 3, 0b011)


def test_fillers_are_no_records_and_what_follows_the_makers_data_is_not_read() -> None:
    held = telegram(LongFrame.of(answer("2F 04 06 01 00 00 00 2F 2F 0F 04 06 02 00 00 00")))
    assert ([one.content.number for one in held.records], held.more) == ([1], False)
    assert telegram(LongFrame.of(answer("04 06 01 00 00 00 1F AA"))).more


def test_a_short_header_and_none_are_read() -> None:
    for reply in (framed(0x7A, bytes.fromhex("2A000000 0416 07000000")), framed(0x78, bytes.fromhex("0416 07000000"))):
        assert value_of(reply, address="volume", unit="m3").value == 7.0
        assert value_of(reply, address="maker").quality == Quality.BAD


@pytest.mark.parametrize("low_high", ["0005", "0F05", "0004", "0003", "27B6", "FFFF", "0000", "0080"])
def test_a_configuration_that_encrypts_nothing_is_plain(low_high: str) -> None:
    reply = framed(0x72, LONG_HEADER[:10] + bytes.fromhex(low_high) + bytes.fromhex("0416 07000000"))
    assert value_of(reply, address="volume", unit="m3").value == 7.0


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (framed(0x72, LONG_HEADER[:10] + bytes.fromhex("2005") + bytes(16)), "encrypted (mode 5)"),
        (framed(0x7A, bytes.fromhex("2A001025") + bytes(16)), "encrypted (mode 5)"),
        (framed(0x72, LONG_HEADER[:10] + bytes.fromhex("1007") + bytes(16)), "encrypted (mode 7)"),
        (framed(0x76, LONG_HEADER), "CI 76: a variable structure with the high byte first"),
        (framed(0x77, bytes(16)), "CI 77: a fixed structure with the high byte first"),
        (framed(0x79, bytes(16)), "compact frame"), (framed(0x71, b"\x00"), "an alarm"), (framed(0x55, b""), "not known"),
        (framed(0x72, LONG_HEADER[:8]), "a header of 8 bytes"), (framed(0x7A, b"\0"), "a header of 1 bytes"),
        (framed(0x73, bytes(15)), "15 bytes, not 16"),
        (answer("04 06 01 00 00"), "record 0 breaks off in its data"), (answer("84"), "breaks off in its DIFE"),
        (answer("04"), "breaks off in its VIF"), (answer("04 86"), "breaks off in its VIFE"),
        (answer("04 7C 05 41"), "plain text unit"), (answer("04 7C"), "plain text unit"),
        (answer("0D 06"), "breaks off in its data"), (answer("0D 06 05 41"), "breaks off in its data"),
        (answer("3F 06"), "reserved DIF 3F"), (answer("7F"), "reserved DIF 7F"),
        (answer("04 06 01 00 00 00 84" + "80" * 10 + "00 06 00 00 00 00"), "record 1 has more than 10 DIFE"),
        (answer("04 86" + "80" * 10 + "00 00 00 00 00"), "more than 10 VIFE"),
    ],
)  # fmt: skip
def test_f32_what_is_not_whole_or_not_spoken_is_refused_by_name(reply: bytes, words: str) -> None:
    with pytest.raises(BadFrame) as refused:
        telegram(LongFrame.of(reply))
    assert words in str(refused.value)
    assert refused.value.say("zh")


@pytest.mark.parametrize(
    ("code", "words"), [(0, "unspecified"), (8, "too busy"), (9, "too many readouts"), (77, "unknown")]
)
@pytest.mark.parametrize(("ci", "header"), [(0x70, b""), (0x6E, LONG_HEADER[8:]), (0x6F, LONG_HEADER)])
def test_an_application_error_is_a_refusal_with_its_meaning(code: int, words: str, ci: int, header: bytes) -> None:
    with pytest.raises(MeterRefused, match=words) as refused:
        telegram(LongFrame.of(framed(ci, header + bytes([code]))))
    assert refused.value.code == code


@pytest.mark.parametrize("place", range(len(bytes.fromhex(CASES[0]["frame"]))))
def test_f32_a_byte_that_changed_is_always_noticed(place: int) -> None:
    """A sum notices every change of one byte; what it does not cover (starts, lengths, stop) is checked by itself."""
    mangled = bytearray.fromhex(CASES[0]["frame"])
    mangled[place] ^= 0x11
    with pytest.raises(BadFrame):
        LongFrame.of(bytes(mangled))


@given(st.binary(max_size=255), st.sampled_from([0x72, 0x73, 0x78, 0x7A, 0x70, 0x00]))
def test_f32_any_data_give_records_or_a_refusal(data: bytes, ci: int) -> None:
    head = LONG_HEADER if ci == 0x72 else b""
    reply = framed(ci, (head + data)[:252])
    try:
        held = telegram(LongFrame.of(reply))
    except MeterError:
        return
    assert len(held.records) <= len(data)
    profile = profile_of(
        a={"address": "energy", "unit": "kWh"}, b={"address": "#0", "type": "raw"}, c={"address": "status"}
    )
    driver("mbus").replay(profile, {"reply": reply.hex()})


@given(st.binary(max_size=300))
def test_f32_noise_is_refused(noise: bytes) -> None:
    try:
        telegram(LongFrame.of(noise))
    except MeterError:
        return
    assert noise[0] == 0x68


@given(st.integers(0, 10**8 - 1), st.integers(0, 7))
def test_every_register_content_comes_back(digits: int, exponent: int) -> None:
    reply = answer(f"0C {0x10 + exponent:02X} " + bytes.fromhex(f"{digits:08d}")[::-1].hex())
    assert value_of(reply, address="volume", unit="m3").value == float(Decimal(digits).scaleb(exponent - 6))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"address": "enrgy"}, "did you mean energy?"), ({"address": "energy storge=1"}, "did you mean storage=1?"),
        ({"address": "energy vife=80"}, "cannot be used"), ({"address": "energy", "unit": "m3"}, "energy cannot be in m3"),
        ({"address": "temperature_difference", "unit": "C"}, "in K"), ({"address": "energy", "type": "f32"}, "no type 'f32'"),
        ({"address": "energy", "unit": "kWh", "scale": 10}, "type: raw"), ({"address": "manufacturer"}, "no quantity"),
        ({"address": ""}, "no quantity"), ({"address": "heat_cost_units"}, "type: raw"),
        ({"address": "04 06", "type": "raw", "scale": 0}, "scale 0"),
    ],
)  # fmt: skip
def test_a_point_that_cannot_be_read_is_explained(point: dict[str, Any], words: str) -> None:
    profile = profile_of(x=point)
    fault = driver("mbus").fault(profile.points["x"], profile)
    assert fault is not None
    assert words in fault.en
    assert fault.zh


@pytest.mark.parametrize(
    "address", ["energy", "#12", "0C 06", "volume base storage=3", "id", "power function=maximum L2"]
)
def test_an_address_a_technician_would_write_is_none(address: str) -> None:
    profile = profile_of(x={"address": address, "type": "raw"})
    assert driver("mbus").fault(profile.points["x"], profile) is None


@pytest.mark.parametrize("vector", [{}, {"reply": "zz"}, {"reply": 5}, {"reply": []}, {"reply": [7]}])
def test_a_vector_that_is_none_is_a_fault_of_its_own(vector: dict[str, Any]) -> None:
    with pytest.raises(MeteringError, match="reply"):
        driver("mbus").replay(profile_of(), vector)
