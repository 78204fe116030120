"""The contract between agent and ingester: what is sent is what is read, and what is wrong is named."""

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from metering.errors import MalformedBatch
from metering.wire import (
    MAX_SENT,
    AgentStatus,
    Batch,
    Exchange,
    Gap,
    Key,
    Receipt,
    Restart,
    Seal,
    Topics,
    decode_as,
    decode_batch,
    digest,
    encode,
    pack,
    unpack,
)


def batch(**changed: object) -> Batch:
    fields: dict[str, object] = {
        "site": "demo", "agent": "edge-1", "stream": "s", "seq": 1, "prev": "", "boot": "b", "up": 1, "clock": "synced",
        "config": "c", "points": [("gas-main/volume", "m3")], "t0": 1_763_884_800_000, "t": [0, 1000], "p": [0, 0],
        "x": [1234.5, None], "q": [0, 3],
    }  # fmt: skip
    return Batch(**{**fields, **changed})  # type: ignore[arg-type]


values = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(2**53, 10**30).map(str))


@given(st.lists(st.tuples(st.integers(0, 10**7), values, st.integers(0, 9)), max_size=50))
def test_a_batch_arrives_as_it_was_sent(rows: list[tuple[int, float | str | None, int]]) -> None:
    sent = batch(t=[r[0] for r in rows], p=[0] * len(rows), x=[r[1] for r in rows], q=[r[2] for r in rows])
    assert decode_batch(unpack(pack(encode(sent)))) == sent


def test_the_field_names_are_the_contracts() -> None:
    body = msgspec.json.decode(encode(batch(events=[Gap(meter="m", start=1, end=2, cause="timeout", missed=3)])))
    names = "v site agent stream seq prev boot up clock config points t0 t p x q events"
    assert set(body) == set(names.split())
    assert body["events"] == [{"kind": "gap", "meter": "m", "from": 1, "to": 2, "cause": "timeout", "missed": 3}]


def test_every_event_comes_back_as_its_kind() -> None:
    events = [
        Gap(meter="m", start=1, cause="timeout", missed=3),
        Restart(at=5, stopped=1, clean=True),
        Exchange(at=1, point="m/p", old_final="1", new_initial="0"),
        Key(public_key="a1" * 32),
        Seal(through_seq=7, sha256="b" * 64, sig="c" * 128),
    ]
    assert decode_batch(encode(batch(events=events))).events == events


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"v": 2}, "version 2"),
        ({"site": "Demo"}, "id 'Demo'"),
        ({"agent": "../x"}, "id"),
        ({"seq": 0}, "seq 0"),
        ({"points": [("volume", "m3")]}, "a point is meter/point"),
        ({"t": [0]}, "columns differ in length"),
        ({"p": [0, 1]}, "p points outside points"),
        ({"q": [0, 10]}, "q outside 0..9"),
        ({"t": [-1, 0]}, "t before t0"),
        ({"s": [1]}, "s differs in length"),
        ({"x": ["12.5", None]}, "no integer"),
    ],
)
def test_a_batch_that_is_wrong_is_refused_with_the_place(changed: dict[str, object], reason: str) -> None:
    with pytest.raises(MalformedBatch, match=reason):
        decode_batch(encode(batch(**changed)))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"v":1}', b"[" * 100_000, encode(batch()).replace(b"1234.5", b"NaN"),
     encode(batch()).replace(b'"v":1', b'"v":1,"extra":2')],
)  # fmt: skip
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBatch):
        decode_batch(body)


def test_a_payload_over_the_limit_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(MalformedBatch, match="bytes as sent"):
        unpack(b"x" * (MAX_SENT + 1))
    with pytest.raises(MalformedBatch, match="unpacked"):
        unpack(zstandard.compress(b"0" * 5_000_000))
    with pytest.raises(MalformedBatch, match="zstd"):
        unpack(pack(b"0" * 500)[:-3])


def test_short_bodies_travel_as_they_are() -> None:
    assert pack(b"{}") == b"{}"
    assert unpack(b"{}") == b"{}"


def test_a_digest_is_sha_256_of_the_body() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_topics_name_their_agent_and_no_other_site() -> None:
    topics = Topics("demo")
    assert topics.agent_of(topics.data("edge-1")) == "edge-1"
    assert topics.agent_of("tanbiao/v1/other/edge-1/data") is None
    assert topics.agent_of("tanbiao/v1/demo/_ingester/status") is None
    assert topics.agent_of("tanbiao/v1/demo/edge-1/receipt") is None
    assert topics.receipt("edge-1").endswith("/receipt")
    assert topics.ingester_status == "tanbiao/v1/demo/_ingester/status"
    assert topics.alerts == "tanbiao/v1/demo/alerts"


def test_a_receipt_and_a_status_are_read_back_and_garbage_is_not() -> None:
    receipt = Receipt(stream="s", through=4, also=[6], resend=[(7, 9)])
    assert decode_as(Receipt, encode(receipt)) == receipt
    status = AgentStatus(online=True, agent="a", version="0", at=1)
    assert decode_as(AgentStatus, encode(status)) == status
    with pytest.raises(MalformedBatch):
        decode_as(Receipt, b'{"stream": 1}')
