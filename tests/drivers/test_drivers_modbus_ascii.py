"""Modbus: ASCII frames, datagrams and TLS, and which framer goes with which line."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerAscii
from pymodbus.pdu import DecodePDU

import drivers.modbus
from drivers.contract import MeterPlan, Request
from metering.errors import BadFrame, MeteringError, MeterRefused
from metering.profile import Profile

MODBUS = drivers.modbus.DRIVER
PROFILE = Profile.model_validate(
    {"vendor": "x", "model": "y", "kind": "gas", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
     "points": {"a": {"address": 0x6B, "type": "u16", "unit": "1", "role": "gauge"},
                "b": {"address": 0x6C, "type": "u32", "unit": "1", "role": "gauge"}}}
)  # fmt: skip


def read_of(unit: int = 0xF7, **where: object) -> Request:
    line = MODBUS.line_model.model_validate({"driver": "modbus", **where})
    (read,) = MODBUS.plan(line, MeterPlan("m", {"unit": unit}, PROFILE, PROFILE.points))
    return read


def ascii_read() -> Request:
    return read_of(serial="/dev/x", framer="ascii", frame="7E1")


def framed(octets: str) -> bytes:
    """Compose a frame as the specification draws it (serial line V1.02, 2.5.2), without the driver's code."""
    raw = bytes.fromhex(octets)
    lrc = (0x100 - sum(raw) % 0x100) % 0x100
    return b":" + raw.hex().upper().encode() + f"{lrc:02X}".encode() + b"\r\n"


REPLY = framed("F7 03 06 022B 00000064")


def test_a_request_is_text_with_a_checksum() -> None:
    assert ascii_read().request() == b":F703006B000398\r\n"


def test_a_published_frame_has_our_checksum() -> None:
    """The example of the specification: write-free, 17 03 006B 0003 has LRC 78."""
    assert read_of(0x17, tcp="h:1", framer="ascii").request() == b":1703006B000378\r\n"


def test_a_reply_is_whole_at_its_line_feed_only() -> None:
    read = ascii_read()
    read.request()
    assert [read.length_of(REPLY[:length]) for length in range(len(REPLY))] == [None] * len(REPLY)
    assert read.length_of(REPLY + b":F7") == len(REPLY) == read.reply_bytes
    assert [value.value for value in read.decode(REPLY)] == [0x022B, 100.0]


def test_digits_may_be_small() -> None:
    assert [value.value for value in ascii_read().decode(REPLY.lower())] == [0x022B, 100.0]


def test_an_exception_is_text_too() -> None:
    read = ascii_read()
    reply = framed("F7 83 02")
    assert [read.length_of(reply[:length]) for length in range(len(reply))] == [None] * len(reply)
    assert read.length_of(reply) == len(reply) == 11
    with pytest.raises(MeterRefused, match="exception 2"):
        read.decode(reply)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (framed("F6 03 06 022B 00000064"), "unit 246, not 247"),
        (framed("F7 04 06 022B 00000064"), "function 4, not 3"),
        (framed("F7 03 04 022B0000"), "4 data bytes, not 6"),
        (REPLY[:-4] + b"00\r\n", "LRC"),
        (REPLY[:-2] + b"\n\r", "not hexadecimal"),
        (REPLY[:-1] + b"\r", "CR LF"),
        (REPLY[:5] + b"G" + REPLY[6:], "not hexadecimal"),
        (REPLY[:5] + b" " + REPLY[6:], "not hexadecimal"),
        (b"F7" + REPLY, "begins with a colon"),
        (bytes([REPLY[0] | 0x80]) + REPLY[1:], "7E1"),
        (b":F703006B000398\r\n", "echo: true"),
        (b":\r\n", "CR LF"),
        (framed("F7 03"), "CR LF"),
    ],
)  # fmt: skip
def test_what_is_no_reply_is_refused(reply: bytes, words: str) -> None:
    read = ascii_read()
    read.request()
    with pytest.raises(BadFrame, match=words):
        read.decode(reply)


def test_ascii_garbage_is_refused_as_soon_as_it_is_seen() -> None:
    for garbage in (b"F703", b":ZZ", b":F8", b":F704", b":F70302", b"\xba"):
        with pytest.raises(BadFrame):
            ascii_read().length_of(garbage)


@given(st.binary(min_size=6, max_size=6))
def test_pymodbus_reads_the_same_frames(data: bytes) -> None:
    reply = framed("F70306" + data.hex())
    _, pdu = FramerAscii(DecodePDU(False)).handleFrame(reply, 0xF7, 0)
    assert pdu is not None
    assert b"".join(register.to_bytes(2, "big") for register in pdu.registers) == data
    assert b"".join(value.raw or b"" for value in ascii_read().decode(reply)) == data


@given(st.integers(0, len(REPLY) - 1), st.integers(0, 255))
def test_f23_one_wrong_character_never_gives_another_value(at: int, byte: int) -> None:
    mangled = bytearray(REPLY)
    mangled[at] = byte
    if bytes(mangled).upper() == REPLY:
        return
    with pytest.raises((BadFrame, MeterRefused)):
        ascii_read().decode(bytes(mangled))


# -- lines


def test_datagrams_and_tls_carry_the_header_of_modbus_tcp() -> None:
    for where in ({"udp": "h:502"}, {"tcp": "h:802", "tls": {}}):
        read = read_of(7, **where)
        assert read.request()[2:] == bytes.fromhex("0000 0006 07 03 006B 0003")
        assert read.replies_are_distinct


@pytest.mark.parametrize("framer", ["rtu", "ascii"])
@pytest.mark.parametrize("where", [{"serial": "/dev/x"}, {"tcp": "h:1"}, {"udp": "h:1"}, {"tcp": "h:1", "tls": {}}])
def test_serial_frames_go_on_any_line_and_name_no_request(framer: str, where: dict[str, object]) -> None:
    assert not read_of(7, framer=framer, **where).replies_are_distinct


@pytest.mark.parametrize(
    ("where", "words"),
    [({"serial": "/dev/x", "framer": "tcp"}, "rtu or ascii"), ({"serial": "/dev/x", "frame": "7E1"}, "8 data bits"),
     ({"tcp": "h:1", "framer": "rtutcp"}, "framer"), ({"udp": "h:1", "tls": {}}, "tcp only")],
)  # fmt: skip
def test_a_combination_that_cannot_be_is_refused(where: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_of(**where)


def test_unit_zero_is_for_networks() -> None:
    assert read_of(0, tcp="h:502").request()[6] == 0
    with pytest.raises(MeteringError, match="broadcast"):
        read_of(0, serial="/dev/x")


def test_ascii_needs_no_silence() -> None:
    line = MODBUS.line_model.model_validate(
        {"driver": "modbus", "serial": "/dev/x", "framer": "ascii", "turnaround": "20 ms"}
    )
    assert MODBUS.silence_s(line) == 0.02


def test_the_predicted_bytes_are_those_on_the_line(crc: Callable[[bytes], bytes]) -> None:
    read = read_of(7, serial="/dev/x")
    body = bytes.fromhex("07 03 06 022B 00000064")
    assert (read.request_bytes, read.reply_bytes) == (8, len(body + crc(body)))
    assert (ascii_read().request_bytes, ascii_read().reply_bytes) == (17, len(REPLY))
