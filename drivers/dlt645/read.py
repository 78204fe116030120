"""The read of one DI of one meter: the question, the answer, and the frames that follow it.

A meter whose answer does not fit one frame says so (bit 5 of the control code); the rest is asked for frame by frame,
numbered in the edition of 2007, and the data of all of them are one.
"""

from msgspec.structs import replace

from drivers.contract import Send, Value
from drivers.dlt645.codec import (
    AROUND,
    ERROR,
    LONGEST,
    MORE,
    REPLY,
    WAKE,
    Edition,
    Frame,
    answers,
    bad,
    control_of,
    error_text,
    frame_length,
)  # fmt: skip
from drivers.dlt645.table import Layout
from drivers.measure import Measure
from metering.errors import MeterRefused
from metering.reading import Quality
from metering.text import Text

MAX_FRAMES = 16
"""More frames than that are no answer."""


class Exchange:
    """One DI of one meter, asked for and taken in. `number`, `preamble` and the edition are the meter's."""

    def __init__(self, number: str, edition: Edition, preamble: int) -> None:
        self.number = number
        self.edition = edition
        self._preamble = preamble
        self._wake = bytes([WAKE]) * preamble
        self._di = b""
        self._size: int | None = None
        self._begin()
        self.request_bytes = preamble + AROUND + edition.di_size

    def another(self) -> "Exchange":
        """Return one for another DI of the same meter."""
        return Exchange(self.number, self.edition, self._preamble)

    def ask(self, di: str, size: int | None) -> bytes:
        """Return the frame that asks for a DI, whose value has `size` bytes; None: as many as come."""
        self._di = bytes.fromhex(di)[::-1]
        self._size = size
        self._begin()
        return self._wake + Frame(self.number, self.edition.read, self._di).to_bytes()

    def _begin(self) -> None:
        self._data = b""
        self._frames = 0
        self._sender = self.number

    def reply_bytes(self, size: int) -> int:
        """Return the bytes of a reply with a value of `size` bytes."""
        return self.request_bytes + size

    def length_of(self, received: bytes) -> int | None:
        length = frame_length(received)
        control = control_of(received)
        if control is not None and control & ~(ERROR | MORE) != self._function | REPLY:
            raise bad(f"控制码 {control:02X} 不是对读数据的应答", f"control code {control:02X} answers no read")
        return length

    @property
    def _function(self) -> int:
        return self.edition.read_next if self._frames else self.edition.read

    def take(self, reply: bytes) -> bytes | Send:
        """Return the whole data of the DI, or what to send for more of it.

        Raises:
            BadFrame: it is not the answer to the frame asked for.
            MeterRefused: the meter answered with an error.
        """
        self.length_of(reply)
        frame = Frame.of(reply)
        check_sender(self._sender, frame)
        if frame.control & ERROR:
            raise refused(frame.data, self.edition)
        self._sender = frame.number
        self._data += self._part(frame.data)
        self._frames += 1
        if not frame.control & MORE or (self._size is not None and len(self._data) >= self._size):
            return self._whole()
        if self._frames == MAX_FRAMES:
            raise bad(f"{MAX_FRAMES} 帧后仍有后续帧", f"still more to follow after {MAX_FRAMES} frames")
        number = bytes([self._frames]) if self.edition.numbered else b""
        return Send(self._wake + Frame(self.number, self.edition.read_next, self._di + number).to_bytes())

    def _part(self, data: bytes) -> bytes:
        size = len(self._di)
        if data[:size] != self._di:
            theirs, ours = data[:size][::-1].hex().upper() or "?", self._di[::-1].hex().upper()
            raise bad(f"数据标识 {theirs}，应为 {ours}", f"DI {theirs}, not {ours}")
        if not self._frames or not self.edition.numbered:
            return data[size:]
        if len(data) == size or data[-1] != self._frames:
            theirs = f"{data[-1]}" if len(data) > size else "?"
            raise bad(f"后续帧序号 {theirs}，应为 {self._frames}", f"follow-up frame {theirs}, not {self._frames}")
        return data[size:-1]

    def _whole(self) -> bytes:
        data = self._data
        self._begin()
        if self._size is not None and len(data) != self._size:
            sizes = len(data), self._size
            raise bad(f"数据 {sizes[0]} 字节，应为 {sizes[1]}", f"a value of {sizes[0]} bytes, not {sizes[1]}")
        return data


def check_sender(asked: str, frame: Frame) -> None:
    """Raises BadFrame unless a reply comes from a meter that was meant."""
    if not answers(asked, frame.number):
        raise bad(f"来自表 {frame.number}，应为 {asked}", f"from meter {frame.number}, not {asked}")


def refused(data: bytes, edition: Edition) -> MeterRefused:
    if len(data) != 1:
        raise bad("错误应答没有错误字", f"an error reply with {len(data)} data bytes, not 1")
    meaning = error_text(data[0], edition)
    return MeterRefused(Text(f"错误字 {data[0]:02X}（{meaning.zh}）", f"error {data[0]:02X} ({meaning.en})"), data[0])


class Item:
    """One value wanted of a meter: how it lies, and what its number means. No measure: it is a text."""

    def __init__(
        self, point: str, di: str, layout: Layout, measure: Measure | None, bits: tuple[int, int] | None = None
    ) -> None:
        self.point = point
        self.di = di
        self.layout = layout
        self._measure = measure
        self._bits = bits

    def value(self, data: bytes, quality: Quality = Quality.GOOD) -> Value:
        """Return the value in its own bytes."""
        if self._measure is None:
            text = self.layout.text(data)
            return Value(self.point, None, Quality.BAD if text is None else quality, data, text=text)
        number = self.layout.number(data)
        if number is not None and self._bits is not None:
            number = number >> self._bits[0] & (1 << self._bits[1] - self._bits[0] + 1) - 1
        found = self._measure.value(number, data, quality)
        return found if found.value is not None else replace(found, why=f"{data[::-1].hex().upper()} is no number")

    def missing(self) -> Value:
        return Value(self.point, None, Quality.BAD, why="not in the block the meter sent")


class DataRead:
    """The read of one DI that is one value, or a word of several."""

    replies_are_distinct = True
    longest_reply = LONGEST

    def __init__(self, exchange: Exchange, *items: Item) -> None:
        self._exchange = exchange
        self._items = items
        self._di, self._size = items[0].di, items[0].layout.size
        self.points = tuple(item.point for item in items)
        self.label = f"DI {self._di}, {self._size} bytes"
        self.request_bytes = exchange.request_bytes
        self.reply_bytes = exchange.reply_bytes(self._size)
        self.request()

    def request(self) -> bytes:
        return self._exchange.ask(self._di, self._size)

    def length_of(self, received: bytes) -> int | None:
        return self._exchange.length_of(received)

    def decode(self, reply: bytes) -> list[Value] | Send:
        data = self._exchange.take(reply)
        return data if isinstance(data, Send) else [item.value(data) for item in self._items]

    def halves(self) -> list["DataRead"]:
        return []


class BlockRead:
    """The read of a block: values of the same layout, one after another."""

    replies_are_distinct = True
    longest_reply = LONGEST

    def __init__(self, exchange: Exchange, di: str, items: dict[int, Item]) -> None:
        self._exchange = exchange
        self._di = di
        self._items = items
        self._size = next(iter(items.values())).layout.size
        self.points = tuple(item.point for item in items.values())
        self.label = f"DI {di}, block of {len(items)} values or more"
        self.request_bytes = exchange.request_bytes
        self.reply_bytes = exchange.reply_bytes(self._size * (max(items) + 1))
        self.request()

    def request(self) -> bytes:
        return self._exchange.ask(self._di, None)

    def length_of(self, received: bytes) -> int | None:
        return self._exchange.length_of(received)

    def decode(self, reply: bytes) -> list[Value] | Send:
        data = self._exchange.take(reply)
        if isinstance(data, Send):
            return data
        parts = cut(data, self._size, self._exchange.edition)
        return [item.value(parts[at]) if at < len(parts) else item.missing() for at, item in self._items.items()]

    def halves(self) -> list[DataRead]:
        """A meter without the block has its values one by one."""
        return [DataRead(self._exchange.another(), item) for item in self._items.values()]


def cut(block: bytes, size: int, edition: Edition) -> list[bytes]:
    """Return the values of a block. In the edition of 1997 an AA may end it.

    Raises:
        BadFrame: it does not hold whole values.
    """
    if edition.year == 1997 and len(block) % size == 1 and block[-1] == 0xAA:
        block = block[:-1]
    if not block or len(block) % size:
        raise bad(
            f"数据块 {len(block)} 字节，不是 {size} 的倍数", f"a block of {len(block)} bytes, no multiple of {size}"
        )
    return [block[at : at + size] for at in range(0, len(block), size)]


class AddressRead:
    """The question to the only meter on a line who it is (control code 0x13)."""

    replies_are_distinct = True
    longest_reply = LONGEST
    points = ("address",)
    label = "read address"

    def __init__(self, number: str, preamble: int, control: int) -> None:
        self._number = number
        self._control = control
        self._frame = bytes([WAKE]) * preamble + Frame(number, control).to_bytes()
        self.request_bytes = len(self._frame)
        self.reply_bytes = len(self._frame) + 6

    def request(self) -> bytes:
        return self._frame

    def length_of(self, received: bytes) -> int | None:
        length = frame_length(received)
        control = control_of(received)
        if control is not None and control & ~ERROR != self._control | REPLY:
            raise bad(
                f"控制码 {control:02X} 不是对读地址的应答", f"control code {control:02X} answers no read of the address"
            )
        return length

    def decode(self, reply: bytes) -> list[Value]:
        self.length_of(reply)
        frame = Frame.of(reply)
        check_sender(self._number, frame)
        address = frame.data[::-1].hex().upper()
        if len(frame.data) != 6 or not answers(frame.number, address):
            raise bad(f"地址应答 {address or '?'} 与帧地址 {frame.number} 不符",
                      f"the address {address or '?'} it gives is not that of its frame, {frame.number}")  # fmt: skip
        return [Value("address", None, raw=frame.data, text=address)]

    def halves(self) -> list["AddressRead"]:
        return []
