"""OPC UA: what a data value means, and which settings are refused."""

import asyncio
import contextlib
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.catalogue import driver
from drivers.opcua.bounded import MAX_CHUNK, BoundedClient, reply_head
from drivers.opcua.codec import Clock, epoch_ms, quality_of, target
from drivers.opcua.settings import OpcUaLine
from metering.errors import MeteringError
from metering.profile import Place, ProfilePoint
from metering.reading import Quality
from settings.profiles import load_profile

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def data(value: Any, kind: ua.VariantType = ua.VariantType.Double, status: int = 0) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value, kind), ua.StatusCode(ua.UInt32(status)), SourceTimestamp=WHEN)


@given(st.integers(0, 2**32 - 1))
def test_the_top_bits_of_a_status_decide(status: int) -> None:
    bad = status >> 30 in (2, 3)
    assert (quality_of(status) is Quality.BAD) is bad
    if status >> 30 == 1:
        assert quality_of(status) in (Quality.UNCERTAIN, Quality.SUBSTITUTED)


@given(st.sampled_from(sorted(code for name, code in vars(ua.StatusCodes).items() if name.startswith("Bad"))))
def test_no_bad_status_gives_a_value(status: int) -> None:
    point = ProfilePoint(address="i=1", unit="kg", role="gauge")
    value = target("x", point).value(data(1.0, status=status))
    assert (value.value, value.quality) == (None, Quality.BAD)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [(True, ua.VariantType.Boolean, 1.0), (None, ua.VariantType.Null, None), ("12", ua.VariantType.String, None),
     ([1.0], ua.VariantType.Double, None), (float("nan"), ua.VariantType.Double, None),
     (float("inf"), ua.VariantType.Float, None), (-7, ua.VariantType.Int16, -7.0)],
)  # fmt: skip
def test_what_is_no_number_is_bad(value: Any, kind: ua.VariantType, expected: float | None) -> None:
    found = target("x", ProfilePoint(address="i=1", unit="kg", role="gauge")).value(data(value, kind))
    assert found.value == expected
    assert (found.quality is Quality.BAD) == (expected is None)


def test_no_value_at_all_is_bad() -> None:
    empty = ua.DataValue(None, None)
    assert target("x", ProfilePoint(address="i=1", unit="kg", role="gauge")).value(empty).quality is Quality.BAD


def test_a_source_time_of_1601_is_none() -> None:
    assert epoch_ms(datetime(1601, 1, 1, tzinfo=UTC)) is None
    assert epoch_ms(None) is None
    assert epoch_ms(WHEN.replace(tzinfo=None)) == round(WHEN.timestamp() * 1000)


@pytest.mark.parametrize(
    ("point", "words"),
    [({"address": 5}, "no node id"), ({"address": "MassTotal"}, "no node id"), ({"address": "nsu=urn:x;s=a"}, "no node id"),
     ({"address": "ns=2;s=a", "type": "f32"}, "leave it out"), ({"address": "ns=2;s=a", "scale": 0}, "scale 0")],
)  # fmt: skip
def test_a_point_that_cannot_be_read_is_explained(point: dict[str, Any], words: str) -> None:
    flow = load_profile("generic/opcua-flow")
    text = driver("opcua").fault(ProfilePoint.model_validate({"unit": "kg", "role": "gauge", **point}), flow)
    assert text is not None
    assert words in text.en


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"url": "http://h"}, "opc"),
        ({"url": "opc.tcp://u:p@h:4840"}, "opc"),
        ({"url": "opc.tcp://h", "password": "x"}, "no user"),
    ],
)
def test_a_wrong_line_is_refused(line: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        driver("opcua").line_model.model_validate({"driver": "opcua", **line})


def test_the_password_is_not_shown() -> None:
    line = driver("opcua").line_model.model_validate(
        {"driver": "opcua", "url": "opc.tcp://h:4840", "user": "u", "password": "secret"}
    )
    assert "secret" not in repr(line)


NOW_MS = 1_800_000_000_000
MINUTE = 60_000


def at(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


@pytest.mark.parametrize(
    ("source_ms", "server_ms", "quality"),
    [
        (NOW_MS - 500, NOW_MS, Quality.GOOD),
        (NOW_MS - 500, None, Quality.GOOD),
        (NOW_MS - 9 * MINUTE, NOW_MS, Quality.GOOD),
        (None, NOW_MS, Quality.UNCERTAIN),
        (None, None, Quality.UNCERTAIN),
        (NOW_MS - 11 * MINUTE, NOW_MS, Quality.FROZEN),
        (NOW_MS - 11 * MINUTE, None, Quality.FROZEN),
        (NOW_MS + 30_000, NOW_MS + 30_000, Quality.GOOD),  # the clocks of a plant differ
        (NOW_MS + 30_000, NOW_MS, Quality.UNCERTAIN),  # the server itself knows better
        (NOW_MS + 2 * MINUTE, None, Quality.UNCERTAIN),
        (NOW_MS + 2 * MINUTE, NOW_MS + 2 * MINUTE, Quality.UNCERTAIN),
        (NOW_MS - 30 * MINUTE, NOW_MS - 29 * MINUTE, Quality.GOOD),  # a slow clock makes no value old
    ],
)
def test_f30_a_source_time_that_is_none_old_or_ahead_is_marked(
    source_ms: int | None, server_ms: int | None, quality: Quality
) -> None:
    point = ProfilePoint(address="i=1", unit="kg", role="counter")
    value = ua.DataValue(ua.Variant(5.0), ua.StatusCode(), SourceTimestamp=at(source_ms), ServerTimestamp=at(server_ms))
    found = target("x", point).value(value, Clock(NOW_MS, 10 * MINUTE))
    assert (found.value, found.quality, found.source_ms) == (5.0, quality, source_ms)


@given(st.sampled_from([code for name, code in vars(ua.StatusCodes).items() if name.startswith(("Bad", "Uncertain"))]))
def test_f30_a_status_that_is_not_good_is_never_good_however_fresh(status: int) -> None:
    point = ProfilePoint(address="i=1", unit="kg", role="counter")
    value = ua.DataValue(
        ua.Variant(5.0), ua.StatusCode(ua.UInt32(status)), SourceTimestamp=at(NOW_MS), ServerTimestamp=at(NOW_MS)
    )
    found = target("x", point).value(value, Clock(NOW_MS, 10 * MINUTE))
    assert found.quality in (Quality.BAD, Quality.UNCERTAIN, Quality.SUBSTITUTED)
    assert (found.value is None) == (found.quality is Quality.BAD)
    assert (found.quality is Quality.BAD) == bool(found.why)


def test_f30_a_null_value_is_bad_and_says_so() -> None:
    point = ProfilePoint(address="i=1", unit="kg", role="counter")
    found = target("x", point).value(data(None, ua.VariantType.Null), Clock(NOW_MS, 10 * MINUTE))
    assert (found.value, found.quality, found.why) == (None, Quality.BAD, "no value")


def test_a_whole_number_beyond_what_doubles_hold_keeps_its_digits() -> None:
    found = target("x", ProfilePoint(address="i=1", unit="kg", role="counter")).value(
        data(2**63 + 1, ua.VariantType.UInt64)
    )
    assert found.value == 2**63 + 1
    assert isinstance(found.value, int)


def test_a_place_of_the_identity_may_be_a_text_and_a_point_may_not() -> None:
    serial = data("  A-17 ", ua.VariantType.String)
    assert target("serial", Place(address="i=1")).value(serial).text == "A-17"
    found = target("x", ProfilePoint(address="i=1", unit="kg", role="counter")).value(serial)
    assert (found.text, found.quality, found.why) == (None, Quality.BAD, "String, not a number")


def test_a_vector_is_read_as_from_a_server() -> None:
    flow = load_profile("generic/opcua-flow")
    for vector in flow.vectors:
        values = {value.point: value.value for value in driver("opcua").replay(flow, vector)}
        assert values == {point: float(value) for point, value in vector["expect"].items()}


@pytest.mark.parametrize(
    "vector", [{}, {"values": 5}, {"values": {"ns=9;s=Strange": 1.0}}, {"values": {"ns=2;s=OilFlow.MassTotal": [1]}},
               {"registers": {}}],
)  # fmt: skip
def test_a_vector_of_another_form_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(MeteringError):
        driver("opcua").replay(load_profile("generic/opcua-flow"), vector)


@pytest.mark.parametrize(
    ("given", "size", "percent"),
    [("0.5", 0.5, False), (0.5, 0.5, False), (2, 2.0, False), ("1 %", 1.0, True), ("0.35%", 0.35, True)],
)
def test_a_deadband_is_a_size_or_a_share(given: Any, size: float, percent: bool) -> None:
    line = OpcUaLine.model_validate({"driver": "opcua", "url": "opc.tcp://h", "deadband": given})
    assert (line.deadband.size, line.deadband.percent) == (size, percent)
    assert line.deadband.of(200.0) == (size * 2 if percent else size)


@pytest.mark.parametrize("given", ["-1", "101 %", "much", "nan", True])
def test_what_is_no_deadband_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        OpcUaLine.model_validate({"driver": "opcua", "url": "opc.tcp://h", "deadband": given})


@pytest.mark.parametrize(
    ("url", "expected"),
    [("opc.tcp://h", ("h", 4840)), ("opc.tcp://h:49320/x/y", ("h", 49320)), ("opc.tcp://[::1]:4841", ("::1", 4841)),
     ("opc.tcp://10.0.0.1/", ("10.0.0.1", 4840))],
)  # fmt: skip
def test_a_url_names_host_and_port(url: str, expected: tuple[str, int]) -> None:
    assert OpcUaLine.model_validate({"driver": "opcua", "url": url}).host_port == expected


BOMB = b"\x01\x80" + (2**31 - 1).to_bytes(4, "little")


def test_f31_an_array_of_nothing_cannot_claim_two_thousand_million_elements() -> None:
    with pytest.raises(ua.UaError):
        struct_from_binary(ua.DataValue, Buffer(BOMB))


def test_f31_a_list_cannot_have_more_elements_than_bytes() -> None:
    with pytest.raises(ua.UaError):
        struct_from_binary(ua.HistoryData, Buffer((10_000_000).to_bytes(4, "little") + bytes(100)))


@given(st.binary(max_size=300))
def test_f31_no_bytes_make_the_decoder_hang_or_claim_memory(body: bytes) -> None:
    with contextlib.suppress(Exception):  # a refusal is as good as a value: what counts is that there is an end
        struct_from_binary(ua.DataValue, Buffer(body))


@given(st.binary(max_size=300))
def test_f31_a_reply_of_another_kind_is_refused(body: bytes) -> None:
    with pytest.raises((MeteringError, ua.UaError, ValueError, struct.error, AttributeError, TypeError)):
        reply_head(Buffer(body), ua.ObjectIds.ReadResponse_Encoding_DefaultBinary)


class Wire(asyncio.Transport):
    """Takes what is written and notes that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, _: object) -> None:
        pass

    def close(self) -> None:
        self.closed = True


HEADS = st.sampled_from([b"MSGF", b"MSGC", b"OPNF", b"ACKF", b"ERRF", b"MSGA", b"CLOF", b"HELF", b""])


@given(st.lists(st.builds(lambda head, size, body: head + size.to_bytes(4, "little") + body, HEADS,
                          st.integers(0, 2**32 - 1) | st.integers(0, 200), st.binary(max_size=200)), max_size=6))  # fmt: skip
def test_f31_whatever_arrives_nothing_is_raised_and_little_is_kept(pieces: list[bytes]) -> None:
    client, wire = BoundedClient("opc.tcp://h", 1.0), Wire()
    protocol = client.uaclient._make_protocol()
    protocol.connection_made(wire)
    for piece in pieces:
        if not wire.closed:
            protocol.data_received(piece)
    assert len(protocol.receive_buffer or b"") <= MAX_CHUNK


def test_f31_a_chunk_larger_than_we_take_ends_the_connection() -> None:
    client, wire = BoundedClient("opc.tcp://h", 1.0), Wire()
    protocol = client.uaclient._make_protocol()
    protocol.connection_made(wire)
    protocol.data_received(b"MSGF" + (2**31).to_bytes(4, "little") + bytes(MAX_CHUNK))
    assert wire.closed
    assert protocol.receive_buffer is None


def test_a_whole_number_of_a_vector_keeps_its_digits() -> None:
    flow = load_profile("generic/opcua-flow")
    (name, point) = next(iter(flow.points.items()))
    plain = flow.model_copy(update={"points": {name: point.model_copy(update={"scale": Decimal(1), "valid": None})}})
    (value,) = driver("opcua").replay(plain, {"values": {str(point.address): "9007199254740993"}})
    assert value.value == 9007199254740993


def test_a_number_that_means_none_says_so() -> None:
    flow = load_profile("generic/opcua-flow")
    (name, point) = next(iter(flow.points.items()))
    marked = flow.model_copy(update={"points": {name: point.model_copy(update={"sentinels": [-9999]})}})
    (value,) = driver("opcua").replay(marked, {"values": {str(point.address): -9999}})
    assert (value.value, value.why) == (None, "-9999 means none")
