"""OPC UA: what a data value means, and which settings are refused."""

from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalogue import driver
from drivers.opcua.codec import epoch_ms, quality_of, target
from metering.profile import ProfilePoint
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
