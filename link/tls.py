"""TLS over a TCP channel: the device is verified (CA, name, dates) and shown our certificate where it asks.

Opening takes at most its time-out, the handshake included. At least TLS 1.2. Each failure names its remedy; a
certificate of ours that the device refuses may show only when it is first read from (TLS 1.3).
"""

import asyncio
import contextlib
import ssl
from pathlib import Path

from link.channels import FileChannel
from link.tcp import open_tcp, tcp_refusal
from link.threads import in_own_thread
from link.world import TlsFiles
from metering.errors import MeterUnreachable
from metering.text import Text

_RECORD = 16 * 1024
"""Bytes of plain text taken at once."""
_GOODBYE_S = 0.5


class TlsChannel:
    """A `Channel` that encrypts."""

    def __init__(self, raw: FileChannel, context: ssl.SSLContext, server_name: str, name: str) -> None:
        self._raw = raw
        self._name = name
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    async def shake_hands(self, timeout_s: float) -> None:
        """Agree with the device; the caller bounds the whole of it."""
        while True:
            try:
                self._tls.do_handshake()
                return await self._send()
            except ssl.SSLWantReadError:
                await self._send()
                self._incoming.write(await self._heard(timeout_s))
            except ssl.SSLError as error:
                await self._send()
                raise MeterUnreachable(tls_refusal(self._name, error)) from error

    async def _heard(self, timeout_s: float) -> bytes:
        try:
            return await self._raw.read(timeout_s)
        except MeterUnreachable as error:
            raise MeterUnreachable(_said(_HUNG_UP, self._name, error.detail)) from error

    async def write(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise MeterUnreachable(tls_refusal(self._name, error)) from error
        await self._send()

    async def read(self, timeout_s: float) -> bytes:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while not (plain := self._plain()):
            await self._send()
            data = await self._raw.read(max(end_s - loop.time(), 0.0))
            if not data:
                return b""
            self._incoming.write(data)
        return plain

    async def set_speed(self, baud: int) -> None:
        """Do nothing: a network has no speed of its own."""

    def drain(self) -> int:
        """What has come is decrypted and thrown away: a gap in the bytes would end the connection."""
        self._incoming.write(self._raw.take_all())
        dropped = 0
        try:
            while plain := self._plain():
                dropped += len(plain)
        except MeterUnreachable:
            return dropped  # the next write or read says so
        return dropped

    async def close(self) -> None:
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        with contextlib.suppress(MeterUnreachable, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._send()
        await self._raw.close()

    def _plain(self) -> bytes:
        """Return what can be decrypted now."""
        try:
            data = self._tls.read(_RECORD)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:
            data = b""
        except ssl.SSLError as error:
            raise MeterUnreachable(tls_refusal(self._name, error)) from error
        if not data:
            raise MeterUnreachable(Text(f"{self._name} 断开了连接", f"{self._name} closed the connection"))
        return data

    async def _send(self) -> None:
        if data := self._outgoing.read():
            try:
                await self._raw.write(data)
            except MeterUnreachable:
                self._incoming.write(self._raw.take_all())
                self._plain()  # what the device said before it hung up is the better reason
                raise


async def open_tls(host: str, port: int, timeout_s: float, files: TlsFiles) -> TlsChannel:
    """Connect and agree on keys, in `timeout_s` for all of it.

    Raises:
        MeterUnreachable: no connection, not the device the certificate should name, or our own files cannot be used.
    """
    name = f"{host}:{port}"
    raw: FileChannel | None = None
    try:
        async with asyncio.timeout(timeout_s):
            context = await in_own_thread(f"certificates for {name}", lambda: context_of(files))
            raw = await open_tcp(host, port, timeout_s)
            channel = TlsChannel(raw, context, files.server_name, name)
            await channel.shake_hands(timeout_s)
            return channel
    except BaseException as error:
        if raw is not None:
            await raw.close()
        if isinstance(error, TimeoutError):
            late = _said(_SILENT, name) if raw is not None else tcp_refusal(name, timeout_s, error)
            raise MeterUnreachable(late) from error
        raise


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """Return what a handshake needs of our files.

    Raises:
        MeterUnreachable: a file is missing, or is not what it should be.
    """
    context = ssl.create_default_context() if files.ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca is not None:
        try:
            context.load_verify_locations(files.ca)
        except (OSError, ssl.SSLError) as error:
            raise MeterUnreachable(_unusable(files.ca, "ca", error)) from error
    if files.cert is not None:
        try:
            context.load_cert_chain(files.cert, files.key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise MeterUnreachable(_unusable(files.key or files.cert, "cert / key", error)) from error
    return context


def _no_password() -> str:
    """Refuse an encrypted key: asking for its password would stop the service."""
    raise ValueError("the key is encrypted")


def _unusable(file: Path, setting: str, error: Exception) -> Text:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return Text(
        f"{file}（tls 的 {setting}）不能使用（{reason}）：检查文件、权限，以及证书与私钥是否成对（PEM，无密码）",
        f"{file} (tls, {setting}) cannot be used ({reason}): check the file, its permissions, and that"
        " certificate and key belong together (PEM, without password)",
    )


_SILENT = Text(
    "{name} 接受了连接，但没有完成 TLS 握手：检查该端口是否使用 TLS",
    "{name} took the connection but did not complete the TLS handshake: check that this port speaks TLS",
)
_WRONG_NAME = Text(
    "{name} 的证书是给另一个名称的（{reason}）：把 tls 的 server_name 设为证书中的名称，或更换证书",
    "the certificate of {name} is for another name ({reason}): set server_name of tls to the name in the"
    " certificate, or have a new one issued",
)
_EXPIRED = Text(
    "{name} 的证书不在有效期内（{reason}）：检查设备和本机的时钟，否则更换证书",
    "the certificate of {name} is out of its time ({reason}): check the clocks of the device and of this machine,"
    " else have a new one issued",
)
_UNKNOWN_CA = Text(
    "{name} 的证书由未受信任的机构签发（{reason}）：把该机构的证书写入 tls 的 ca",
    "the certificate of {name} comes from an authority we do not trust ({reason}): name that authority's"
    " certificate in ca of tls",
)
_REFUSED = Text(
    "{name} 拒绝了我们的证书（{reason}）：在 tls 中设置 cert 和 key，并让设备信任签发它的机构",
    "{name} refuses our certificate ({reason}): set cert and key of tls, and let the device trust the authority"
    " that issued it",
)
_TOO_OLD = Text(
    "{name} 与我们没有共同的 TLS 版本或算法（{reason}）：在设备上启用 TLS 1.2 或更高版本",
    "{name} and we have no TLS version or cipher in common ({reason}): enable TLS 1.2 or later on the device",
)
_EITHER = Text(
    "{name} 拒绝 TLS 握手（{reason}）：设备可能要求我们的证书，请在 tls 中设置 cert 和 key；否则在设备上启用 TLS 1.2 或更高版本",
    "{name} refuses the TLS handshake ({reason}): set cert and key of tls if it wants a certificate of ours; else"
    " enable TLS 1.2 or later on the device",
)
_NO_TLS = Text(
    "{name} 的应答不是 TLS（{reason}）：检查该端口是否使用 TLS",
    "{name} answers with something that is not TLS ({reason}): check that this port speaks TLS",
)
_HUNG_UP = Text(
    "{name} 在 TLS 握手时断开（{reason}）：检查该端口是否使用 TLS，以及设备是否要求我们的证书或 TLS 1.2 以下的版本",
    "{name} hung up during the TLS handshake ({reason}): check that this port speaks TLS, and whether the device wants a"
    " certificate of ours or has no TLS 1.2",
)
_BROKEN = Text("{name} 的 TLS 连接中断（{reason}）", "the TLS connection to {name} broke: {reason}")

_NAME_CODES = {62, 63, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH, _IP_ADDRESS_MISMATCH (OpenSSL, x509_vfy.h)."""
_TIME_CODES = {9, 10}
"""X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED."""
_OURS_REFUSED = (
    "CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED", "UNSUPPORTED_CERTIFICATE", "ACCESS_DENIED", "DECRYPT_ERROR",
)  # fmt: skip
_NOTHING_SHARED = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "NO_PROTOCOLS", "INSUFFICIENT_SECURITY", "DH_KEY_TOO")
_SOMETHING_ELSE = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH")


def tls_refusal(name: str, error: ssl.SSLError) -> Text:
    """Return why the device and we do not agree, with the remedy."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message
        code = error.verify_code
        text = _WRONG_NAME if code in _NAME_CODES else _EXPIRED if code in _TIME_CODES else _UNKNOWN_CA
    else:
        reason = error.reason or str(error)
        text = _by_reason(reason)
    return _said(text, name, reason)


def _said(text: Text, name: str, reason: str = "") -> Text:
    return Text(text.zh.format(name=name, reason=reason), text.en.format(name=name, reason=reason))


def _by_reason(reason: str) -> Text:
    meanings = (
        (_OURS_REFUSED, _REFUSED),
        (("ALERT_HANDSHAKE_FAILURE",), _EITHER),
        (_NOTHING_SHARED, _TOO_OLD),
        (_SOMETHING_ELSE, _NO_TLS),
    )
    return next((text for words, text in meanings if any(word in reason for word in words)), _BROKEN)
