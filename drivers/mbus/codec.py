"""The link layer of wired M-Bus (EN 13757-2): single characters, short and long frames, and what an answer must look like.

A short frame is `10 C A CS 16`, a long one `68 L L 68 C A CI … CS 16`; CS is the sum of all from C to before it. A slave
acknowledges with the single character E5.

Promises
    * `LongFrame.of` takes a whole frame with both lengths, checksum and stop right, or raises BadFrame.
    * Only SND_NKE (reset of the link), REQ_UD2 (data) and the selection by secondary address can be made.
"""

from dataclasses import dataclass

from metering.errors import BadFrame
from metering.text import Text

ACK = 0xE5
SND_NKE, SND_UD, REQ_UD2 = 0x40, 0x53, 0x5B
FCB = 0x20
"""The frame count bit: unchanged, it asks for the last answer again."""
RSP_UD = 0x08
SELECTED, ANY = 0xFD, 0xFE
"""The address of the slave chosen by its secondary address; the address to which every slave answers."""
CI_SELECT = 0x52
LONGEST = 261
_START, _SHORT, _STOP = 0x68, 0x10, 0x16


@dataclass(frozen=True, slots=True)
class LongFrame:
    """One long frame."""

    control: int
    address: int
    ci: int
    data: bytes
    """What follows the CI field."""

    @staticmethod
    def of(received: bytes) -> "LongFrame":
        """Return the frame that `received` is.

        Raises:
            BadFrame: it is not one, whole, with its checksum.
        """
        if received[:1] != bytes([_START]) or frame_length(received) != len(received):
            raise bad(f"{len(received)} 字节不是一帧完整的长帧", f"{len(received)} bytes are not one whole long frame")
        total = sum(received[4:-2]) & 0xFF
        if received[-2] != total:
            raise bad(
                f"校验和 {received[-2]:02X}，应为 {total:02X}", f"wrong checksum {received[-2]:02X}, not {total:02X}"
            )
        if received[-1] != _STOP:
            raise bad("结束符不是 16", f"ends with {received[-1]:02X}, not 16")
        return LongFrame(received[4], received[5], received[6], received[7:-2])


def frame_length(received: bytes) -> int | None:
    """Return how many of `received` make a whole answer of a slave, or None while more must come.

    Raises:
        BadFrame: no answer begins so.
    """
    if received[:1] in (b"", bytes([ACK])):
        return 1 if received else None
    if received[0] != _START:
        raise bad(f"以 {received[0]:02X} 开头，不是 M-Bus 应答", f"no M-Bus answer begins with {received[0]:02X}")
    if len(received) < 4:
        return None
    if received[1] != received[2] or received[3] != _START or received[1] < 3:
        head = received[:4].hex(" ").upper()
        raise bad(f"长帧的头不对：{head}", f"a long frame does not begin with {head}")
    whole = received[1] + 6
    return whole if len(received) >= whole else None


def short(control: int, address: int) -> bytes:
    """Return a short frame.

    Raises:
        ValueError: the control field is not that of a reset or a request for data.
    """
    if control & ~FCB != REQ_UD2 & ~FCB and control != SND_NKE:
        raise ValueError(f"control field {control:#04x} does not read")
    return bytes([_SHORT, control, address, control + address & 0xFF, _STOP])


def selection(identity: bytes) -> bytes:
    """Return the frame that selects the slave with this secondary address of eight bytes, FF and the nibble F being wild."""
    if len(identity) != 8:
        raise ValueError("a secondary address has eight bytes")
    body = bytes([SND_UD, SELECTED, CI_SELECT]) + identity
    return bytes([_START, len(body), len(body), _START]) + body + bytes([sum(body) & 0xFF, _STOP])


def bad(zh: str, en: str) -> BadFrame:
    """Return the error of a frame that is refused."""
    return BadFrame(Text(zh, en))
