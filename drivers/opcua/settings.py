"""What an OPC UA line and a meter on it are told in `agent.yaml`."""

from pydantic import Field, model_validator

from metering.fields import DurationS, FieldError, Strict
from metering.text import Text


class OpcUaLine(Strict):
    """One server. Its connection is the line."""

    driver: str
    url: str = Field(pattern=r"^opc\.tcp://[^\s@]+$")
    """`opc.tcp://host:4840/path`, without user or password."""
    user: str | None = None
    """None: anonymous."""
    password: str | None = Field(default=None, repr=False)
    timeout: DurationS = 4.0
    """Longest wait for the connection as a whole, and for each reply."""

    @model_validator(mode="after")
    def _password_has_a_user(self) -> "OpcUaLine":
        if self.password is not None and self.user is None:
            raise FieldError(Text("有 password 而没有 user", "there is a password but no user"))
        return self


class OpcUaMeter(Strict):
    """Nothing: a meter is where its points' node ids are. Override them with `points: {mass: {address: …}}`."""
