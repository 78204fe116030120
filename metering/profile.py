"""A meter model as data: what can be read from it, where, in which unit, and where that is known from."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from metering.fields import FieldError, Number, PointId, Strict, UnitName
from metering.text import Text

Kind = Literal["electricity", "gas", "fuel", "heat", "steam", "water", "production"]
Role = Literal["counter", "gauge", "quantity", "stock"]
Status = Literal["verified", "manual", "repo", "unverified"]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA", "EFGHABCD", "CDABGHEF", "DCBAHGFE", "FEHGBADC"]
"""Which byte of a value comes when, A the highest. The first four serve any length (CDAB of 64 bits is GHEFCDAB); those of
eight letters are of 64 bits whose halves are ordered apart."""


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


class Part(Strict):
    """A further register that is added to a point's: the high part of a total, its fraction."""

    address: int | str
    type: str | None = None
    """None: the point's type."""
    order: Order | None = None
    """None: the point's order."""
    scale: Number = Decimal(1)
    """Multiplies this register's number before it is added."""


class ScaleFrom(Strict):
    """A register that says how a point is scaled; it is read in the same slot, and without it there is no value."""

    address: int | str
    type: str | None = None
    """None: `i16` for a power of ten, `u16` for a unit."""
    units: dict[int, UnitName] | None = None
    """What each code of the register means (Kamstrup, TUF-2000): the value is converted from that unit to the point's.
    None: the register holds a power of ten (SunSpec, ION)."""


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, dict) else given


Scales = Annotated[list[ScaleFrom], BeforeValidator(_listed, json_schema_input_type=ScaleFrom | list[ScaleFrom])]


class Place(Strict):
    """Where a number or a text lies in a meter, and how it becomes one. `address` is the protocol's own: a register, a DI,
    a node id."""

    address: int | str
    type: str | None = None
    """The protocol's type name (`f32`, `u32`, `bcd8`, …); None: the profile's default."""
    fc: Literal[1, 2, 3, 4] | None = None
    """Modbus function code of the read; None: the profile's default."""
    order: Order | None = None
    bits: tuple[int, int] | None = None
    """Lowest and highest bit to take out of a whole number; 0 is the least."""
    scale: Number = Decimal(1)
    """Multiplies the raw number into the unit; decimal."""
    scale_from: Scales = []
    """One register, or a list of them: a unit and a power of ten."""
    plus: list[Part] = []
    """The value is `number * scale` and these together; all are read in one request."""
    valid: tuple[Number, Number] | None = None
    """Range of values that can be true, in the unit; others are refused as out of range."""
    sentinels: list[int | float | str] = []
    """Raw values that mean `not available` (`0x7FFFFFFF`, `nan`)."""
    doc: str = ""
    """What the maker's document calls it."""


class ProfilePoint(Place):
    """One point of a meter model: a number that is read again and again."""

    unit: UnitName
    role: Role
    digits: int | None = Field(default=None, ge=1, le=15)
    """Places left of the decimal point of a register; its modulus is 10^digits in the unit."""
    modulus: Number | None = None
    resolution: Number | Literal["ulp"] | None = None
    """The last shown step, in the unit; `ulp` for a 32-bit float register."""
    resettable: bool = False
    reference: Literal["0 C", "15 C", "20 C"] | None = None
    """Reference state a gas volume register already counts at."""


class Probe(Place):
    """A place whose value tells one model or variant from others: in a range, one of some values, or not there."""

    within: tuple[Number, Number] | None = None
    among: list[int | str] = []
    absent: bool = False
    """The device answers that it has no such place (Modbus exception 2); silence tells nothing."""

    @model_validator(mode="after")
    def _one_test(self) -> "Probe":
        if (self.within is not None) + bool(self.among) + self.absent != 1:
            raise FieldError(
                Text(
                    "within: [低, 高]、among: [值, …]、absent: true 三者写其一",
                    "give one of within: [low, high], among: [value, …] and absent: true",
                )
            )
        return self

    def fits(self, value: float | str | None) -> bool:
        """Return whether what was found here speaks for the model; None is the device's answer that nothing is there."""
        if self.absent:
            return value is None
        if self.within is not None:
            return isinstance(value, float | int) and self.within[0] <= Decimal(repr(value)) <= self.within[1]
        return value is not None and value in self.among


class PointDefaults(Strict):
    """What holds for every point of a profile that does not say otherwise."""

    fc: Literal[1, 2, 3, 4] = 3
    type: str | None = None
    order: Order = "ABCD"


class Limits(Strict):
    """What the device takes in one request."""

    max_registers: int = Field(default=100, ge=1, le=125)
    gap: int = Field(default=8, ge=0, le=100)
    """Unused registers a read may span to join two points; 0 joins neighbours only."""


class Variant(Strict):
    """An edition of a model with the same name and another map. It has the model's points, or some of them."""

    name: Bilingual
    probe: dict[str, Probe] = Field(min_length=1)
    """All of them fit this edition, and not all of them another."""
    points: dict[str, dict[str, Any]] = {}
    """What differs from the model's points, key by key."""
    without: list[str] = []
    """Points of the model that this edition has not."""
    identity: dict[str, Place] | None = None
    """None: the model's."""
    side: Literal["primary", "secondary"] | None = None
    """None: the model's."""


class Profile(Strict):
    """One meter model, as `config/profiles/<vendor>/<model>.yaml` says it."""

    vendor: str | Bilingual
    model: str
    also: list[str] = []
    """Other names the same device, or another one with the same map, is sold under."""
    kind: Kind
    protocol: str
    line: dict[str, Any] = {}
    """Defaults for the line it hangs on, such as baud and frame."""
    meter: dict[str, Any] = {}
    """Defaults for what the driver is told of the meter beside its address, such as a maker's quirks."""
    defaults: PointDefaults = PointDefaults()
    limits: Limits = Limits()
    points: dict[PointId, ProfilePoint]
    side: Literal["primary", "secondary"] | None = None
    """The side of the current and voltage transformers its registers count at; None: it has none."""
    identity: dict[str, Place] = {}
    """What says which device this is: `serial`, `model`, `firmware`, `ct`, `pt`. Read at first contact, not polled."""
    probe: dict[str, Probe] = {}
    """What tells that a device is of this model."""
    variants: dict[str, Variant] = {}
    vectors: list[dict[str, Any]] = []
    """Bytes of a reply and the values they must give; run by a test."""
    source: Source
    status: Status
    caveats: list[Bilingual] = []

    @model_validator(mode="after")
    def _variants_have_its_points(self) -> "Profile":
        for name, variant in self.variants.items():
            strange = sorted({*variant.points, *variant.without} - set(self.points))
            if strange:
                raise FieldError(Text("型式 {variant} 的 {point} 不是本型号的测点",
                                      "{point} of the variant {variant} is no point of the model"),
                                 variant=name, point=strange[0])  # fmt: skip
            self.variant(name)
        return self

    def variant(self, name: str) -> "Profile":
        """Return the model as this edition of it is: its own points in place of the model's."""
        variant = self.variants[name]
        points = {
            point: ProfilePoint.model_validate(place.model_dump(exclude_unset=True) | variant.points.get(point, {}))
            for point, place in self.points.items()
            if point not in variant.without
        }
        own = {"points": points, "variants": {}, "side": variant.side or self.side}
        return self.model_copy(update=own if variant.identity is None else own | {"identity": variant.identity})

    def variant_of(self, found: Mapping[str, Mapping[str, float | str | None]]) -> str | None:
        """Return the only variant whose probes all fit what was found at them (variant -> probe -> value), else None.

        A probe that got no answer is left out of `found`; one the device refused is None.
        """
        fitting = [
            name
            for name, variant in self.variants.items()
            if variant.probe.keys() <= found.get(name, {}).keys()
            and all(probe.fits(found[name][at]) for at, probe in variant.probe.items())
        ]
        return fitting[0] if len(fitting) == 1 else None
