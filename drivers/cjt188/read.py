"""The read of a CJ/T 188 meter: one question, one answer with all it has; and the question who it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from drivers.bcd import moment_of, number_of
from drivers.cjt188.codec import (
    AROUND,
    ERROR,
    LONGEST,
    READ,
    READ_ADDRESS,
    REPLY,
    WAKE,
    Frame,
    answers,
    bad,
    control_of,
    frame_length,
)  # fmt: skip
from drivers.cjt188.settings import Cjt188Meter
from drivers.cjt188.table import CLOCK, STATUS, Field
from drivers.contract import Value
from drivers.measure import Measure
from metering.errors import MeterRefused
from metering.reading import Quality
from metering.text import Text

DATA, ADDRESS = bytes.fromhex("1F90"), bytes.fromhex("0A81")
"""Data identifiers as `normal` meters send them, the lower byte first."""
_HEAD = 3
"""Bytes of identifier and serial number before the values."""


@dataclass(frozen=True)
class Item:
    """One value wanted of the answer."""

    point: str
    field: str
    measures: Mapping[int | None, Measure]
    """By unit byte; None where no byte says the unit."""
    bits: tuple[int, int] | None = None

    def value(self, data: bytes, code: int | None, quality: Quality) -> Value:
        """Return the value of the field's bytes, in the unit the meter says with `code`."""
        if self.field == CLOCK:
            moment = moment_of(data, "CYMDhms")
            text = None if moment is None else moment.isoformat(" ")
            return Value(self.point, None, Quality.BAD if text is None else quality, data, text=text)
        measure = self.measures.get(code)
        if measure is None:
            return Value(self.point, None, Quality.BAD, data, why=f"unit byte {code:02X} is none of its units")
        number = int.from_bytes(data, "little") if self.field == STATUS else number_of(data)
        if number is not None and self.bits is not None:
            number = number >> self.bits[0] & (1 << self.bits[1] - self.bits[0] + 1) - 1
        found = measure.value(number, data, quality)
        return found if found.value is not None else replace(found, why=f"{data[::-1].hex().upper()} is no number")


class _Read:
    """What both questions have in common. `serial` is the number each question carries and its answer repeats."""

    replies_are_distinct = True
    longest_reply = LONGEST

    def __init__(self, told: Cjt188Meter, meter_type: str, control: int, di: bytes, serial: int) -> None:
        self._told = told
        self._type = meter_type
        self._control = control
        self._di = di
        self._serial = self._next = serial
        self.request_bytes = told.preamble + AROUND + _HEAD

    def request(self) -> bytes:
        self._serial, self._next = self._next, (self._next + 1) % 256
        di = self._di if self._told.di_order == "normal" else self._di[::-1]
        frame = Frame(self._type, self._told.number, self._control, di + bytes([self._serial]))
        return bytes([WAKE]) * self._told.preamble + frame.to_bytes()

    def length_of(self, received: bytes) -> int | None:
        length = frame_length(received)
        control = control_of(received)
        if control is not None and control & ~ERROR != self._control | REPLY:
            raise bad(
                f"控制码 {control:02X} 不是所问的应答",
                f"control code {control:02X} does not answer {self._control:02X}",
            )
        return length

    def _frame(self, reply: bytes) -> Frame:
        """Return the frame of a reply to this very question."""
        self.length_of(reply)
        frame = Frame.of(reply, lenient=self._told.checksum == "lenient")
        self._check_sender(frame)
        if frame.control & ERROR:
            raise self._refused(frame)
        if frame.data[:2] not in (self._di, self._di[::-1]):
            theirs = frame.data[:2].hex(" ").upper() or "?"
            raise bad(
                f"数据标识 {theirs}，应为 {self._di.hex(' ').upper()}", f"DI {theirs}, not {self._di.hex(' ').upper()}"
            )
        self._check_serial(frame.data[2:3])
        return frame

    def _check_sender(self, frame: Frame) -> None:
        if not answers(self._type[0], frame.type[0]):
            raise bad(f"仪表类型 {frame.type}，应为 {self._type}", f"a meter of type {frame.type}, not {self._type}")
        if not answers(self._told.number, frame.number):
            asked = self._told.number
            raise bad(f"来自表 {frame.number}，应为 {asked}", f"from meter {frame.number}, not {asked}")

    def _check_serial(self, given: bytes) -> None:
        if given != bytes([self._serial]):
            theirs, ours = given.hex().upper() or "?", f"{self._serial:02X}"
            raise bad(f"序列号 {theirs}，应为 {ours}", f"serial number {theirs}, not {ours}")

    def _refused(self, frame: Frame) -> MeterRefused:
        """An error is answered with the serial number and the status."""
        if not frame.sound or len(frame.data) != 3:
            raise bad("错误应答不完整", f"an error reply with {len(frame.data)} data bytes, not 3")
        self._check_serial(frame.data[:1])
        status = int.from_bytes(frame.data[1:], "little")
        return MeterRefused(Text(f"状态 {status:04X}（不支持所读数据，或处于异常状态）",
                                 f"status {status:04X} (it has no such data, or is out of order)"), status)  # fmt: skip


class DataRead(_Read):
    """The read of all a meter sends in one answer."""

    def __init__(
        self, told: Cjt188Meter, meter_type: str, fields: Mapping[str, Field], items: Sequence[Item], serial: int = 0
    ) -> None:
        super().__init__(told, meter_type, READ, DATA, serial)
        self._fields = fields
        self._items = items
        self._size = _HEAD + sum(field.width for field in fields.values())
        self.points = tuple(item.point for item in items)
        self.label = f"DI 901F, {self._size} bytes"
        self.reply_bytes = told.preamble + AROUND + self._size

    def decode(self, reply: bytes) -> list[Value]:
        frame = self._frame(reply)
        if len(frame.data) != self._size:
            sizes = len(frame.data), self._size
            raise bad(f"数据 {sizes[0]} 字节，应为 {sizes[1]}", f"{sizes[0]} data bytes, not {sizes[1]}")
        parts = dict(self._cut(frame.data))
        if frame.sound:
            return [item.value(*parts[item.field], Quality.GOOD) for item in self._items]
        doubtful = [item.value(*parts[item.field], Quality.UNCERTAIN) for item in self._items]
        return [replace(value, why=value.why or "wrong checksum") for value in doubtful]

    def _cut(self, data: bytes) -> Sequence[tuple[str, tuple[bytes, int | None]]]:
        """Return each field's digits and unit byte."""
        found: list[tuple[str, tuple[bytes, int | None]]] = []
        at = _HEAD
        for name, field in self._fields.items():
            part = data[at : at + field.width]
            at += field.width
            if not field.coded:
                found.append((name, (part, None)))
            elif self._told.unit_position == "before":
                found.append((name, (part[1:], part[0])))
            else:
                found.append((name, (part[:-1], part[-1])))
        return found

    def halves(self) -> list["DataRead"]:
        return []


class AddressRead(_Read):
    """The question to a meter who it is; to the only one on a line, with `A` for every digit."""

    points = ("serial",)
    label = "read address"

    def __init__(self, told: Cjt188Meter, meter_type: str) -> None:
        super().__init__(told, meter_type, READ_ADDRESS, ADDRESS, 0)
        self.reply_bytes = self.request_bytes

    def decode(self, reply: bytes) -> list[Value]:
        frame = self._frame(reply)
        rest = frame.data[_HEAD:]
        if not frame.sound or rest not in (b"", bytes.fromhex(frame.number)[::-1]):
            raise bad(f"地址应答 {rest[::-1].hex().upper()} 与帧地址 {frame.number} 不符",
                      f"the address {rest[::-1].hex().upper()} it gives is not that of its frame, {frame.number}")  # fmt: skip
        return [Value("serial", None, raw=bytes.fromhex(frame.number)[::-1], text=frame.number)]

    def halves(self) -> list["AddressRead"]:
        return []
