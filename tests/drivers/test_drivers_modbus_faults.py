"""Modbus: what meters, gateways and lines do wrong, and that none of it becomes a value."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import drivers.modbus
from drivers.contract import MeterPlan, Request, Value
from drivers.modbus.exceptions import EXCEPTIONS
from metering.errors import BadFrame, MeterRefused
from metering.profile import Profile
from metering.reading import Quality
from metering.text import Lang

MODBUS = drivers.modbus.DRIVER
LINES: dict[str, dict[str, Any]] = {
    "tcp": {"tcp": "h:502"},
    "udp": {"udp": "h:502"},
    "rtu": {"serial": "/dev/x"},
    "rtu_over_tcp": {"tcp": "h:1", "framer": "rtu"},
    "ascii": {"serial": "/dev/x", "framer": "ascii"},
}
CRC = Callable[[bytes], bytes]


def profile_of(points: dict[str, dict[str, Any]]) -> Profile:
    filled = {name: {"unit": "1", "role": "gauge", **point} for name, point in points.items()}
    return Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "gas", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
         "points": filled}
    )  # fmt: skip


METER = profile_of({"volume": {"address": 0x10, "type": "u32"}, "flow": {"address": 0x200, "type": "f32"}})


def reads_of(kind: str, profile: Profile = METER, unit: int = 7) -> Sequence[Request]:
    line = MODBUS.line_model.model_validate({"driver": "modbus", **LINES[kind]})
    return MODBUS.plan(line, MeterPlan("m", {"unit": unit}, profile, profile.points))


def answer(kind: str, frame: bytes, pdu: bytes, crc: CRC) -> bytes:
    """Compose the reply of the unit that a frame asks, without the driver's code."""
    if kind in ("tcp", "udp"):
        return frame[:4] + struct.pack(">H", len(pdu) + 1) + frame[6:7] + pdu
    if kind == "ascii":
        raw = bytes.fromhex(frame[1:3].decode()) + pdu
        return b":" + (raw + bytes([-sum(raw) & 0xFF])).hex().upper().encode() + b"\r\n"
    return frame[:1] + pdu + crc(frame[:1] + pdu)


def values_of(values: Any) -> list[tuple[str, float | None]]:
    return [(value.point, value.value) for value in values]


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.2p1\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"220 ready"])
def test_another_service_on_the_port_is_named_by_its_words(words: bytes) -> None:
    read = reads_of("tcp")[0]
    read.request()
    said = words.split(b"\r")[0].decode()
    with pytest.raises(BadFrame, match=f"this is not Modbus TCP: '{said}'; is it the right port?") as refused:
        read.length_of(words)
    assert "端口对吗" in refused.value.say("zh")


# -- F21, F22: late and foreign replies


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_f21_of_all_late_replies_none_is_taken_for_another(kind: str, crc: CRC) -> None:
    """Every reply of 200 requests is offered to every later request of every read: none fits but its own."""
    reads = reads_of(kind)
    late: list[bytes] = []
    for number in range(200):
        read = reads[number % 2]
        frame = read.request()
        for reply in late:
            for refuse in (read.length_of, read.decode):
                with pytest.raises(BadFrame, match="stale"):
                    refuse(reply)
        own = answer(kind, frame, b"\x03\x04" + struct.pack(">I", number), crc)
        assert read.decode(own)
        late.append(own)


def test_f21_an_id_comes_back_only_after_all_others() -> None:
    (read, other) = reads_of("tcp")
    ids = [each.request()[:2] for _ in range(0x8000) for each in (read, other)]
    assert len(set(ids)) == 0x10000


@pytest.mark.parametrize("kind", ["rtu", "rtu_over_tcp", "ascii"])
@pytest.mark.parametrize("wrong", ["unit", "function", "count"])
def test_f22_the_answer_of_another_meter_is_refused(kind: str, wrong: str, crc: CRC) -> None:
    read = reads_of(kind)[0]
    foreign = reads_of(kind, unit=8)[0].request() if wrong == "unit" else read.request()
    pdu = {"unit": b"\x03\x04", "function": b"\x04\x04", "count": b"\x03\x08\0\0\0\0"}[wrong] + struct.pack(">I", 5)
    reply = answer(kind, foreign, pdu, crc)
    for refuse in (read.length_of, read.decode):
        with pytest.raises(BadFrame):
            refuse(reply)


@pytest.mark.parametrize("kind", ["rtu", "rtu_over_tcp", "ascii"])
def test_f22_a_reply_that_could_be_that_to_another_request_says_so(kind: str) -> None:
    """Two reads of as many registers cannot be told apart on these lines: the line owner must know it, and wait."""
    assert [read.replies_are_distinct for read in reads_of(kind)] == [False, False]
    assert [read.replies_are_distinct for read in reads_of("tcp")] == [True, True]


# -- F23: noise, cuts, echoes


@pytest.mark.parametrize("kind", LINES)
def test_f23_frames_on_each_others_heels_are_told_apart(kind: str, crc: CRC) -> None:
    read = reads_of(kind)[0]
    reply = answer(kind, read.request(), b"\x03\x04" + struct.pack(">I", 5), crc)
    assert read.length_of(reply + reply) == len(reply)
    assert values_of(read.decode(reply)) == [("volume", 5.0)]
    with pytest.raises(BadFrame):
        read.decode(reply + reply)


@pytest.mark.parametrize("kind", LINES)
def test_f23_a_cut_reply_is_never_decoded(kind: str, crc: CRC) -> None:
    read = reads_of(kind)[0]
    reply = answer(kind, read.request(), b"\x03\x04" + struct.pack(">I", 5), crc)
    for length in range(len(reply)):
        assert read.length_of(reply[:length]) is None
        with pytest.raises(BadFrame):
            read.decode(reply[:length])


@pytest.mark.parametrize("kind", ["rtu", "ascii"])
@pytest.mark.parametrize(
    "point",
    [{"address": 0x0410, "type": "u32"}, {"address": 0x0300, "fc": 1, "type": "bool"}],
    ids=["head like a reply", "length like a reply"],
)
def test_f23_our_own_echo_is_no_reply_though_it_looks_like_one(kind: str, point: dict[str, Any], crc: CRC) -> None:
    points = {"x": point}
    if point["type"] == "bool":
        points["last"] = {**point, "address": 0x0300 + 17}
    profile = profile_of(points).model_copy(update={"limits": METER.limits.model_copy(update={"gap": 30})})
    (read,) = reads_of(kind, profile)
    frame = read.request()
    with pytest.raises(BadFrame, match="echo: true"):
        received_and_decoded(read, frame)


def received_and_decoded(read: Request, received: bytes) -> Any:
    return read.decode(received[: read.length_of(received)])


@given(st.data(), st.sampled_from(["rtu", "rtu_over_tcp", "ascii"]))
def test_f23_a_burst_of_noise_never_gives_another_value(crc: CRC, data: st.DataObject, kind: str) -> None:
    """A burst of up to 16 bits is always seen by CRC-16, and by an LRC where it hits one character."""
    read = reads_of(kind)[0]
    reply = answer(kind, read.request(), b"\x03\x04" + struct.pack(">I", 123456), crc)
    start = data.draw(st.integers(0, len(reply) * 8 - 1))
    span = 1 if kind == "ascii" else 16
    burst = data.draw(st.integers(1, 2**span - 1))
    number = int.from_bytes(reply, "big") ^ (burst << start)
    mangled = (number & (1 << 8 * len(reply)) - 1).to_bytes(len(reply), "big")
    if mangled.upper() == reply:
        return
    with pytest.raises((BadFrame, MeterRefused)):
        read.decode(mangled)


# -- F24: exceptions


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("code", range(1, 12))
def test_f24_an_exception_names_itself_and_the_next_step(kind: str, code: int, crc: CRC) -> None:
    read = reads_of(kind)[0]
    reply = answer(kind, read.request(), bytes([0x83, code]), crc)
    assert read.length_of(reply) == len(reply)
    with pytest.raises(MeterRefused) as refused:
        read.decode(reply)
    assert refused.value.code == code
    lang: Lang
    for lang in ("zh", "en"):
        said = refused.value.say(lang)
        if code in EXCEPTIONS:
            name, step = EXCEPTIONS[code]
            assert name.say(lang) in said
            assert step.say(lang) in said
        else:
            assert ("not defined" if lang == "en" else "没有定义") in said


def test_f24_the_exceptions_of_the_standard_are_all_there() -> None:
    """V1.1b3, section 7, and code 7 of the older edition; 9 was never given."""
    assert sorted(EXCEPTIONS) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]


# -- F25: wrong order or type


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [({"order": "ABCD"}, Quality.OUT_OF_RANGE), ({"order": "BADC"}, Quality.OUT_OF_RANGE), ({"order": "DCBA"}, Quality.OUT_OF_RANGE),
     ({"type": "u32"}, Quality.OUT_OF_RANGE), ({"type": "bcd8"}, Quality.BAD)],
)  # fmt: skip
def test_f25_a_wrong_order_or_type_is_out_of_range(wrong: dict[str, Any], expected: Quality) -> None:
    """TMS thermal gas meter, 31.09 C in CDAB: nothing else it could be read as is a temperature of gas."""
    point = {"address": 12, "type": "f32", "order": "CDAB", "valid": [-0, 60]}
    vector = {"reply": "01 03 04 BA 4A 41 F8 CF 2F", "address": 12}
    assert value_of(point, vector).value == 31.090961
    assert value_of({**point, **wrong}, vector).quality is expected


def value_of(point: dict[str, Any], vector: dict[str, Any]) -> Value:
    (value,) = MODBUS.replay(profile_of({"x": point}), vector)
    return value


# -- F26: lengths


@pytest.mark.parametrize("kind", LINES)
def test_f26_no_reply_is_longer_than_a_frame_may_be(kind: str) -> None:
    points = {f"p{at}": {"address": at, "type": "u16"} for at in range(125)}
    profile = profile_of(points).model_copy(update={"limits": METER.limits.model_copy(update={"max_registers": 125})})
    (read,) = reads_of(kind, profile)
    assert read.longest_reply == read.reply_bytes <= (513 if kind == "ascii" else 260)


@pytest.mark.parametrize("length", [0, 1, 2, 255, 0xFFFF])
def test_f26_a_length_that_cannot_be_is_refused_at_once(length: int) -> None:
    read = reads_of("tcp")[0]
    with pytest.raises(BadFrame, match="length field"):
        read.length_of(read.request()[:4] + struct.pack(">H", length))


@pytest.mark.parametrize("kind", ["rtu", "ascii"])
def test_f26_bytes_without_end_are_refused_or_bounded(kind: str) -> None:
    read = reads_of(kind)[0]
    endless = b":0703" + b"04" * 5000 if kind == "ascii" else b"\x07\x03\x04" * 3000
    whole = read.length_of(endless)
    assert whole is not None
    assert whole <= read.longest_reply
    with pytest.raises(BadFrame):
        read.decode(endless[:whole])
