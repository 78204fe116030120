"""A conversation on an exchange line: steps, speed, echo, length; in virtual time, with a driver made here."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.answer import Answer
from agent.counters import LineCounters, MeterCounters
from agent.pace import byte_s
from agent.port import MOST_STEPS, Port
from drivers.contract import ExchangeLine, Send, Value
from link.world import TlsFiles
from metering.errors import BadFrame, MeterSilent


@dataclass
class Asking:
    """A dialogue: each reply is one line; `then` says what follows it."""

    then: Callable[[bytes], Sequence[Value] | Send]
    points: tuple[str, ...] = ("energy",)
    label: str = "asking"
    request_bytes: int = 4
    reply_bytes: int = 4
    longest_reply: int = 32
    replies_are_distinct: bool = True
    begun: int = field(default=0)

    def request(self) -> bytes:
        self.begun += 1
        return b"/?!\n"

    def length_of(self, received: bytes) -> int | None:
        if received.startswith(b"?"):
            raise BadFrame("no line")
        return received.index(b"\n") + 1 if b"\n" in received else None

    def decode(self, reply: bytes) -> Sequence[Value] | Send:
        return self.then(reply)

    def halves(self) -> Sequence[Any]:
        return ()


class Recorded:
    """A channel that notes what was done to it."""

    def __init__(self, replies: dict[bytes, list[bytes]], echo: bytes | None = None, baud: int = 300) -> None:
        self.replies = replies
        self.echo = echo
        self.baud = baud
        self.done: list[Any] = []
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False

    async def write(self, data: bytes) -> None:
        self.done.append((self.baud, data))
        if self.echo is not None:
            self._arrived.put_nowait(self.echo or data)
        for part in self.replies.get(data, []):
            self._arrived.put_nowait(part)

    async def read(self, timeout_s: float) -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._arrived.get()
        except TimeoutError:
            return b""

    async def set_speed(self, baud: int) -> None:
        self.baud = baud
        self.done.append(baud)
        for part in self.replies.get(b"%d" % baud, []):
            self._arrived.put_nowait(part)

    def drain(self) -> int:
        dropped = 0
        while not self._arrived.empty():
            dropped += len(self._arrived.get_nowait())
        return dropped

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def talk(world: Any, in_virtual_time: Any) -> Callable[..., tuple[Answer | Exception, LineCounters, Recorded]]:
    def run(asking: Asking, channel: Recorded, **settings: Any) -> Any:
        line = ExchangeLine.model_validate(
            {"driver": "x", "serial": "/dev/x", "baud": 300, "timeout": "500 ms"} | settings
        )
        counters = LineCounters()
        port = Port(line, 0.0, world, counters)

        async def opened(path: str, baud: int, frame: str) -> Recorded:
            return channel

        world.open_serial = opened

        async def story() -> Answer | Exception:
            try:
                return await port.converse(asking, MeterCounters())
            except Exception as error:
                await port.recover(error)  # type: ignore[arg-type]
                return error

        return in_virtual_time(story()), counters, channel

    return run


def test_a_dialogue_changes_speed_and_leaves_the_line_at_its_own(talk: Any) -> None:
    def then(reply: bytes) -> Sequence[Value] | Send:
        return Send(b"\x06050\n", 9600) if reply.startswith(b"/ABC") else [Value("energy", float(reply))]

    channel = Recorded({b"/?!\n": [b"/ABC", b"5\n"], b"9600": [b"12", b".5\n"]})
    answer, _, _ = talk(Asking(then), channel)
    assert answer.values == [Value("energy", 12.5)]
    assert channel.done == [(300, b"/?!\n"), (300, b"\x06050\n"), 9600, 300]


def test_a_dialogue_that_fails_leaves_the_line_at_its_own_speed_too(talk: Any) -> None:
    answer, _, channel = talk(Asking(lambda reply: Send(b"go\n", 9600)), Recorded({b"/?!\n": [b"/A\n"]}))
    assert isinstance(answer, MeterSilent)
    assert channel.done[-1] == channel.baud == 300


def test_a_step_may_only_listen_on(talk: Any) -> None:
    replies = iter([Send(b""), [Value("energy", 1.0)]])
    channel = Recorded({b"/?!\n": [b"one\n"], b"300": []})

    def then(reply: bytes) -> Sequence[Value] | Send:
        if reply == b"one\n":
            channel._arrived.put_nowait(b"two\n")
        return next(replies)

    answer, _, _ = talk(Asking(then), channel)
    assert answer.values == [Value("energy", 1.0)]
    assert channel.done == [(300, b"/?!\n")]


def test_what_came_with_a_reply_is_heard_by_a_step_that_listens_on(talk: Any) -> None:
    """IEC 62056-21 mode A: the data follow the identification at once."""
    answer, counters, _ = talk(
        Asking(lambda reply: Send(b"") if reply == b"/ident\n" else [Value("energy", float(reply))]),
        Recorded({b"/?!\n": [b"/ident\n12", b".5\nlate"]}),
    )
    assert answer.values == [Value("energy", 12.5)]
    assert (counters.stale, counters.stale_frames) == (4, 1)


def test_what_came_with_a_reply_is_thrown_away_before_a_step_that_sends(talk: Any) -> None:
    answer, counters, _ = talk(
        Asking(lambda reply: Send(b"go\n") if reply == b"/ident\n" else [Value("energy", float(reply))]),
        Recorded({b"/?!\n": [b"/ident\n99\n"], b"go\n": [b"1\n"]}),
    )
    assert answer.values == [Value("energy", 1.0)]
    assert counters.stale == 3


def test_a_dialogue_without_an_end_is_ended(talk: Any) -> None:
    answer, _, channel = talk(
        Asking(lambda reply: Send(b"more\n")), Recorded({b"/?!\n": [b"x\n"], b"more\n": [b"x\n"]})
    )
    assert isinstance(answer, BadFrame)
    assert len(channel.done) == MOST_STEPS


@pytest.mark.parametrize("parts", [[b"x" * 33], [b"x" * 8] * 5, [b"x"] * 4000])
def test_f26_a_reply_is_read_no_further_than_its_longest(talk: Any, parts: list[bytes]) -> None:
    answer, counters, _ = talk(Asking(lambda reply: []), Recorded({b"/?!\n": parts}))
    assert isinstance(answer, BadFrame)
    assert "without an end" in str(answer)
    assert counters.stale == max(0, sum(map(len, parts)) - 33 - (7 if len(parts) == 5 else 0)), "the rest is drained"


def test_an_echo_is_compared_and_thrown_away(talk: Any) -> None:
    answer, counters, _ = talk(
        Asking(lambda reply: [Value("energy", float(reply))]), Recorded({b"/?!\n": [b"7\n"]}, echo=b""), echo=True
    )
    assert answer.values == [Value("energy", 7.0)]
    assert counters.echo_faults == 0


def test_f23_another_echo_than_what_was_sent_is_a_collision(talk: Any) -> None:
    answer, counters, _ = talk(Asking(lambda reply: []), Recorded({b"/?!\n": [b"7\n"]}, echo=b"/?\xff\n"), echo=True)
    assert isinstance(answer, BadFrame)
    assert "second master" in answer.say("en")
    assert "A、B" in answer.say("zh")
    assert counters.echo_faults == 1


def test_f23_an_echo_that_was_not_announced_is_named(talk: Any) -> None:
    class Strict(Asking):
        def length_of(self, received: bytes) -> int | None:
            raise BadFrame("no reply")

    answer, _, _ = talk(Strict(lambda reply: []), Recorded({}, echo=b""))
    assert "echo: true" in str(answer)


def test_no_echo_at_all_points_to_the_adapter(talk: Any) -> None:
    answer, _, _ = talk(Asking(lambda reply: []), Recorded({}), echo=True)
    assert isinstance(answer, MeterSilent)
    assert "echo: false" in str(answer)


@pytest.mark.parametrize(("frame", "bits"), [("8N1", 10), ("8E1", 11), ("7E1", 10), ("8N2", 11)])
def test_a_byte_takes_its_start_parity_and_stop_bits(frame: str, bits: int) -> None:
    line = ExchangeLine.model_validate({"driver": "x", "serial": "/dev/x", "baud": 1000, "frame": frame})
    assert byte_s(line) == pytest.approx(bits / 1000)


@pytest.mark.parametrize(
    ("settings", "opened"),
    [
        ({"tcp": "gw:502"}, ("tcp", "gw", 502, None)),
        ({"udp": "gw:502"}, ("udp", "gw", 502)),
        ({"serial": "/dev/x", "baud": 2400, "frame": "8E1"}, ("serial", "/dev/x", 2400, "8E1")),
        ({"serial": "rfc2217://gw:2217", "baud": 2400}, ("serial", "rfc2217://gw:2217", 2400, "8N1")),
        (
            {"tcp": "gw:802", "tls": {"ca": "ca.pem", "server_name": "meter"}},
            ("tcp", "gw", 802, TlsFiles("meter", Path("ca.pem"))),
        ),
        ({"tcp": "gw:802", "tls": {}}, ("tcp", "gw", 802, TlsFiles("gw"))),
    ],
)
def test_a_line_is_opened_the_way_its_settings_say(
    world: Any, in_virtual_time: Any, settings: dict[str, Any], opened: tuple[Any, ...]
) -> None:
    ways: list[tuple[Any, ...]] = []
    channel = Recorded({b"/?!\n": [b"1\n"]})

    async def open_tcp(host: str, port: int, timeout_s: float, tls: Any = None) -> Recorded:
        ways.append(("tcp", host, port, tls))
        return channel

    async def open_udp(host: str, port: int) -> Recorded:
        ways.append(("udp", host, port))
        return channel

    async def open_serial(path: str, baud: int, frame: str) -> Recorded:
        ways.append(("serial", path, baud, frame))
        return channel

    world.open_tcp, world.open_udp, world.open_serial = open_tcp, open_udp, open_serial
    port = Port(ExchangeLine.model_validate({"driver": "x"} | settings), 0.0, world, LineCounters())
    answer = in_virtual_time(port.converse(Asking(lambda reply: [Value("energy", 1.0)]), MeterCounters()))
    assert answer.values == [Value("energy", 1.0)]
    assert ways == [opened]
