"""Every shipped profile is read by its driver, and its vectors give what they promise."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest
from asyncua import ua

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Request, Value
from drivers.opcua.codec import target
from metering.profile import Profile
from settings.profiles import list_profiles, load_profile

VECTORS = [(name, index) for name in list_profiles() for index in range(len(load_profile(name).vectors))]


@pytest.mark.parametrize("name", list_profiles())
def test_every_point_of_a_shipped_profile_can_be_read(name: str) -> None:
    profile = load_profile(name)
    reader = driver(profile.protocol)
    assert [reader.fault(point, profile) for point in profile.points.values()] == [None] * len(profile.points)


@pytest.mark.parametrize("name", list_profiles())
def test_every_shipped_profile_has_a_vector_and_fits_its_line(name: str) -> None:
    profile = load_profile(name)
    where = {"url": "opc.tcp://h:4840"} if profile.protocol == "opcua" else {"tcp": "h:502"}
    driver(profile.protocol).line_model.model_validate({"driver": profile.protocol, **where, **profile.line})
    assert profile.vectors


@pytest.mark.parametrize(("name", "index"), VECTORS)
def test_a_vector_gives_its_values(
    name: str, index: int, modbus_reads: Callable[..., Sequence[Request]], tcp_reply: Callable[[bytes, bytes], bytes]
) -> None:
    profile = load_profile(name)
    vector = profile.vectors[index]
    if profile.protocol == "modbus":
        found = _through_registers(modbus_reads(profile, points=list(vector["expect"])), vector["registers"], tcp_reply)
    elif profile.protocol == "dlt645":
        found = _through_a_frame(profile, vector)
    else:
        found = _through_nodes(profile, vector["values"])
    values = {value.point: value.value for value in found}
    # Untyped numbers of a file come as they are written.
    assert {point: values[point] for point in vector["expect"]} == {
        point: float(value) for point, value in vector["expect"].items()
    }


def _through_registers(
    reads: Sequence[Request], registers: dict[int | str, str], tcp_reply: Callable[[bytes, bytes], bytes]
) -> list[Value]:
    memory = dict(chain.from_iterable(enumerate(_words(text), int(str(start), 0)) for start, text in registers.items()))
    found: list[Value] = []
    for read in reads:
        request = read.request()
        start, count = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
        data = b"".join(memory.get(address, b"\0\0") for address in range(start, start + count))
        found += read.decode(tcp_reply(request, data))
    return found


def _words(text: str) -> list[bytes]:
    raw = bytes.fromhex(text)
    return [raw[at : at + 2] for at in range(0, len(raw), 2)]


def _through_a_frame(profile: Profile, vector: dict[str, Any]) -> list[Value]:
    reply = bytes.fromhex(vector["reply"])
    number = reply[6:0:-1].hex()
    dlt645 = driver("dlt645")
    line = dlt645.line_model.model_validate({"driver": "dlt645", "serial": "/dev/null"})
    wanted = {name: profile.points[name] for name in vector["expect"]}
    reads = dlt645.plan(line, MeterPlan("m", {"number": number}, profile, wanted))  # type: ignore[attr-defined]
    return [value for read in reads for value in read.decode(reply)]


def _through_nodes(profile: Profile, values: dict[str, float]) -> list[Value]:
    now = datetime.now(UTC)
    served = {node: ua.DataValue(ua.Variant(float(value), ua.VariantType.Double), SourceTimestamp=now)
              for node, value in values.items()}  # fmt: skip
    return [target(name, point).value(served[str(point.address)])
            for name, point in profile.points.items() if point.address in served]  # fmt: skip
