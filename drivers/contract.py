"""What a driver is. All its author reads.

A driver turns a meter's profile into reads, and bytes into values. It comes in one of two shapes:

Exchange (Modbus, DL/T 645, every serial protocol): bytes out, bytes in, no I/O of its own. `plan` gives the
    requests of one meter; for each the line owner drains the line, keeps `silence_s`, sends `request()`, collects bytes
    until `length_of` says the reply is whole or the time is up, stamps the time, and calls `decode`.
Session (OPC UA): the protocol's library owns its socket. `open` gives a session; `read` its values.

Both refuse rather than guess: a reply that is not the answer to this very request raises BadFrame, an exception reply
raises MeterRefused, a silent meter MeterSilent, a lost connection MeterUnreachable. No driver can write to a meter.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel, Field, model_validator

from metering.fields import DurationS, FieldError, Strict
from metering.profile import Profile, ProfilePoint
from metering.reading import Quality
from metering.text import Text


@dataclass(frozen=True, slots=True)
class Value:
    """One decoded value; the line owner adds the time and the meter's id."""

    point: str
    """The name in the profile, such as `energy_import`."""
    value: float | None
    quality: Quality = Quality.GOOD
    raw: bytes | None = None
    source_ms: int | None = None
    why: str = ""
    """Why there is no value, in the protocol's own words, such as `BadNodeIdUnknown`; for people only."""


@dataclass(frozen=True)
class MeterPlan:
    """What one meter is asked for: its address on the line and the points wanted of its profile."""

    meter: str
    address: Mapping[str, Any]
    """The meter's address settings as checked by the driver's `meter_model` (`unit`, `number`, …)."""
    profile: Profile
    points: Mapping[str, ProfilePoint]


class ExchangeLine(Strict):
    """Settings every line of an exchange driver has. A driver's own model adds to it and changes defaults."""

    driver: str
    tcp: str | None = Field(default=None, pattern=r"^[^\s:]+:\d{1,5}$")
    """`host:port` of a meter or gateway. Exactly one of `tcp` and `serial` is given."""
    serial: str | None = None
    """A port, best by `/dev/serial/by-id/...`."""
    baud: int = Field(default=9600, ge=300, le=4_000_000)
    frame: Literal["8N1", "8E1", "8O1", "8N2", "7E1"] = "8N1"
    timeout: DurationS = 1.0
    """Longest wait for a reply."""
    turnaround: DurationS = 0.0
    """Silence the devices need before a request, where it is longer than the protocol's own."""

    @model_validator(mode="after")
    def _one_transport(self) -> "ExchangeLine":
        if (self.tcp is None) == (self.serial is None):
            raise FieldError(
                Text("要么写 tcp: 主机:端口，要么写 serial: 串口", "give either tcp: host:port or serial: a port")
            )
        return self


class Request(Protocol):
    """One exchange with one meter: pure, reusable from cycle to cycle."""

    @property
    def points(self) -> tuple[str, ...]: ...

    @property
    def label(self) -> str:
        """A line for `tanbiao agent plan`, such as `fc 3, 40 registers at 0x0800`."""
        ...

    @property
    def request_bytes(self) -> int: ...

    @property
    def reply_bytes(self) -> int:
        """Bytes of the expected reply, for the predicted cycle time."""
        ...

    def request(self) -> bytes:
        """Return the next frame to send; a new transaction id each time where the protocol has one."""
        ...

    def length_of(self, received: bytes) -> int | None:
        """Return how many of `received` make a whole reply, or None while more must come.

        Raises:
            BadFrame: what has come can never become the reply (wrong transaction, unit, function).
        """
        ...

    def decode(self, reply: bytes) -> Sequence[Value]:
        """Return the values of a whole reply to the frame last sent.

        Raises:
            BadFrame: checksum, unit, function, length or transaction id is wrong.
            MeterRefused: an exception reply.
        """
        ...


def replies_are_distinct(request: Request) -> bool:
    """Return whether a reply names the request it answers, by a transaction id or the data's own address.

    A request says so with an attribute `replies_are_distinct`; without it the answer is no: a late reply could then pass
    for the reply to the meter's next request, so the line owner leaves a meter alone for a while after a time-out.
    """
    return getattr(request, "replies_are_distinct", False) is True


class Session(Protocol):
    """A connection the protocol's library owns. After any MeterUnreachable it is closed and opened anew."""

    async def read(self, plan: MeterPlan) -> Sequence[Value]:
        """Read all points of one meter in as few requests as the server takes.

        Raises:
            MeterError: the connection is lost, or the server refused.
        """
        ...


class Driver(Protocol):
    """What the catalogue holds. Building one touches no network."""

    @property
    def name(self) -> str: ...

    @property
    def line_model(self) -> type[BaseModel]:
        """Settings of a line, beside `driver`. An exchange driver's is an `ExchangeLine`."""
        ...

    @property
    def meter_model(self) -> type[BaseModel]:
        """Settings of a meter's address on the line."""
        ...

    def fault(self, point: ProfilePoint, profile: Profile) -> Text | None:
        """Return what is wrong with a point of a profile (address, type), or None."""
        ...


class ExchangeDriver(Driver, Protocol):
    def silence_s(self, line: BaseModel) -> float:
        """Return the silence to keep before a request on this line (t3.5, turnaround), seconds."""
        ...

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]: ...


class SessionDriver(Driver, Protocol):
    def open(self, line: BaseModel) -> AbstractAsyncContextManager[Session]:
        """Connect; the context closes it.

        Raises:
            MeterUnreachable: on entering.
        """
        ...
