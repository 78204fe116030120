"""The IEC 62056-21 driver: sign-on, a change of speed where the meter's mode has one, and the readout of all its data.

Mode A sends its data after the identification; mode B does so at another speed; mode C waits for our acknowledgement,
which names the speed. Where nobody can change the speed (plain TCP, `change_speed: false`) everything stays at the line's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from drivers.contract import MeterPlan, Request, Send, Value
from drivers.iec62056.codec import (
    LONGEST,
    SLOWEST,
    Identification,
    acknowledgement,
    bad,
    data_block,
    data_length,
    identification,
    sign_on,
    with_parity,
)  # fmt: skip
from drivers.iec62056.datasets import data_sets
from drivers.iec62056.settings import Iec62056Line, Iec62056Meter
from drivers.iec62056.values import Harvest, fault, harvest, identity
from drivers.refusal import refuse_points
from metering.errors import MeteringError
from metering.profile import Place, Profile
from metering.text import Text

_USUAL_READOUT = 1000
"""Bytes of a readout that nobody has seen yet."""
_SILENCE_S = 0.2
"""The reaction time: the shortest wait between a message received and the next one sent (IEC 62056-21, 6.1)."""
_C_BAUDS = (300, 600, 1200, 2400, 4800, 9600, 19200)


class Readout:
    """Everything one meter reads out."""

    replies_are_distinct = False
    longest_reply = LONGEST

    def __init__(
        self, line: Iec62056Line, meter: Iec62056Meter, points: Sequence[str], take: Harvest, usual: tuple[int, int]
    ) -> None:
        self._line = line
        self._sign_on = sign_on(meter.address, meter.wake_up)
        self._take = take
        self._changes = line.change_speed and line.serial is not None
        self._who: Identification | None = None
        """Who answered the sign-on, once that is known in this dialogue."""
        self._usual = usual
        """Bytes of a readout, and its speed, as far as they are known."""
        self.points = tuple(points)
        self.label = f"sign-on {self._sign_on.lstrip(bytes(1)).decode().strip()}, readout"

    @property
    def request_bytes(self) -> int:
        return len(self._sign_on) + 6

    @property
    def reply_bytes(self) -> int:
        """The bytes at the line's own speed that take as long as the readout does at its speed."""
        size, baud = self._usual
        return 24 + (size * self._line.baud // baud if self._changes and baud > self._line.baud else size)

    def request(self) -> bytes:
        self._who = None
        return self._framed(self._sign_on)

    def _framed(self, frame: bytes) -> bytes:
        return with_parity(frame) if self._line.software_parity else frame

    def length_of(self, received: bytes) -> int | None:
        if self._who is not None:
            return data_length(received)
        found = identification(received)
        if found is None:
            return None
        who, end = found
        if not self._at_once(who):
            return end
        rest = data_length(received[end:])
        return None if rest is None else end + rest

    def _at_once(self, who: Identification) -> bool:
        """Whether data follow the identification without our doing anything."""
        return who.mode == "A" or (who.mode == "B" and not self._changes)

    def decode(self, reply: bytes) -> Sequence[Value] | Send:
        if self._who is not None:
            return self._values(self._who, reply)
        found = identification(reply)
        if found is None:
            raise bad("识别报文不完整", "not a whole identification")
        self._who, end = found
        if self._at_once(self._who):
            return self._values(self._who, reply[end:])
        return self._onward(self._who)

    def _onward(self, who: Identification) -> Send:
        baud = who.baud if self._changes else self._line.baud
        if who.mode == "B":
            return Send(b"", who.baud)
        code = baud if baud in _C_BAUDS else SLOWEST
        return Send(self._framed(acknowledgement(code)), baud if self._changes else None)

    def _values(self, who: Identification, message: bytes) -> Sequence[Value]:
        sets = data_sets(data_block(message))
        self._usual = len(message), who.baud
        return self._take(who, sets)

    def halves(self) -> Sequence[Request]:
        return ()


class Iec62056Driver:
    """Meters that are read out by IEC 62056-21."""

    name = "iec62056"
    line_model: type[BaseModel] = Iec62056Line
    meter_model: type[BaseModel] = Iec62056Meter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        return fault(point)

    def silence_s(self, line: BaseModel) -> float:
        return max(_SILENCE_S, Iec62056Line.model_validate(line).turnaround)

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return the one readout that gives all points.

        Raises:
            MeteringError: a point has a `fault`.
        """
        refuse_points(meter, self.fault)
        return [self._readout(line, meter, tuple(meter.points), harvest(meter.points))] if meter.points else []

    def identify(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return a readout of `maker` and `model` (both from the identification message) and `serial`."""
        return [self._readout(line, meter, ("maker", "model", "serial"), identity)]

    def history(self, line: BaseModel, meter: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Request]:
        """None: what a readout holds of the past has no time that all meters write alike."""
        return ()

    def _readout(self, line: BaseModel, meter: MeterPlan, points: tuple[str, ...], take: Harvest) -> Readout:
        address = Iec62056Meter.model_validate(dict(meter.address))
        return Readout(Iec62056Line.model_validate(line), address, points, take, _usual(meter.profile))

    def replay(self, profile: Profile, vector: Mapping[str, Any]) -> Sequence[Value]:
        """Return the values, also of the identity, in `reply_text` (with \\r, \\n, \\x02, \\x03) or `reply` (hex):
        identification and data message, or a list of both."""
        reply = _reply(vector)
        found = identification(reply)
        if found is None:
            raise bad("识别报文不完整", "not a whole identification")
        who, end = found
        return harvest({**profile.identity, **profile.points})(who, data_sets(data_block(reply[end:])))


def _usual(profile: Profile) -> tuple[int, int]:
    """Return how long such a meter's readout is and at which speed it comes, as far as its vectors tell."""
    known = [(_USUAL_READOUT, SLOWEST)]
    for vector in profile.vectors:
        try:
            reply = _reply(vector)
            found = identification(reply)
        except MeteringError:
            continue
        if found is not None:
            known.append((max(len(reply), _USUAL_READOUT), found[0].baud))
    return known[-1]


def _reply(vector: Mapping[str, Any]) -> bytes:
    """Return the bytes of a vector.

    Raises:
        MeteringError: it holds none.
    """
    given = vector.get("reply_text", vector.get("reply"))
    parts = [given] if isinstance(given, str) else given
    try:
        if "reply_text" in vector:
            return b"".join(part.encode("latin-1") for part in parts or ())
        return b"".join(bytes.fromhex(part) for part in parts or ())
    except (AttributeError, TypeError, ValueError) as error:
        wrong = Text("向量要有 reply_text: 文本，或 reply: 十六进制", "a vector has reply_text: a text, or reply: hex")
        raise MeteringError(wrong) from error
