"""The M-Bus driver: one reading of all of a meter's telegrams gives all of its points.

A meter is asked by its primary address after a reset of its link, or selected by its secondary one and then asked at 253.
Both make it forget which frame count bit came last, so it never hands out the answer to an earlier question again; within a
reading the bit changes with every telegram that was right.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from drivers.contract import MeterPlan, Request, Send, Value
from drivers.mbus.codec import (
    ACK,
    ANY,
    FCB,
    LONGEST,
    REQ_UD2,
    RSP_UD,
    SELECTED,
    SND_NKE,
    LongFrame,
    bad,
    frame_length,
    selection,
    short,
)  # fmt: skip
from drivers.mbus.settings import MOST_TELEGRAMS, MBusLine, MBusMeter
from drivers.mbus.telegram import Header, Record, Telegram, telegram
from drivers.mbus.values import Harvest, fault, harvest, identity
from drivers.refusal import refuse_points
from metering.errors import MeteringError, MeterRefused
from metering.profile import Place, Profile
from metering.text import Text

_IDLE_BITS = 33
"""Silence before a request, bit times: a break of so many ends any frame (EN 13757-2)."""
_FLOW = 0x30
"""Bits of an answer's control field that may vary: ACD and DFC."""


class Reading:
    """The telegrams of one reading, joined."""

    def __init__(self) -> None:
        self.header: Header | None = None
        self.records: list[Record] = []
        self.telegrams = 0
        self._last: tuple[object, ...] = ()

    def join(self, part: Telegram) -> None:
        """Take a further telegram.

        Raises:
            BadFrame: it comes from another meter than the one before.
        """
        first = self.header or part.header
        if (part.header.id, part.header.maker) != (first.id, first.maker):
            raise bad(
                f"来自表 {part.header.id}，前一帧来自 {first.id}",
                f"from meter {part.header.id}, after one from {first.id}",
            )
        self.header, self._last = first, _same(part)
        self.records += part.records
        self.telegrams += 1

    def has(self, part: Telegram) -> bool:
        """Whether a telegram is the one before once more: some meters announce a further one for ever, and have one."""
        return _same(part) == self._last


def _same(part: Telegram) -> tuple[object, ...]:
    """Return what is the same in a telegram that is sent again: all but the count of accesses, and the status."""
    return part.header.id, part.header.maker, part.body


class Readout:
    """All telegrams of one meter, read and joined."""

    replies_are_distinct = False
    longest_reply = LONGEST

    def __init__(self, address: MBusMeter, points: Sequence[str], take: Harvest, expected_bytes: int) -> None:
        self._meter = address
        self._take = take
        self._address = SELECTED if address.primary is None else address.primary
        if address.primary is None:
            self._first, who = selection(address.selector), f"select {address.secondary}, "
        else:
            self._first, who = short(SND_NKE, address.primary), "reset, "
        self._fcb = 0
        self._awaits_ack = False
        self._reading = Reading()
        self._bytes, self._telegrams = expected_bytes, 1
        """Of the last reading, as far as one is known."""
        self.points = tuple(points)
        self.label = f"{who}REQ_UD2 at {self._address}"

    @property
    def request_bytes(self) -> int:
        return len(self._first) + 5 * self._telegrams

    @property
    def reply_bytes(self) -> int:
        return 1 + self._bytes

    def request(self) -> bytes:
        self._reading, self._fcb, self._awaits_ack = Reading(), 0, True
        return self._first

    def _next(self) -> bytes:
        self._fcb ^= FCB
        return short(REQ_UD2 & ~FCB | self._fcb, self._address)

    def length_of(self, received: bytes) -> int | None:
        return frame_length(received)

    def decode(self, reply: bytes) -> Sequence[Value] | Send:
        if self._awaits_ack:
            if reply != bytes([ACK]):
                raise bad(
                    f"应为 E5，收到 {reply[:8].hex(' ')}", f"not acknowledged by E5 but by {reply[:8].hex(' ').upper()}"
                )
            self._awaits_ack = False
            return Send(self._next())
        return self._data(reply)

    def _data(self, reply: bytes) -> Sequence[Value] | Send:
        part = self._checked(reply)
        again = self._reading.has(part)
        if not again:
            self._reading.join(part)
        if part.more and not again and self._reading.telegrams < self._meter.telegrams:
            return Send(self._next())
        self._telegrams = self._reading.telegrams
        assert self._reading.header is not None
        return self._take(self._reading.header, self._reading.records)

    def _checked(self, reply: bytes) -> Telegram:
        frame = data_answer(reply)
        if frame.address != self._address and self._address not in (SELECTED, ANY):
            raise bad(
                f"来自地址 {frame.address}，应为 {self._address}", f"from address {frame.address}, not {self._address}"
            )
        part = telegram(frame, len(self._reading.records))
        check_identity(self._meter, part.header)
        self._bytes = len(reply) if not self._reading.telegrams else self._bytes + len(reply)
        return part

    def halves(self) -> Sequence[Request]:
        return ()


def data_answer(reply: bytes) -> LongFrame:
    """Return the frame of a data answer.

    Raises:
        BadFrame: it is none.
        MeterRefused: the meter only acknowledged.
    """
    if reply == bytes([ACK]):
        raise MeterRefused(Text("表计没有数据（只答 E5）", "the meter has no data (it only acknowledged)"))
    frame = LongFrame.of(reply)
    if frame.control & ~_FLOW != RSP_UD:
        raise bad(f"控制域 {frame.control:02X} 不是数据应答", f"control field {frame.control:02X} is no data answer")
    return frame


def check_identity(meter: MBusMeter, header: Header) -> None:
    """Refuse an answer that is not from the meter meant.

    Raises:
        BadFrame: its header names another meter, or names none where one is meant by name.
    """
    number = meter.secondary or ""
    if number.strip("F") and not header.id:
        raise bad(
            f"应答没有说明是哪台表，不能确认是 {number}",
            f"the answer does not say which meter it is from, so not that it is {number}",
        )
    if header.id and any(digit not in ("F", given) for digit, given in zip(number, header.id, strict=False)):
        raise bad(f"来自表 {header.id}，应为 {number}", f"from meter {header.id}, not {number}")
    for name, meant, given in (("maker", meter.maker, header.maker or None), ("version", meter.version, header.version),
                               ("medium", meter.medium, header.medium)):  # fmt: skip
        if meant is not None and given is not None and meant != given:
            raise bad(f"{name} 为 {given}，应为 {meant}", f"{name} {given}, not {meant}")


class MBusDriver:
    """Meters on a wired M-Bus."""

    name = "mbus"
    line_model: type[BaseModel] = MBusLine
    meter_model: type[BaseModel] = MBusMeter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        return fault(point)

    def silence_s(self, line: BaseModel) -> float:
        settings = MBusLine.model_validate(line)
        return max(settings.turnaround, _IDLE_BITS / settings.baud)

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return the one reading that gives all points.

        Raises:
            MeteringError: a point has a `fault`.
        """
        refuse_points(meter, self.fault)
        return [self._readout(meter, tuple(meter.points), harvest(meter.points))] if meter.points else []

    def identify(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return a reading of the header: `maker`, `serial`, `version`, `medium`; `model` and `firmware` where told."""
        return [self._readout(meter, ("maker", "serial", "version", "medium"), identity)]

    def history(self, line: BaseModel, meter: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Request]:
        """None: a stored value's date is in the meter's own time, of which the zone is not known."""
        return ()

    def _readout(self, meter: MeterPlan, points: tuple[str, ...], take: Harvest) -> Readout:
        address = MBusMeter.model_validate(dict(meter.address))
        return Readout(address, points, take, _usual_bytes(meter.profile))

    def replay(self, profile: Profile, vector: Mapping[str, Any]) -> Sequence[Value]:
        """Return the values, also of the identity, in `reply`: the hex of a telegram, or a list of those of a meter that has several."""
        replies = _replies(vector)
        if not 1 <= len(replies) <= MOST_TELEGRAMS:
            raise MeteringError(Text("向量要有 reply: 报文的十六进制", "a vector has reply: the hex of a telegram"))
        reading = Reading()
        for reply in replies:
            reading.join(telegram(data_answer(reply), len(reading.records)))
        assert reading.header is not None
        return harvest({**profile.identity, **profile.points})(reading.header, reading.records)


def _usual_bytes(profile: Profile) -> int:
    """Return how many bytes such a meter answers with, as far as its vectors tell."""
    sizes = []
    for vector in profile.vectors:
        try:
            sizes.append(sum(map(len, _replies(vector))))
        except MeteringError:
            continue
    return max(sizes, default=LONGEST)


def _replies(vector: Mapping[str, Any]) -> list[bytes]:
    """Return the telegrams of a vector.

    Raises:
        MeteringError: they are not hexadecimal.
    """
    given = vector.get("reply", [])
    try:
        return [bytes.fromhex(text) for text in ([given] if isinstance(given, str) else given)]
    except (TypeError, ValueError) as error:
        raise MeteringError(Text("reply 不是十六进制", "reply is not hexadecimal")) from error
