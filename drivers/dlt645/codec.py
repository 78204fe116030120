"""DL/T 645 bytes: frames of both editions, and the errors meters answer with.

A frame is `68 A0..A5 68 C L DATA CS 16`: the address with its lowest pair first, every data byte plus 0x33, CS the sum
of all before it. Some FE come before it, to wake the line; they are there to be spoiled, so what stands before the
first 68 is not looked at, as long as it is short.

Promises
    * `Frame.of` takes a whole frame with the right checksum, or raises BadFrame.
    * `Frame.to_bytes` makes requests that read, and no others.
"""

from dataclasses import dataclass

from metering.errors import BadFrame
from metering.text import Text

READ_ADDRESS = 0x13
REPLY, ERROR, MORE = 0x80, 0x40, 0x20
"""Bits of a control code: from the meter; refused; more frames follow."""
WAKE = 0xFE
MAX_PREAMBLE = 32
"""More bytes than that before the first 68 are noise."""
MAX_DATA = 200
"""Bytes of data in the answer to a read."""
AROUND = 12
"""Bytes of a frame besides its data."""
LONGEST = MAX_PREAMBLE + AROUND + MAX_DATA
ANY_METER = "A" * 12
_OFFSET = 0x33


@dataclass(frozen=True, slots=True)
class Edition:
    """What differs between the standard of 1997 and that of 2007."""

    year: int
    di_size: int
    read: int
    read_next: int
    numbered: bool
    """Whether further frames carry a number, SEQ."""
    errors: tuple[Text, ...]
    """The bits of the byte of an error reply, lowest first."""


_SEASONS = (Text("年时区数超", "too many seasons"), Text("日时段数超", "too many day periods"),
            Text("费率数超", "too many tariffs"), Text("保留", "reserved"))  # fmt: skip
EDITION_2007 = Edition(2007, 4, 0x11, 0x12, True, (
    Text("其他错误", "other error"),
    Text("无请求数据", "it has no such data"),
    Text("密码错或未授权", "wrong password or not authorised"),
    Text("通信速率不能更改", "baud rate cannot be changed"),
    *_SEASONS,
))  # fmt: skip
EDITION_1997 = Edition(1997, 2, 0x01, 0x02, False, (
    Text("非法数据", "illegal data"),
    Text("数据标识错", "it has no such data"),
    Text("密码错", "wrong password"),
    Text("保留", "reserved"),
    *_SEASONS,
))  # fmt: skip
EDITIONS = {edition.year: edition for edition in (EDITION_2007, EDITION_1997)}

READS = frozenset(
    {READ_ADDRESS, *(code for edition in EDITIONS.values() for code in (edition.read, edition.read_next))}
)
"""The control codes a request may have. The others write, freeze or switch."""


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
            raise bad("报文长度不符", f"{len(received)} bytes are not one whole frame")
        frame = received[received.index(0x68) :]
        if frame[-2] != sum(frame[:-2]) & 0xFF:
            raise bad("校验和不符", f"wrong checksum {frame[-2]:02X}, not {sum(frame[:-2]) & 0xFF:02X}")
        if frame[-1] != 0x16:
            raise bad("结束符不是 16", f"ends with {frame[-1]:02X}, not 16")
        data = bytes(byte - _OFFSET & 0xFF for byte in frame[10:-2])
        return Frame(frame[6:0:-1].hex().upper(), frame[8], data)


def frame_length(received: bytes) -> int | None:
    """Return how many of `received` make a whole frame with its preamble, or None while more must come.

    Raises:
        BadFrame: it does not begin as a frame does, or states too much data.
    """
    preamble = received.find(0x68)
    if preamble < 0:
        preamble = len(received)
    if preamble > MAX_PREAMBLE:
        raise bad("前导字节过多，没有帧起始符 68", f"{preamble} bytes before the 68 of a frame")
    frame = received[preamble:]
    if frame[7:8] not in (b"", b"\x68"):
        raise bad("不是 DL/T 645 报文", f"no frame begins with {frame[:8].hex(' ').upper()}")
    if len(frame) < 10:
        return None
    if frame[9] > MAX_DATA:
        raise bad(f"数据长度 {frame[9]}", f"{frame[9]} data bytes, at most {MAX_DATA}")
    whole = AROUND + frame[9]
    return preamble + whole if len(frame) >= whole else None


def control_of(received: bytes) -> int | None:
    """Return the control code of what has come so far, or None before it has come."""
    begin = received.find(0x68)
    return received[begin + 8] if 0 <= begin < len(received) - 8 else None


def bad(zh: str, en: str) -> BadFrame:
    return BadFrame(Text(zh, en))


def answers(asked: str, number: str) -> bool:
    """Whether the meter `number` is meant by the address `asked`, which may hold `A`."""
    return all(digit in ("A", given) for digit, given in zip(asked, number, strict=True))


def error_text(bits: int, edition: Edition = EDITION_2007) -> Text:
    """Return the meaning of the byte of an error reply."""
    named = [text for bit, text in enumerate(edition.errors) if bits >> bit & 1]
    if not named:
        return Text("未说明原因", "no reason given")
    return Text("、".join(text.zh for text in named), ", ".join(text.en for text in named))
