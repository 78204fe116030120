"""The messages of IEC 62056-21: sign-on, identification, acknowledgement, and the data message with its check character.

Characters have seven bits and even parity. Where a port or server passes eight, the parity bits come along: they are taken
off, and since the parity of a sum is the sum of the parities, the block check holds for both.

Promises
    * `data_block` gives the text between STX and ETX of a message whose block check character is right, or raises BadFrame.
    * Only the data readout can be asked for; programming mode is never entered.
"""

import re
from dataclasses import dataclass
from functools import reduce
from operator import xor

from metering.errors import BadFrame, MeterRefused
from metering.text import Text

STX, ETX, EOT, ACK, NAK = 0x02, 0x03, 0x04, 0x06, 0x15
SLOWEST = 300
LONGEST = 32 * 1024
"""Bytes of a readout at most."""
_BEFORE = 64
"""Bytes of noise (a change of speed makes some) before a message at most."""
_LONGEST_LINE = 64
_C_SPEEDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
_B_SPEEDS = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200}
_IDENTIFICATION = re.compile(r"/([A-Za-z]{3})(.)([^\r\n/!]*)\r\n")


@dataclass(frozen=True, slots=True)
class Identification:
    """What a meter answers to the sign-on."""

    maker: str
    """Three letters; the third is small where it needs only 20 ms to answer."""
    speed_code: str
    ident: str
    """The maker's name of the model, without the escape sequence of mode E."""

    @property
    def mode(self) -> str:
        """`A`: data follow at once. `B`: at another speed. `C`: after an acknowledgement, at another speed."""
        if self.speed_code in _C_SPEEDS:
            return "C"
        return "B" if self.speed_code in _B_SPEEDS else "A"

    @property
    def baud(self) -> int:
        """The speed the meter proposes."""
        return _C_SPEEDS.get(self.speed_code) or _B_SPEEDS.get(self.speed_code) or SLOWEST


def sign_on(address: str, wake_up: int = 0) -> bytes:
    """Return the request `/?address!`, after NULs that wake a battery meter (annex B)."""
    return b"\0" * wake_up + f"/?{address}!\r\n".encode("ascii")


def acknowledgement(baud: int) -> bytes:
    """Return the acknowledgement that asks for the data readout (`0Z0`) at one of the speeds of mode C.

    Raises:
        KeyError: it is none of them.
    """
    code = {speed: code for code, speed in _C_SPEEDS.items()}[baud]
    return bytes([ACK]) + f"0{code}0\r\n".encode("ascii")


def with_parity(frame: bytes) -> bytes:
    """Return seven-bit characters with their even parity bit, for a port that sends eight."""
    return bytes(byte | (byte.bit_count() & 1) << 7 for byte in frame)


def without_parity(received: bytes) -> bytes:
    """Return the characters without their parity bits, where there are any; eight-bit characters stay as they are."""
    if any(byte & 0x80 for byte in received) and all(byte.bit_count() & 1 == 0 for byte in received):
        return bytes(byte & 0x7F for byte in received)
    return received


def identification(received: bytes) -> tuple[Identification, int] | None:
    """Return the identification in `received` and where it ends, or None while more must come.

    Raises:
        BadFrame: there is none.
        MeterRefused: the meter did not understand (NAK).
    """
    text = bytes(byte & 0x7F for byte in received).decode("ascii")
    begin = text.find("/")
    if begin < 0:
        _refuse_nak(received)
        if len(received) > _BEFORE:
            raise bad("应答不以 / 开头", "no answer begins with /: is the speed right?")
        return None
    end = text.find("\n", begin)
    if end < 0:
        if len(text) - begin > _LONGEST_LINE:
            raise bad("识别报文没有结尾", "an identification without an end")
        return None
    match = _IDENTIFICATION.fullmatch(text[begin : end + 1])
    if match is None:
        raise bad("识别报文不对", f"no identification: {text[begin:end]!r}")
    return Identification(match[1], match[2], re.sub(r"^(\\.)+", "", match[3]).strip()), end + 1


def _refuse_nak(received: bytes) -> None:
    if received[:1] == bytes([NAK]) or received[:1] == bytes([NAK | 0x80]):
        raise MeterRefused(Text("表计答 NAK：没有听懂", "NAK: the meter did not understand"), NAK)


def data_length(received: bytes) -> int | None:
    """Return how many of `received` make a whole data message with its check character, or None while more must come.

    Raises:
        BadFrame: it has no beginning or no end within what a readout may take, or is a partial block.
        MeterRefused: the meter did not understand (NAK).
    """
    codes = bytes(byte & 0x7F for byte in received)
    begin = codes.find(STX)
    if begin < 0:
        _refuse_nak(received)
    if begin > _BEFORE or (begin < 0 and len(codes) > _BEFORE):
        raise bad("数据报文没有 STX", "no data message begins here (STX)")
    end = codes.find(ETX, begin) if begin >= 0 else -1
    if begin >= 0 and end < 0 and EOT in codes[begin:]:
        raise bad("分块报文，不是数据读出", "a partial block, no data readout")
    if len(received) > LONGEST:
        raise bad(f"读出多于 {LONGEST} 字节", f"a readout of more than {LONGEST} bytes")
    return end + 2 if 0 <= end < len(codes) - 1 else None


def data_block(message: bytes) -> str:
    """Return the text of a whole data message, without the `!` that ends it.

    Raises:
        BadFrame: it is not whole, or the block check character is wrong.
    """
    if data_length(message) != len(message):
        raise bad("数据报文不完整（没有 ETX 和 BCC）", "not a whole data message with ETX and BCC")
    begin = bytes(byte & 0x7F for byte in message).find(STX)
    checked, bcc = message[begin + 1 : -1], message[-1]
    total = reduce(xor, checked)
    if total != bcc:
        raise bad(f"校验字符 {bcc:02X}，应为 {total:02X}", f"wrong block check character {bcc:02X}, not {total:02X}")
    text = without_parity(checked[:-1]).decode("latin-1")
    return text[: text.rfind("!")] if "!" in text else text


def bad(zh: str, en: str) -> BadFrame:
    """Return the error of a message that is refused."""
    return BadFrame(Text(zh, en))
