"""A meter model as data: what can be read from it, where, in which unit, and where that is known from."""

from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, model_validator

from metering.fields import Number, Strict, UnitName
from metering.text import Text

Kind = Literal["electricity", "gas", "fuel", "heat", "steam", "water", "production"]
Role = Literal["counter", "gauge", "quantity", "stock"]
Status = Literal["verified", "manual", "repo", "unverified"]


class Bilingual(Strict):
    """A text of a file in both languages; a plain string serves both."""

    zh: str
    en: str

    @model_validator(mode="before")
    @classmethod
    def _both(cls, given: Any) -> Any:
        return {"zh": given, "en": given} if isinstance(given, str) else given

    @property
    def text(self) -> Text:
        return Text(self.zh, self.en)


class Source(Strict):
    """Where a profile or factor comes from."""

    title: str
    page: str | int | None = None
    note: str = ""


class ProfilePoint(Strict):
    """One point of a meter model. `address` is the protocol's own: a register, a DI, a node id."""

    address: int | str
    unit: UnitName
    role: Role
    type: str | None = None
    """The protocol's type name (`f32`, `u32`, `bcd8`, …); None: the profile's default."""
    fc: Literal[1, 2, 3, 4] | None = None
    """Modbus function code of the read; None: the profile's default."""
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] | None = None
    scale: Number = Decimal(1)
    """Multiplies the raw number into the unit; decimal."""
    digits: int | None = Field(default=None, ge=1, le=15)
    """Places left of the decimal point of a register; its modulus is 10^digits in the unit."""
    modulus: Number | None = None
    resolution: Number | Literal["ulp"] | None = None
    """The last shown step, in the unit; `ulp` for a 32-bit float register."""
    resettable: bool = False
    valid: tuple[Number, Number] | None = None
    """Range of values that can be true, in the unit; others are refused as out of range."""
    sentinels: list[int | float | str] = []
    """Raw values that mean `not available` (`0x7FFFFFFF`, `nan`)."""
    reference: Literal["0 C", "15 C", "20 C"] | None = None
    """Reference state a gas volume register already counts at."""
    doc: str = ""
    """What the maker's document calls it."""


class PointDefaults(Strict):
    """What holds for every point of a profile that does not say otherwise."""

    fc: Literal[1, 2, 3, 4] = 3
    type: str | None = None
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"


class Limits(Strict):
    """What the device takes in one request."""

    max_registers: int = Field(default=100, ge=1, le=125)
    gap: int = Field(default=8, ge=0, le=100)
    """Unused registers a read may span to join two points; 0 joins neighbours only."""


class Profile(Strict):
    """One meter model, as `config/profiles/<vendor>/<model>.yaml` says it."""

    vendor: str | Bilingual
    model: str
    kind: Kind
    protocol: str
    line: dict[str, Any] = {}
    """Defaults for the line it hangs on, such as baud and frame."""
    defaults: PointDefaults = PointDefaults()
    limits: Limits = Limits()
    points: dict[str, ProfilePoint]
    vectors: list[dict[str, Any]] = []
    """Bytes of a reply and the values they must give; run by a test."""
    source: Source
    status: Status
    caveats: list[Bilingual] = []
