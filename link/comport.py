"""The telnet COM-port option (RFC 2217) on bytes alone: what to send, and what of the received is the meter's.

`feed` takes what came and gives the meter's bytes; answers to negotiations gather in `reply`, acknowledgements in
`answers`. Whatever the bytes, it raises nothing and keeps at most one short sub-negotiation.
"""

from collections.abc import Callable

_SE, _SB, _WILL, _WONT, _DO, _DONT, _IAC = 240, 250, 251, 252, 253, 254, 255
_BINARY, _GO_AHEAD, _COM_PORT = 0, 3, 44
_WANTED = frozenset({_BINARY, _GO_AHEAD, _COM_PORT})
"""What both sides may do; all else (echo before all) is refused."""
_LONGEST_OPTION = 256

SET_BAUD, SET_SIZE, SET_PARITY, SET_STOP, SET_CONTROL = 1, 2, 3, 4, 5
SET_LINESTATE_MASK, SET_MODEMSTATE_MASK, PURGE = 10, 11, 12
_FROM_SERVER = 100
"""The server's code of a command is the client's and 100."""
NO_FLOW_CONTROL = 1
BOTH_BUFFERS = 3
PARITIES = {"N": 1, "O": 2, "E": 3}


class ComPort:
    """The client's side of one connection."""

    def __init__(self) -> None:
        self.reply = bytearray()
        """To be sent to the server, soon."""
        self.answers: dict[int, bytes] = {}
        """The last acknowledgement of each command, by the client's code."""
        self.agreed: bool | None = None
        """Whether the server speaks RFC 2217; None until it has said so."""
        self._said: dict[tuple[int, int], int] = {}
        """What we said last of (our or their side, option)."""
        self._state: Callable[[int], None] = self._plain
        self._verb = 0
        self._option = bytearray()
        self._given = bytearray()

    def begin(self) -> bytes:
        """Return the negotiation to open with: both directions eight bits clean, and the COM-port option."""
        for verb, option in ((_WILL, _BINARY), (_DO, _BINARY), (_DO, _GO_AHEAD), (_WILL, _COM_PORT)):
            self._say(verb, option)
        return self.take_reply()

    def take_reply(self) -> bytes:
        """Return what the server is owed, and owe it no longer."""
        reply = bytes(self.reply)
        self.reply.clear()
        return reply

    def feed(self, received: bytes) -> bytes:
        """Return the meter's bytes among the received."""
        for byte in received:
            self._state(byte)
        given = bytes(self._given)
        self._given.clear()
        return given

    # -- one byte after the other

    def _plain(self, byte: int) -> None:
        if byte == _IAC:
            self._state = self._command
        else:
            self._given.append(byte)

    def _command(self, byte: int) -> None:
        self._state = self._plain
        if byte == _IAC:
            self._given.append(byte)
        elif byte == _SB:
            self._option.clear()
            self._state = self._inside
        elif byte in (_WILL, _WONT, _DO, _DONT):
            self._verb, self._state = byte, self._negotiated

    def _negotiated(self, option: int) -> None:
        self._state = self._plain
        verb = self._verb
        if option == _COM_PORT and verb != _WONT:  # either side's consent will do; servers differ
            self.agreed = verb != _DONT
        if verb in (_WILL, _WONT):
            self._say(_DO if verb == _WILL and option in _WANTED else _DONT, option)
        else:
            self._say(_WILL if verb == _DO and option in _WANTED else _WONT, option)

    def _say(self, verb: int, option: int) -> None:
        """Say it once: an answer to an answer would never end (RFC 854)."""
        side = 0 if verb in (_WILL, _WONT) else 1
        if self._said.get((side, option)) != verb:
            self._said[side, option] = verb
            self.reply += bytes((_IAC, verb, option))

    def _inside(self, byte: int) -> None:
        if byte == _IAC:
            self._state = self._inside_command
        elif len(self._option) < _LONGEST_OPTION:
            self._option.append(byte)

    def _inside_command(self, byte: int) -> None:
        if byte == _IAC:
            self._state = self._inside
            if len(self._option) < _LONGEST_OPTION:
                self._option.append(byte)
            return
        self._state = self._plain
        if byte == _SE and len(self._option) >= 2 and self._option[0] == _COM_PORT:
            self.answers[self._option[1] - _FROM_SERVER] = bytes(self._option[2:])


def escaped(data: bytes) -> bytes:
    """Return bytes for the meter as they travel."""
    return data.replace(b"\xff", b"\xff\xff")


def command(code: int, value: int, width: int = 1) -> bytes:
    """Return a command with its value, big endian."""
    inner = bytes((_COM_PORT, code)) + escaped(value.to_bytes(width, "big"))
    return bytes((_IAC, _SB)) + inner + bytes((_IAC, _SE))
