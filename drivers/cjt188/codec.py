"""CJ/T 188 bytes: frames.

A frame is `68 T A0..A6 C L DATA CS 16`: T the kind of meter, the address with its lowest pair first (five pairs of digits
and two of the maker), CS the sum of all before it. Some FE come before it, to wake the line; what stands before the first
68 is not looked at, as long as it is short.

Promises
    * `Frame.of` takes a whole frame with the right checksum, or raises BadFrame; a wrong one passes only where it is told
      so, and is then known by `sound`.
    * `Frame.to_bytes` makes requests that read, and no others.
"""

from dataclasses import dataclass

from metering.errors import BadFrame
from metering.text import Text

READ, READ_ADDRESS = 0x01, 0x03
READS = frozenset({READ, READ_ADDRESS})
"""The control codes a request may have. The others write, or move a valve."""
REPLY, ERROR = 0x80, 0x40
"""Bits of a control code: from the meter; refused."""
WAKE = 0xFE
ANY = "AA"
MAX_PREAMBLE = 32
"""More bytes than that before the first 68 are noise."""
MAX_DATA = 100
"""Bytes of data in the answer to a read."""
AROUND = 13
"""Bytes of a frame besides its data."""
LONGEST = MAX_PREAMBLE + AROUND + MAX_DATA


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    type: str
    """The kind of meter, two digits: 10 cold water, 20 heat, 30 gas; `AA` any."""
    number: str
    """Fourteen digits, highest first: the maker's four, then the meter's ten; `A` for any."""
    control: int
    data: bytes = b""
    sound: bool = True
    """Whether its checksum was right."""

    def to_bytes(self) -> bytes:
        """Return the frame without preamble.

        Raises:
            ValueError: the control code is not that of a read.
        """
        if self.control not in READS:
            raise ValueError(f"control code {self.control:#04x} does not read")
        head = bytes([0x68, int(self.type, 16), *bytes.fromhex(self.number)[::-1], self.control, len(self.data)])
        body = head + self.data
        return body + bytes([sum(body) & 0xFF, 0x16])

    @staticmethod
    def of(received: bytes, *, lenient: bool = False) -> "Frame":
        """Return the frame in `received`, which holds it and its preamble only.

        Raises:
            BadFrame: it is not one, whole, with its checksum; `lenient`: or without.
        """
        if frame_length(received) != len(received):
            raise bad("报文长度不符", f"{len(received)} bytes are not one whole frame")
        frame = received[received.index(0x68) :]
        sound = frame[-2] == sum(frame[:-2]) & 0xFF
        if not sound and not lenient:
            raise bad("校验和不符", f"wrong checksum {frame[-2]:02X}, not {sum(frame[:-2]) & 0xFF:02X}")
        if frame[-1] != 0x16:
            raise bad("结束符不是 16", f"ends with {frame[-1]:02X}, not 16")
        return Frame(f"{frame[1]:02X}", frame[8:1:-1].hex().upper(), frame[9], frame[11:-2], sound)


def frame_length(received: bytes) -> int | None:
    """Return how many of `received` make a whole frame with its preamble, or None while more must come.

    Raises:
        BadFrame: no frame begins in time, or it states too much data.
    """
    preamble = received.find(0x68)
    if preamble < 0:
        preamble = len(received)
    if preamble > MAX_PREAMBLE:
        raise bad("前导字节过多，没有帧起始符 68", f"{preamble} bytes before the 68 of a frame")
    frame = received[preamble:]
    if len(frame) < 11:
        return None
    if frame[10] > MAX_DATA:
        raise bad(f"数据长度 {frame[10]}", f"{frame[10]} data bytes, at most {MAX_DATA}")
    whole = AROUND + frame[10]
    return preamble + whole if len(frame) >= whole else None


def control_of(received: bytes) -> int | None:
    """Return the control code of what has come so far, or None before it has come."""
    begin = received.find(0x68)
    return received[begin + 9] if 0 <= begin < len(received) - 9 else None


def bad(zh: str, en: str) -> BadFrame:
    return BadFrame(Text(zh, en))


def answers(asked: str, given: str) -> bool:
    """Whether the meter or kind `given` is meant by the address `asked`, which may hold `A`."""
    return all(want in ("A", have) for want, have in zip(asked, given, strict=True))
