"""Whatever a client sends, a station answers, refuses or stays silent; nothing stops the plant."""

import contextlib
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from simulators.modbus_ascii import lrc
from simulators.modbus_rtu import crc
from simulators.sockets import NotOurProtocol

Desk = Callable[..., Any]


def summed(content: bytes, before: bytes = b"") -> bytes:
    return before + content + bytes((sum(content) % 256, 0x16))


def mbap(dice: Random, data: bytes) -> bytes:
    return b"\0\1\0\0" + (len(data) + 1).to_bytes(2, "big") + b"\1" + data


def rtu(dice: Random, data: bytes) -> bytes:
    body = bytes((1, dice.choice((1, 2, 3, 4, 6, 16, 43)))) + data
    return body + crc(body).to_bytes(2, "little")


def ascii_line(dice: Random, data: bytes) -> bytes:
    return b":" + (b"\1" + data + bytes((lrc(b"\1" + data),))).hex().encode() + b"\r\n"


def dlt645(dice: Random, data: bytes) -> bytes:
    di = bytes.fromhex(dice.choice(("00000100", "00FF0100", "01000605", "01030605", "FF050004", "10C0", "1F90")))
    body = bytes((byte + 0x33) % 256 for byte in di + data)
    control = dice.choice((0x01, 0x02, 0x11, 0x12, 0x13, dice.randrange(256)))
    return summed(b"\x68" + dice.choice((b"\1\0\0\0\0\0", b"\xaa" * 6)) + b"\x68" + bytes((control, len(body))) + body)


def cjt188(dice: Random, data: bytes) -> bytes:
    control = dice.choice((1, 3, dice.randrange(256)))
    return summed(b"\x68\xaa" + b"\xaa" * 7 + bytes((control, len(data))) + data)


def mbus(dice: Random, data: bytes) -> bytes:
    to = dice.choice((1, 0xFD, 0xFE, 0xFF))
    if dice.random() < 0.5:
        return summed(bytes((dice.choice((0x40, 0x5B, 0x7B, dice.randrange(256))), to)), b"\x10")
    content = bytes((dice.choice((0x53, 0x73)), to, 0x52)) + data
    return summed(content, bytes((0x68, len(content), len(content), 0x68)))


def iec62056(dice: Random, data: bytes) -> bytes:
    return dice.choice((b"/?!\r\n", b"/?1!\r\n", b"\x06050\r\n", b"\x06051\r\n", b"\x060z0\r\n", data))


REQUESTS: dict[str, tuple[Callable[[Random, bytes], bytes], str]] = {
    "modbus-tcp": (mbap, "eastron/sdm630"),
    "modbus-rtu": (rtu, "carlo-gavazzi/em24"),
    "modbus-ascii": (ascii_line, "sunspec/meter-203"),
    "dlt645": (dlt645, "generic/dlt645-2007"),
    "cjt188": (cjt188, "generic/cjt188-heat"),
    "mbus": (mbus, "generic/mbus-heat"),
    "iec62056": (iec62056, "generic/iec62056-electricity"),
}


@pytest.mark.parametrize("protocol", list(REQUESTS))
def test_no_request_stops_a_station(desk: Desk, protocol: str) -> None:
    make, profile = REQUESTS[protocol]
    stand, dice = desk({"profile": profile}, {"protocol": protocol}), Random(protocol)
    answered = 0
    for _ in range(600):
        frame = bytearray(make(dice, dice.randbytes(dice.randrange(12))))
        if frame and dice.random() < 0.3:
            frame[dice.randrange(len(frame))] = dice.randrange(256)
        answered += drained(stand, frame)
    assert answered > 20


def drained(stand: Any, waiting: bytearray) -> int:
    """Let the station hear all there is; return how often it answered."""
    answers: list[bool] = []
    with contextlib.suppress(NotOurProtocol):
        while (request := stand.bus.cut(waiting)) is not None:
            answers.append(stand.bus.answer(request) is not None)
    return sum(answers)
