"""The broker's address, as agent and ingester both state it."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from metering.fields import FieldError, Strict
from metering.text import Text

BROKER = "mqtt://127.0.0.1:1883"


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if "@" in parts.netloc:
        raise FieldError(
            Text("地址里不能写用户名和密码，请用 username 和 password", "keep user and password out of the address: "
                 "write username and password"))  # fmt: skip
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == 0 or parts.path.strip("/"):
        raise FieldError(
            Text("{value!r} 应写成 mqtt://主机:1883 或 mqtts://主机:8883",
                 "{value!r} should be mqtt://host:1883 or mqtts://host:8883"),
            value=value,
        )  # fmt: skip
    return value


class MqttSection(Strict):
    """How to reach the broker."""

    url: Annotated[str, AfterValidator(_url)] = Field(examples=[BROKER])
    """`mqtt://host:1883`, or `mqtts://host:8883` for TLS."""
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    """Better given by TANBIAO_MQTT__PASSWORD or the systemd credential `mqtt-password`."""
    ca: Path | None = None
    """File of the CA certificates the broker's certificate is checked with; None: the system's."""

    @model_validator(mode="after")
    def _user_and_password(self) -> "MqttSection":
        if self.password is not None and self.username is None:
            raise FieldError(Text("有 password 就要有 username", "a password needs a username"))
        if self.ca is not None and self.url.startswith("mqtt:"):
            raise FieldError(Text("ca 只用于 mqtts://", "ca is for mqtts:// only"))
        return self
