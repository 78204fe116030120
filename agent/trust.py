"""Trust between an OPC UA line and its server: given by a person, in both directions, and never taken.

`tanbiao agent trust LINE` shows the certificate the server offers and, confirmed, pins it; where ours lies, it says too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.wiring import Line, wire
from link.world import World
from metering.errors import MeteringError
from metering.text import Text
from settings.agent import load_agent

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from drivers.opcua.settings import OpcUaLine


@dataclass(frozen=True)
class Offer:
    """What a server shows of itself, for a person to compare."""

    line: "OpcUaLine"
    certificate: "Certificate"
    known: bool
    """Whether it is pinned already."""
    text: Text
    data: dict[str, Any]

    def accept(self) -> Path:
        """Pin the certificate; return the file.

        Raises:
            MeteringError: it cannot be written.
        """
        from drivers.opcua import trust

        try:
            return trust.pin(self.line, self.certificate)
        except OSError as error:
            raise MeteringError(_NOT_WRITTEN, path=trust.pinned_place(self.line), reason=error.strerror) from error


async def offer(path: Path, environ: Mapping[str, str], line: str, world: World) -> Offer:
    """Ask a line's server for its certificate. Make ours, if there is none yet.

    Raises:
        SettingsFaults: the settings are wrong.
        MeteringError: there is no such line, it needs no trust, or its server cannot be asked.
    """
    settings = _secured_line(wire(*load_agent(path, environ)).lines, line)
    from drivers.opcua import certificate, trust
    from drivers.opcua.connect import endpoints

    ours = await certificate.own_identity(settings.pki, world)
    offered = trust.offered_certificate(settings, await endpoints(settings, world))
    if offered is None:
        trust.judge_offer(settings, None)
        raise AssertionError("what is not offered is refused")  # pragma: no cover
    found, pinned = certificate.facts(offered), trust.pinned(settings)
    data = {
        "line": line, "url": settings.url, "subject": found.subject, "application": found.uri, "sha256": found.fingerprint,
        "valid_from": found.not_before.isoformat(), "valid_until": found.not_after.isoformat(), "key_bits": found.key_bits,
        "pinned": None if pinned is None else certificate.facts(pinned).fingerprint,
        "file": str(trust.pinned_place(settings)), "ours": str(ours.path), "our_sha256": ours.facts.fingerprint,
        "our_application": ours.facts.uri,
    }  # fmt: skip
    values = {name: value if value is not None else "-" for name, value in data.items()}
    return Offer(
        settings, offered, pinned == offered, Text(_OFFER.say("zh", **values), _OFFER.say("en", **values)), data
    )


def _secured_line(lines: Sequence[Line], name: str) -> "OpcUaLine":
    found = {line.id: line for line in lines}
    if name not in found:
        raise MeteringError(_NO_LINE, line=name, known=", ".join(found))
    if found[name].driver.name != "opcua":
        raise MeteringError(_NOT_OPCUA, line=name, driver=found[name].driver.name)
    settings: Any = found[name].settings
    if not settings.secured:
        raise MeteringError(_NO_POLICY, line=name)
    return settings  # type: ignore[no-any-return]


def notes(lines: Sequence[Line]) -> Iterator[Text]:
    """Yield where certificates lie and what is still to trust; touches no network."""
    for line in lines:
        if line.driver.name == "opcua":
            yield from _notes(line.id, line.settings)


def _notes(line: str, settings: Any) -> Iterator[Text]:
    from drivers.opcua import certificate, trust

    if settings.secured:
        own, pinned = certificate.own_place(settings.pki), trust.pinned_place(settings)
        values = {"line": line, "own": own, "pinned": pinned}
        text = _CERTIFICATES if pinned.exists() else _TO_TRUST
        yield Text(text.zh.format(**values), text.en.format(**values))
    elif settings.password is not None:
        yield Text(_IN_CLEAR.zh.format(line=line), _IN_CLEAR.en.format(line=line))


_OFFER = Text(
    """{url} 的服务器证书：
  主体      {subject}
  应用 URI  {application}
  SHA-256   {sha256}
  有效期    {valid_from} 至 {valid_until}，密钥 {key_bits} 位
  已信任    {pinned}
  存放于    {file}
我们的证书：{ours}（{our_application}）
  SHA-256   {our_sha256}
请让服务器信任我们的证书，并在服务器上核对它的指纹。""",
    """the certificate of {url}:
  subject          {subject}
  application URI  {application}
  SHA-256          {sha256}
  valid            {valid_from} to {valid_until}, key of {key_bits} bits
  trusted so far   {pinned}
  kept in          {file}
our certificate: {ours} ({our_application})
  SHA-256          {our_sha256}
Let the server trust ours, and compare the server's fingerprint at the server.""",
)
_NO_LINE = Text("没有线路 {line}；有：{known}", "there is no line {line}; there are: {known}")
_NOT_OPCUA = Text(
    "线路 {line} 的驱动是 {driver}，只有 OPC UA 需要信任",
    "the line {line} is driven by {driver}; only OPC UA needs trust",
)
_NO_POLICY = Text(
    "线路 {line} 没有安全策略（policy），不用证书", "the line {line} has no security policy, so it uses no certificate: set policy"
)  # fmt: skip
_NOT_WRITTEN = Text("{path} 无法写入：{reason}", "{path} cannot be written: {reason}")
_CERTIFICATES = Text(
    "  {line}：我们的证书 {own}；服务器的受信证书 {pinned}", "  {line}: our certificate {own}; the server is trusted by {pinned}"
)  # fmt: skip
_TO_TRUST = Text(
    "  {line}：我们的证书 {own}（首次连接时生成）；尚未信任服务器，请运行 tanbiao agent trust {line}",
    "  {line}: our certificate {own} (made at the first connection); the server is not trusted yet: run tanbiao agent trust {line}",
)
_IN_CLEAR = Text(
    "  警告：{line} 没有安全策略，密码可能明文传送：请设置 policy",
    "  warning: {line} has no security policy; its password may travel in the clear: set policy",
)
