"""The DL/T 645-2007 driver: one exchange for each value, as every meter answers it."""

import re
from collections.abc import Sequence

from pydantic import BaseModel

from drivers.contract import MeterPlan, Request, Value
from drivers.dlt645.codec import (
    ERROR,
    MORE,
    PREAMBLE,
    READ,
    REPLY,
    Frame,
    Layout,
    answers,
    error_text,
    frame_length,
    layout,
)  # fmt: skip
from drivers.dlt645.settings import Dlt645Line, Dlt645Meter
from drivers.measure import Measure, measure, number_fault, sentinel_numbers
from metering.errors import BadFrame, MeteringError, MeterRefused
from metering.profile import Place, Profile
from metering.quantity import EXACT
from metering.text import Text

SILENCE_S = 0.02
"""Silence before a request; 3.5 characters at 2400 baud are 16 ms."""


class DataRead:
    """The read of one DI of one meter."""

    replies_are_distinct = True

    def __init__(self, number: str, di: str, layout: Layout, measure: Measure) -> None:
        self._number = number
        self._di = bytes.fromhex(di)[::-1]
        self._layout = layout
        self._measure = measure
        self._frame = PREAMBLE + Frame(number, READ, self._di).to_bytes()
        self.points = (measure.point,)
        self.label = f"DI {di}, {layout.size} bytes"

    @property
    def request_bytes(self) -> int:
        return len(self._frame)

    @property
    def reply_bytes(self) -> int:
        return self.request_bytes + self._layout.size

    def request(self) -> bytes:
        return self._frame

    def length_of(self, received: bytes) -> int | None:
        length = frame_length(received)
        control = received.lstrip(b"\xfe")[8:9]
        if control and control[0] & ~(ERROR | MORE) != READ | REPLY:
            raise _bad(f"控制码 {control.hex()} 不是对读数据的应答", f"control code {control.hex()} answers no read")
        return length

    def decode(self, reply: bytes) -> Sequence[Value]:
        self.length_of(reply)
        frame = Frame.of(reply)
        if not answers(self._number, frame.number):
            raise _bad(f"来自表 {frame.number}，应为 {self._number}", f"from meter {frame.number}, not {self._number}")
        if frame.control & ERROR:
            raise _refused(frame.data)
        data = self._data(frame)
        return [self._measure.value(self._layout.number(data), data)]

    def _data(self, frame: Frame) -> bytes:
        """A meter may announce more frames (bit 5); a value that is whole in the first one needs no second."""
        if frame.data[:4] != self._di:
            theirs, ours = frame.data[3::-1].hex() or "?", self._di[::-1].hex()
            raise _bad(f"数据标识 {theirs}，应为 {ours}", f"DI {theirs}, not {ours}")
        if len(frame.data) != 4 + self._layout.size:
            sizes = len(frame.data) - 4, self._layout.size
            raise _bad(f"数据 {sizes[0]} 字节，应为 {sizes[1]}", f"a value of {sizes[0]} bytes, not {sizes[1]}")
        return frame.data[4:]


def _bad(zh: str, en: str) -> BadFrame:
    return BadFrame(Text(zh, en))


def _refused(data: bytes) -> MeterRefused:
    if len(data) != 1:
        raise _bad("错误应答没有错误字", f"an error reply with {len(data)} data bytes, not 1")
    meaning = error_text(data[0])
    return MeterRefused(Text(f"错误字 {data[0]:02X}（{meaning.zh}）", f"error {data[0]:02X} ({meaning.en})"), data[0])


class Dlt645Driver:
    """Meters that speak DL/T 645-2007."""

    name = "dlt645"
    line_model: type[BaseModel] = Dlt645Line
    meter_model: type[BaseModel] = Dlt645Meter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        di = str(point.address)
        if isinstance(point.address, int) or not re.fullmatch(r"[0-9A-F]{8}", di):
            return Text(f'{point.address!r} 不是数据标识：八位十六进制，加引号，如 "00010000"',
                        f'{point.address!r} is no DI: eight hexadecimal digits in quotes, such as "00010000"')  # fmt: skip
        if layout(di, point.type) is not None:
            return number_fault(point)
        if point.type is None:
            return Text(
                f"表中没有数据标识 {di}，请写 type，如 bcd4.2",
                f"DI {di} is not in the table: give a type such as bcd4.2",
            )
        return Text(f"没有类型 {point.type!r}，应如 bcd4.2、sbcd3.4（字节数.小数位，s 表示带符号）",
                    f"no type {point.type!r}: write bcd4.2 or sbcd3.4 (bytes.decimals, s for a sign)")  # fmt: skip

    def silence_s(self, line: BaseModel) -> float:
        return max(SILENCE_S, Dlt645Line.model_validate(line).turnaround)

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return one read for each point.

        Raises:
            MeteringError: a point has a `fault`.
        """
        number = Dlt645Meter.model_validate(dict(meter.address)).number
        return [self._read(meter, number, name, point) for name, point in meter.points.items()]

    def _read(self, meter: MeterPlan, number: str, name: str, point: Place) -> DataRead:
        di = str(point.address)
        found = layout(di, point.type)
        wrong = self.fault(point, meter.profile)
        if found is None or wrong is not None:
            raise MeteringError(Text("{meter}/{point}：{wrong}", "{meter}/{point}: {wrong}"),
                                meter=meter.meter, point=name, wrong=wrong)  # fmt: skip
        scale = EXACT.multiply(point.scale, found.step)
        return DataRead(number, di, found, measure(name, point, sentinel_numbers(point), scale))
