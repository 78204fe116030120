"""Modbus: what a device says of itself (43/14), in one reply or several."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import drivers.modbus
from drivers.contract import MeterPlan, Request, Send, Value
from metering.errors import BadFrame, MeteringError, MeterRefused
from metering.profile import Profile

MODBUS = drivers.modbus.DRIVER
PROFILE = Profile.model_validate(
    {
        "vendor": "x",
        "model": "y",
        "kind": "gas",
        "protocol": "modbus",
        "status": "unverified",
        "source": {"title": "x"},
        "points": {},
    }
)


def identify(**where: object) -> Request:
    line = MODBUS.line_model.model_validate({"driver": "modbus", **(where or {"tcp": "h:502"})})
    (request,) = MODBUS.identify(line, MeterPlan("m", {"unit": 5}, PROFILE, {}))
    return request


def said(*objects: tuple[int, bytes], more: int = 0, after: int = 0, category: int = 2) -> bytes:
    body = b"".join(bytes([number, len(text)]) + text for number, text in objects)
    return bytes([0x2B, 0x0E, category, 0x82, 0xFF if more else 0, after, len(objects)]) + body


def reply(frame: bytes, pdu: bytes) -> bytes:
    return frame[:4] + (len(pdu) + 1).to_bytes(2, "big") + frame[6:7] + pdu


def texts(values: Sequence[Value] | Send) -> dict[str, str | None]:
    assert not isinstance(values, Send)
    return {value.point: value.text for value in values}


BASIC = [(0, b"Acrel"), (1, b"ADL400"), (2, b"V1.07")]


def test_one_reply_tells_maker_model_and_firmware() -> None:
    request = identify()
    frame = request.request()
    assert frame[6:] == bytes([5, 0x2B, 0x0E, 2, 0])
    whole = reply(frame, said(*BASIC))
    assert [request.length_of(whole[:length]) for length in range(len(whole))] == [None] * len(whole)
    assert request.length_of(whole + b"x") == len(whole)
    assert texts(request.decode(whole)) == {"maker": "Acrel", "model": "ADL400", "firmware": "V1.07"}


def test_what_does_not_fit_in_one_reply_follows() -> None:
    request = identify()
    step = request.decode(reply(request.request(), said(*BASIC[:2], more=1, after=2)))
    assert isinstance(step, Send)
    assert step.frame[8:] == bytes([0x0E, 2, 2])
    values = request.decode(reply(step.frame, said(BASIC[2], (5, b"ADL400-N"))))
    assert texts(values) == {"maker": "Acrel", "model": "ADL400-N", "firmware": "V1.07"}
    assert request.request()[8:] == bytes([0x0E, 2, 0]), "and it can be asked anew"


def test_a_device_that_has_basic_objects_only_is_asked_for_these() -> None:
    request = identify()
    step = request.decode(reply(request.request(), b"\xab\x03"))
    assert isinstance(step, Send)
    assert step.frame[8:] == bytes([0x0E, 1, 0])
    assert texts(request.decode(reply(step.frame, said(*BASIC, category=1))))["maker"] == "Acrel"
    request.request()
    step = request.decode(reply(request.request(), b"\xab\x03"))
    assert isinstance(step, Send)
    with pytest.raises(MeterRefused, match="exception 3"):
        request.decode(reply(step.frame, b"\xab\x03"))


def test_a_device_without_identification_refuses() -> None:
    request = identify()
    frame = request.request()
    assert request.length_of(reply(frame, b"\xab\x01")) == 9
    with pytest.raises(MeterRefused, match="exception 1"):
        request.decode(reply(frame, b"\xab\x01"))


def test_what_is_no_text_is_not_told() -> None:
    request = identify()
    values = request.decode(reply(request.request(), said((0, b"\xff\xfe"), (1, b"M"), (5, b""), (2, b"1"))))
    assert texts(values) == {"maker": None, "model": "M", "firmware": "1"}


@pytest.mark.parametrize(
    ("pdu", "words"),
    [
        (said(*BASIC)[:-1], "length"),
        (said(*BASIC) + b"x", "length"),
        (b"\x2b\x0d" + said(*BASIC)[2:], "MEI type 13"),
        (b"\x2b\x0e\x02\x82\x07\x00\x00", "more follows 07"),
        (b"\x03\x02\x00\x00", "function 3"),
        (said(*BASIC, more=1, after=2), "without an end"),
    ],
)
def test_what_is_no_identification_is_refused(pdu: bytes, words: str) -> None:
    request = identify()
    with pytest.raises(BadFrame, match=words):
        request.decode(reply(request.request(), pdu))


def test_f26_objects_without_end_are_cut_short() -> None:
    request = identify()
    frame = request.request()
    for number in range(15):
        step = request.decode(reply(frame, said((number * 2, b"x"), more=1, after=number * 2 + 2)))
        assert isinstance(step, Send)
        frame = step.frame
    with pytest.raises(BadFrame, match="without an end"):
        request.decode(reply(frame, said((40, b"x"), more=1, after=42)))


def test_f26_an_object_longer_than_a_frame_is_refused_before_it_came(crc: object) -> None:
    request = identify(serial="/dev/x")
    request.request()
    with pytest.raises(BadFrame, match="too long"):
        request.length_of(bytes([5]) + said((0, b"x" * 200), (1, b"y" * 60)))


@given(st.binary(max_size=300), st.booleans(), st.sampled_from(["tcp", "rtu", "ascii"]))
def test_any_bytes_give_texts_a_step_or_a_refusal(noise: bytes, begins_well: bool, framer: str) -> None:
    request = identify(tcp="h:1", framer=framer)
    frame = request.request()
    heads = {"tcp": frame[:4] + b"\0\x30", "rtu": b"", "ascii": b":05"}
    received = (
        heads[framer] + (b"" if framer == "ascii" else b"\x05") + b"\x2b\x0e\x02\x82\0\0" + noise
        if begins_well
        else noise
    )
    try:
        whole = request.length_of(received)
        assert whole is None or whole <= min(len(received), request.longest_reply)
        request.decode(received)
    except MeteringError:
        pass


@pytest.mark.parametrize("where", [{"serial": "/dev/x"}, {"serial": "/dev/x", "framer": "ascii"}, {"udp": "h:1"}])
def test_every_line_can_ask(where: dict[str, object]) -> None:
    request = identify(**where)
    assert len(request.request()) == request.request_bytes
    assert request.halves() == ()
    assert request.points == ("maker", "model", "firmware")


def test_a_device_without_identification_is_not_told_to_change_its_profile() -> None:
    """Exception 1 of a read means another function code; of 43/14, that there is none."""
    ask = identify()
    with pytest.raises(MeterRefused, match="readings do not need"):
        ask.decode(reply(ask.request(), bytes([0xAB, 1])))
