"""Who may reach the simulated OPC UA server: its certificate, kept over restarts, and its one user."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from settings.plant import PlantLine

URI = "urn:tanbiao:simulators:opcua"
DAYS = 3650


class Doorman(UserManager):
    """Lets in the line's user, or anybody where it has none."""

    def __init__(self, line: PlantLine) -> None:
        self._user, self._password = line.user, line.password

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        if self._user is None or (username == self._user and (password or "") == (self._password or "")):
            return User(role=UserRole.User)
        return None


async def guard(server: Server, line: PlantLine, certificate: Path) -> None:
    """Set the server's policies and users. With `secured`, its certificate and key lie at `certificate` (DER, and `.key`)."""
    policies = [ua.SecurityPolicyType.NoSecurity]
    if line.secured:
        names = ("Basic256Sha256_", "Aes128Sha256RsaOaep_", "Aes256Sha256RsaPss_")
        policies += [kind for kind in ua.SecurityPolicyType if kind.name.startswith(names)]
        public, secret = _kept(certificate)
        await server.set_application_uri(URI)
        await server.load_certificate(public)
        await server.load_private_key(secret, format="pem")
    server.set_security_policy(policies)
    token = ua.AnonymousIdentityToken if line.user is None else ua.UserNameIdentityToken
    server.set_identity_tokens([token])


def _kept(path: Path) -> tuple[bytes, bytes]:
    """Return certificate and key, made the first time."""
    if not path.exists():
        _make(path)
    return path.read_bytes(), path.with_suffix(".key").read_bytes()


def _make(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tanbiao simulators")])
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URI), x509.DNSName("localhost")]), False
        )
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    handle = os.open(path.with_suffix(".key"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key.private_bytes(*plain))
    path.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
