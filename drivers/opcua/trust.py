"""Whom we trust: the certificate of each server, pinned in the line's `pki` folder and never taken by itself.

    trusted/<host>_<port>.der   the one certificate with which this server may answer

The channel is opened to the pinned certificate: the server must hold its key, or nothing is said. What asyncua does not
look at is checked here: that the certificate is the pinned one, that it has not expired, that its key is long enough, that
the server's application URI is the certificate's, and that its nonces are as long as they must be. The host name is not
compared: a pinned certificate says more than a name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto import security_policies, uacrypto
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.contract import Surroundings
from drivers.opcua.bounded import BoundedClient
from drivers.opcua.certificate import WARN_BEFORE, Facts, Identity, facts, own_identity, read_certificate, write_whole
from drivers.opcua.settings import OpcUaLine
from metering.errors import MeterUnreachable
from metering.text import Text

POLICIES: dict[str, Any] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_first_certificate: Any = uacrypto.x509_from_der
SHORTEST_KEY, LONGEST_KEY = 2048, 4096
"""Bits, for all three policies (OPC 10000-7)."""
SHORTEST_NONCE = 32
"""Bytes of a session's nonce (OPC 10000-4, 5.6.2)."""


@dataclass(frozen=True)
class Security:
    """Who we are on a line, and whom we speak to."""

    own: Identity
    server: x509.Certificate


def pinned_place(line: OpcUaLine) -> Path:
    """Return the file with the certificate this line's server is trusted by."""
    host, port = line.host_port
    return line.pki / "trusted" / f"{host.replace(':', '-').replace('/', '-')}_{port}.der"


async def security_of(line: OpcUaLine, world: Surroundings) -> Security | None:
    """Return our certificate and the server's pinned one; None with policy None or where the server has none pinned.

    Raises:
        MeterUnreachable: one of them cannot be used; the sentence says why and what to do.
    """
    if not line.secured:
        return None
    own = await own_identity(line.pki, world)
    now = datetime.fromtimestamp(world.now_ms() / 1000, UTC)
    server = pinned(line)
    if server is None:
        return None
    _check(facts(server), pinned_place(line), now, line.url)
    return Security(own, server)


def warnings(line: OpcUaLine, security: Security, world: Surroundings) -> Iterator[str]:
    """Yield what will soon stop, or already may stop, the two certificates from being taken; for the log."""
    now = datetime.fromtimestamp(world.now_ms() / 1000, UTC)
    ours = "our certificate", security.own.path, security.own.facts
    for whose, path, found in (ours, ("the server's certificate", pinned_place(line), facts(security.server))):
        if now < found.not_before:
            yield f"{whose} {path} is valid from {found.not_before.date()} on: check the clocks"
        if now > found.not_after - WARN_BEFORE:
            yield f"{whose} {path} expires on {found.not_after.date()}"


def pinned(line: OpcUaLine) -> x509.Certificate | None:
    """Return the certificate a line's server is trusted by; None where there is none.

    Raises:
        MeterUnreachable: the file cannot be read.
    """
    path = pinned_place(line)
    try:
        return read_certificate(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MeterUnreachable(_said(_UNREADABLE, path=path, reason=error, url=line.url)) from error


def _check(found: Facts, path: Path, now: datetime, url: str) -> None:
    if now > found.not_after:
        raise MeterUnreachable(_said(_EXPIRED, url=url, path=path, day=found.not_after.date(), print=found.fingerprint))
    if not SHORTEST_KEY <= found.key_bits <= LONGEST_KEY:
        raise MeterUnreachable(_said(_WRONG_KEY, url=url, path=path, bits=found.key_bits, print=found.fingerprint))


def secure(client: BoundedClient, line: OpcUaLine, security: Security) -> None:
    """Let a client speak to the pinned server only."""
    mode = ua.MessageSecurityMode[line.mode]
    policy = POLICIES[line.policy](security.server, security.own.certificate, security.own.key, mode)
    client.application_uri = security.own.facts.uri
    client.security_policy = policy
    client.uaclient.set_security(policy)


def check_session(client: BoundedClient, created: ua.CreateSessionResult, security: Security, url: str) -> None:
    """Check what asyncua leaves unchecked of the server that has just created our session.

    Raises:
        MeterUnreachable: its nonce is too short, or its application is not the certificate's.
    """
    if len(created.ServerNonce or b"") < SHORTEST_NONCE:
        raise MeterUnreachable(Text(f"{url}：会话随机数太短", f"{url}: the session's nonce is too short"))
    uri = facts(security.server).uri
    told = {endpoint.Server.ApplicationUri for endpoint in created.ServerEndpoints or ()}
    if uri and told and uri not in told:
        raise MeterUnreachable(_said(_OTHER_APPLICATION, url=url, told=", ".join(sorted(map(str, told))), uri=uri))


def judge_offer(line: OpcUaLine, offered: x509.Certificate | None) -> None:
    """Compare the certificate a server offers with the pinned one.

    Raises:
        MeterUnreachable: it is unknown, or another; or the server does not offer the policy at all.
    """
    if offered is None:
        raise MeterUnreachable(_said(_NO_POLICY, url=line.url, policy=line.policy, mode=line.mode))
    path, known = pinned_place(line), pinned(line)
    values = {"line": line.line, "url": line.url, "path": path, "print": facts(offered).fingerprint}
    if known is None:
        raise MeterUnreachable(_said(_UNKNOWN, **values))
    if known.public_bytes(Encoding.DER) != offered.public_bytes(Encoding.DER):
        raise MeterUnreachable(_said(_CHANGED, **values, old=facts(known).fingerprint))


def offered_certificate(line: OpcUaLine, endpoints: list[ua.EndpointDescription]) -> x509.Certificate | None:
    """Return the certificate of the endpoint with the line's policy and mode; None where there is none.

    Raises:
        MeterUnreachable: it is no certificate.
    """
    for endpoint in endpoints:
        if (
            endpoint.SecurityPolicyUri == POLICIES[line.policy].URI
            and endpoint.SecurityMode == ua.MessageSecurityMode[line.mode]
        ):
            try:
                found: x509.Certificate | None = _first_certificate(endpoint.ServerCertificate)
            except (ValueError, IndexError) as error:
                raise MeterUnreachable(_said(_NO_CERTIFICATE, url=line.url, reason=error)) from error
            return found
    return None


def pin(line: OpcUaLine, certificate: x509.Certificate) -> Path:
    """Trust this certificate from now on for the line's server; return the file.

    Raises:
        OSError: it cannot be written.
    """
    path = pinned_place(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, certificate.public_bytes(Encoding.DER), 0o644)
    return path


def _said(text: Text, **values: object) -> Text:
    return Text(text.zh.format(**values), text.en.format(**values))


_COMMAND_ZH = "核对指纹无误后运行：tanbiao agent trust {line} --config 配置文件"
_COMMAND_EN = "compare the fingerprint at the server, then run: tanbiao agent trust {line} --config FILE"
_UNKNOWN = Text(
    "{url} 的服务器证书尚未信任（没有 {path}），SHA-256 指纹 {print}。" + _COMMAND_ZH,
    "{url}: the server's certificate is not trusted yet (there is no {path}), SHA-256 {print}; " + _COMMAND_EN,
)
_CHANGED = Text(
    "{url} 的服务器证书变了：现为 {print}，而 {path} 中是 {old}。若不是有意更换，可能有人冒充。" + _COMMAND_ZH,
    "{url}: the server's certificate has changed: now {print}, while {path} holds {old}. Unless it was replaced on purpose,"
    " somebody may be posing as the server; " + _COMMAND_EN,
)
_EXPIRED = Text(
    "{url} 的服务器证书 {path} 已于 {day} 过期（SHA-256 {print}）：请在服务器上换证书，然后运行 tanbiao agent trust",
    "{url}: the server's certificate {path} expired on {day} (SHA-256 {print}): renew it at the server, then run"
    " tanbiao agent trust",
)
_WRONG_KEY = Text(
    "{url} 的服务器证书 {path} 的密钥不合规定（{bits} 位，应为 2048 至 4096 位 RSA；SHA-256 {print}）",
    "{url}: the key of the server's certificate {path} is not RSA of 2048 to 4096 bits (it has {bits}; SHA-256 {print})",
)
_UNREADABLE = Text(
    "{url}：受信证书 {path} 无法读取：{reason}", "{url}: the trusted certificate {path} cannot be read: {reason}"
)
_NO_CERTIFICATE = Text(
    "{url} 给出的证书无法读取：{reason}", "{url}: what the server offers is no certificate: {reason}"
)
_NO_POLICY = Text(
    "{url} 不提供 {policy} / {mode}：请在服务器上启用，或改 policy、mode",
    "{url} does not offer {policy} with {mode}: enable it at the server, or change policy or mode",
)
_OTHER_APPLICATION = Text(
    "{url} 自称 {told}，而它的证书属于 {uri}", "{url} says it is {told}, while its certificate belongs to {uri}"
)
