"""OPC UA against node-opcua, a server that shares no code with our client."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.catalogue import driver
from drivers.contract import MeterPlan
from drivers.opcua import trust
from drivers.opcua.certificate import Identity, own_identity, own_place
from drivers.opcua.connect import endpoints
from drivers.opcua.settings import OpcUaLine
from link.real_world import RealWorld
from metering.errors import MeterUnreachable
from metering.profile import Profile
from metering.reading import Quality

pytestmark = pytest.mark.external
NODE_MODULES = Path(sys.prefix) / "node" / "node_modules"
POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")


def plan_of(**addresses: str) -> MeterPlan:
    points = {name: {"address": address, "unit": "kg", "role": "gauge"} for name, address in addresses.items()}
    head = {"vendor": "x", "model": "y", "kind": "fuel", "protocol": "opcua", "status": "unverified"}
    profile = Profile.model_validate({**head, "source": {"title": "x"}, "points": points})
    return MeterPlan("m", {}, profile, profile.points)


MASS = plan_of(mass="ns=1;s=Mass")


@dataclass
class Second:
    """The running server."""

    port: int
    begin_ms: int
    folder: Path
    """With our `pki` and the server's."""

    def line(self, **more: Any) -> OpcUaLine:
        url, pki = f"opc.tcp://127.0.0.1:{self.port}", self.folder / "ours"
        return OpcUaLine.model_validate({"driver": "opcua", "url": url, "pki": pki, "timeout": "5 s", **more})

    def opened(self, line: OpcUaLine) -> AbstractAsyncContextManager[Any]:
        session: AbstractAsyncContextManager[Any] = driver("opcua").open(line, RealWorld())  # type: ignore[attr-defined]
        return session

    async def trust_it(self, line: OpcUaLine) -> None:
        """What `tanbiao agent trust` does."""
        certificate = trust.offered_certificate(line, await endpoints(line, RealWorld()))
        assert certificate is not None
        trust.pin(line, certificate)


def let_it_trust_us(folder: Path) -> None:
    """What the server's administrator does with `own/agent.der`."""
    ours = asyncio.run(own_identity_of(folder / "ours"))
    trusted = folder / "pki" / "trusted" / "certs"
    trusted.mkdir(parents=True)
    (trusted / "agent.pem").write_bytes(ours.certificate.public_bytes(Encoding.PEM))


async def own_identity_of(pki: Path) -> Identity:
    return await own_identity(pki, RealWorld())


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second]:
    node = shutil.which("node")
    if node is None or not NODE_MODULES.exists():
        pytest.skip("node-opcua is missing: make servers")
    folder = tmp_path_factory.mktemp("node-opcua")
    let_it_trust_us(folder)
    script = Path(__file__).with_name("opcua_second.js")
    environ = {**os.environ, "NODE_PATH": str(NODE_MODULES), "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [node, str(script), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environ
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = next((line for line in process.stdout if line.startswith(b"{")), None)
        assert said is not None, (folder / "log").read_text()
        told = json.loads(said)
        yield Second(told["port"], told["begin"], folder)
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


async def test_more_nodes_than_the_server_takes_at_once_are_read_and_a_bad_one_hides_none(second: Second) -> None:
    plan = plan_of(mass="ns=1;s=Mass", **{f"n{at}": f"ns=1;s=N{at}" for at in range(12)}, bad="ns=1;s=None")
    async with second.opened(second.line()) as session:
        values = {value.point: value for value in await session.read(plan)}
    assert values["mass"].value is not None
    assert values["mass"].value >= 199
    assert values["mass"].quality is Quality.GOOD
    assert [values[f"n{at}"].value for at in range(12)] == [float(at) for at in range(12)]
    assert (values["bad"].value, values["bad"].why) == (None, "BadNodeIdUnknown")


async def test_the_server_says_what_it_is(second: Second) -> None:
    async with second.opened(second.line()) as session:
        said = {value.point: value.text for value in await session.identify(MASS)}
    assert said["maker"] == "node-opcua"
    assert said["model"] == "second stack"


async def test_its_variables_are_found_with_type_and_unit(second: Second) -> None:
    async with second.opened(second.line()) as session:
        found = {variable.node: variable for variable in await session.browse()}
    assert len(found) == 13
    assert (found["ns=1;s=Mass"].path, found["ns=1;s=Mass"].data_type, found["ns=1;s=Mass"].unit) == (
        "Meters/Mass",
        "Double",
        "kg",
    )


async def test_its_history_fills_a_gap_and_is_marked(second: Second) -> None:
    from_ms, to_ms = second.begin_ms - 10_000, second.begin_ms - 4_000
    async with second.opened(second.line()) as session:
        values = await session.history(plan_of(mass="ns=1;s=Mass", n1="ns=1;s=N1"), from_ms, to_ms)
    assert [(value.at_ms, value.value) for value in values] == [
        (second.begin_ms - ago * 1000, 200.0 - ago) for ago in range(9, 4, -1)
    ]
    assert {value.quality for value in values} == {Quality.BACKFILLED}
    assert all(value.source_ms == value.at_ms for value in values)


async def test_a_subscription_tells_each_change_once_with_its_own_time(second: Second) -> None:
    told: list[Any] = []
    async with second.opened(second.line(subscribe=True, sampling="0.1 s")) as session:
        for _ in range(4):
            *changes, read = await session.read(MASS)
            assert read.at_ms is None
            told += changes
            await asyncio.sleep(0.5)
    assert len(told) >= 4
    assert [value.value for value in told] == [told[0].value + at for at in range(len(told))]
    times = [value.at_ms for value in told]
    assert times == sorted(set(times))
    assert times == [value.source_ms for value in told]


async def test_more_nodes_than_the_server_watches_at_once_are_watched(second: Second) -> None:
    plan = plan_of(**{f"n{at}": f"ns=1;s=N{at}" for at in range(12)}, mass="ns=1;s=Mass")
    told: list[Any] = []
    async with second.opened(second.line(subscribe=True, sampling="0.1 s")) as session, asyncio.timeout(8):
        while not told:
            told = [value for value in await session.read(plan) if value.at_ms is not None]
            await asyncio.sleep(0.3)
    assert {value.point for value in told} == {"mass"}


async def test_a_deadband_of_a_share_of_the_range_is_kept(second: Second) -> None:
    told: list[Any] = []
    async with second.opened(second.line(subscribe=True, sampling="0.1 s", deadband="0.35 %")) as session:
        for _ in range(5):
            told += (await session.read(MASS))[:-1]
            await asyncio.sleep(0.5)
    steps = [after.value - before.value for before, after in pairwise(told)]
    assert steps
    assert set(steps) == {4.0}  # the range is 0 to 1000: 0.35 % is 3.5, exceeded by every fourth step


async def test_trust_is_given_on_both_sides_before_anything_is_read(second: Second, tmp_path: Path) -> None:
    line = second.line(policy="Basic256Sha256").model_copy(update={"pki": tmp_path})
    with pytest.raises(MeterUnreachable, match=r"not trusted yet .*SHA-256 [0-9A-F:]{95}.* tanbiao agent trust LINE"):
        async with second.opened(line):
            pass
    await second.trust_it(line)
    with pytest.raises(MeterUnreachable, match=r"may not trust our certificate .*own/agent\.der"):
        async with second.opened(line):
            pass


@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_policy_reads_with_anybody_and_with_a_user(second: Second, policy: str, mode: str) -> None:
    line = second.line(policy=policy, mode=mode)
    await second.trust_it(line)
    for user in ({}, {"user": "reader", "password": "secret"}):
        async with second.opened(second.line(policy=policy, mode=mode, **user)) as session:
            assert (await session.read(MASS))[0].value >= 200


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_user_may_show_a_certificate(second: Second, policy: str) -> None:
    line = second.line(policy=policy)
    await second.trust_it(line)
    certificate = own_place(line.pki)
    more = {"user_cert": certificate, "user_key": certificate.with_suffix(".key")}
    async with second.opened(second.line(policy=policy, **more)) as session:
        assert (await session.read(MASS))[0].value >= 200


@pytest.mark.parametrize("policy", ["None", "Aes256_Sha256_RsaPss"])
async def test_a_wrong_password_is_said_to_be_that(second: Second, policy: str) -> None:
    line = second.line(policy=policy, user="reader", password="wrong")
    if line.secured:
        await second.trust_it(line)
    with pytest.raises(MeterUnreachable, match="BadUserAccessDenied"):
        async with second.opened(line):
            pass
