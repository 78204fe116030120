"""Our application certificate and key: made on first use, kept in the line's `pki` folder.

    own/agent.der   the certificate; copy it to the server's folder of trusted clients
    own/agent.key   the private key (PEM), readable by the agent alone (mode 0600)

It is self-signed, RSA 3072 with SHA-256 (all three policies take 2048 to 4096; 3072 is good beyond 2030 by NIST
SP 800-57), and valid for ten years: both sides pin it, so a shorter life protects nothing and would one day stop the
readings. It is never renewed by itself, for the server would not know the new one; sixty days before its end we say so.
"""

import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drivers.contract import Surroundings
from metering.errors import MeterUnreachable
from metering.text import Text

KEY_BITS = 3072
VALID = timedelta(days=3652)
WARN_BEFORE = timedelta(days=60)
_EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)
"""A clock before this was never set."""


@dataclass(frozen=True)
class Facts:
    """What a certificate says, for people and checks."""

    subject: str
    uri: str
    fingerprint: str
    """SHA-256 of the whole certificate, in pairs of hexadecimal digits."""
    not_before: datetime
    not_after: datetime
    key_bits: int
    """0: no RSA key."""
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key."""

    path: Path
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def facts(self) -> Facts:
        return facts(self.certificate)


def facts(certificate: x509.Certificate) -> Facts:
    """Return what a certificate says."""
    key = certificate.public_key()
    return Facts(
        certificate.subject.rfc4514_string(),
        next(iter(_names(certificate, x509.UniformResourceIdentifier)), ""),
        certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        key.key_size if isinstance(key, rsa.RSAPublicKey) else 0,
        tuple(_names(certificate, x509.DNSName)) + tuple(map(str, _names(certificate, x509.IPAddress))),
    )


def _names(certificate: x509.Certificate, kind: type) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name) for name in found.value.get_values_for_type(kind)]


def own_place(pki: Path) -> Path:
    """Return where our certificate is, or will be."""
    return pki / "own" / "agent.der"


async def own_identity(pki: Path, world: Surroundings) -> Identity:
    """Return our certificate and key, made now if there are none.

    Raises:
        MeterUnreachable: they cannot be read or made, do not fit, or have expired; the sentence names file and remedy.
    """
    path = own_place(pki)
    now = datetime.fromtimestamp(world.now_ms() / 1000, UTC)
    try:
        if not path.exists():
            if now < _EARLIEST:
                raise MeterUnreachable(_NO_CLOCK)
            await world.in_own_thread("own certificate", lambda: _make(path, now))
        identity = load_identity(path, path.with_suffix(".key"))
    except OSError as error:
        raise MeterUnreachable(_said(_NO_FILES, path=path.parent, reason=error.strerror or error)) from error
    if now > identity.facts.not_after:
        raise MeterUnreachable(_said(_EXPIRED, path=path, day=identity.facts.not_after.date()))
    return identity


def load_identity(certificate: Path, key: Path) -> Identity:
    """Read a certificate and its key, PEM or DER.

    Raises:
        OSError: a file cannot be read.
        MeterUnreachable: they are no certificate and key, or do not fit each other.
    """
    try:
        found = Identity(certificate, read_certificate(certificate.read_bytes()), _read_key(key.read_bytes()))
        fits = found.certificate.public_key() == found.key.public_key()
    except (ValueError, TypeError) as error:
        raise MeterUnreachable(_said(_UNREADABLE, certificate=certificate, key=key, reason=error)) from error
    if not fits:
        raise MeterUnreachable(_said(_NO_FIT, certificate=certificate, key=key))
    return found


def read_certificate(data: bytes) -> x509.Certificate:
    """Read a certificate, PEM or DER.

    Raises:
        ValueError: it is none.
    """
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def _read_key(data: bytes) -> rsa.RSAPrivateKey:
    load = serialization.load_pem_private_key if b"-----BEGIN" in data else serialization.load_der_private_key
    key = load(data, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    return key


def _make(path: Path, now: datetime) -> None:
    """Make key and certificate; both appear at once, and never in place of others: another line may be doing the same."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    host = socket.gethostname() or "agent"
    certificate = self_signed(key, f"Tanbiao agent {host}"[:64], f"urn:{host}:tanbiao:agent", host, now)
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".own-", dir=path.parent.parent))
    try:
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        write_whole(fresh / path.with_suffix(".key").name, key.private_bytes(*pem), 0o600)
        write_whole(fresh / path.name, certificate.public_bytes(serialization.Encoding.DER), 0o644)
        fresh.chmod(0o755)
        fresh.rename(path.parent)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not path.exists():
            raise


def self_signed(key: rsa.RSAPrivateKey, name: str, uri: str, host: str, now: datetime) -> x509.Certificate:
    """Return an application instance certificate (OPC 10000-6, 6.2.2) of our own."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), x509.DNSName(host)]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
    ]
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALID)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that it is there whole or not at all, and never readable by more than `mode` says."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def _said(text: Text, **values: object) -> Text:
    return Text(text.zh.format(**values), text.en.format(**values))


_NO_CLOCK = Text(
    "本机时钟没有校准，不能生成 OPC UA 应用证书：请先校时",
    "the clock of this machine is not set, so no OPC UA certificate can be made: set it first",
)
_NO_FILES = Text(
    "OPC UA 证书目录 {path} 无法使用：{reason}。请让运行采集端的用户能写这个目录，或用 pki 另选",
    "the folder of OPC UA certificates {path} cannot be used: {reason}. Let the agent's user write there, or set pki",
)
_EXPIRED = Text(
    "我们的 OPC UA 证书 {path} 已于 {day} 过期：请删除它和旁边的 .key，重启后会生成新证书，再让服务器信任新证书",
    "our OPC UA certificate {path} expired on {day}: delete it and the .key beside it; a restart makes a new one, which the"
    " server must be told to trust",
)
_UNREADABLE = Text("{certificate} 与 {key} 不是可用的证书和私钥：{reason}",
                   "{certificate} and {key} are no certificate and RSA key (without password): {reason}")  # fmt: skip
_NO_FIT = Text("{certificate} 与私钥 {key} 不配对", "the key {key} is not the one of the certificate {certificate}")
