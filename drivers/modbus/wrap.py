"""How a request and its reply are wrapped: with a transaction id (TCP, UDP, TLS), a checksum (RTU), or as text (ASCII).

A wrapping belongs to one request of one unit. It makes the frames, and of what comes it says how far the reply has come
and what the unit said, as function code and data. Whatever is not a reply of this unit to the frame last sent is refused.
"""

from itertools import count
from typing import Protocol

from pymodbus.framer import FramerAscii, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU

from metering.errors import BadFrame
from metering.text import Text

LONGEST_SAID = 253
"""Bytes of function code and data together (Modbus application protocol V1.1b3, section 4.1)."""
_REPLIES = DecodePDU(is_server=False)
_transactions = count(1)
"""Shared by all lines: an id comes back after 65536 requests, long after any late reply."""


class Wrapping(Protocol):
    distinct: bool
    """Whether a reply names the request it answers."""
    data_at: int | None
    """Where data begins in a reply whose head is right, and that ends with it; None: ask `said`."""

    @property
    def request_bytes(self) -> int: ...

    def request(self) -> bytes:
        """Return the frame to send."""
        ...

    def head(self, said: bytes, length: int) -> bytes:
        """Return what a reply to the frame last sent begins with if the unit says `length` bytes beginning with `said`."""
        ...

    def so_far(self, received: bytes) -> bytes:
        """Return what the unit has said so far; perhaps with what ends the frame.

        Raises:
            BadFrame: this can never become a reply of the unit to the frame last sent.
        """
        ...

    def size(self, length: int) -> int:
        """Return the bytes of a reply in which the unit says `length` bytes."""
        ...

    def whole(self, received: bytes, length: int) -> int | None:
        """Return how much of `received` is a reply in which the unit says `length` bytes, None while more must come.

        Raises:
            BadFrame: the frame itself states another length.
        """
        ...

    def said(self, reply: bytes) -> bytes:
        """Return what the unit says in a whole reply.

        Raises:
            BadFrame: it is no such reply.
        """
        ...


class Mbap:
    """The header of Modbus TCP; a new transaction id with each frame."""

    distinct = True
    data_at: int | None = 9

    def __init__(self, unit: int, pdu: ModbusPDU) -> None:
        self._unit = unit
        self._rest = FramerSocket(_REPLIES).buildFrame(pdu)[2:]
        self._sent = b"\0\0"
        self.request_bytes = 2 + len(self._rest)

    def request(self) -> bytes:
        self._sent = (next(_transactions) & 0xFFFF).to_bytes(2, "big")
        return self._sent + self._rest

    def head(self, said: bytes, length: int) -> bytes:
        return self._sent + bytes([0, 0, *(length + 1).to_bytes(2, "big"), self._unit]) + said

    def so_far(self, received: bytes) -> bytes:
        if len(received) >= 4 and received[2:4] != b"\0\0":
            _refuse_foreign(received)
        if len(received) >= 2 and received[:2] != self._sent:
            theirs, ours = received[:2].hex(), self._sent.hex()
            raise bad(f"迟到的应答，事务号 {theirs}，应为 {ours}", f"stale: transaction {theirs}, not {ours}")
        if len(received) >= 4 and received[2:4] != b"\0\0":
            raise bad("不是 Modbus 协议", f"protocol {received[2:4].hex()}, not 0000")
        stated = int.from_bytes(received[4:6], "big")
        if len(received) >= 6 and not 3 <= stated <= LONGEST_SAID + 1:
            raise bad(f"长度字段 {stated}，不可能", f"length field {stated}, which cannot be")
        check_unit(received[6:7], self._unit)
        return received[7 : 6 + stated]

    def size(self, length: int) -> int:
        return 7 + length

    def whole(self, received: bytes, length: int) -> int | None:
        stated = int.from_bytes(received[4:6], "big")
        if stated != length + 1:
            raise bad(f"长度字段 {stated}，应为 {length + 1}", f"length field {stated}, not {length + 1}")
        return _if_there(received, self.size(length))

    def said(self, reply: bytes) -> bytes:
        said = self.so_far(reply)
        if len(reply) < 9:
            raise bad(f"只有 {len(reply)} 字节", f"only {len(reply)} bytes")
        self.whole(reply, len(reply) - 7)
        return said


def _refuse_foreign(received: bytes) -> None:
    """Refuse another service's words: what no Modbus TCP device says, and a person can read."""
    words = received[:24].split(b"\r")[0].split(b"\n")[0]
    if len(words) >= 4 and words.isascii() and words.decode("ascii").isprintable():
        said = words.decode("ascii")
        raise bad(
            f"这不是 Modbus TCP：“{said}”；端口对吗？", f"this is not Modbus TCP: {said!r}; is it the right port?"
        )


class Rtu:
    """A checksum behind. The line owner keeps the silence that marks a frame's ends."""

    distinct = False
    data_at: int | None = None

    def __init__(self, unit: int, pdu: ModbusPDU) -> None:
        self._unit = unit
        self._frame = FramerRTU(_REPLIES).buildFrame(pdu)
        self.request_bytes = len(self._frame)

    def request(self) -> bytes:
        return self._frame

    def head(self, said: bytes, length: int) -> bytes:
        return bytes([self._unit]) + said

    def so_far(self, received: bytes) -> bytes:
        check_unit(received[:1], self._unit)
        check_echo(received, self._frame)
        return received[1:]

    def size(self, length: int) -> int:
        return length + 3

    def whole(self, received: bytes, length: int) -> int | None:
        return _if_there(received, self.size(length))

    def said(self, reply: bytes) -> bytes:
        check_unit(reply[:1], self._unit)
        check_echo(reply, self._frame)
        if len(reply) < 5 or FramerRTU.compute_CRC(reply[:-2]) != int.from_bytes(reply[-2:], "big"):
            raise bad("CRC 校验不符", "wrong checksum (CRC)")
        return reply[1:-2]


class Ascii:
    """A colon, hexadecimal digits with a checksum (LRC), CR and LF."""

    distinct = False
    data_at: int | None = None

    def __init__(self, unit: int, pdu: ModbusPDU) -> None:
        self._unit = unit
        self._frame = FramerAscii(_REPLIES).buildFrame(pdu)
        self.request_bytes = len(self._frame)

    def request(self) -> bytes:
        return self._frame

    def head(self, said: bytes, length: int) -> bytes:
        return b":" + bytes([self._unit, *said]).hex().upper().encode()

    def so_far(self, received: bytes) -> bytes:
        check_echo(received, self._frame)
        octets = _octets(received)
        check_unit(octets[:1], self._unit)
        return octets[1:]

    def size(self, length: int) -> int:
        return 1 + 2 * (length + 2) + 2

    def whole(self, received: bytes, length: int) -> int | None:
        return _if_there(received, self.size(length))

    def said(self, reply: bytes) -> bytes:
        check_echo(reply, self._frame)
        octets = _octets(reply)
        check_unit(octets[:1], self._unit)
        if len(octets) < 4 or len(reply) != 2 * len(octets) + 3 or not reply.endswith(b"\r\n"):
            raise bad("ASCII 帧没有以 CR LF 结束", "an ASCII frame that does not end with CR LF")
        if sum(octets) & 0xFF:
            raise bad("LRC 校验不符", "wrong checksum (LRC)")
        return octets[1:-1]


_HEX = frozenset(b"0123456789ABCDEFabcdef")


def _octets(received: bytes) -> bytes:
    """Return what the digits of an ASCII frame mean, up to its CR or the last whole pair."""
    if received[:1] not in (b"", b":"):
        if received[0] & 0x80:
            raise bad("收到的字节最高位为 1：ASCII 设备多用 frame: 7E1",
                      "bytes with the top bit set: ASCII devices mostly need frame: 7E1")  # fmt: skip
        raise bad("ASCII 帧应以冒号开头", "an ASCII frame begins with a colon")
    digits, ended, _ = received[1 : 2 * LONGEST_SAID + 8].partition(b"\r")
    if not _HEX.issuperset(digits) or (ended and len(digits) % 2):
        raise bad("ASCII 帧中有不是十六进制的字符", "characters in an ASCII frame that are not hexadecimal")
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())


def _if_there(received: bytes, size: int) -> int | None:
    return size if len(received) >= size else None


def check_unit(theirs: bytes, unit: int) -> None:
    if theirs and theirs[0] != unit:
        raise bad(f"来自站号 {theirs[0]}，应为 {unit}", f"from unit {theirs[0]}, not {unit}")


def check_echo(received: bytes, frame: bytes) -> None:
    """Refuse our own request: its head, unit, function and address, can look like that of a reply."""
    if received.startswith(frame):
        raise bad("收到的是自己发出的请求：适配器有回显，请写 echo: true",
                  "our own request came back: the adapter echoes, say echo: true")  # fmt: skip


def bad(zh: str, en: str) -> BadFrame:
    return BadFrame(Text(zh, en))
