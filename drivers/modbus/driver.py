"""The Modbus driver: requests built once by pymodbus, replies checked byte by byte here.

A reply is taken only when its head is exactly the one this request calls for: transaction id (TCP), unit, function, byte count, and
the checksum (RTU). pymodbus's own reply decoder is not used: it costs 8 us a poll, skips leading noise and accepts a wrong
protocol id; what is needed of it is a comparison and one `struct.unpack`.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from pydantic import BaseModel
from pymodbus.framer import FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.contract import MeterPlan, Request, Value
from drivers.modbus.plan import Block, blocks, fault
from drivers.modbus.settings import ModbusLine, ModbusMeter
from metering.errors import BadFrame, MeteringError, MeterRefused
from metering.profile import Place, Profile
from metering.text import Text

_READS: dict[int, type[ModbusPDU]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
_REPLIES = DecodePDU(is_server=False)

EXCEPTIONS = {
    1: Text("非法功能码", "illegal function"),
    2: Text("非法数据地址", "illegal data address"),
    3: Text("非法数据值", "illegal data value"),
    4: Text("从站设备故障", "device failure"),
    5: Text("已受理，处理中", "acknowledged, still working"),
    6: Text("从站设备忙", "device busy"),
    8: Text("存储奇偶校验错误", "memory parity error"),
    10: Text("网关路径不可用", "gateway path unavailable"),
    11: Text("网关目标设备无应答", "gateway target failed to respond"),
}
"""Modbus application protocol V1.1b3, section 7."""

_transactions = count(1)
"""Shared by all lines: an id comes back after 65536 requests, long after any late reply."""


class _Read:
    """What both framings have in common: one block of one unit."""

    replies_are_distinct = False
    _overhead: int
    """Bytes of a reply besides its data."""

    def __init__(self, block: Block, unit: int, framer: FramerBase) -> None:
        self._block = block
        self._unit = unit
        self._frame = framer.buildFrame(_READS[block.fc](dev_id=unit, address=block.address, count=block.count))
        self.points = tuple(wanted.name for wanted in block.wanted)

    @property
    def label(self) -> str:
        noun = "bits" if self._block.bits else "registers"
        return f"fc {self._block.fc}, {self._block.count} {noun} at 0x{self._block.address:04X}"

    @property
    def request_bytes(self) -> int:
        return len(self._frame)

    @property
    def reply_bytes(self) -> int:
        return self._overhead + self._block.data_bytes

    @property
    def longest_reply(self) -> int:
        return self.reply_bytes

    def halves(self) -> Sequence[Request]:
        return ()

    def _check_pdu(self, unit_on: bytes) -> None:
        """Refuse what begins as no reply to this request; `unit_on` is what has come, from the unit byte on."""
        function = self._block.fc
        if unit_on[:1] and unit_on[0] != self._unit:
            raise _bad(f"来自站号 {unit_on[0]}，应为 {self._unit}", f"from unit {unit_on[0]}, not {self._unit}")
        if len(unit_on) > 1 and unit_on[1] & 0x7F != function:
            raise _bad(f"功能码 {unit_on[1]}，应为 {function}", f"function {unit_on[1]}, not {function}")
        if len(unit_on) > 2 and unit_on[1] == function and unit_on[2] != self._block.data_bytes:
            expected = self._block.data_bytes
            raise _bad(f"数据 {unit_on[2]} 字节，应为 {expected}", f"{unit_on[2]} data bytes, not {expected}")


class TcpRead(_Read):
    """One read with an MBAP header. A new transaction id with each `request`."""

    replies_are_distinct = True
    _overhead = 9

    def __init__(self, block: Block, unit: int) -> None:
        super().__init__(block, unit, FramerSocket(_REPLIES))
        size = block.data_bytes
        self._rest = self._frame[2:]
        self._head_rest = bytes([0, 0, *(size + 3).to_bytes(2, "big"), unit, block.fc, size])
        self._sent = b"\0\0"
        self._head = self._sent + self._head_rest
        self._total = self._overhead + size

    def request(self) -> bytes:
        self._sent = (next(_transactions) & 0xFFFF).to_bytes(2, "big")
        self._head = self._sent + self._head_rest
        return self._sent + self._rest

    def length_of(self, received: bytes) -> int | None:
        if received.startswith(self._head):
            return self._total if len(received) >= self._total else None
        return self._exception_length(received)

    def decode(self, reply: bytes) -> Sequence[Value]:
        if len(reply) == self._total and reply.startswith(self._head):
            return self._block.values(reply[9:])
        if self._exception_length(reply) == len(reply):
            raise _refused(reply[8])
        raise _wrong_length(reply, self._total)

    def _exception_length(self, received: bytes) -> int | None:
        """Return 9 for a whole exception reply, None for the beginning of any reply."""
        if len(received) >= 2 and received[:2] != self._sent:
            theirs, ours = received[:2].hex(), self._sent.hex()
            raise _bad(f"迟到的应答，事务号 {theirs}，应为 {ours}", f"stale: transaction {theirs}, not {ours}")
        if len(received) >= 4 and received[2:4] != b"\0\0":
            raise _bad("不是 Modbus 协议", f"protocol {received[2:4].hex()}, not 0000")
        self._check_pdu(received[6:])
        refusal = len(received) >= 8 and received[7] & 0x80 != 0
        if len(received) >= 6:
            self._check_length(int.from_bytes(received[4:6], "big"), received[7:8])
        return 9 if refusal and len(received) >= 9 else None

    def _check_length(self, stated: int, function: bytes) -> None:
        whole = self._total - 6
        allowed = (3, whole) if not function else (3,) if function[0] & 0x80 else (whole,)
        if stated not in allowed:
            raise _bad(f"长度字段 {stated}，应为 {allowed[-1]}", f"length field {stated}, not {allowed[-1]}")


class RtuRead(_Read):
    """One read with a checksum. The line owner keeps the silence that marks a frame's ends."""

    _overhead = 5

    def __init__(self, block: Block, unit: int) -> None:
        super().__init__(block, unit, FramerRTU(_REPLIES))
        self._head = bytes([unit, block.fc, block.data_bytes])
        self._total = self._overhead + block.data_bytes

    def request(self) -> bytes:
        return self._frame

    def length_of(self, received: bytes) -> int | None:
        if received.startswith(self._head):
            return self._total if len(received) >= self._total else None
        self._check_pdu(received)
        return 5 if len(received) >= 5 and received[1] & 0x80 else None

    def decode(self, reply: bytes) -> Sequence[Value]:
        whole = self.length_of(reply)
        if whole != len(reply):
            raise _wrong_length(reply, self._total)
        if FramerRTU.compute_CRC(reply[:-2]) != int.from_bytes(reply[-2:], "big"):
            raise _bad("CRC 校验不符", "wrong checksum (CRC)")
        if reply[1] & 0x80:
            raise _refused(reply[2])
        return self._block.values(reply[3:-2])


def _bad(zh: str, en: str) -> BadFrame:
    return BadFrame(Text(zh, en))


def _wrong_length(reply: bytes, expected: int) -> BadFrame:
    return _bad(f"收到 {len(reply)} 字节，应为 {expected}", f"{len(reply)} bytes, not {expected}")


def _refused(code: int) -> MeterRefused:
    name = EXCEPTIONS.get(code, Text("未定义", "not defined"))
    return MeterRefused(Text(f"异常码 {code}（{name.zh}）", f"exception {code} ({name.en})"), code)


class ModbusDriver:
    """Meters that speak Modbus."""

    name = "modbus"
    line_model: type[BaseModel] = ModbusLine
    meter_model: type[BaseModel] = ModbusMeter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        return fault(point, profile)

    def replay(self, profile: Profile, vector: Mapping[str, Any]) -> Sequence[Value]:
        from drivers.modbus.replay import replay

        return replay(profile, vector)

    def identify(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        return ()

    def history(self, line: BaseModel, meter: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Request]:
        """Return none: Modbus has no records of the past."""
        return ()

    def silence_s(self, line: BaseModel) -> float:
        """3.5 characters on a serial line, 1.75 ms above 19200 baud (Modbus over serial line V1.02, 2.5.1.1)."""
        settings = ModbusLine.model_validate(line)
        if settings.serial is None:
            return settings.turnaround
        bits = 11 if settings.frame in ("8E1", "8O1", "8N2") else 10
        own = 0.00175 if settings.baud > 19200 else 3.5 * bits / settings.baud
        return max(own, settings.turnaround)

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return the reads of one meter.

        Raises:
            MeteringError: a point has a `fault`.
        """
        for name, point in meter.points.items():
            wrong = fault(point, meter.profile)
            if wrong is not None:
                raise MeteringError(Text("{meter}/{point}：{wrong}", "{meter}/{point}: {wrong}"),
                                    meter=meter.meter, point=name, wrong=wrong)  # fmt: skip
        unit = ModbusMeter.model_validate(dict(meter.address)).unit
        read = RtuRead if ModbusLine.model_validate(line).wraps_rtu else TcpRead
        return [read(block, unit) for block in blocks(meter)]
