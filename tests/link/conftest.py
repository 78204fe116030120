"""Real sockets, pseudo-terminals and certificates for the link's tests."""

import asyncio
import datetime
import ipaddress
import os
import socket
import ssl
import threading
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import serial
import serial.rfc2217
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from link.real_world import RealWorld
from link.world import TlsFiles


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
async def _listening(peer: Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    server = await asyncio.start_server(peer.attend, "127.0.0.1", 0, ssl=tls)
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


class PtyPort(serial.Serial):  # type: ignore[misc]
    """A pseudo-terminal as a serial server sees a port: it has no modem lines to ask for."""

    cts = dsr = cd = True
    ri = False


class SerialServer:
    """pyserial's own RFC 2217 server before a port, for one client after the other."""

    def __init__(self, port: serial.Serial) -> None:
        self.serial = port
        self.serial.timeout = 0.01
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._client: socket.socket | None = None
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in (self._serve, self._forward)]
        self._manager: serial.rfc2217.PortManager | None = None
        for thread in self._threads:
            thread.start()

    def write(self, data: bytes) -> None:
        """Send to the client; called by the port manager."""
        with self._lock:
            if self._client is not None:
                self._client.sendall(data)

    def hang_up(self) -> None:
        if self._client is not None:
            self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(2.0)
        self._socket.close()
        self.serial.close()

    def _serve(self) -> None:
        while not self._ends.is_set():
            try:
                self._client, _ = self._socket.accept()
            except TimeoutError:
                continue
            self._client.settimeout(0.05)
            self._manager = serial.rfc2217.PortManager(self.serial, self)
            self._attend(self._client, self._manager)

    def _attend(self, client: socket.socket, manager: serial.rfc2217.PortManager) -> None:
        with client:
            while not self._ends.is_set():
                try:
                    data = client.recv(1000)
                except TimeoutError:
                    continue
                except OSError:
                    break
                if not data:
                    break
                self.serial.write(b"".join(manager.filter(data)))
            self._manager = None

    def _forward(self) -> None:
        while not self._ends.is_set():
            data = self.serial.read(100)
            if data and self._manager is not None:
                self.write(b"".join(self._manager.escape(data)))


@pytest.fixture
def serial_server() -> Iterator[Callable[[serial.Serial], SerialServer]]:
    """Start serial servers."""
    servers: list[SerialServer] = []

    def start(port: serial.Serial) -> SerialServer:
        servers.append(SerialServer(port))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@dataclass
class Far:
    """The meter's end of any channel."""

    channel: Any
    send: Callable[[bytes], Any]
    received: Callable[[int], Any]
    """Wait for so many bytes."""
    lose: Callable[[], Any]


@pytest.fixture(params=["tcp", "tls", "udp", "serial", "rfc2217"])
async def far(request: pytest.FixtureRequest, world: RealWorld) -> AsyncIterator[Far]:
    """A channel of each kind, open, with its far end."""
    async with _OPENED[request.param](world, request) as line:
        yield line
        await line.channel.close()


@asynccontextmanager
async def _tcp(world: RealWorld, request: pytest.FixtureRequest) -> AsyncIterator[Far]:
    async with _listening(Peer()) as peer:
        channel = await world.open_tcp("127.0.0.1", peer.port, 1.0)
        yield _of_streams(channel, *await peer.streams())


@asynccontextmanager
async def _tls(world: RealWorld, request: pytest.FixtureRequest) -> AsyncIterator[Far]:
    files = request.getfixturevalue("certificates")("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.key)
    async with _listening(Peer(), context) as peer:
        channel = await world.open_tcp("127.0.0.1", peer.port, 2.0, TlsFiles("127.0.0.1", files.ca))
        yield _of_streams(channel, *await peer.streams())


def _of_streams(channel: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Far:
    return Far(channel, writer.write, reader.readexactly, writer.transport.abort)


@asynccontextmanager
async def _udp(world: RealWorld, request: pytest.FixtureRequest) -> AsyncIterator[Far]:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as meter:
        meter.bind(("127.0.0.1", 0))
        meter.setblocking(False)
        channel = await world.open_udp(*meter.getsockname())
        await channel.write(b"?")
        _, agent = await loop.sock_recvfrom(meter, 100)
        received = lambda length: loop.sock_recv(meter, 1000)  # noqa: E731
        yield Far(channel, lambda data: meter.sendto(data, agent), received, meter.close)


@asynccontextmanager
async def _serial(world: RealWorld, request: pytest.FixtureRequest) -> AsyncIterator[Far]:
    pty = request.getfixturevalue("pty")
    channel = await world.open_serial(pty.path, 9600, "8N1")
    pty.let_go()
    yield _of_pty(channel, pty, pty.unplug)


@asynccontextmanager
async def _rfc2217(world: RealWorld, request: pytest.FixtureRequest) -> AsyncIterator[Far]:
    pty = request.getfixturevalue("pty")
    server = request.getfixturevalue("serial_server")(PtyPort(pty.path))
    channel = await world.open_serial(f"rfc2217://{server.address}", 9600, "8N1")
    yield _of_pty(channel, pty, server.hang_up)


def _of_pty(channel: Any, pty: Pty, lose: Callable[[], None]) -> Far:
    return Far(channel, lambda data: os.write(pty.far, data), lambda length: _read_of(pty.far, length), lose)


async def _read_of(fd: int, length: int) -> bytes:
    return await asyncio.to_thread(_all, fd, length)


def _all(fd: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += os.read(fd, length - len(data))
    return data


_OPENED = {"tcp": _tcp, "tls": _tls, "udp": _udp, "serial": _serial, "rfc2217": _rfc2217}


@dataclass(frozen=True)
class Certificates:
    ca: Path
    server: Path
    key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Certificates]:
    """Give a CA and a server certificate for one host name or address, issued some hours ago for two hours."""

    def make(host: str, hours_ago: float = 1.0) -> Certificates:
        folder = tmp_path_factory.mktemp("certificates")
        ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        ca = _certificate("Plant CA", ca_key, "Plant CA", ca_key, x509.BasicConstraints(ca=True, path_length=None))
        names = x509.SubjectAlternativeName([_name(host)])
        server = _certificate(host, server_key, "Plant CA", ca_key, names, hours_ago)
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
    hours_ago: float = 1.0,
) -> x509.Certificate:
    issued = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours_ago)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issued)
        .not_valid_after(issued + datetime.timedelta(hours=2))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(issuer_key, hashes.SHA256())
    )
