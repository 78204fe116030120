"""M-Bus dialogues: what is sent to a meter, in which order, and whose answers are taken."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Request, Send, Value
from drivers.mbus.codec import frame_length, selection, short
from drivers.mbus.settings import MBusMeter
from metering.errors import BadFrame, MeterError, MeteringError, MeterRefused
from metering.profile import Place, Profile

ACK = b"\xe5"
HEADER = bytes.fromhex("78563412 2D2C 08 04 2A 00 0000")


def framed(data: bytes, control: int = 0x08, address: int = 5, ci: int = 0x72) -> bytes:
    """Compose a long frame as the standard draws it, without the driver's code."""
    body = bytes([control, address, ci]) + data
    return bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) % 256, 0x16])


def answer(records: str, **rest: int) -> bytes:
    return framed(HEADER + bytes.fromhex(records), **rest)


VOLUME = answer("04 16 07 00 00 00")


def plan(vectors: Sequence[dict[str, Any]] = (), **points: dict[str, Any]) -> MeterPlan:
    points = points or {"volume": {"address": "volume", "unit": "m3"}}
    filled = {name: {"role": "counter", **point} for name, point in points.items()}
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "water", "protocol": "mbus", "status": "unverified",
         "source": {"title": "x"}, "points": filled, "vectors": list(vectors)}
    )  # fmt: skip
    return MeterPlan("m", {}, profile, profile.points)


def line() -> Any:
    return driver("mbus").line_model.model_validate({"driver": "mbus", "serial": "/dev/null"})


def reading(meter: MeterPlan | None = None, **address: Any) -> Request:
    meter = meter or plan()
    (request,) = driver("mbus").plan(line(), MeterPlan("m", address or {"primary": 5}, meter.profile, meter.points))  # type: ignore[attr-defined]
    return request  # type: ignore[no-any-return]


def converse(request: Request, *replies: bytes) -> tuple[list[str], Sequence[Value]]:
    """Play a dialogue to its end; return what was sent, as hex, and the values."""
    sent, found = [request.request()], None
    for reply in replies:
        assert request.length_of(reply) == len(reply)
        found = request.decode(reply)
        if isinstance(found, Send):
            sent.append(found.frame)
    assert found is not None
    assert not isinstance(found, Send)
    return [frame.hex() for frame in sent], found


def test_a_meter_is_reset_and_asked_by_its_primary_address() -> None:
    sent, values = converse(reading(), ACK, VOLUME)
    assert sent == ["1040054516", "107b058016"]
    assert [value.value for value in values] == [7.0]


def test_every_reading_begins_anew_so_that_no_answer_is_handed_out_twice() -> None:
    """A meter repeats its last answer where the frame count bit did not change; after a reset it cannot."""
    request = reading()
    for _ in range(3):
        assert converse(request, ACK, VOLUME)[0] == ["1040054516", "107b058016"]


def test_a_meter_is_selected_by_its_secondary_address() -> None:
    sent, values = converse(reading(secondary="12345678"), ACK, VOLUME)
    assert sent == ["680b0b6853fd5278563412ffffffffb216", "107bfd7816"]
    assert [value.value for value in values] == [7.0]


@pytest.mark.parametrize(
    ("address", "frame"),
    [
        ({"secondary": "44726073"}, "680b0b6853fd5273607244ffffffff2716"),
        ({"secondary": "FFFFFFFF"}, "680b0b6853fd52ffffffffffffffff9a16"),
        ({"secondary": "12345678", "maker": "KAM", "version": 1, "medium": 7}, "680b0b6853fd52785634122d2c01071716"),
    ],
)
def test_a_published_selection_is_what_we_send(address: dict[str, Any], frame: str) -> None:
    """The first and second are frames of public masters, the third is after The M-Bus: A Documentation, figure 29."""
    assert selection(MBusMeter.model_validate(address).selector).hex() == frame


@pytest.mark.parametrize(
    ("number", "wire"),
    [("FFFFFFFF", "ffffffff"), ("1FFFFFFF", "ffffff1f"), ("45", "45000000"), ("0000004F", "4f000000")],
)
def test_wild_digits_and_short_numbers_are_sent_as_they_are_meant(number: str, wire: str) -> None:
    assert MBusMeter.model_validate({"secondary": number}).selector[:4].hex() == wire


def test_telegrams_that_follow_are_read_with_the_bit_changed_and_joined() -> None:
    points = {"first": {"address": "volume", "unit": "m3"}, "third": {"address": "#2", "unit": "m3"}}
    sent, values = converse(
        reading(plan(**points)), ACK, answer("04 16 01 00 00 00 1F"), answer("44 16 02 00 00 00 1F 09"),
        answer("84 01 16 03 00 00 00"),
    )  # fmt: skip
    assert sent[1:] == ["107b058016", "105b056016", "107b058016"]
    assert [value.value for value in values] == [1.0, 3.0]


def test_no_more_telegrams_are_read_than_wanted() -> None:
    _, values = converse(reading(primary=5, telegrams=1), ACK, answer("04 16 01 00 00 00 1F"))
    assert [value.value for value in values] == [1.0]


def test_a_meter_that_announces_more_for_ever_comes_to_an_end() -> None:
    sent, values = converse(reading(), ACK, *[answer(f"44 16 {n:02X} 00 00 00 1F") for n in range(32)])
    assert len(sent) == 33
    assert values[0].value is None


def test_a_meter_that_repeats_the_telegram_it_announced_more_after_is_read_once() -> None:
    """Its access number counts on; the records are the same bytes."""
    once, again = (framed(HEADER[:8] + bytes([n]) + HEADER[9:] + bytes.fromhex("0416 07000000 1F")) for n in (1, 2))
    sent, values = converse(reading(), ACK, once, again)
    assert len(sent) == 3
    assert values[0].value == 7.0


def test_telegrams_of_makers_data_that_differ_are_no_repetition() -> None:
    replies = [answer("1F 01"), answer("1F 02"), answer("04 16 07 00 00 00")]
    assert converse(reading(), ACK, *replies)[1][0].value == 7.0


def test_the_same_records_from_another_meter_are_no_repetition() -> None:
    request = reading()
    request.request()
    request.decode(ACK)
    assert isinstance(request.decode(answer("04 16 07 00 00 00 1F")), Send)
    with pytest.raises(BadFrame, match="after one from 12345678"):
        request.decode(framed(b"\x79" + HEADER[1:] + bytes.fromhex("0416 07000000 1F")))


@pytest.mark.parametrize("control", [0x08, 0x18, 0x28, 0x38])
def test_an_answer_may_say_that_it_has_more_to_tell(control: int) -> None:
    assert converse(reading(), ACK, answer("04 16 07 00 00 00", control=control))[1][0].value == 7.0


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer("04 16 07 00 00 00", address=6), "from address 6, not 5"),
        (answer("04 16 07 00 00 00", control=0x53), "control field 53"),
        (answer("04 16 07 00 00 00", control=0x48), "control field 48"),
        (VOLUME[:-2] + b"\x00\x16", "checksum"),
        (VOLUME[:-1] + b"\x17", "ends with 17"),
        (VOLUME[:-1], "not one whole long frame"),
        (VOLUME + b"\x00", "not one whole long frame"),
    ],
)  # fmt: skip
def test_f32_what_is_not_this_meters_answer_is_refused(reply: bytes, words: str) -> None:
    request = reading()
    request.request()
    request.decode(ACK)
    with pytest.raises(BadFrame, match=words):
        request.decode(reply)


@pytest.mark.parametrize(
    "start", [b"\x10\x08\x05", b"\x16", b"\x68\x12\x13\x68", b"\x68\x12\x12\x67", b"\x68\x02\x02\x68"]
)
def test_f32_what_cannot_become_an_answer_is_refused_at_once(start: bytes) -> None:
    with pytest.raises(BadFrame):
        frame_length(start)


def test_a_late_answer_is_no_acknowledgement() -> None:
    request = reading()
    request.request()
    with pytest.raises(BadFrame, match="not acknowledged by E5"):
        request.decode(VOLUME)


def test_a_meter_without_data_refuses() -> None:
    request = reading()
    request.request()
    request.decode(ACK)
    with pytest.raises(MeterRefused, match="no data"):
        request.decode(ACK)


def test_the_only_meter_on_a_line_may_answer_with_its_own_address() -> None:
    assert converse(reading(primary=254), ACK, answer("04 16 07 00 00 00", address=17))[1][0].value == 7.0


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"primary": 5, "secondary": "12345679"}, "from meter 12345678, not 12345679"),
        ({"secondary": "F2345679"}, "from meter 12345678"), ({"primary": 5, "maker": "ELS"}, "maker KAM, not ELS"),
        ({"primary": 5, "version": 9}, "version 8, not 9"), ({"primary": 5, "medium": 7}, "medium 4, not 7"),
    ],
)  # fmt: skip
def test_f32_an_answer_from_another_meter_is_refused(address: dict[str, Any], words: str) -> None:
    request = reading(**address)
    request.request()
    request.decode(ACK)
    with pytest.raises(BadFrame, match=words):
        request.decode(VOLUME)


@pytest.mark.parametrize("secondary", ["12345678", "1234567F", "FFFFFFFF"])
def test_an_answer_from_the_meter_meant_is_taken(secondary: str) -> None:
    meter = reading(primary=5, secondary=secondary, maker="KAM", version=8, medium=4)
    assert converse(meter, ACK, VOLUME)[1][0].value == 7.0


def test_an_answer_that_does_not_say_whose_it_is_is_not_taken_for_a_meter_meant_by_name() -> None:
    nameless = framed(bytes.fromhex("0416 07000000"), ci=0x78)
    assert converse(reading(), ACK, nameless)[1][0].value == 7.0
    with pytest.raises(BadFrame, match="does not say which meter"):
        converse(reading(primary=5, secondary="12345678"), ACK, nameless)


def test_f32_telegrams_of_two_meters_are_not_joined() -> None:
    other = framed(bytes.fromhex("79563412") + HEADER[4:] + bytes.fromhex("4416 02000000"))
    with pytest.raises(BadFrame, match="from meter 12345679, after one from 12345678"):
        converse(reading(), ACK, answer("04 16 01 00 00 00 1F"), other)


def test_a_meter_says_who_it_is() -> None:
    meter = plan()
    (request,) = driver("mbus").identify(line(), MeterPlan("m", {"primary": 5}, meter.profile, {}))  # type: ignore[attr-defined]
    _, values = converse(request, ACK, answer("01 FD 0E 07 0D FD 0C 03 32 30 36 0C 78 78 56 34 12"))
    assert {value.point: value.text for value in values} == {
        "serial": "12345678", "maker": "KAM", "version": "8", "medium": "heat (return)", "firmware": "7", "model": "602",
    }  # fmt: skip


def test_a_place_without_a_unit_is_read_as_text_or_in_the_telegrams_unit() -> None:
    places = {
        "id": Place(address="id"), "version": Place(address="version"), "number": Place(address="fabrication_number"),
        "energy": Place(address="energy"), "day": Place(address="date"),
    }  # fmt: skip
    meter = plan()
    (request,) = driver("mbus").plan(line(), MeterPlan("m", {"primary": 5}, meter.profile, places))  # type: ignore[attr-defined]
    _, values = converse(request, ACK, answer("0C 78 78 56 34 02 04 06 07 00 00 00 02 6C DF 1C"))
    assert [(value.value, value.text) for value in values] == [
        (None, "12345678"), (8.0, None), (None, "02345678"), (7000.0, None), (None, "2014-12-31"),
    ]  # fmt: skip


def test_the_predicted_bytes_are_those_of_the_vectors_then_of_the_last_reading() -> None:
    request = reading(plan([{"reply": VOLUME.hex()}, {"reply": "a slip of the pen"}]))
    assert (request.request_bytes, request.reply_bytes) == (10, 1 + len(VOLUME))
    twice = [answer("04 16 01 00 00 00 1F"), answer("44 16 02 00 00 00")]
    converse(request, ACK, *twice)
    assert (request.request_bytes, request.reply_bytes) == (15, 1 + sum(map(len, twice)))
    assert reading(secondary="12345678").request_bytes == 22
    assert reading().label == "reset, REQ_UD2 at 5"
    assert reading(secondary="12345678").label == "select 12345678, REQ_UD2 at 253"
    assert not reading().halves()


def test_silence_is_a_break_of_33_bits_or_the_lines_own() -> None:
    mbus = driver("mbus")
    assert mbus.silence_s(line()) == pytest.approx(33 / 2400)  # type: ignore[attr-defined]
    slow = mbus.line_model.model_validate({"driver": "mbus", "tcp": "h:1", "turnaround": "50 ms"})
    assert mbus.silence_s(slow) == 0.05  # type: ignore[attr-defined]
    assert mbus.history(line(), plan(), 0, 1) == ()  # type: ignore[attr-defined]


@pytest.mark.parametrize("control", sorted(set(range(256)) - {0x40, 0x5B, 0x7B}))
def test_no_frame_that_writes_can_be_made(control: int) -> None:
    with pytest.raises(ValueError, match="does not read"):
        short(control, 5)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({}, "give primary"), ({"primary": 253}, "no primary address"), ({"primary": 255}, "less than or equal"),
        ({"secondary": 1234567}, 'secondary: "01234567"'), ({"secondary": "12345678A"}, "no meter number"),
        ({"primary": 1, "maker": "kam"}, "three capital letters"), ({"primary": 1, "version": 255}, "less than or equal"),
    ],
)  # fmt: skip
def test_a_wrong_address_is_explained(address: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MBusMeter.model_validate(address)


def test_a_point_with_a_fault_is_named() -> None:
    with pytest.raises(MeteringError, match=r"m/x: .*did you mean volume"):
        reading(plan(x={"address": "volum", "unit": "m3"}))


@given(st.lists(st.binary(max_size=64), max_size=4))
def test_f32_a_dialogue_of_noise_ends_in_values_or_a_refusal(noise: list[bytes]) -> None:
    request = reading()
    request.request()
    for reply in chain([ACK], noise):
        try:
            whole = request.length_of(reply)
            assert whole is None or whole <= len(reply)
            if not isinstance(request.decode(reply), Send):
                return
        except MeterError:
            return
