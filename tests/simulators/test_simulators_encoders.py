"""The simulators' encoders against published frames and bytes written by hand; no driver of ours takes part."""

import datetime as dt
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from metering.profile import Place, ProfilePoint
from simulators.dlt645 import collided
from simulators.dlt645_types import dlt645_type
from simulators.forms import shortest, spot
from simulators.iec62056_types import written
from simulators.mbus_types import record_type
from simulators.modbus_ascii import lrc
from simulators.modbus_rtu import crc
from simulators.modbus_types import arranged, modbus_type
from simulators.spoil import Reply

Desk = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "raw", "data"),
    [
        ("u16", 2302, "08FE"),
        ("i16", -1, "FFFF"),
        ("u32", 123456, "0001E240"),
        ("i32", -100, "FFFFFF9C"),
        ("u64", 0x0102030405060708, "0102030405060708"),
        ("i64", -2, "FFFFFFFFFFFFFFFE"),
        ("f32", 2127.984, "4504FFBE"),
        ("f32", 21.649, "41AD3127"),
        ("f64", 1.5, "3FF8000000000000"),
        ("bcd2", 42, "0042"),
        ("bcd4", 1234, "1234"),
        ("bcd12", 12431116, "000012431116"),
        ("str8", "SOCO", "534F434F00000000"),
        ("datetime6", "2026-11-23T10:04:30", "07EA000B0017000A0004001E"),
        ("datetime3", "2026-11-23T10:04:30", "1A0B170A041E"),
        ("datetime3_bcd", "2026-11-23T10:04:30", "261123100430"),
        ("datetime_iec", "2026-11-23T10:04:30", "001A0B170A047530"),
        ("unix32", "1970-01-02T00:00:00", "00015180"),
    ],
)
def test_a_modbus_value_has_its_bytes(name: str, raw: Any, data: str) -> None:
    """2127.984 and 21.649 are of the facts' SDM630 and FuXin; the rest is written by hand."""
    of = modbus_type(name)
    assert of.encode(raw).hex().upper() == data
    assert 2 * of.words == len(data) // 2


@pytest.mark.parametrize(
    ("order", "data"),
    [
        ("ABCD", "41F8BA4A"),
        ("CDAB", "BA4A41F8"),
        ("BADC", "F8414ABA"),
        ("DCBA", "4ABAF841"),
    ],
)
def test_four_bytes_come_in_four_orders(order: str, data: str) -> None:
    """31.09 C as a TMS sends it: 01 03 04 BA 4A 41 F8 CF 2F."""
    assert arranged(bytes.fromhex("41F8BA4A"), order).hex().upper() == data


@pytest.mark.parametrize(
    ("order", "data"),
    [
        ("ABCD", "0102030405060708"),
        ("CDAB", "0708050603040102"),
        ("BADC", "0201040306050807"),
        ("DCBA", "0807060504030201"),
        ("EFGHABCD", "0506070801020304"),
        ("CDABGHEF", "0304010207080506"),
    ],
)
def test_eight_bytes_come_in_more_orders(order: str, data: str) -> None:
    assert arranged(bytes.fromhex("0102030405060708"), order).hex().upper() == data


def test_the_checks_are_those_of_published_frames() -> None:
    assert crc(bytes.fromhex("0104 BA4A 41F8".replace("0104", "010304"))) == 0x2FCF
    assert lrc(bytes.fromhex("1103006B0003")) == 0x7E


@pytest.mark.parametrize(("number", "text"), [(230.2, "230.2"), (0.1, "0.1"), (16777216.0, "16777216.0")])
def test_a_float_is_shown_by_its_shortest_text(number: float, text: str) -> None:
    assert repr(shortest(struct.unpack(">f", struct.pack(">f", number))[0])) == text


def modbus_form(_place: Place, _address: int | str, type_name: str | None) -> Any:
    return modbus_type(str(type_name)).form


def test_a_total_of_two_registers_is_split_between_them() -> None:
    place = Place.model_validate({"address": 8, "type": "u16", "scale": 100, "plus": [{"address": 10}]})
    both = spot(place, modbus_form, "m3")
    assert both.raws(Decimal(12345)) == [123, 45]
    assert both.value([123, 45]) == 12345


def test_a_fraction_stands_beside_its_whole_number() -> None:
    place = Place.model_validate({"address": 8, "type": "i32", "plus": [{"address": 10, "type": "f32"}]})
    both = spot(place, modbus_form, "m3")
    assert both.raws(Decimal("1234.75")) == [1234, 0.75]


def test_a_total_of_two_tariffs_is_in_both() -> None:
    place = Place.model_validate({"address": 801, "type": "u32", "plus": [{"address": 805}]})
    both = spot(place, modbus_form, "Wh")
    first, second = both.raws(Decimal(1001))
    assert first > 0 < second
    assert first + second == 1001


def test_what_is_too_large_shows_the_largest() -> None:
    place = Place.model_validate({"address": 1, "type": "u16", "scale": "0.1"})
    assert spot(place, modbus_form, "V").raws(Decimal(99999)) == [65535]


@pytest.mark.parametrize(
    ("di", "type_name", "raw", "data"),
    [
        ("00010000", None, 26, "26000000"),
        ("02010100", None, 1001, "0110"),
        ("02030000", None, -123456, "563492"),
        ("9010", None, 1, "01000000"),
        ("04000501", None, 0x8001, "0180"),
        ("04000401", None, "161", "610100000000"),
        ("00010000", "bcd4.3", 12345678, "78563412"),
        ("04000403", "text6", "AB12", "000032314241"),
    ],
)
def test_a_dlt645_value_has_its_bytes(di: str, type_name: str | None, raw: Any, data: str) -> None:
    assert dlt645_type(di, type_name).encode(raw).hex().upper() == data


@pytest.mark.parametrize(
    ("meter", "request_hex", "reply_hex"),
    [
        ({"profile": "generic/dlt645-2007", "number": "161", "rate": "0 kW", "start": "0.26"},
         "68 610100000000 68 11 04 33333433 14 16", "68 610100000000 68 91 08 33333433 59333333 8A 16"),
        ({"profile": "generic/dlt645-2007", "number": "161", "shows": {"voltage_l1": 100.1}},
         "68 610100000000 68 11 04 33343435 17 16", "68 610100000000 68 91 06 33343435 3443 10 16"),
        ({"profile": "generic/dlt645-1997", "number": "138000130754", "rate": "0 kW", "start": "0.01"},
         "68 540713008013 68 01 02 43C3 DA 16", "68 540713008013 68 81 06 43C3 34333333 2B 16"),
    ],
    ids=["energy", "voltage", "1997"],
)  # fmt: skip
def test_a_dlt645_meter_answers_as_published(
    desk: Desk, meter: dict[str, Any], request_hex: str, reply_hex: str
) -> None:
    """The frames of hwhale.com/article/138066 and kaledl.com/down/1493168."""
    answered = desk(meter, {"protocol": "dlt645"}).answer(bytes.fromhex(request_hex))
    assert answered == b"\xfe" * 4 + bytes.fromhex(reply_hex)


def dlt645_request(data: str, control: int = 0x11) -> bytes:
    shifted = bytes((byte + 0x33) & 0xFF for byte in bytes.fromhex(data))
    body = bytes.fromhex("68 610100000000 68") + bytes((control, len(shifted))) + shifted
    return body + bytes((sum(body) & 0xFF, 0x16))


def dlt645_data(frame: bytes) -> tuple[int, str]:
    frame = frame.lstrip(b"\xfe")
    assert sum(frame[:-2]) & 0xFF == frame[-2]
    return frame[8], bytes((byte - 0x33) & 0xFF for byte in frame[10:-2]).hex()


def test_a_block_that_does_not_fit_follows_in_further_frames(desk: Desk) -> None:
    meter = {"profile": "generic/dlt645-2007", "number": "161", "rate": "0 kW", "start": "0.26", "max_data": 9}
    stand = desk(meter, {"protocol": "dlt645"})
    block = "00FF0100"
    control, first = dlt645_data(stand.answer(dlt645_request(block)))
    assert control == 0xB1
    assert first.startswith(block.lower() + "26000000")
    control, second = dlt645_data(stand.answer(dlt645_request(block + "01", 0x12)))
    assert control == 0xB2
    assert second.endswith("01")
    control, third = dlt645_data(stand.answer(dlt645_request(block + "02", 0x12)))
    assert control == 0x92
    assert len(first + second[8:-2] + third[8:-2]) == 8 + 5 * 8, "the total and four tariffs, each of four bytes"


def test_a_daily_freeze_holds_what_the_counter_showed_at_midnight(desk: Desk) -> None:
    stand = desk({"profile": "generic/dlt645-2007", "number": "161", "rate": "6 kW"}, {"protocol": "dlt645"})
    assert dlt645_data(stand.answer(dlt645_request("01000605")))[1] == "01000605" + "0000080726", "8 July 2026, 00:00"
    _, data = dlt645_data(stand.answer(dlt645_request("01010605")))
    midnight = stand.ms - 12 * 3_600_000
    steps = stand.meter.steps("energy_import", midnight)
    assert int(bytes.fromhex(data[8:16])[::-1].hex()) == steps < stand.meter.steps("energy_import", stand.ms)


def test_a_water_meter_answers_as_published(desk: Desk) -> None:
    """556677.00 m3 at 2015-05-11 22:01:31; the published checksum 08 is wrong, and the status is another meter's."""
    meter = {"profile": "generic/cjt188-water", "number": "78330011223344", "rate": "0 m3/h", "start": "556677",
             "shows": {"settlement": 556677, "valve": 1, "battery_low": 0}}  # fmt: skip
    stand = desk(meter, {"protocol": "cjt188"})
    stand.ms = int(dt.datetime.fromisoformat("2015-05-11T22:01:31+08:00").timestamp() * 1000)
    stand.meter._stream.total = lambda _ms: 0.0
    answered = stand.answer(bytes.fromhex("FEFEFEFE 68 10 44332211003378 01 03 1F 90 00 80 16")).lstrip(b"\xfe")
    published = bytes.fromhex("68 10 44332211003378 81 16 1F90 00 00776655 2C 00776655 2C 31012211051520")
    assert answered[: len(published)] == published
    assert answered[len(published) : -2] == bytes.fromhex("0100")
    assert answered[-2:] == bytes((sum(answered[:-2]) & 0xFF, 0x16))


def test_a_valve_is_never_moved(desk: Desk) -> None:
    stand = desk({"profile": "generic/cjt188-water", "number": "1"}, {"protocol": "cjt188"})
    body = bytes.fromhex("68 10 01000000000000 04 04 17A0 00 55")
    answered = stand.answer(body + bytes((sum(body) & 0xFF, 0x16))).lstrip(b"\xfe")
    assert answered[9] == 0xC4


@pytest.mark.parametrize(
    ("address", "more", "block"),
    [
        ("volume", {"unit": "m3", "role": "counter", "resolution": "0.01"}, "0C14"),
        ("energy", {"unit": "kWh", "role": "counter", "resolution": 1}, "0C06"),
        ("power", {"unit": "kW", "role": "gauge", "resolution": "0.1"}, "042D"),
        ("energy storage=1", {"unit": "kWh", "role": "counter", "resolution": 1}, "4C06"),
        ("energy tariff=1", {"unit": "kWh", "role": "counter", "resolution": 1}, "8C1006"),
        ("volume subunit=1", {"unit": "m3", "role": "counter", "resolution": "0.01"}, "8C4014"),
        ("flow function=maximum", {"unit": "m3/h", "role": "gauge", "resolution": "0.001"}, "143B"),
        ("energy backward", {"unit": "kWh", "role": "counter", "resolution": 1}, "0C863C"),
        ("voltage L1", {"unit": "V", "role": "gauge", "resolution": "0.1"}, "04FDC8FC01"),
    ],
)  # fmt: skip
def test_a_record_has_the_block_of_the_standard(address: str, more: dict[str, Any], block: str) -> None:
    """0C14, 4C.. and 8C10.. stand in the telegrams of the Open Metering System's examples and of a Kamstrup 382."""
    assert record_type(ProfilePoint.model_validate({"address": address, **more})).block.hex().upper() == block


def test_a_gas_meter_sends_the_record_of_the_oms_example(desk: Desk) -> None:
    meter = {"profile": "generic/mbus-gas", "unit": 5, "number": "12345678", "rate": "0 m3/h", "start": "28504.27"}
    stand = desk(meter, {"protocol": "mbus"})
    assert stand.answer(bytes.fromhex("1040054516")) == b"\xe5"
    telegram = stand.answer(bytes.fromhex("107B058016"))
    assert bytes.fromhex("0C1427048502") in telegram
    assert telegram[:4] == bytes((0x68, len(telegram) - 6, len(telegram) - 6, 0x68))
    assert telegram[4:7] == bytes.fromhex("080572")
    assert telegram[7:11] == bytes.fromhex("78563412")
    assert telegram[-2] == sum(telegram[4:-2]) & 0xFF


def test_a_slave_is_selected_by_its_number_with_wild_digits(desk: Desk) -> None:
    stand = desk({"profile": "generic/mbus-gas", "unit": 5, "number": "12345678"}, {"protocol": "mbus"})

    def select(number: str) -> bytes:
        body = bytes.fromhex("53FD52" + number + "FFFFFFFF")
        return bytes(stand.answer(bytes.fromhex("680B0B68") + body + bytes((sum(body) & 0xFF, 0x16))))

    assert select("79563412") == b""
    assert stand.answer(bytes.fromhex("107BFD7816")) == b"", "nobody is selected"
    assert select("FF563412") == b"\xe5"
    assert stand.answer(bytes.fromhex("107BFD7816"))[7:11] == bytes.fromhex("78563412")


def test_an_unchanged_frame_count_bit_repeats_the_telegram(desk: Desk) -> None:
    stand = desk({"profile": "generic/mbus-heat", "unit": 5, "max_data": 20}, {"protocol": "mbus"})
    first = stand.answer(bytes.fromhex("107B058016"))
    assert first[-3] == 0x1F, "more follow"
    assert stand.answer(bytes.fromhex("107B058016")) == first
    second = stand.answer(bytes.fromhex("105B056016"))
    assert second[19:] != first[19:]


@pytest.mark.parametrize(
    ("point", "raw", "text"),
    [
        ({"address": "1.8.0", "unit": "kWh", "role": "counter"}, 4711081, "04711.081*kWh"),
        ({"address": "1.7.0", "unit": "kW", "role": "gauge", "resolution": "0.01"}, -125, "-000001.25*kW"),
    ],
)
def test_a_number_is_written_with_its_unit(point: dict[str, Any], raw: int, text: str) -> None:
    assert written(ProfilePoint.model_validate(point), raw) == text


@pytest.mark.parametrize(
    ("mode", "code", "follows"),
    [("A", "9", True), ("B", "E", True), ("C", "5", False)],
)
def test_a_meter_greets_as_its_mode_has_it(desk: Desk, mode: str, code: str, follows: bool) -> None:
    """IEC 62056-21, 6.3.2: the speed character is a letter in mode B, a digit in mode C, neither of these in mode A."""
    stand = desk({"profile": "generic/iec62056-electricity", "mode": mode}, {"protocol": "iec62056"})
    greeting = stand.answer(b"/?!\r\n")
    assert greeting[:1] == b"/"
    assert chr(greeting[4]) == code
    assert (b"\x02" in greeting) is follows
    data = greeting if follows else stand.answer(b"\x06050\r\n")
    message = data[data.index(b"\x02") :]
    check = 0
    for byte in message[1:-1]:
        check ^= byte
    assert message[-2:] == bytes((0x03, check))
    assert b"\r\n!\r\n\x03" in message


def test_programming_mode_is_refused(desk: Desk) -> None:
    stand = desk({"profile": "generic/iec62056-electricity"}, {"protocol": "iec62056"})
    assert stand.answer(b"/?!\r\n")
    assert stand.answer(b"\x06051\r\n") == b"\x15"


def test_a_device_says_who_it_is_by_43_14(desk: Desk) -> None:
    """Modbus application protocol V1.1b3, 6.21."""
    stand = desk({"profile": "eastron/sdm630"}, {"protocol": "modbus-tcp"})
    reply = stand.answer(bytes.fromhex("0001 0000 0005 01 2B 0E 01 00"))
    assert reply[7:14] == bytes.fromhex("2B 0E 01 81 00 00 03")
    assert reply[14:23] == b"\x00\x07Eastron"
    one = stand.answer(bytes.fromhex("0001 0000 0005 01 2B 0E 04 00"))
    assert one[7:] == bytes.fromhex("2B 0E 04 81 00 00 01") + b"\x00\x07Eastron"
    assert stand.answer(bytes.fromhex("0001 0000 0005 01 2B 0E 04 55"))[7:] == bytes.fromhex("AB 02")


def test_a_device_refuses_what_its_settings_say(desk: Desk) -> None:
    more = {"max_registers": 10, "forbidden": [0x0002, [0x0010, 0x0020]], "whole_values": True}
    stand = desk({"profile": "eastron/sdm630", **more}, {"protocol": "modbus-tcp"})

    def ask(address: int, count: int) -> str:
        request = bytes.fromhex("0001 0000 0006 01 04") + struct.pack(">HH", address, count)
        return str(stand.answer(request)[7:9].hex())

    assert ask(0x0048, 2) == "0404"
    assert ask(0x0034, 11) == "8403", "more than it sends at once"
    assert ask(0x0002, 2) == "8402"
    assert ask(0x000E, 4) == "8402"
    assert ask(0x0049, 2) == "8402", "it begins inside a value"
    assert ask(0x0046, 3) == "8402", "it ends inside one"


def test_answers_of_two_meters_at_once_are_garbage() -> None:
    mixed = collided([Reply(bytes.fromhex("FE68AA")), Reply(bytes.fromhex("FE6855"))])
    assert mixed is not None
    assert mixed.frame not in (bytes.fromhex("FE68AA"), bytes.fromhex("FE6855"))
