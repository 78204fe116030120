"""The one way to the world outside: clock, sleep, randomness, lines, threads and the broker.

Agent and ingester take everything that waits, dices or tells the time from a `World` handed in by `app.py`; no other
module of theirs calls time, random, threads or paho (banned by lint). So a test may hand in a world of its own, and a
whole year can be simulated from a seed.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from metering.wire import ClockState

T = TypeVar("T")


class Channel(Protocol):
    """Bytes to and from one line or connection."""

    async def write(self, data: bytes) -> None:
        """Send all of `data`: return once the system has it, which on a serial line is before its last bit is out.

        Raises:
            MeterUnreachable: the line or connection was lost.
        """
        ...

    async def read(self, timeout_s: float) -> bytes:
        """Return what has arrived, at least one byte; empty when `timeout_s` passed without one.

        Raises:
            MeterUnreachable: the line or connection was lost.
        """
        ...

    async def set_speed(self, baud: int) -> None:
        """Change the speed of a serial line once all that was written is out. A network has none.

        Raises:
            MeterUnreachable: the line was lost, or cannot do this speed.
        """
        ...

    def drain(self) -> int:
        """Throw away what has arrived and was not read, in the system's buffer too; return how many bytes that was."""
        ...

    async def close(self) -> None: ...


class Worker(Protocol):
    """One thread that runs blocking calls one after another, in the order given."""

    async def run(self, call: Callable[..., T], *args: object) -> T:
        """Run `call(*args)` there and return its result or raise its error. Cancelled or not, the call is run."""
        ...


@dataclass(frozen=True)
class TlsFiles:
    """Whom we trust and who we are on a TLS connection."""

    server_name: str
    ca: Path | None = None
    """None: the system's CA certificates."""
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Will:
    """What the broker says for us when we are gone."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker is and who we are to it."""

    url: str
    """`mqtt://host:1883` or `mqtts://host:8883`."""
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    """File of the CA certificates; None: the system's."""


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    retained: bool = False


@dataclass(frozen=True)
class Connected:
    """An item of `Broker.events`: a session has begun; subscriptions are in place."""


@dataclass(frozen=True)
class Disconnected:
    """An item of `Broker.events`: the session ended, or an attempt failed. `reason` is for the log."""

    reason: str


class Broker(Protocol):
    """A connection that keeps itself up: full-jitter reconnect, capped at 120 s, reset after 60 s of stable session."""

    @property
    def connected(self) -> bool: ...

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish with QoS 1; return True on PUBACK, False when the connection ended before or there is none.

        PUBACK is not delivery: only a receipt is.
        """
        ...

    def events(self) -> AsyncIterator[Message | Connected | Disconnected]:
        """Yield what arrives on the subscriptions, and the connection's comings and goings, in order, to one consumer.

        A failed attempt is a Disconnected too. A consumer that is behind holds the broker back. The iterator may be
        left by a time-out and taken up again.
        """
        ...


class World(Protocol):
    @property
    def boot_id(self) -> str: ...

    @property
    def random(self) -> random.Random: ...

    def now_ms(self) -> int:
        """Return the wall clock, Unix milliseconds UTC."""
        ...

    def uptime(self) -> float:
        """Return seconds since boot, sleep included (CLOCK_BOOTTIME). Never steps; schedules run by it."""
        ...

    def clock_state(self) -> ClockState:
        """Return whether the wall clock is synchronised (adjtimex)."""
        ...

    def new_id(self) -> str:
        """Return a new UUID."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def open_tcp(self, host: str, port: int, timeout_s: float, tls: TlsFiles | None = None) -> Channel:
        """Connect, with TLS where files are given.

        Raises:
            MeterUnreachable: refused, no route, name unknown, too slow, or not the device its certificate should name.
        """
        ...

    async def open_udp(self, host: str, port: int) -> Channel:
        """Open a socket that sends datagrams there and takes them from nowhere else; each read gives whole ones.

        Raises:
            MeterUnreachable: no route, or name unknown.
        """
        ...

    async def open_serial(self, path: str, baud: int, frame: str) -> Channel:
        """Open a serial port, `frame` such as `8N1`; `rfc2217://host:port` is one behind a serial server (RFC 2217).

        Raises:
            MeterUnreachable: not there, not permitted, or in use; the message names the remedy.
        """
        ...

    async def in_own_thread(self, name: str, call: Callable[[], T]) -> T:
        """Run a blocking call that the system may keep for minutes, such as the look-up of a host name, in a thread of its
        own. Who is cancelled does not wait for it, nor does the stop."""
        ...

    def worker(self, name: str) -> AbstractAsyncContextManager[Worker]: ...

    def broker(
        self, address: BrokerAddress, subscriptions: tuple[str, ...], will: Will
    ) -> AbstractAsyncContextManager[Broker]:
        """Return a connection that starts on entering; on leaving it disconnects without the will."""
        ...
