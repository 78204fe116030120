"""What is not a batch: set aside with its reason, a bounded number of an agent and hour, in bounded memory."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ingester.dead_letters import HOUR_S, KEPT_BYTES, OF_AGENT, OF_ALL, DeadLetters
from ingester.inspection import Inspector, Refused
from ingester.twice import refuse_repeated_keys
from link.world import Message
from metering.errors import MalformedBatch
from metering.wire import Batch, Exchange, Gap, Topics, decode_batch, encode

TOPIC = "tanbiao/v1/demo/agent-a/data"
T0 = 1_763_884_800_000
compress = zstandard.ZstdCompressor(level=3).compress


def body(**changes: Any) -> bytes:
    batch = Batch(
        site="demo", agent="agent-a", stream="s-1", seq=1, prev="", boot="b", up=0, clock="synced", config="c",
        points=[("main/energy", "kWh")], t0=T0, t=[0, 5], p=[0, 0], x=[1.5, "12345678901234567890"], q=[0, 0],
    )  # fmt: skip
    return encode(msgspec.structs.replace(batch, **changes))


def inspected(payload: bytes) -> tuple[Any, list[Refused]]:
    return Inspector(Topics("demo"), {}, {}, {}).inspect(Message(TOPIC, payload), T0)


WRONG = {
    "truncated": (body()[:-9], "truncated"),
    "of a wrong shape": (body().replace(b'"seq":1', b'"seq":"one"'), "seq"),
    "with a field nobody knows": (body().replace(b'"seq":1', b'"seq":1,"sequel":2'), "sequel"),
    "nested without end": (b"[" * 50_000, "array"),
    "nested without end where a number should be": (b'{"v":' + b"[" * 50_000, "int"),
    "nested where a text should be": (body().replace(b'"boot":"b"', b'"boot":' + b"[" * 9 + b"]" * 9), "boot"),
    "too long as sent": (b"x" * 60_001, "60001 bytes as sent"),
    "a zip bomb of 256 MB": (compress(b" " * 256_000_000), "256000000 bytes unpacked"),
    "a zip bomb that does not say its size": (
        zstandard.ZstdCompressor(level=3, write_content_size=False).compress(b" " * 5_000_000), "zstd"
    ),
    "a zip bomb within the bound that is no batch": (compress(b"[" * 3_999_999), "array"),
    "half of a zstd frame": (compress(body() * 9)[:-4], "zstd"),
    "invalid UTF-8": (body().replace(b'"boot":"b"', b'"boot":"\xff\xfe"'), "utf-8"),
    "half of a character": (body().replace(b'"boot":"b"', b'"boot":"\xe7\xa2"'), "utf-8"),
    "not a number": (body().replace(b"1.5", b"NaN"), "invalid"),
    "infinite": (body().replace(b"1.5", b"1e999"), "out of range"),
    "with a key twice": (body().replace(b'"seq":1', b'"seq":1,"seq":2'), "'seq' stands twice"),
    "with a key twice, once in disguise": (body().replace(b'"seq":1', b'"seq":1,"\\u0073eq":2'), "'seq' stands twice"),
    "with a key twice instead of one that may be left out": (
        body().replace(b'{"v":1,', b"{").replace(b'"seq":1', b'"seq":1,"seq":2'), "'seq' stands twice"
    ),
    "with a key twice in an event": (
        body(events=[Gap(meter="main", start=T0, cause="timeout", missed=1)]).replace(
            b'"missed":1', b'"missed":1,"missed":5'
        ), "'missed' stands twice"
    ),
    "with more readings than memory should hold": (
        compress(body(t=[0] * 100_001, p=[0] * 100_001, x=[1.0] * 100_001, q=[0] * 100_001)), "100001 readings"
    ),
    "of a stream without end": (body(stream="s" * 70), "stream"),
    "of a stream with strange letters": (body(stream="s\0"), "stream"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_f52_a_message_is_refused_with_its_reason(what: str) -> None:
    payload, reason = WRONG[what]
    batch, refused = inspected(payload)
    assert batch is None
    assert reason.lower() in refused[0].reason.lower()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"s": [0, -3], "raw": {"0": "41A3", "1": "41A4"}},
        {"events": [Gap(meter="main", start=T0, cause='a "quoted" cause', missed=1)]},
        {"events": [Exchange(at=T0, point="main/energy", old_final="1", new_initial="0", reason="碰撞 \\ \" '")]},
        {"boot": '","events":[', "config": '"'},
    ],
)
def test_what_an_agent_writes_has_no_key_twice(changes: Any) -> None:
    written = body(**changes)
    refuse_repeated_keys(written, decode_batch(written))
    spaced = json.dumps(json.loads(written), indent=1).encode()
    refuse_repeated_keys(spaced, decode_batch(spaced))


@settings(max_examples=100)
@given(st.data())
def test_f52_a_key_that_stands_twice_is_always_found(data: st.DataObject) -> None:
    """Keys in any order, those that may be left out left out or not, one of them twice."""
    fields = list(json.loads(body(s=[0, 1], raw={"0": "41"})).items())
    left_out = data.draw(st.sets(st.sampled_from(["v", "events", "s", "raw"])))
    fields = data.draw(st.permutations([field for field in fields if field[0] not in left_out]))
    twice = data.draw(st.sampled_from(fields))
    at = data.draw(st.integers(0, len(fields)))
    pairs = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in [*fields[:at], twice, *fields[at:]]]
    written = ("{" + ",".join(pairs) + "}").encode()
    with pytest.raises(MalformedBatch, match="stands twice"):
        refuse_repeated_keys(written, decode_batch(written))


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def test_f52_of_one_agent_a_hundred_are_kept_in_an_hour_and_the_rest_counted(series: Any, caplog: Any) -> None:
    clock = Clock()
    letters = DeadLetters(series, clock)
    with caplog.at_level(logging.WARNING):
        for hour in (1, 2):
            for number in range(OF_AGENT + 50):
                letters.keep(Refused("agent-a", T0, "garbage", b"%d-%d" % (hour, number)))
            letters.keep(Refused("agent-b", T0, "garbage", b"%d" % hour))
            clock.s += HOUR_S
    kept = series.refused(1000)
    assert (letters.refused, letters.unkept) == (302, 100)
    assert len([one for one in kept if one.agent == "agent-a"]) == 2 * OF_AGENT
    assert len([one for one in kept if one.agent == "agent-b"]) == 2
    assert len(caplog.records) == 6, "the reason, and that it is enough: once an hour"


def test_f52_agents_without_number_cannot_fill_the_store(series: Any) -> None:
    letters = DeadLetters(series, Clock())
    for number in range(OF_ALL + 100):
        letters.keep(Refused(f"agent-{number}", T0, "garbage", b"x"))
    assert len(series.refused(5000)) == OF_ALL
    assert letters.unkept == 100


def test_f52_of_a_long_message_the_beginning_is_kept(series: Any) -> None:
    letters = DeadLetters(series, Clock())
    letters.keep(Refused("agent-a", T0, "r" * 10_000, b"x" * 200_000))
    [kept] = series.refused()
    assert (len(kept.payload), len(kept.reason)) == (KEPT_BYTES, 300)


MEASURES_ITSELF = """
import asyncio, resource, sys
from pathlib import Path
from ingester.inspection import Inspector
from ingester.receive import Receiver
from ingester.store.duckdb_series import DuckdbSeries
from link.real_world import RealWorld
from link.world import Message
from metering.wire import Topics

async def receive(folder):
    world, store = RealWorld(), DuckdbSeries(folder / "series.duckdb")
    async def publish(topic, payload): pass
    async with world.worker("writer") as worker:
        receiver = Receiver(world, worker, store, Inspector(Topics("demo"), {}, {}, {}), publish)
        send = lambda name, times: receiver.handle([Message("tanbiao/v1/demo/agent-a/data", (folder / name).read_bytes())] * times)
        await send("good", 50)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in sorted(path.name for path in folder.glob("wrong-*")):
            await send(name, 200)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, receiver.stored)

asyncio.run(receive(Path(sys.argv[1])))
"""


def test_f52_hostile_messages_cost_less_than_50_mb(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(compress(body()))
    for number, (payload, _) in enumerate(WRONG.values()):
        (tmp_path / f"wrong-{number}").write_bytes(payload)
    most = 99_999
    heavy = body(stream="s-2", t=[0] * most, p=[0] * most, x=[1.5] * most, q=[0] * most)
    (tmp_path / "wrong-but-taken").write_bytes(compress(heavy))
    done = subprocess.run(
        [sys.executable, "-c", MEASURES_ITSELF, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    grown_mb, stored = done.stdout.split()
    assert float(grown_mb) < 50
    assert stored == "2"
