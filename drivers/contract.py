"""What a driver is. All its author reads.

A driver turns a meter's profile into reads, and bytes into values. It comes in one of two shapes:

Exchange (Modbus, DL/T 645, every serial protocol): bytes out, bytes in, no I/O of its own. `plan` gives the
    requests of one meter; for each the line owner drains the line, keeps `silence_s`, sends `request()`, collects bytes
    until `length_of` says the reply is whole or the time is up, stamps the time, and calls `decode`. Where that gives a
    `Send` instead of values, the dialogue goes on: it is sent, and what comes is decoded in its turn.
Session (OPC UA): the protocol's library owns its socket. `open` gives a session; `read` its values.

Both refuse rather than guess: a reply that is not the answer to this very request raises BadFrame, an exception reply
raises MeterRefused, a silent meter MeterSilent, a lost connection MeterUnreachable. No driver can write to a meter.

A driver states four things of itself besides: what is wrong with a point (`fault`), what a profile's vector decodes to
(`replay`), what a meter says of itself (`identify`), and what it still knows of the past (`history`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from pydantic import AfterValidator, BaseModel, Field, model_validator

from metering.fields import DurationS, FieldError, Strict
from metering.profile import Place, Profile
from metering.reading import Quality
from metering.text import Text

T = TypeVar("T")


class Value(msgspec.Struct, frozen=True, gc=False):
    """One decoded value; the line owner adds the time and the meter's id. (A struct: it is made a thousand times a second.)"""

    point: str
    """The name in the profile, such as `energy_import`."""
    value: float | None
    """A whole number beyond 2^53 is an `int`, so that it keeps its digits."""
    quality: Quality = Quality.GOOD
    raw: bytes | None = None
    source_ms: int | None = None
    """When the source says it was measured, Unix ms."""
    at_ms: int | None = None
    """When it was measured where that is not when it was asked for: a value of the past, or one the server sent by
    itself. Unix ms."""
    text: str | None = None
    """What a place holds that is no number: a serial number, a date; `value` is None then."""
    why: str = ""
    """Why there is no value, in the protocol's own words, such as `BadNodeIdUnknown`; for people only."""


@dataclass(frozen=True)
class MeterPlan:
    """What one meter is asked for: its address on the line and the points wanted of its profile."""

    meter: str
    address: Mapping[str, Any]
    """The meter's address settings as checked by the driver's `meter_model` (`unit`, `number`, …)."""
    profile: Profile
    points: Mapping[str, Place]
    """What is wanted: points of the profile, or its identity or probes."""


@dataclass(frozen=True, slots=True)
class Send:
    """The next step of a dialogue."""

    frame: bytes
    """What to send; empty: only listen on."""
    baud: int | None = None
    """The speed of everything after `frame`, until the dialogue ends."""


class Tls(Strict):
    """TLS to a device: it is verified, and shows it our certificate where it asks for one."""

    ca: Path | None = None
    """File of the CA certificates, or of the device's own; None: the system's."""
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    """The name in the device's certificate; None: the host."""


def _within(least_s: float, most_s: float) -> AfterValidator:
    def checked(value: float) -> float:
        if not least_s <= value <= most_s:
            raise FieldError(
                Text("{value:g} s 超出范围：{least:g} 到 {most:g} s", "{value:g} s is out of range: {least:g} s to {most:g} s"),
                value=value, least=least_s, most=most_s,
            )  # fmt: skip
        return value

    return AfterValidator(checked)


ReplyTimeS = Annotated[DurationS, _within(0.01, 60.0)]
"""Longest wait for a reply: a shorter one no meter keeps, with a longer one a dead meter would hold up its line."""


def _host_port(value: str) -> str:
    match = _HOST_PORT.fullmatch(value)
    if match is None or not 0 < int(match[1]) < 65536:
        raise FieldError(
            Text("{value!r} 应写成 主机:端口，例如 192.168.1.20:502", "{value!r} should be host:port, such as 192.168.1.20:502"),
            value=value,
        )  # fmt: skip
    return value


_HOST_PORT = re.compile(r"[^\s:/]+:([0-9]{1,5})")
HostPort = Annotated[str, AfterValidator(_host_port)]


class ExchangeLine(Strict):
    """Settings every line of an exchange driver has. A driver's own model adds to it and changes defaults."""

    driver: str
    tcp: HostPort | None = None
    """`host:port` of a meter or gateway. Exactly one of `tcp`, `udp` and `serial` is given."""
    udp: HostPort | None = None
    tls: Tls | None = None
    """With `tcp`: encrypted."""
    serial: str | None = None
    """A port, best by `/dev/serial/by-id/...`, or `rfc2217://host:port` of a serial server whose speed we set."""
    baud: int = Field(default=9600, ge=300, le=4_000_000)
    frame: Literal["8N1", "8E1", "8O1", "8N2", "7E1"] = "8N1"
    timeout: ReplyTimeS = 1.0
    """Longest wait for a reply."""
    turnaround: Annotated[DurationS, _within(0.0, 10.0)] = 0.0
    """Silence the devices need before a request, where it is longer than the protocol's own."""
    echo: bool = False
    """Whether the adapter hands back what we send; it is compared and thrown away."""

    @model_validator(mode="after")
    def _one_transport(self) -> "ExchangeLine":
        if sum(way is not None for way in (self.tcp, self.udp, self.serial)) != 1:
            raise FieldError(
                Text(
                    "tcp: 主机:端口、udp: 主机:端口、serial: 串口 三者写其一",
                    "give one of tcp: host:port, udp: host:port and serial: a port",
                )
            )
        if self.tls is not None and self.tcp is None:
            raise FieldError(Text("tls 只用于 tcp", "tls goes with tcp only"))
        return self

    @property
    def where(self) -> str:
        """The port or address, for people."""
        return str(self.tcp or self.udp or self.serial)


class Request(Protocol):
    """One exchange with one meter, or a dialogue of several: no I/O, reusable from cycle to cycle."""

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
        """Bytes of the expected reply, for the predicted cycle time; of a dialogue, of all of it."""
        ...

    @property
    def longest_reply(self) -> int:
        """More bytes than this are no reply."""
        ...

    @property
    def replies_are_distinct(self) -> bool:
        """Whether a reply names the request it answers, by a transaction id or the data's own address.

        Where it does not, a late reply could pass for the reply to the meter's next request, so the line owner leaves a
        meter alone for a while after a time-out.
        """
        ...

    def request(self) -> bytes:
        """Begin: return the first frame to send; a new transaction id each time where the protocol has one."""
        ...

    def length_of(self, received: bytes) -> int | None:
        """Return how many of `received` make a whole reply, or None while more must come.

        Raises:
            BadFrame: what has come can never become the reply (wrong transaction, unit, function).
        """
        ...

    def decode(self, reply: bytes) -> Sequence[Value] | Send:
        """Return the values of a whole reply to the frame last sent, or what must be sent before there are any.

        Raises:
            BadFrame: checksum, unit, function, length or transaction id is wrong.
            MeterRefused: an exception reply.
        """
        ...

    def halves(self) -> Sequence["Request"]:
        """Return the requests that read the same in smaller pieces, for a device that refuses a place among them; none
        where this one cannot be divided."""
        ...


class Surroundings(Protocol):
    """What a session driver asks of the world around it. The agent's `World` is one."""

    def now_ms(self) -> int:
        """Return the wall clock, Unix milliseconds UTC."""
        ...

    async def in_own_thread(self, name: str, call: Callable[[], T]) -> T:
        """Return what a blocking call returns (a host name looked up, a key made); who is cancelled does not wait for it."""
        ...


class Session(Protocol):
    """A connection the protocol's library owns. After any MeterUnreachable it is closed and opened anew."""

    @property
    def resubscribed(self) -> int:
        """How often what the server tells by itself went quiet and was set up anew."""
        ...

    async def read(self, plan: MeterPlan) -> Sequence[Value]:
        """Read all points of one meter in as few requests as the server takes.

        Raises:
            MeterError: the connection is lost, or the server refused.
        """
        ...

    async def identify(self, plan: MeterPlan) -> Sequence[Value]:
        """Read what the server says of itself and of the meter, as texts: `maker`, `model`, `serial`, `firmware`.

        Raises:
            MeterError: as `read`.
        """
        ...

    async def history(self, plan: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Value]:
        """Read what the server recorded strictly between two times: values with `at_ms`, marked BACKFILLED where they are
        good, oldest first, a bounded number; none where it keeps no history.

        Raises:
            MeterError: as `read`.
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

    def fault(self, point: Place, profile: Profile) -> Text | None:
        """Return what is wrong with a place in a profile (address, type), or None."""
        ...

    def replay(self, profile: Profile, vector: Mapping[str, Any]) -> Sequence[Value]:
        """Return the values of the profile's points that the bytes of one of its vectors hold, read as from a meter.

        Raises:
            MeteringError: the vector is not of this protocol's form, or its bytes are refused.
        """
        ...


class ExchangeDriver(Driver, Protocol):
    def silence_s(self, line: BaseModel) -> float:
        """Return the silence to keep before a request on this line (t3.5, turnaround), seconds."""
        ...

    def plan(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return the requests of one slot, in the order in which they are sent."""
        ...

    def identify(self, line: BaseModel, meter: MeterPlan) -> Sequence[Request]:
        """Return the requests for what the meter says of itself by its protocol alone (Modbus 43/14, the head of an M-Bus
        telegram): texts named `maker`, `model`, `serial`, `firmware`; none where the protocol has no such thing."""
        ...

    def history(self, line: BaseModel, meter: MeterPlan, from_ms: int, to_ms: int) -> Sequence[Request]:
        """Return the requests for what the meter recorded strictly between two times; their values have `at_ms` and are
        marked BACKFILLED. None where it keeps no such record."""
        ...


class SessionDriver(Driver, Protocol):
    def open(self, line: BaseModel, world: Surroundings) -> AbstractAsyncContextManager[Session]:
        """Connect; the context closes it.

        Raises:
            MeterUnreachable: on entering.
        """
        ...
