"""OPC UA certificates: ours is made once, the server's is trusted by a person or not at all."""

import asyncio
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import Certificate, load_der_x509_certificate

from drivers.catalogue import driver
from drivers.contract import MeterPlan
from drivers.opcua import trust
from drivers.opcua.bounded import RENEW_AFTER
from drivers.opcua.certificate import facts, own_identity, own_place, self_signed
from drivers.opcua.connect import connected, endpoints
from drivers.opcua.session import OpcUaSession
from drivers.opcua.settings import OpcUaLine
from link.real_world import RealWorld
from metering.errors import MeterUnreachable

SERVER_URI = "urn:plc:server"
NOBODY = "opc.tcp://127.0.0.1:1/"

pytestmark = pytest.mark.asyncio(loop_scope="module")


class World(RealWorld):
    """The real world on another day."""

    def __init__(self, days: float = 0) -> None:
        super().__init__()
        self._shift_ms = round(days * 86_400_000)

    def now_ms(self) -> int:
        return super().now_ms() + self._shift_ms


def opened(line: OpcUaLine, world: RealWorld | None = None) -> AbstractAsyncContextManager[Any]:
    session: AbstractAsyncContextManager[Any] = driver("opcua").open(line, world or RealWorld())  # type: ignore[attr-defined]
    return session


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


Secret = tuple[bytes, bytes, str]


@pytest.fixture(scope="module")
def secret(key: rsa.RSAPrivateKey) -> Callable[..., Secret]:
    """Make a certificate and key for a server."""

    def make(uri: str = SERVER_URI, made: datetime | None = None) -> Secret:
        certificate = self_signed(key, "PLC", uri, "plc", made or datetime.now(UTC))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.DER), pem, uri

    return make


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own certificate, made once for all tests here."""
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
def line_to(pki: Path) -> Iterator[Callable[..., OpcUaLine]]:
    pinned: list[Path] = []

    def make(url: str, **more: Any) -> OpcUaLine:
        settings = {"driver": "opcua", "url": url, "policy": "Basic256Sha256", "pki": pki, "timeout": "3 s", **more}
        line = OpcUaLine.model_validate(settings)
        pinned.append(trust.pinned_place(line))
        return line

    yield make
    for path in pinned:
        path.unlink(missing_ok=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(opcua_server: Any, secret: Callable[..., Secret]) -> AsyncIterator[Any]:
    """A server with two of the three policies."""
    async with opcua_server(secret=secret()) as running:
        await running.add("mass", 1.5)
        yield running


async def offered(line: OpcUaLine) -> Certificate:
    certificate = trust.offered_certificate(line, await endpoints(line, RealWorld()))
    assert certificate is not None
    return certificate


async def test_f29_an_unknown_server_is_refused_and_not_remembered(
    server: Any, line_to: Callable[..., OpcUaLine]
) -> None:
    line = line_to(server.url)
    fingerprint = facts(await offered(line)).fingerprint
    for _ in range(2):
        with pytest.raises(MeterUnreachable) as refused:
            async with opened(line):
                pass
        for named in (fingerprint, str(trust.pinned_place(line)), "tanbiao agent trust LINE --config FILE"):
            assert named in refused.value.say("en")
        assert "tanbiao agent trust" in refused.value.say("zh")
    assert not trust.pinned_place(line).exists()


@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
async def test_a_trusted_server_is_read(
    server: Any,
    opcua_plan: Callable[..., MeterPlan],
    line_to: Callable[..., OpcUaLine],
    mode: str,
) -> None:
    line = line_to(server.url, mode=mode)
    trust.pin(line, await offered(line))
    async with opened(line) as session:
        assert (await session.read(opcua_plan(mass="ns=2;s=mass")))[0].value == 1.5


async def test_f29_a_server_with_another_certificate_is_refused(
    server: Any, secret: Callable[..., Secret], line_to: Callable[..., OpcUaLine]
) -> None:
    line = line_to(server.url)
    trust.pin(line, load_der_x509_certificate(secret(made=datetime.now(UTC) - timedelta(days=2))[0]))
    with pytest.raises(MeterUnreachable, match=r"has changed: now .* holds .*tanbiao agent trust"):
        async with opened(line):
            pass


async def test_f29_a_certificate_of_a_server_that_has_expired_is_refused_by_name(
    secret: Callable[..., Secret], line_to: Callable[..., OpcUaLine]
) -> None:
    line = line_to(NOBODY)
    trust.pin(line, load_der_x509_certificate(secret(made=datetime.now(UTC) - timedelta(days=3653))[0]))
    with pytest.raises(MeterUnreachable, match=rf"{trust.pinned_place(line)} expired on 20\d\d-"):
        async with opened(line):
            pass


async def test_f29_our_own_certificate_that_has_expired_is_refused_by_name(
    pki: Path, line_to: Callable[..., OpcUaLine]
) -> None:
    await own_identity(pki, RealWorld())
    with pytest.raises(MeterUnreachable, match=rf"our OPC UA certificate {own_place(pki)} expired on .*: delete it"):
        async with opened(line_to(NOBODY), World(days=3660)):
            pass


async def test_a_certificate_near_its_end_or_before_its_time_is_named(
    secret: Callable[..., Secret], line_to: Callable[..., OpcUaLine]
) -> None:
    line = line_to(NOBODY)
    trust.pin(line, load_der_x509_certificate(secret(made=datetime.now(UTC) - timedelta(days=3620))[0]))
    security = await trust.security_of(line, RealWorld())
    assert security is not None
    (warning,) = trust.warnings(line, security, RealWorld())
    assert warning.startswith(f"the server's certificate {trust.pinned_place(line)} expires on 20")
    (early,) = trust.warnings(line, security, World(days=-300))
    assert early.startswith(f"our certificate {own_place(line.pki)} is valid from 20")


async def test_a_server_that_is_not_there_is_not_said_to_mistrust_us(
    secret: Callable[..., Secret], line_to: Callable[..., OpcUaLine]
) -> None:
    line = line_to(NOBODY)
    trust.pin(line, load_der_x509_certificate(secret()[0]))
    with pytest.raises(MeterUnreachable) as refused:
        async with opened(line):
            pass
    assert "127.0.0.1" in str(refused.value)
    assert "trust" not in str(refused.value)


async def test_a_server_that_is_not_its_certificates_application_is_refused(
    opcua_server: Any, secret: Callable[..., Secret], line_to: Callable[..., OpcUaLine]
) -> None:
    certificate, pem, _ = secret()
    async with opcua_server(secret=(certificate, pem, "urn:somebody:else")) as server:
        line = line_to(server.url)
        trust.pin(line, await offered(line))
        with pytest.raises(MeterUnreachable, match=f"says it is urn:somebody:else.* belongs to {SERVER_URI}"):
            async with opened(line):
                pass


async def test_a_server_without_the_policy_is_said_to_lack_it(server: Any, line_to: Callable[..., OpcUaLine]) -> None:
    with pytest.raises(MeterUnreachable, match="does not offer Aes256_Sha256_RsaPss with SignAndEncrypt"):
        async with opened(line_to(server.url, policy="Aes256_Sha256_RsaPss")):
            pass


async def test_f29_a_secured_channel_is_renewed_before_it_ends(
    server: Any,
    opcua_plan: Callable[..., MeterPlan],
    line_to: Callable[..., OpcUaLine],
) -> None:
    line = line_to(server.url)
    trust.pin(line, await offered(line))
    async with connected(line, RealWorld()) as client:
        session, tokens = OpcUaSession(client, line, RealWorld()), set()
        for _ in range(4):
            client._renewed_s -= RENEW_AFTER * client.secure_channel_timeout / 1000
            assert (await session.read(opcua_plan(mass="ns=2;s=mass")))[0].value == 1.5
            tokens.add(client.connection.security_token.TokenId)
        assert len(tokens) == 4


async def test_our_certificate_is_made_once_with_a_key_nobody_else_can_read(tmp_path: Path) -> None:
    first, second = await own_identity(tmp_path, RealWorld()), await own_identity(tmp_path, RealWorld())
    key = own_place(tmp_path).with_suffix(".key")
    assert first.certificate == second.certificate
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert first.facts.uri.endswith(":tanbiao:agent")
    assert first.facts.key_bits == 3072
    assert first.facts.not_after - first.facts.not_before > timedelta(days=3650)


async def test_two_lines_that_start_at_once_make_one_certificate(tmp_path: Path) -> None:
    made = await asyncio.gather(*(own_identity(tmp_path, RealWorld()) for _ in range(3)))
    assert len({identity.facts.fingerprint for identity in made}) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["agent.der", "agent.key", "own"]


async def test_no_certificate_is_made_by_a_clock_that_was_never_set(tmp_path: Path) -> None:
    with pytest.raises(MeterUnreachable, match="clock of this machine is not set"):
        await own_identity(tmp_path, World(days=-20_000))
    assert not own_place(tmp_path).exists()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("in the way")
    with pytest.raises(MeterUnreachable, match=rf"{tmp_path}/own cannot be used: .*set pki"):
        await own_identity(tmp_path, RealWorld())


async def test_a_damaged_trusted_file_is_named(pki: Path, line_to: Callable[..., OpcUaLine]) -> None:
    line = line_to(NOBODY)
    await own_identity(pki, RealWorld())
    trust.pinned_place(line).parent.mkdir(exist_ok=True)
    trust.pinned_place(line).write_bytes(b"no certificate")
    with pytest.raises(MeterUnreachable, match=f"{trust.pinned_place(line)} cannot be read"):
        async with opened(line):
            pass
