"""Requests that read registers or bits: one frame, or several in a row where a value needs registers that lie apart.

A reply is taken only when its head is exactly the one this request calls for: transaction id or checksum, unit, function and
byte count. pymodbus's own reply decoder is not used: it costs 8 us a poll, skips leading noise and accepts a wrong
protocol id; what is needed of it is a comparison and one `struct.unpack`.
"""

from collections.abc import Sequence

from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.contract import Request, Send, Value
from drivers.modbus.exceptions import refused
from drivers.modbus.plan import Block, Span
from drivers.modbus.wrap import Wrapping, bad

_READS: dict[int, type[ModbusPDU]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
"""Every function a request for data can carry."""


class Frame:
    """One read of one unit: its request, and which bytes are the reply."""

    def __init__(self, block: Block, span: Span, unit: int, wrapping: type[Wrapping]) -> None:
        pdu = _READS[block.fc](dev_id=unit, address=span[0], count=span[1])
        self._wrap = wrapping(unit, pdu)  # type: ignore[call-arg]
        self._function = block.fc
        self._size = block.data_bytes(span)
        self._said = bytes([block.fc, self._size])
        self._data_at = self._wrap.data_at
        self.distinct = self._wrap.distinct
        self.request_bytes = self._wrap.request_bytes
        self.reply_bytes = self._wrap.size(2 + self._size)
        self._head = self._wrap.head(self._said, 2 + self._size)

    def request(self) -> bytes:
        frame = self._wrap.request()
        if self.distinct:
            self._head = self._wrap.head(self._said, 2 + self._size)
        return frame

    def length_of(self, received: bytes) -> int | None:
        if self._data_at and received.startswith(self._head):
            return self.reply_bytes if len(received) >= self.reply_bytes else None
        said = self._wrap.so_far(received)
        self._check(said)
        if len(said) < 2:
            return None
        return self._wrap.whole(received, 2 if said[0] & 0x80 else 2 + self._size)

    def data(self, reply: bytes) -> bytes:
        if self._data_at and len(reply) == self.reply_bytes and reply.startswith(self._head):
            return reply[self._data_at :]
        said = self._wrap.said(reply)
        self._check(said)
        if said[0] & 0x80 and len(said) == 2:
            raise refused(said[1])
        if len(said) != 2 + self._size:
            raise bad(
                f"收到 {len(said) - 2} 字节数据，应为 {self._size}", f"{len(said) - 2} data bytes, not {self._size}"
            )
        return said[2:]

    def _check(self, said: bytes) -> None:
        if said and said[0] & 0x7F != self._function:
            raise bad(f"功能码 {said[0]}，应为 {self._function}", f"function {said[0]}, not {self._function}")
        if len(said) > 1 and said[0] == self._function and said[1] != self._size:
            raise bad(f"数据 {said[1]} 字节，应为 {self._size}", f"{said[1]} data bytes, not {self._size}")


class Read:
    """The values of a block that is one read."""

    def __init__(self, block: Block, unit: int, wrapping: type[Wrapping]) -> None:
        self._block, self._unit, self._wrapping = block, unit, wrapping
        self._frame = Frame(block, block.spans[0], unit, wrapping)
        self.points = tuple(wanted.name for wanted in block.wanted)
        self.label = block.label
        self.request_bytes = self._frame.request_bytes
        self.reply_bytes = self.longest_reply = self._frame.reply_bytes
        self.replies_are_distinct = self._frame.distinct
        self.request = self._frame.request
        self.length_of = self._frame.length_of

    def decode(self, reply: bytes) -> Sequence[Value]:
        return self._block.values(self._frame.data(reply))

    def halves(self) -> Sequence[Request]:
        return [read_of(block, self._unit, self._wrapping) for block in self._block.halves()]


class Reads:
    """The values of a block that is several reads, one right after another."""

    def __init__(self, block: Block, unit: int, wrapping: type[Wrapping]) -> None:
        self._block, self._unit, self._wrapping = block, unit, wrapping
        self._frames = [Frame(block, span, unit, wrapping) for span in block.spans]
        self._data: list[bytes] = []
        self.points = tuple(wanted.name for wanted in block.wanted)
        self.label = block.label
        self.request_bytes = sum(frame.request_bytes for frame in self._frames)
        self.reply_bytes = sum(frame.reply_bytes for frame in self._frames)
        self.longest_reply = max(frame.reply_bytes for frame in self._frames)
        self.replies_are_distinct = self._frames[0].distinct

    def request(self) -> bytes:
        self._data = []
        return self._frames[0].request()

    def length_of(self, received: bytes) -> int | None:
        return self._frames[len(self._data)].length_of(received)

    def decode(self, reply: bytes) -> Sequence[Value] | Send:
        data = [*self._data, self._frames[len(self._data)].data(reply)]
        if len(data) == len(self._frames):
            return self._block.values(b"".join(data))
        self._data = data
        return Send(self._frames[len(data)].request())

    def halves(self) -> Sequence[Request]:
        return [read_of(block, self._unit, self._wrapping) for block in self._block.halves()]


def read_of(block: Block, unit: int, wrapping: type[Wrapping]) -> Request:
    return (Read if len(block.spans) == 1 else Reads)(block, unit, wrapping)
