"""Real sockets, pseudo-terminals and certificates for the link's tests."""

import asyncio
import datetime
import ipaddress
import os
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from link.real_world import RealWorld


@pytest.fixture
async def world() -> RealWorld:
    return RealWorld()


class Pty:
    """A pseudo-terminal; `far` is the meter's end of it."""

    def __init__(self) -> None:
        self.far, self._near = os.openpty()
        tty.setraw(self._near)
        self.path = os.ttyname(self._near)
        self._open = True

    def let_go(self) -> None:
        """Close our copy of the near end, so that only the channel holds it."""
        os.close(self._near)
        self._near = -1

    def unplug(self) -> None:
        """Close the far end, as when an adapter is pulled."""
        if self._open:
            os.close(self.far)
            self._open = False

    def close(self) -> None:
        self.unplug()
        if self._near >= 0:
            self.let_go()


@pytest.fixture
def pty() -> Iterator[Pty]:
    pair = Pty()
    yield pair
    pair.close()


class Peer:
    """A TCP server for one client, that does what the test says."""

    def __init__(self) -> None:
        self.port = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._came = asyncio.Event()

    def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._came.set()

    async def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await self._came.wait()
        assert self._reader is not None
        assert self._writer is not None
        return self._reader, self._writer


@asynccontextmanager
async def _listening(peer: Peer) -> AsyncIterator[Peer]:
    server = await asyncio.start_server(peer.attend, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        if peer._writer is not None:
            peer._writer.transport.abort()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with _listening(Peer()) as listening:
        yield listening


@dataclass(frozen=True)
class Certificates:
    ca: Path
    server: Path
    key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Certificates]:
    """Give a CA and a server certificate for one host name or address."""

    def make(host: str) -> Certificates:
        folder = tmp_path_factory.mktemp("certificates")
        ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        ca = _certificate("Plant CA", ca_key, "Plant CA", ca_key, x509.BasicConstraints(ca=True, path_length=None))
        server = _certificate(host, server_key, "Plant CA", ca_key, x509.SubjectAlternativeName([_name(host)]))
        files.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        files.server.write_bytes(server.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            server_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        folder.chmod(0o755)
        return files

    return make


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(issuer_key, hashes.SHA256())
    )
