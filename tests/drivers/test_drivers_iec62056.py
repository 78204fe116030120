"""IEC 62056-21: sign-on and readout in modes A, B and C, published readouts, refusals, and what arbitrary bytes may do."""

from collections.abc import Sequence
from decimal import Decimal
from functools import reduce
from operator import xor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Request, Send, Value
from drivers.iec62056.codec import LONGEST, data_block, data_length, identification, with_parity
from drivers.iec62056.datasets import data_sets
from drivers.iec62056.settings import Iec62056Meter
from metering.errors import BadFrame, MeterError, MeteringError, MeterRefused
from metering.profile import Place, Profile
from metering.reading import Quality

IDENT = b"/EMH5\\@D4EM4TIIW001--\r\n"


def message(*lines: str) -> bytes:
    """Compose a data message as the standard draws it, without the driver's code."""
    body = "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"!\r\n\x03"
    return b"\x02" + body + bytes([reduce(xor, body)])


READOUT = message("1-0:1.8.0*255(000123.4*kWh)", "0.0.0(00876543)", "F.F(00000000)")


def plan(**points: dict[str, Any]) -> MeterPlan:
    points = points or {"energy": {"address": "1.8.0", "unit": "kWh"}}
    filled = {name: {"role": "counter", **point} for name, point in points.items()}
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "iec62056", "status": "unverified",
         "source": {"title": "x"}, "points": filled}
    )  # fmt: skip
    return MeterPlan("m", {}, profile, profile.points)


def line(**settings: Any) -> Any:
    where = {} if "tcp" in settings else {"serial": "/dev/null"}
    return driver("iec62056").line_model.model_validate({"driver": "iec62056", **where, **settings})


def reading(meter: MeterPlan | None = None, settings: Any = None, **address: Any) -> Request:
    meter = meter or plan()
    wanted = MeterPlan("m", address, meter.profile, meter.points)
    (request,) = driver("iec62056").plan(settings or line(), wanted)  # type: ignore[attr-defined]
    return request  # type: ignore[no-any-return]


def value_of(*lines: str, **point: Any) -> Value:
    """Read one point out of a readout."""
    text = (IDENT + message(*lines)).decode("latin-1")
    found: Sequence[Value] = driver("iec62056").replay(plan(x=point).profile, {"reply_text": text})
    return found[0]


def values_of(request: Request, reply: bytes) -> Sequence[Value]:
    found = request.decode(reply)
    assert not isinstance(found, Send)
    return found


def test_mode_c_is_acknowledged_with_the_meters_speed_which_holds_from_then_on() -> None:
    request = reading()
    assert request.request() == b"/?!\r\n"
    assert request.length_of(IDENT[:-1]) is None
    assert request.length_of(IDENT) == len(IDENT)
    assert request.decode(IDENT) == Send(b"\x06050\r\n", 9600)
    assert request.length_of(READOUT[:-1]) is None
    assert request.length_of(READOUT) == len(READOUT)
    assert [value.value for value in values_of(request, READOUT)] == [123.4]


@pytest.mark.parametrize(
    ("code", "ack", "baud"),
    [("0", b"\x06000\r\n", 300), ("1", b"\x06010\r\n", 600), ("3", b"\x06030\r\n", 2400), ("6", b"\x06060\r\n", 19200)],
)
def test_each_speed_of_mode_c_has_its_code(code: str, ack: bytes, baud: int) -> None:
    request = reading()
    request.request()
    assert request.decode(f"/ABC{code}X\r\n".encode()) == Send(ack, baud)


@pytest.mark.parametrize(
    ("code", "baud"), [("A", 600), ("B", 1200), ("C", 2400), ("D", 4800), ("E", 9600), ("F", 19200)]
)
def test_mode_b_goes_to_its_speed_without_an_acknowledgement(code: str, baud: int) -> None:
    request = reading()
    request.request()
    assert request.decode(f"/LUG{code}UH50\r\n".encode()) == Send(b"", baud)
    assert values_of(request, READOUT)[0].value == 123.4


def test_mode_a_sends_its_data_at_once() -> None:
    request = reading()
    request.request()
    reply = b"/ELS Gas V1.0\r\n" + READOUT
    assert request.length_of(reply[:15]) is None
    assert request.length_of(reply[:-1]) is None
    assert request.length_of(reply) == len(reply)
    assert values_of(request, reply)[0].value == 123.4


@pytest.mark.parametrize("settings", [{"tcp": "h:1", "baud": 9600}, {"baud": 9600, "change_speed": False}])
def test_where_nobody_changes_the_speed_all_stays_at_the_lines(settings: dict[str, Any]) -> None:
    request = reading(settings=line(**settings))
    request.request()
    assert request.decode(b"/ABC3X\r\n") == Send(b"\x06050\r\n", None)
    request.request()
    reply = b"/LUGCUH50\r\n" + READOUT
    assert request.length_of(reply[:11]) is None
    assert values_of(request, reply)[0].value == 123.4
    fast = reading(settings=line(tcp="h:1", baud=115200))
    fast.request()
    assert fast.decode(b"/ABC3X\r\n") == Send(b"\x06000\r\n", None)


def test_the_address_and_the_wake_up_go_before() -> None:
    assert reading(address="00123456").request() == b"/?00123456!\r\n"
    assert reading(wake_up=40).request() == b"\0" * 40 + b"/?!\r\n"


def test_parity_bits_that_a_server_passes_on_are_taken_off_and_put_on() -> None:
    request = reading(settings=line(tcp="h:1", software_parity=True, baud=300))
    assert request.request() == b"\xaf\x3f\x21\x8d\x0a"
    assert request.length_of(with_parity(IDENT)) == len(IDENT)
    assert request.decode(with_parity(IDENT)) == Send(with_parity(b"\x06000\r\n"), None)
    assert request.length_of(with_parity(READOUT)) == len(READOUT)
    assert values_of(request, with_parity(READOUT))[0].value == 123.4


def test_a_few_bytes_of_noise_may_come_before_a_message() -> None:
    request = reading()
    request.request()
    assert isinstance(request.decode(b"\x00\xff\x7f" + IDENT), Send)
    assert values_of(request, b"\x00\xfe" + READOUT)[0].value == 123.4


def test_every_reading_signs_on_anew() -> None:
    request = reading()
    for _ in range(2):
        assert request.request() == b"/?!\r\n"
        assert isinstance(request.decode(IDENT), Send)
        assert values_of(request, READOUT)[0].value == 123.4
    request.request()
    with pytest.raises(BadFrame, match="speed right"):
        request.length_of(READOUT)


@pytest.mark.parametrize(
    ("held", "address"),
    [
        ("1.8.0(7*kWh)", "1.8.0"), ("1-0:1.8.0(7*kWh)", "1.8.0"), ("1-0:1.8.0*255(7*kWh)", "1-0:1.8.0"),
        ("1.8.0(7*kWh)", "1-0:1.8.0"), ("1.8.0*01(7*kWh)", "1.8.0*1"), ("1.8.0&01(7*kWh)", "1.8.0*01"),
        ("6.8(7*kWh)", "6.8"), ("1-1:f.f.0(7*kWh)", "F.F.0"), ("P.01(7*kWh)", "P.01"), ("1.6.0(x)(7*kWh)", "1.6.0 value=2"),
        ("1.8.0( 0000007.0 *kWh)", "1.8.0"), ("1.8.0(7,0*kWh)", "1.8.0"), ("1.8.0(+7.*KWH)", "1.8.0"),
    ],
)  # fmt: skip
def test_an_address_finds_its_data_set(held: str, address: str) -> None:
    assert value_of("0.0.0(1)", held, "2.8.0(9*kWh)", address=address, unit="kWh").value == 7.0


@pytest.mark.parametrize(
    ("held", "address"),
    [
        ("1-1:1.8.0(7*kWh)", "1-0:1.8.0"), ("1.8.0*01(7*kWh)", "1.8.0"), ("1.8.0(7*kWh)", "1.8.0*01"), ("1.8.1(7*kWh)", "1.8.0"),
        ("1.8(7*kWh)", "1.8.0"), ("2-0:1.8.0(7*kWh)\r\n1-0:1.8.0(7*kWh)", "1.8.0"), ("1.8.0(7*kWh)", "1.8.0 value=2"),
    ],
)  # fmt: skip
def test_an_address_never_finds_another_or_one_of_several(held: str, address: str) -> None:
    found = value_of(held, address=address, unit="kWh")
    assert (found.value, found.quality) == (None, Quality.BAD)
    assert found.why


@pytest.mark.parametrize(
    ("held", "unit", "value"),
    [
        ("000123.4*kWh", "kWh", 123.4), ("0203.951*GJ", "GJ", 203.951), ("1.5*MWh", "kWh", 1500.0), ("3.6*MJ", "kWh", 1.0),
        ("02062.98*m3", "m3", 2062.98), ("12*m^3", "L", 12000.0), ("000.528*m3ph", "m3/h", 0.528), ("5*l/h", "m3/h", 0.005),
        ("-1.25*kW", "W", -1250.0), ("4*kVArh", "kvarh", 4.0), ("50.01*Hz", "Hz", 50.01), ("20*°C", "K", 293.15),
        ("123.4", "kWh", 123.4), ("30*min", "h", 0.5),
        ("4*kVARh", "kvarh", 4.0), ("4*KVARH", "kvarh", 4.0), ("4*kvarH", "kvarh", 4.0), ("4*Mvarh", "kvarh", 4000.0),
        ("4*MVARH", "kvarh", 4000.0), ("4*KW", "kW", 4.0), ("4*MW", "kW", 4000.0), ("4*mA", "A", 0.004), ("4*mV", "V", 0.004),
        ("4*M3", "m3", 4.0), ("4*M3/h", "m3/h", 4.0), ("4*KVA", "kVA", 4.0), ("4*MVA", "kVA", 4000.0), ("4*HZ", "Hz", 4.0),
        ("4*MWH", "kWh", 4000.0), ("4*Mpa", "kPa", 4000.0), ("4*kv", "V", 4000.0), ("4*GW", "MW", 4000.0), ("30*MIN", "h", 0.5),
    ],
)  # fmt: skip
def test_a_unit_of_the_readout_becomes_the_points_own_exactly(held: str, unit: str, value: float) -> None:
    assert value_of(f"1.8.0({held})", address="1.8.0", unit=unit).value == value


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ("", "empty"), ("?????7", "is no number"), ("12?4.5*kWh", "is no number"), ("7*m3", "which is not kWh"),
        ("7*Imp/kWh", "not known here"),
        ("7*Nm3", "not known here"), ("7*m3n", "not known here"), ("7*Gcal", "not known here"), ("7*kVAh", "not known here"),
        ("7*mW", "not known here"), ("7*mwh", "not known here"), ("7*mvarh", "not known here"), ("7*MV", "not known here"),
        ("7*MA", "not known here"), ("7*mpa", "not known here"), ("7*MBAR", "not known here"),
        ("1E5*kWh", "is no number"), ("0x12", "is no number"), ("٣*kWh", "is no number"),
        ("9" * 21, "is no number"),
    ],
)  # fmt: skip
def test_what_is_no_number_in_this_unit_is_no_value_and_says_why(held: str, why: str) -> None:
    text = f"1.8.0({held})".encode("latin-1", "replace").decode("latin-1")
    found = value_of(text, address="1.8.0", unit="kWh")
    assert (found.value, found.quality) == (None, Quality.BAD)
    assert why in found.why


def test_the_number_alone_is_taken_where_the_profile_says_so() -> None:
    assert value_of("1.8.0(7*Imp)", address="1.8.0", unit="kWh", type="raw", scale="0.1").value == 0.7
    assert value_of("1.8.0(7*kWh)", address="1.8.0", unit="kWh", sentinels=[7]).quality == Quality.BAD
    assert value_of("1.8.0(7*kWh)", address="1.8.0", unit="kWh", valid=[0, 5]).quality == Quality.OUT_OF_RANGE
    assert value_of("1.8.0(7*kWh)", address="1.8.0", unit="kWh").raw == b"7*kWh"


def test_a_line_may_hold_several_data_sets_and_a_data_set_several_lines() -> None:
    sets = data_sets("6.8(1*kWh)6.26(2*m3)\r\nP.01(0)\r\n(1)(2)\r\nheading\r\n")
    assert [(found.address, [held.value for held in found.values]) for found in sets] == [
        ("6.8", ["1"]), ("6.26", ["2"]), ("P.01", ["0", "1", "2"]),
    ]  # fmt: skip


def test_a_meter_says_who_it_is() -> None:
    meter = plan()
    (request,) = driver("iec62056").identify(line(), MeterPlan("m", {}, meter.profile, {}))  # type: ignore[attr-defined]
    request.request()
    request.decode(IDENT)
    assert {value.point: value.text for value in values_of(request, READOUT)} == {
        "maker": "EMH", "model": "D4EM4TIIW001--", "serial": "00876543",
    }  # fmt: skip


def test_a_place_without_a_unit_is_read_as_text_or_number() -> None:
    places = {name: Place(address=name) for name in ("maker", "ident")} | {
        "serial": Place(address="C.1.0"), "error": Place(address="F.F"), "none": Place(address="0.0.1"),
    }  # fmt: skip
    request = reading(MeterPlan("m", {}, plan().profile, places))
    request.request()
    request.decode(IDENT)
    found = values_of(request, message("C.1.0(A-17)", "F.F(00000002)", "0.0.1()"))
    assert [(value.value, value.text) for value in found] == [
        (None, "EMH"), (None, "D4EM4TIIW001--"), (None, "A-17"), (2.0, None), (None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (READOUT[:-1], "ETX and BCC"), (READOUT[:-2], "ETX and BCC"), (READOUT[1:], "STX"),
        (READOUT[:-1] + b"\x00", "wrong block check character 00"),
        (READOUT.replace(b"123.4", b"124.4"), "wrong block check character"),
        (READOUT + b"\x00", "ETX and BCC"), (message("1.8.0(1)(2"), "brackets"), (message("1.8.0)1("), "brackets"),
        (message("1.8.0((1))"), "brackets"), (b"\x021.8.0(1)\r\n\x04A", "partial block"), (b"X" * 100, "STX"),
    ],
)  # fmt: skip
def test_f32_what_is_not_a_whole_readout_is_refused(reply: bytes, words: str) -> None:
    request = reading()
    request.request()
    request.decode(IDENT)
    with pytest.raises(BadFrame) as refused:
        request.decode(reply)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"\x06" * 65, "begins with /"),
        (b"/AB\r\n", "no identification"),
        (b"/1BC5X\r\n", "no identification"),
        (b"/ABC5" + b"x" * 80, "without an end"),
        (b"/?!\r\n", "no identification"),
    ],
)
def test_f32_what_is_no_identification_is_refused(reply: bytes, words: str) -> None:
    with pytest.raises(BadFrame, match=words):
        reading().length_of(reply)


def test_f32_a_meter_that_did_not_understand_refuses() -> None:
    request = reading()
    request.request()
    with pytest.raises(MeterRefused, match="NAK"):
        request.length_of(b"\x15")
    request.decode(IDENT)
    with pytest.raises(MeterRefused, match="NAK"):
        request.length_of(b"\x15")


def test_f32_a_readout_without_an_end_is_bounded() -> None:
    assert reading().longest_reply == LONGEST
    with pytest.raises(BadFrame, match="more than 32768 bytes"):
        data_length(b"\x02" + b"1.8.0(7)\r\n" * 3300)


@pytest.mark.parametrize("place", range(1, len(READOUT)))
def test_f32_a_character_that_changed_is_always_noticed(place: int) -> None:
    mangled = bytearray(READOUT)
    mangled[place] ^= 0x04
    with pytest.raises(BadFrame):
        data_block(bytes(mangled))


@given(st.binary(max_size=300), st.booleans())
def test_f32_any_bytes_give_values_or_a_refusal(noise: bytes, framed: bool) -> None:
    request = reading()
    request.request()
    for reply in (IDENT, message(noise.decode("latin-1")) if framed else noise):
        try:
            whole = request.length_of(reply)
            assert whole is None or whole <= len(reply)
            request.decode(reply)
        except MeterError:
            return


@given(st.binary(max_size=120))
def test_f32_any_bytes_are_an_identification_or_refused(noise: bytes) -> None:
    for received in (noise, b"/" + noise, b"/ABC" + noise):
        try:
            found = identification(received)
        except MeterError:
            continue
        assert found is None or 7 <= found[1] <= len(received)


@given(st.decimals(0, 10**9, places=3))
def test_every_register_content_comes_back(number: Decimal) -> None:
    assert value_of(f"1.8.0({number:014.3f}*kWh)", address="1.8.0", unit="kWh").value == float(number)


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"address": 180}, "no data set"), ({"address": "1.8.0("}, "no data set"), ({"address": "1.8.0 x"}, "no data set"),
        ({"address": "1.8.0", "type": "f32"}, "no type 'f32'"), ({"address": "1.8.0", "scale": 10}, "type: raw"),
    ],
)  # fmt: skip
def test_a_point_that_cannot_be_read_is_explained(point: dict[str, Any], words: str) -> None:
    with pytest.raises(MeteringError, match=words):
        reading(plan(x={"unit": "kWh", **point}))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"address": 12}, 'address: "12"'),
        ({"address": "a!"}, "no device address"),
        ({"wake_up": 999}, "less than or equal"),
    ],
)
def test_a_wrong_address_is_explained(address: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Iec62056Meter.model_validate(address)


@pytest.mark.parametrize("vector", [{}, {"reply": "zz"}, {"reply": [7]}, {"reply_text": "/ABC5X"}, {"reply_text": "€"}])
def test_a_vector_that_is_none_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(MeteringError):
        driver("iec62056").replay(plan().profile, vector)


def test_a_vector_may_be_hex_and_in_parts() -> None:
    for vector in ({"reply": (IDENT + READOUT).hex()}, {"reply": [IDENT.hex(), READOUT.hex()]}):
        assert driver("iec62056").replay(plan().profile, vector)[0].value == 123.4


def test_the_predicted_bytes_take_as_long_as_the_readout_does_at_its_speed() -> None:
    request = reading()
    assert (request.request_bytes, request.reply_bytes) == (11, 24 + 1000)
    told = plan().profile.model_copy(update={"vectors": [{"reply": (IDENT + READOUT).hex()}, {"reply": "zz"}]})
    known = reading(MeterPlan("m", {}, told, told.points))
    assert known.reply_bytes == 24 + 1000 * 300 // 9600
    request.request()
    request.decode(IDENT)
    request.decode(READOUT)
    assert request.reply_bytes == 24 + len(READOUT) * 300 // 9600
    assert request.label == "sign-on /?!, readout"
    assert driver("iec62056").silence_s(line()) == 0.2  # type: ignore[attr-defined]
    assert not request.halves()
    assert driver("iec62056").history(line(), plan(), 0, 1) == ()  # type: ignore[attr-defined]
