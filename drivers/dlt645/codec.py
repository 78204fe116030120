"""DL/T 645-2007 bytes: frames, and the values in them.

A frame is `68 A0..A5 68 C L DATA CS 16`: the address with its lowest pair first, every data byte plus 0x33, CS the sum
of all before it. Up to some FE come before it, to wake the line.

Promises
    * `Frame.of` takes a whole frame with the right checksum, or raises BadFrame.
    * `Frame.to_bytes` makes requests that read, and no others.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

from metering.errors import BadFrame
from metering.text import Text

READ, READ_NEXT, READ_ADDRESS, READ_1997 = 0x11, 0x12, 0x13, 0x01
READS = (READ, READ_NEXT, READ_ADDRESS, READ_1997)
"""The control codes a request may have. The others write, freeze or switch."""
REPLY, ERROR, MORE = 0x80, 0x40, 0x20
"""Bits of a control code: from the meter; refused; more frames follow."""
PREAMBLE = b"\xfe\xfe\xfe\xfe"
MAX_PREAMBLE = 16
"""More FE than that is noise."""
MAX_DATA = 200
"""Bytes of data in the answer to a read."""
_OFFSET = 0x33
_AROUND = 12
"""Bytes of a frame besides its data."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `data` is as meant, without the 0x33 of the line."""

    number: str
    """Twelve digits, highest first; `A` for any."""
    control: int
    data: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the frame without preamble.

        Raises:
            ValueError: the control code is not that of a read.
        """
        if self.control not in READS:
            raise ValueError(f"control code {self.control:#04x} does not read")
        address = bytes.fromhex(self.number)[::-1]
        head = bytes([0x68, *address, 0x68, self.control, len(self.data)])
        body = head + bytes(byte + _OFFSET & 0xFF for byte in self.data)
        return body + bytes([sum(body) & 0xFF, 0x16])

    @staticmethod
    def of(received: bytes) -> "Frame":
        """Return the frame in `received`, which holds it and its preamble only.

        Raises:
            BadFrame: it is not one, whole, with its checksum.
        """
        if frame_length(received) != len(received):
            raise _bad("报文长度不符", f"{len(received)} bytes are not one whole frame")
        frame = received.lstrip(b"\xfe")
        if frame[-2] != sum(frame[:-2]) & 0xFF:
            raise _bad("校验和不符", f"wrong checksum {frame[-2]:02X}, not {sum(frame[:-2]) & 0xFF:02X}")
        if frame[-1] != 0x16:
            raise _bad("结束符不是 16", f"ends with {frame[-1]:02X}, not 16")
        data = bytes(byte - _OFFSET & 0xFF for byte in frame[10:-2])
        return Frame(frame[6:0:-1].hex().upper(), frame[8], data)


def frame_length(received: bytes) -> int | None:
    """Return how many of `received` make a whole frame with its preamble, or None while more must come.

    Raises:
        BadFrame: it does not begin as a frame does, or states too much data.
    """
    frame = received.lstrip(b"\xfe")
    preamble = len(received) - len(frame)
    if preamble > MAX_PREAMBLE:
        raise _bad("前导字节过多", f"{preamble} times FE")
    if frame[:1] not in (b"", b"\x68") or frame[7:8] not in (b"", b"\x68"):
        raise _bad("不是 DL/T 645 报文", f"no frame begins with {frame[:8].hex(' ').upper()}")
    if len(frame) < 10:
        return None
    if frame[9] > MAX_DATA:
        raise _bad(f"数据长度 {frame[9]}", f"{frame[9]} data bytes, at most {MAX_DATA}")
    whole = _AROUND + frame[9]
    return preamble + whole if len(frame) >= whole else None


def _bad(zh: str, en: str) -> BadFrame:
    return BadFrame(Text(zh, en))


def answers(asked: str, number: str) -> bool:
    """Whether the meter `number` is meant by the address `asked`, which may hold `A`."""
    return all(digit in ("A", given) for digit, given in zip(asked, number, strict=True))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a value lies in its bytes: BCD, lowest pair first."""

    size: int
    decimals: int
    signed: bool
    """The top bit of the highest byte is the sign."""

    @property
    def step(self) -> Decimal:
        return Decimal(1).scaleb(-self.decimals)

    def number(self, data: bytes) -> int | None:
        """Return the digits as a whole number; None where a nibble is above 9 (FF: not available)."""
        negative = self.signed and data[-1] & 0x80 != 0
        high = data[-1] & 0x7F if self.signed else data[-1]
        text = bytes([high, *data[-2::-1]]).hex()
        if not text.isdecimal():
            return None
        return -int(text) if negative else int(text)


_DIS: list[tuple[str, Layout]] = [
    ("0000[0-3].00", Layout(4, 2, True)),
    ("000[12][0-3].00", Layout(4, 2, False)),
    ("000[34][0-3].00", Layout(4, 2, True)),
    ("02010[123]00", Layout(2, 1, False)),
    ("02020[123]00", Layout(3, 3, True)),
    ("020[34]0[0123]00", Layout(3, 4, True)),
    ("02060[0123]00", Layout(2, 3, True)),
    ("02800002", Layout(2, 2, False)),
]
"""Energy by tariff (combined and reactive totals carry a sign), voltage, current, active and reactive power, power
factor, frequency. DL/T 645-2007, annex A."""

_TYPE = re.compile(r"(s?)bcd([1-8])\.([0-9])")


def layout(di: str, type_name: str | None) -> Layout | None:
    """Return how the value of a DI lies: as `type_name` says (`bcd4.2`, `sbcd3.4`), else as the table of DIs does."""
    if type_name is not None:
        match = _TYPE.fullmatch(type_name)
        return Layout(int(match[2]), int(match[3]), bool(match[1])) if match else None
    return next((found for pattern, found in _DIS if re.fullmatch(pattern, di)), None)


def error_text(bits: int) -> Text:
    """Return the meaning of the byte of an error reply."""
    named = [text for bit, text in enumerate(_ERRORS) if bits >> bit & 1]
    if not named:
        return Text("未说明原因", "no reason given")
    return Text("、".join(text.zh for text in named), ", ".join(text.en for text in named))


_ERRORS = (
    Text("其他错误", "other error"),
    Text("无请求数据", "it has no such data"),
    Text("密码错或未授权", "wrong password or not authorised"),
    Text("通信速率不能更改", "baud rate cannot be changed"),
    Text("年时区数超", "too many seasons"),
    Text("日时段数超", "too many day periods"),
    Text("费率数超", "too many tariffs"),
    Text("保留", "reserved"),
)
