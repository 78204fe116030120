"""Modbus: libmodbus, an independent implementation in C, is read correctly over TCP and on a serial line."""

import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.catalogue import driver
from drivers.contract import ExchangeLine, MeterPlan, Request, Value
from link.real_world import RealWorld
from link.world import Channel
from metering.errors import MeterRefused
from metering.profile import Profile

pytestmark = pytest.mark.external

MODBUS = driver("modbus")
SOURCE = Path(__file__).with_name("libmodbus_server.c")
NUMBERS: dict[str, tuple[dict[str, Any], float]] = {
    "u16": ({"address": 0, "type": "u16"}, 65535),
    "i16": ({"address": 1, "type": "i16"}, -2),
    "i32": ({"address": 2, "type": "i32"}, -123456789),
    "i64": ({"address": 4, "type": "i64"}, 1234567890123456789),
    "f32": ({"address": 8, "type": "f32"}, 230.2),
    "f32_dcba": ({"address": 10, "type": "f32", "order": "DCBA"}, 230.2),
    "f32_badc": ({"address": 12, "type": "f32", "order": "BADC"}, 230.2),
    "f32_cdab": ({"address": 14, "type": "f32", "order": "CDAB"}, 230.2),
    "f64": ({"address": 16, "type": "f64"}, -1234567.891),
    "bcd4": ({"address": 20, "type": "bcd4"}, 1234),
    "bcd12": ({"address": 20, "type": "bcd12"}, 123456789012),
    "bits": ({"address": 20, "type": "u16", "bits": [4, 11]}, 0x23),
    "sum": ({"address": 20, "type": "bcd4", "scale": 10000, "plus": [{"address": 21}]}, 12345678),
    "scaled": ({"address": 40, "type": "u16", "scale_from": {"address": 41}}, 12.34),
    "input": ({"address": 8, "type": "f32", "fc": 4}, 230.2),
    "coil": ({"address": 3, "fc": 1, "type": "bool"}, 1),
    "no_coil": ({"address": 4, "fc": 1, "type": "bool"}, 0),
    "discrete": ({"address": 10, "fc": 2, "type": "bool"}, 1),
}
TEXTS = {
    "model": ({"address": 30, "type": "str8"}, "ADL400-N"),
    "clock": ({"address": 50, "type": "datetime6"}, "2026-11-23T22:05:59"),
}


@pytest.fixture(scope="module")
def server_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for program, package in (("gcc", "gcc libmodbus-dev"), ("socat", "socat")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: apt-get install {package}")
    if not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("libmodbus is missing: apt-get install libmodbus-dev")
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    subprocess.run(
        ["gcc", "-O1", "-I/usr/include/modbus", str(SOURCE), "-o", str(program), "-lmodbus", "-lpthread"], check=True
    )
    return program


@contextmanager
def started(*command: str) -> Iterator[str]:
    """Start a program and give the first line it prints."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture
def tcp_line(server_program: Path) -> Iterator[dict[str, Any]]:
    with started(str(server_program), "tcp") as port:
        yield {"tcp": f"127.0.0.1:{port}"}


@pytest.fixture
def rtu_line(server_program: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with subprocess.Popen(["socat", f"pty,raw,echo=0,link={ours}", f"pty,raw,echo=0,link={theirs}"]) as wire:
        try:
            deadline = time.monotonic() + 5
            while not (ours.exists() and theirs.exists()):
                assert time.monotonic() < deadline, "socat made no ports"
                time.sleep(0.01)
            with started(str(server_program), "rtu", str(theirs), "19200") as said:
                assert said == "ready"
                yield {"serial": str(ours), "baud": 19200}
        finally:
            wire.terminate()


def profile_of(gap: int = 8) -> Profile:
    points = {name: {"unit": "1", "role": "gauge", **point} for name, (point, _) in NUMBERS.items()}
    return Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "modbus", "points": points, "status": "unverified",
         "identity": {name: place for name, (place, _) in TEXTS.items()}, "source": {"title": "made up"},
         "limits": {"gap": gap, "max_registers": 125}}
    )  # fmt: skip


def plan(line: ExchangeLine, profile: Profile, places: dict[str, Any]) -> Sequence[Request]:
    return MODBUS.plan(line, MeterPlan("m", {"unit": 7}, profile, places))  # type: ignore[attr-defined, no-any-return]


async def opened(line: ExchangeLine) -> Channel:
    if line.tcp is None:
        return await RealWorld().open_serial(str(line.serial), line.baud, line.frame)
    host, port = line.tcp.split(":")
    return await RealWorld().open_tcp(host, int(port), 2.0)


Asked = Callable[..., Awaitable[Sequence[Value]]]


@pytest.mark.parametrize("kind", ["tcp_line", "rtu_line"])
@pytest.mark.parametrize("gap", [0, 100])
async def test_libmodbus_is_read_correctly(kind: str, gap: int, request: pytest.FixtureRequest, asked: Asked) -> None:
    line: Any = MODBUS.line_model.model_validate({"driver": "modbus", **request.getfixturevalue(kind)})
    profile = profile_of(gap)
    channel = await opened(line)
    try:
        for read in plan(line, profile, {**profile.points, **profile.identity}):
            for value in await asked(channel, read, silence_s=0.005):
                _, expected = (TEXTS | NUMBERS)[value.point]
                found = value.text if value.point in TEXTS else value.value
                assert found == expected, value
    finally:
        await channel.close()


@pytest.mark.parametrize("kind", ["tcp_line", "rtu_line"])
async def test_f24_a_forbidden_register_is_found_by_halving(
    kind: str, request: pytest.FixtureRequest, asked: Asked
) -> None:
    """libmodbus has 100 registers, and refuses with exception 2 what goes beyond."""
    line: Any = MODBUS.line_model.model_validate({"driver": "modbus", **request.getfixturevalue(kind)})
    points = {
        f"p{at}": {"address": at, "type": "u16", "unit": "1", "role": "gauge"} for at in (20, 40, 98, 99, 100, 103)
    }
    profile = Profile.model_validate(
        {**profile_of(100).model_dump(exclude={"points"}), "points": points, "vendor": "x"}
    )
    (whole,) = plan(line, profile, dict(profile.points))
    read, refused, left, codes = {}, [], [whole], set()
    channel = await opened(line)
    try:
        while left:
            each = left.pop()
            try:
                read |= {value.point: value.value for value in await asked(channel, each, silence_s=0.005)}
            except MeterRefused as error:
                codes.add(error.code)
                left += each.halves()
                refused += each.points if not each.halves() else []
    finally:
        await channel.close()
    assert codes == {2}
    assert (sorted(refused), read) == (["p100", "p103"], {"p20": 0x1234, "p40": 1234, "p98": 0, "p99": 0})


async def test_libmodbus_has_no_identification_and_says_so(tcp_line: dict[str, Any], asked: Asked) -> None:
    line: Any = MODBUS.line_model.model_validate({"driver": "modbus", **tcp_line})
    (request,) = MODBUS.identify(line, MeterPlan("m", {"unit": 7}, profile_of(), {}))  # type: ignore[attr-defined]
    channel = await opened(line)
    try:
        with pytest.raises(MeterRefused, match="exception 1"):
            await asked(channel, request)
    finally:
        await channel.close()
