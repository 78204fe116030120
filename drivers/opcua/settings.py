"""What an OPC UA line and a meter on it are told in `agent.yaml`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from metering.fields import DurationS, FieldError, Strict
from metering.text import Text

PolicyName = Literal["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
_DEADBAND = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(%?)")


@dataclass(frozen=True)
class Deadband:
    """The change below which the server says nothing."""

    size: float = 0.0
    percent: bool = False
    """Whether it is a share of each node's range (EURange), else in the node's own unit."""

    def of(self, span: float | None) -> float:
        """Return it in the unit of a node whose range is `span` wide; 0 where that is not known."""
        if not self.percent:
            return self.size
        return self.size / 100 * span if span is not None else 0.0


def _deadband(value: Any) -> Any:
    if isinstance(value, Deadband):
        return value
    match = _DEADBAND.fullmatch(str(value).strip())
    size = float(match[1]) if match and not isinstance(value, bool) else -1.0
    if match is None or size < 0 or (match[2] and size > 100):
        raise FieldError(
            Text("{value!r} 不是死区，例如 0.5 或 1 %", "{value!r} is not a deadband such as 0.5 or 1 %"), value=value
        )
    return Deadband(size=size, percent=bool(match[2]))


def _url(value: str) -> str:
    if "@" in value:
        raise FieldError(Text("地址里不写用户名和密码：用 user: 和 password:",
                              "keep user and password out of the address: they stand under user: and password:"))  # fmt: skip
    if not _URL.fullmatch(value):
        raise FieldError(
            Text("{value!r} 应写成 opc.tcp://主机:4840", "{value!r} should be opc.tcp://host:4840"), value=value
        )
    return value


_URL = re.compile(r"opc\.tcp://[^\s@/]+(/[^\s@]*)?")


class OpcUaLine(Strict):
    """One server. Its connection is the line."""

    driver: str
    line: str = "LINE"
    """Its name, which the agent fills in."""
    url: Annotated[str, AfterValidator(_url)] = Field(examples=["opc.tcp://192.168.1.30:4840"])
    """`opc.tcp://host:4840/path`, without user or password."""
    policy: PolicyName = "None"
    """How messages are protected. Anything but None needs trust on both sides: `tanbiao agent trust`."""
    mode: Literal["Sign", "SignAndEncrypt"] = "SignAndEncrypt"
    """With a policy: only signed, or encrypted too."""
    pki: Path = Path("data/opcua")
    """Folder of our certificate and key, and of the servers' certificates we trust. The agent's default: `opcua` beside
    the outbox."""
    user: str | None = None
    """None: anonymous, or the user of `user_cert`."""
    password: str | None = Field(default=None, repr=False)
    user_cert: Path | None = None
    """Certificate of the user (PEM or DER), instead of user and password."""
    user_key: Path | None = None
    """Its private key (PEM or DER, without a password)."""
    timeout: DurationS = Field(default=4.0, gt=0, le=25)
    """Longest wait for the connection as a whole, and for each reading."""
    stale_after: DurationS = Field(default=600.0, gt=0)
    """A value whose source time is older than this is marked as perhaps frozen."""
    subscribe: bool = False
    """Whether the server also tells changes between two readings, each with its own time."""
    deadband: Annotated[Deadband, BeforeValidator(_deadband)] = Deadband()
    """With `subscribe`: `0.5` in the node's unit, or `1 %` of its range."""
    sampling: DurationS = Field(default=1.0, ge=0.05, le=3600)
    """With `subscribe`: how often the server looks for changes."""

    @model_validator(mode="after")
    def _users_are_whole(self) -> "OpcUaLine":
        if self.password is not None and self.user is None:
            raise FieldError(Text("有 password 而没有 user", "there is a password but no user"))
        if (self.user_cert is None) != (self.user_key is None):
            raise FieldError(Text("user_cert 与 user_key 要同时给出", "user_cert and user_key go together"))
        if self.user is not None and self.user_cert is not None:
            raise FieldError(Text("user 与 user_cert 二选一", "give either user or user_cert"))
        return self

    @property
    def secured(self) -> bool:
        return self.policy != "None"

    @property
    def host_port(self) -> tuple[str, int]:
        """The server's host and port; 4840 is the port of OPC UA."""
        authority = self.url.removeprefix("opc.tcp://").split("/", 1)[0]
        match = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:]+)(?::(\d+))?", authority)
        if match is None:
            return authority, 4840
        return match[1] or match[3], int(match[2] or match[4] or 4840)


class OpcUaMeter(Strict):
    """Nothing: a meter is where its points' node ids are. Override them with `points: {mass: {address: …}}`."""
