"""Modbus: which registers are read together."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Request
from drivers.modbus import DRIVER
from drivers.modbus.codec import CODES
from drivers.modbus.plan import Wanted, wanted_of
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


def spans(read: Request) -> list[tuple[int, int]]:
    """Return (address, registers) of each read, as its label for `agent plan` says."""
    return [(int(at, 16), int(count)) for count, at in re.findall(r"(\d+) registers at 0x([0-9A-F]{4})", read.label)]


PLACES = st.tuples(
    st.integers(0, 300),
    st.sampled_from([*CODES, "bcd4", "bcd12", "u16"]),
    st.sampled_from([3, 4]),
    st.lists(st.integers(-6, 6), max_size=2),
    st.none() | st.integers(0, 300),
)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), PLACES, max_size=12),
    st.integers(16, 125),
    st.integers(0, 20),
)
def test_reads_keep_the_limits_and_cut_no_value(
    places: dict[str, tuple[int, str, int, list[int], int | None]], max_registers: int, gap: int
) -> None:
    points = {
        name: {"address": address, "type": kind, "fc": fc, "unit": "1", "role": "gauge",
               "plus": [{"address": max(0, address + shift)} for shift in shifts],
               **({"scale_from": {"address": scale}} if scale is not None else {})}
        for name, (address, kind, fc, shifts, scale) in places.items()
    }  # fmt: skip
    profile = profile_of(points, limits={"max_registers": max_registers, "gap": gap})
    wanted = {each.name: each for each in wanted_of(profile.points, profile)}
    found = reads_of(profile)
    assert sorted(name for read in found for name in read.points) == sorted(points)
    for read in found:
        assert_kept(read, [wanted[name] for name in read.points], max_registers, gap)
        pieces = list(read.halves())
        assert sorted(name for half in pieces for name in half.points) == sorted(
            read.points if len(read.points) > 1 else ()
        )
        for half in pieces:
            assert_kept(half, [wanted[name] for name in half.points], max_registers, gap)


def assert_kept(read: Request, wanted: Sequence[Wanted], max_registers: int, gap: int) -> None:
    """Each range is whole in a read; each read begins and ends with one, spans no long gap and is not too long."""
    ranges = {each for place in wanted for each in place.ranges}
    for address, count in spans(read):
        inside = {each for each in ranges if address <= each[0] and each[1] <= address + count}
        covered = sorted({register for start, end in inside for register in range(start, end)})
        assert count <= max_registers
        assert (covered[0], covered[-1]) == (address, address + count - 1)
        assert all(after - before - 1 <= gap for before, after in pairwise(covered))
        ranges -= inside
    assert not ranges


def profile_of(points: dict[str, dict[str, Any]], **rest: Any) -> Profile:
    filled = {name: {"unit": "1", "role": "gauge", **point} for name, point in points.items()}
    return Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "gas", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
         "points": filled, **rest}
    )  # fmt: skip


def reads_of(profile: Profile, **where: Any) -> Sequence[Request]:
    modbus = driver("modbus")
    line = modbus.line_model.model_validate({"driver": "modbus", **(where or {"tcp": "h:502"})})
    return modbus.plan(line, MeterPlan("m", {"unit": 1}, profile, profile.points))  # type: ignore[attr-defined, no-any-return]


def test_a_scale_register_near_by_is_in_the_same_read() -> None:
    profile = profile_of({"a": {"address": 10, "type": "u16", "scale_from": {"address": 12}}})
    assert [read.label for read in reads_of(profile)] == ["fc 3, 3 registers at 0x000A"]


def test_a_scale_register_far_away_is_read_in_the_same_dialogue() -> None:
    points = {
        name: {"address": at, "type": "u16", "scale_from": {"address": 400}} for name, at in (("a", 10), ("b", 90))
    }
    reads = reads_of(profile_of({**points, "c": {"address": 700, "type": "u16"}}), serial="/dev/x")
    assert [read.label for read in reads] == [
        "fc 3, 1 registers at 0x000A + 1 registers at 0x005A + 1 registers at 0x0190",
        "fc 3, 1 registers at 0x02BC",
    ]
    assert (reads[0].request_bytes, reads[0].reply_bytes, reads[0].longest_reply) == (24, 21, 7)


def test_halving_ends_at_the_place_a_device_refuses() -> None:
    profile = profile_of({f"p{at}": {"address": 2 * at, "type": "u32"} for at in range(30)})
    (read,) = reads_of(profile)
    asked = 0
    refused = [read]
    while len(refused) > 1 or len(refused[0].points) > 1:
        halves = [half for each in refused for half in each.halves()]
        asked += len(halves)
        refused = [half for half in halves if "p17" in half.points]
    assert refused[0].points == ("p17",)
    assert refused[0].halves() == []
    assert asked <= 10


def test_meters_of_one_model_share_what_is_read_and_nothing_else() -> None:
    """Hundreds of meters of a few models: each has frames of its own, and what the bytes mean is there once."""
    profile = load_profile("acrel/adl400")
    line = DRIVER.line_model.model_validate({"driver": "modbus", "tcp": "h:502"})

    def plan(unit: int, points: dict[str, Any]) -> Sequence[Request]:
        return DRIVER.plan(line, MeterPlan("m", {"unit": unit}, profile, points))

    one, other = plan(1, dict(profile.points)), plan(2, dict(profile.points))
    assert [read.request()[6] for read in (*one, *other)] == [1] * len(one) + [2] * len(other)
    changed = {"power": profile.points["power"].model_copy(update={"address": 0x900})}
    assert [read.label for read in plan(1, changed)] == ["fc 3, 2 registers at 0x0900"]
    assert [read.label for read in plan(1, dict(profile.points))] == [read.label for read in one]
