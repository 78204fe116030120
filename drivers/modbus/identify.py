"""What a device says of itself: Read Device Identification, function code 43 / 14.

Modbus application protocol V1.1b3, section 6.21: basic and regular objects, in as many replies as the device needs. A device
that refuses the regular ones is asked for the basic ones.
"""

from collections.abc import Iterator, Sequence

from pymodbus.pdu.mei_message import ReadDeviceInformationRequest

from drivers.contract import Request, Send, Value
from drivers.modbus.codec import string
from drivers.modbus.exceptions import refused
from drivers.modbus.wrap import LONGEST_SAID, Wrapping, bad
from metering.errors import MeterRefused
from metering.reading import Quality
from metering.text import Text

BASIC, REGULAR = 1, 2
_FUNCTION, _KIND = 0x2B, 0x0E
_HEAD = 7
"""Function, kind, category, conformity, more follows, next object, number of objects."""
_NAMES = {"maker": (0,), "model": (5, 4, 1), "firmware": (2,)}
"""Which objects say it, the best first: vendor name; model name, product name, product code; revision."""
_MOST_REPLIES = 16
_NO_IDENTIFICATION = Text(
    "仪表没有标识（43/14），不影响读数", "it has no identification (43/14), which readings do not need"
)


class Identify:
    """The dialogue with one unit."""

    points = tuple(_NAMES)
    label = "identification (43/14)"
    replies_are_distinct = True
    """No other reply has this function code, so a late one is known; many meters do not answer it at all."""

    def __init__(self, unit: int, wrapping: type[Wrapping]) -> None:
        self._unit, self._wrapping = unit, wrapping
        self._ask(REGULAR, 0)
        self._objects: dict[int, bytes] = {}
        self._replies = 0
        self.request_bytes = self._wrap.request_bytes
        self.reply_bytes = self._wrap.size(100)
        self.longest_reply = self._wrap.size(LONGEST_SAID)

    def _ask(self, category: int, object_id: int) -> None:
        pdu = ReadDeviceInformationRequest(read_code=category, object_id=object_id, dev_id=self._unit)
        self._category = category
        self._wrap: Wrapping = self._wrapping(self._unit, pdu)  # type: ignore[call-arg]

    def request(self) -> bytes:
        self._objects, self._replies = {}, 0
        self._ask(REGULAR, 0)
        return self._wrap.request()

    def length_of(self, received: bytes) -> int | None:
        said = self._wrap.so_far(received)
        self._check(said)
        length = _length(said)
        if length is None:
            return None
        if length > LONGEST_SAID:
            raise bad(f"标识应答 {length} 字节，太长", f"an identification of {length} bytes, which is too long")
        return self._wrap.whole(received, length) if said[1:] else None

    def decode(self, reply: bytes) -> Sequence[Value] | Send:
        said = self._wrap.said(reply)
        self._check(said)
        if said[0] & 0x80 and len(said) == 2:
            return self._less(refused(said[1], _NO_IDENTIFICATION if said[1] == 1 else None))
        if _length(said) != len(said):
            raise bad("标识应答的长度不符", "an identification whose length is not what its objects need")
        before = max(self._objects, default=-1)
        self._objects |= dict(_objects(said))
        self._replies += 1
        if said[4] == 0:
            return [self._value(name) for name in _NAMES]
        if not before < said[5] or self._replies >= _MOST_REPLIES or said[5] in self._objects:
            raise bad("标识应答没有尽头", "an identification without an end")
        self._ask(self._category, said[5])
        return Send(self._wrap.request())

    def _less(self, error: MeterRefused) -> Send:
        """Ask for the basic objects where the regular ones are refused."""
        if self._category == BASIC or error.code not in (2, 3) or self._objects:
            raise error
        self._ask(BASIC, 0)
        return Send(self._wrap.request())

    def _check(self, said: bytes) -> None:
        if said and said[0] & 0x7F != _FUNCTION:
            raise bad(f"功能码 {said[0]}，应为 {_FUNCTION}", f"function {said[0]}, not {_FUNCTION}")
        if len(said) > 1 and said[0] == _FUNCTION and said[1] != _KIND:
            raise bad(f"MEI 类型 {said[1]}，应为 14", f"MEI type {said[1]}, not 14")
        if len(said) > 4 and said[0] == _FUNCTION and said[4] not in (0, 0xFF):
            raise bad(f"“后续”标志 {said[4]:02X}", f"more follows {said[4]:02X}, neither 00 nor FF")

    def _value(self, name: str) -> Value:
        texts = (string(self._objects[number]) for number in _NAMES[name] if number in self._objects)
        text = next((text for text in texts if text is not None), None)
        return Value(name, None, Quality.BAD if text is None else Quality.GOOD, text=text)

    def halves(self) -> Sequence[Request]:
        return ()


def _length(said: bytes) -> int | None:
    """Return how much the unit says in all, or None while that cannot be told."""
    if said[:1] and said[0] & 0x80:
        return 2
    if len(said) < _HEAD:
        return None
    at = _HEAD
    for _ in range(said[6]):
        if len(said) < at + 2:
            return None if at + 2 <= LONGEST_SAID else at + 2
        at += 2 + said[at + 1]
    return at


def _objects(said: bytes) -> Iterator[tuple[int, bytes]]:
    at = _HEAD
    for _ in range(said[6]):
        size = said[at + 1]
        yield said[at], said[at + 2 : at + 2 + size]
        at += 2 + size
