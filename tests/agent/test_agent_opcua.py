"""An OPC UA line as the agent has it: rebuilt within the slot, trusted by a command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.server.server import Server
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent import commands
from agent.session import SessionWire
from agent.trust import offer
from agent.wiring import wire
from drivers.opcua.certificate import self_signed
from link.real_world import RealWorld
from metering.errors import MeteringError
from settings.agent import load_agent


@asynccontextmanager
async def server_at(port: int, secured: bool = False) -> AsyncIterator[Any]:
    server = Server()
    await server.init()
    server.disable_clock()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    kinds = [ua.SecurityPolicyType.NoSecurity]
    if secured:
        kinds.append(ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        await server.set_application_uri("urn:plc")
        certificate = self_signed(key, "PLC", "urn:plc", "plc", datetime.now(UTC) - timedelta(hours=1))
        await server.load_certificate(certificate.public_bytes(Encoding.DER))
        await server.load_private_key(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), format="pem"
        )
    server.set_security_policy(kinds)
    await server.register_namespace("urn:test")
    node = ua.NodeId("OilFlow.MassTotal", 2)
    await server.nodes.objects.add_variable(node, "mass", 1.5)
    await server.write_attribute_value(node, ua.DataValue(ua.Variant(1.5), SourceTimestamp=datetime.now(UTC)))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def settings_file(folder: Path, port: int, more: str = "") -> Path:
    path = folder / "agent.yaml"
    path.write_text(f"""
agent: {{id: a, site: s}}
mqtt: {{url: "mqtt://localhost"}}
outbox: {{path: box/outbox.db}}
lines:
  plc: {{driver: opcua, url: "opc.tcp://127.0.0.1:{port}/"{more}}}
  other: {{driver: modbus, tcp: "localhost:502"}}
meters:
  oil: {{line: plc, profile: generic/opcua-flow, points: [mass]}}
  power: {{line: other, profile: eastron/sdm630}}
""")
    return path


async def test_f29_a_restart_of_the_server_between_two_slots_costs_no_reading(tmp_path: Path) -> None:
    async with server_at(0) as first:
        port = first.bserver.port
        line = wire(*load_agent(settings_file(tmp_path, port), {})).lines[0]
        polling = SessionWire(line, line.driver, RealWorld())  # type: ignore[arg-type]
        before = [answer async for answer in polling.poll(line.meters[0])]
    async with server_at(port):
        after = [answer async for answer in polling.poll(line.meters[0])]
        assert polling.counters.opened == 2
        await polling.close()
    for answers in (before, after):
        assert [value.value for answer in answers for value in answer.values] == [1.5]
        assert [answer.error for answer in answers] == [None]


async def test_a_person_is_shown_the_certificate_and_pins_it(tmp_path: Path) -> None:
    async with server_at(0, secured=True) as server:
        path = settings_file(tmp_path, server.bserver.port, ", policy: Basic256Sha256")
        assert "not trusted yet: run tanbiao agent trust plc" in commands.check(path, {}).text.en
        shown = await offer(path, {}, "plc", RealWorld())
        assert not shown.known
        for named in ("urn:plc", shown.data["sha256"], f"{tmp_path}/box/opcua/own/agent.der", shown.data["our_sha256"]):
            assert named in shown.text.en
            assert named in shown.text.zh
        assert shown.accept() == tmp_path / "box" / "opcua" / "trusted" / f"127.0.0.1_{server.bserver.port}.der"
        assert (await offer(path, {}, "plc", RealWorld())).known
        assert "the server is trusted by" in commands.check(path, {}).text.en
        line = wire(*load_agent(path, {})).lines[0]
        polling = SessionWire(line, line.driver, RealWorld())  # type: ignore[arg-type]
        answers = [answer async for answer in polling.poll(line.meters[0])]
        await polling.close()
    assert [value.value for answer in answers for value in answer.values] == [1.5]


@pytest.mark.parametrize(
    ("line", "words"),
    [("nowhere", "there are: plc, other"), ("other", "driven by modbus"), ("plc", "no security policy")],
)
async def test_a_line_that_needs_no_trust_is_said_to_be_so(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(MeteringError, match=words):
        await offer(settings_file(tmp_path, 1), {}, line, RealWorld())


def test_a_password_without_a_policy_is_warned_of(tmp_path: Path) -> None:
    path = settings_file(tmp_path, 1, ", user: reader, password: secret")
    assert "its password may travel in the clear" in commands.check(path, {}).text.en
