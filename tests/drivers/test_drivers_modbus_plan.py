"""Modbus: which registers are read together."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import MeterPlan, Request
from drivers.modbus.codec import TYPES, words
from drivers.modbus.plan import blocks
from metering.errors import MeteringError
from metering.profile import Profile
from settings.profiles import load_profile


def test_neighbours_and_near_points_share_a_read(
    modbus_profile: Callable[..., Profile], modbus_reads: Callable[..., Sequence[Request]]
) -> None:
    profile = modbus_profile(
        {"c": {"address": 0x20}, "a": {"address": 0x10}, "b": {"address": 0x12}, "far": {"address": 0x40}},
        defaults={"type": "f32"}, limits={"gap": 12},
    )  # fmt: skip
    reads = modbus_reads(profile)
    assert [(read.label, read.points) for read in reads] == [
        ("fc 3, 18 registers at 0x0010", ("a", "b", "c")),
        ("fc 3, 2 registers at 0x0040", ("far",)),
    ]
    assert [(read.request_bytes, read.reply_bytes) for read in reads] == [(12, 45), (12, 13)]


def test_function_codes_are_read_apart(
    modbus_profile: Callable[..., Profile], modbus_reads: Callable[..., Sequence[Request]]
) -> None:
    profile = modbus_profile(
        {"a": {"address": 0, "type": "u16"}, "b": {"address": 1, "type": "u16", "fc": 4}, "c": {"address": 9, "fc": 2},
         "d": {"address": 1, "fc": 1}}
    )  # fmt: skip
    assert [read.label for read in modbus_reads(profile, rtu=True)] == [
        "fc 1, 1 bits at 0x0001",
        "fc 2, 1 bits at 0x0009",
        "fc 3, 1 registers at 0x0000",
        "fc 4, 1 registers at 0x0001",
    ]


def test_bits_are_taken_from_their_places(
    modbus_profile: Callable[..., Profile],
    modbus_reads: Callable[..., Sequence[Request]],
    tcp_reply: Callable[[bytes, bytes], bytes],
) -> None:
    profile = modbus_profile({"a": {"address": 100}, "b": {"address": 107}, "c": {"address": 109}}, defaults={"fc": 2})
    (read,) = modbus_reads(profile)
    values = read.decode(tcp_reply(read.request(), bytes([0b10000000, 0b10])))
    assert [(value.point, value.value) for value in values] == [("a", 0.0), ("b", 1.0), ("c", 1.0)]


def test_two_readings_of_one_register_share_a_read(
    modbus_profile: Callable[..., Profile],
    modbus_reads: Callable[..., Sequence[Request]],
    tcp_reply: Callable[[bytes, bytes], bytes],
) -> None:
    profile = modbus_profile(
        {
            "whole": {"address": 0, "type": "u32"},
            "low": {"address": 1, "type": "u16"},
            "next": {"address": 2, "type": "u16"},
        }
    )
    (read,) = modbus_reads(profile)
    values = {
        value.point: value.value for value in read.decode(tcp_reply(read.request(), bytes.fromhex("000100020003")))
    }
    assert values == {"whole": 65538.0, "low": 2.0, "next": 3.0}


def test_a_point_with_a_fault_is_named(
    modbus_profile: Callable[..., Profile], modbus_reads: Callable[..., Sequence[Request]]
) -> None:
    with pytest.raises(MeteringError, match="m/x: no type 'u31'"):
        modbus_reads(modbus_profile({"x": {"address": 0, "type": "u31"}}))


def test_the_adl400_takes_few_requests(modbus_reads: Callable[..., Sequence[Request]]) -> None:
    labels = [read.label for read in modbus_reads(load_profile("acrel/adl400"))]
    assert labels == [
        "fc 3, 2 registers at 0x008D",
        "fc 3, 54 registers at 0x0800",
        "fc 3, 22 registers at 0x0842",
    ]


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.tuples(st.integers(0, 300), st.sampled_from(TYPES[1:]), st.sampled_from([3, 4])),
        max_size=12,
    ),
    st.integers(4, 125),
    st.integers(0, 20),
)
def test_reads_keep_the_limits_and_cut_no_value(
    points: dict[str, tuple[int, str, int]], max_registers: int, gap: int
) -> None:
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "gas", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
         "limits": {"max_registers": max_registers, "gap": gap},
         "points": {name: {"address": address, "type": kind, "fc": fc, "unit": "1", "role": "gauge"}
                    for name, (address, kind, fc) in points.items()}}
    )  # fmt: skip
    found = blocks(MeterPlan("m", {}, profile, profile.points))
    assert sorted(wanted.name for block in found for wanted in block.wanted) == sorted(points)
    for block in found:
        covered = {register for wanted in block.wanted for register in range(wanted.address, wanted.end)}
        assert block.count <= max_registers
        assert block.address == min(covered)
        assert block.address + block.count - 1 == max(covered)
        assert all(wanted.end - wanted.address == words(wanted.type) for wanted in block.wanted)
        edges = sorted(covered)
        assert all(after - before - 1 <= gap for before, after in pairwise(edges))
