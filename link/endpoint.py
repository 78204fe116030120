"""A broker's address, checked before any attempt to reach it."""

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from link.world import BrokerAddress
from metering.errors import BrokerUnreachable
from metering.text import Text

WRONG_ADDRESS = Text("地址应为 mqtt://主机:1883 或 mqtts://主机:8883", "write mqtt://host:1883 or mqtts://host:8883")
SECRET_IN_ADDRESS = Text(
    "用户名和密码不能写在地址里，请写在 username 和 password 中",
    "user name and password do not belong into the address; write them as username and password",
)


@dataclass(frozen=True)
class Endpoint:
    """A broker's address, checked: what can be wrong without asking the network is found here."""

    address: BrokerAddress
    host: str
    port: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, address: BrokerAddress) -> "Endpoint":
        """Check `address` and load its certificates.

        Raises:
            BrokerUnreachable: not an mqtt:// or mqtts:// address, or the CA file cannot be used.
        """
        try:
            url = urlsplit(address.url)
            port = url.port or (8883 if url.scheme == "mqtts" else 1883)
        except ValueError as error:
            raise BrokerUnreachable(url=address.url, reason=WRONG_ADDRESS) from error
        if url.username is not None or url.password is not None:
            raise BrokerUnreachable(url=url.hostname, reason=SECRET_IN_ADDRESS)
        if url.scheme not in ("mqtt", "mqtts") or not url.hostname:
            raise BrokerUnreachable(url=address.url, reason=WRONG_ADDRESS)
        return cls(address, url.hostname, port, _tls(address) if url.scheme == "mqtts" else None)


def _tls(address: BrokerAddress) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=address.ca)
    except OSError as error:
        reason = Text(f"无法使用 CA 文件 {address.ca}（{error}）", f"the CA file {address.ca} cannot be used: {error}")
        raise BrokerUnreachable(url=address.url, reason=reason) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
