"""What is wrong with a meter profile, as its author needs to hear it: where, why, and what would make it right.

Faults make a profile unusable (a type its driver does not know, a vector that names no point). A vector that gives other
values than it promises is told apart: there the profile is read well and says something untrue; a near miss that fits is named.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, model_validator

from drivers.catalogue import driver, drivers
from drivers.contract import Driver
from metering.errors import MeteringError, SettingsError, SettingsFaults
from metering.fields import FieldError, Strict
from metering.profile import Place, Profile, ProfilePoint
from metering.quantity import unit
from metering.text import Text
from settings.document import Document, read
from settings.faults import dotted, nearest
from settings.profiles import profile_path
from settings.syntax import Keys
from tanbiao.profile_doubts import register_doubts, unproved_counters
from tanbiao.profile_near_miss import near_miss, number, shown

ROLLOVER_UNKNOWN = "rollover"
"""A counter without digits, modulus or a float's resolution says this word in `doc`: then nobody forgot."""


class Vector(Strict):
    """Bytes of a meter and the values they must give; which form the bytes have is the protocol's."""

    registers: dict[int | str, str] | None = None
    """Modbus: first register of each run, and the run in hexadecimal."""
    reply: str | list[str] | None = None
    """A reply as it was on the wire, with its checksum, in hexadecimal; several where the dialogue has several."""
    reply_text: str | None = None
    """IEC 62056-21: a reply as text."""
    values: dict[str, Any] | None = None
    """OPC UA: node -> value."""
    address: int | str | None = None
    """With a Modbus reply: the register that was asked for first."""
    variant: str | None = None
    """The edition of the model it is read as."""
    expect: dict[str, int | float | str | None] = Field(min_length=1)
    """Point -> value, in the point's unit; null where there is none."""

    @model_validator(mode="after")
    def _one_form(self) -> "Vector":
        if sum(form is not None for form in (self.registers, self.reply, self.reply_text, self.values)) != 1:
            raise FieldError(_ONE_FORM)
        return self


@dataclass(frozen=True)
class Expectation:
    """One value a vector promises, and what came."""

    point: str
    expected: float | str | None
    came: float | str | None
    place: str
    covered: bool = True
    """Whether the vector's bytes hold the point at all."""
    hint: Text | None = None

    @property
    def met(self) -> bool:
        return self.covered and self.expected == self.came


@dataclass(frozen=True)
class Replayed:
    """One vector: what it promises and what came, or why its bytes were refused."""

    place: str
    variant: str | None
    expectations: list[Expectation] = field(default_factory=list)
    error: MeteringError | None = None

    @property
    def good(self) -> bool:
        return self.error is None and all(expectation.met for expectation in self.expectations)


@dataclass(frozen=True)
class Checked:
    """A profile without faults, what could be better, and what its vectors gave."""

    profile: Profile
    warnings: list[SettingsError]
    vectors: list[Replayed]

    @property
    def good(self) -> bool:
        return all(vector.good for vector in self.vectors)

    @property
    def unread(self) -> list[str]:
        """The points that stand in no vector."""
        read = {name for vector in self.profile.vectors for name in vector["expect"]}
        return [name for name in self.profile.points if name not in read]


def check(name: str) -> Checked:
    """Check the profile `vendor/model` or the one in a file.

    Raises:
        SettingsFaults: the file is wrong, or its driver cannot read what it says; every fault has its place.
        MeteringError: the driver's library is not installed.
    """
    document = read(profile_path(name))
    profile = document.check(Profile)
    reader = _driver(document, profile)
    found = [*_unreadable(document, profile, reader), *_line(document, profile, reader), *_vectors(document, profile)]
    if found:
        raise document.faults(found)
    replayed = [_replay(document, profile, reader, index) for index in range(len(profile.vectors))]
    return Checked(profile, list(_warnings(document, profile)), replayed)


def _driver(document: Document, profile: Profile) -> Driver:
    try:
        return driver(profile.protocol)
    except MeteringError as error:
        if profile.protocol in drivers():
            raise
        raise document.faults([document.fault(("protocol",), error.sentence, None, **error.values)]) from error


def places(profile: Profile) -> Iterator[tuple[Keys, Place, Profile]]:
    """Yield every place of a profile with its path in the file, those of its variants as they stand in their edition."""
    for section, held in (("points", profile.points), ("identity", profile.identity), ("probe", profile.probe)):
        for name, place in held.items():
            yield (section, name), place, profile
    for edition, variant in profile.variants.items():
        resolved = profile.variant(edition)
        for name in variant.points:
            yield ("variants", edition, "points", name), resolved.points[name], resolved
        for name, place in (variant.identity or {}).items():
            yield ("variants", edition, "identity", name), place, resolved
        for name, probe in variant.probe.items():
            yield ("variants", edition, "probe", name), probe, resolved


def _unreadable(document: Document, profile: Profile, reader: Driver) -> Iterator[SettingsError]:
    for keys, place, edition in places(profile):
        wrong = reader.fault(place, edition)
        if wrong is not None:
            yield document.fault(keys, _POINT, None, setting=dotted(keys), wrong=wrong)
        if place.valid is not None and place.valid[0] >= place.valid[1]:
            yield document.fault((*keys, "valid"), _RANGE, low=place.valid[0], high=place.valid[1])


def _line(document: Document, profile: Profile, reader: Driver) -> Iterator[SettingsError]:
    """The defaults of a line are settings of its driver's lines."""
    known = reader.line_model.model_fields
    where = {"url": "opc.tcp://h:4840"} if "url" in known else {"serial": "/dev/null"}
    try:
        document.check(reader.line_model, ("line",), {"driver": profile.protocol, **where, **profile.line})
    except SettingsFaults as error:
        yield from error.faults
    for key in profile.meter:
        if key not in reader.meter_model.model_fields:
            near = nearest(key, list(reader.meter_model.model_fields))
            yield document.fault(("meter", key), _NO_SETTING, _DID_YOU_MEAN if near else None, key=key, near=near)


def _vectors(document: Document, profile: Profile) -> Iterator[SettingsError]:
    if not profile.vectors:
        yield document.fault(("vectors",), _NO_VECTORS, _WHAT_VECTORS_ARE)
    for index, given in enumerate(profile.vectors):
        try:
            vector = document.check(Vector, ("vectors", index))
        except SettingsFaults as error:
            yield from error.faults
            continue
        if vector.variant is not None and vector.variant not in profile.variants:
            yield document.fault(("vectors", index, "variant"), _NO_VARIANT, None, name=vector.variant,
                                 known=", ".join(profile.variants))  # fmt: skip
            continue
        yield from _hexadecimal(document, ("vectors", index), vector)
        if profile.protocol == "modbus" and vector.reply is not None and vector.address is None:
            yield document.fault(("vectors", index), _NO_ADDRESS)
        resolved = profile.variant(vector.variant) if vector.variant else profile
        points = {**resolved.identity, **resolved.points}
        for name in set(given["expect"]) - set(points):
            near = nearest(str(name), list(points))
            yield document.fault(("vectors", index, "expect", name), _NO_POINT, _DID_YOU_MEAN if near else None,
                                 name=name, near=near)  # fmt: skip


def _hexadecimal(document: Document, here: Keys, vector: Vector) -> Iterator[SettingsError]:
    """Say which run of registers, or which reply, is no bytes."""
    for start, text in (vector.registers or {}).items():
        if (wrong := _no_bytes(text, 4, _HALF_A_REGISTER)) is not None:
            at = f"0x{start:04X}" if isinstance(start, int) else start
            yield document.fault((*here, "registers", start), wrong, None, at=at, text=text)
    single = isinstance(vector.reply, str)
    for place, text in enumerate([vector.reply] if isinstance(vector.reply, str) else vector.reply or []):
        if (wrong := _no_bytes(text, 2, _HALF_A_BYTE)) is not None:
            yield document.fault(
                (*here, "reply") if single else (*here, "reply", place), wrong, None, at="reply", text=text
            )


def _no_bytes(text: str, digits_each: int, broken: Text) -> Text | None:
    digits = "".join(text.split())
    if strange := sorted(set(digits) - set(string.hexdigits)):
        return Text(f"{{at}}：{{text!r}} 里的 {strange[0]!r} 不是十六进制数字",
                    f"{{at}}: {strange[0]!r} in {{text!r}} is no hexadecimal digit")  # fmt: skip
    return broken if len(digits) % digits_each or any(len(group) % 2 for group in text.split()) else None


def _replay(document: Document, profile: Profile, reader: Driver, index: int) -> Replayed:
    vector = profile.vectors[index]
    edition, promised = vector.get("variant"), vector["expect"]
    place = document.place(("vectors", index))
    try:
        values = {value.point: value for value in reader.replay(profile, vector)}
    except MeteringError as error:
        return Replayed(place, edition, error=error)
    resolved = profile.variant(edition) if edition else profile
    bare = {key: value for key, value in vector.items() if key != "variant"}
    met: list[Expectation] = []
    for name, wanted in promised.items():
        came = shown(values.get(name))
        expected = str(wanted) if isinstance(came, str) else number(wanted)
        where = document.place(("vectors", index, "expect", name))
        covered = name in values
        hint = None
        if not covered or expected != came:
            hint = near_miss(resolved, reader, bare, name, expected, came)
        met.append(Expectation(name, expected, came, where, covered, hint))
    return Replayed(place, edition, met)


def _warnings(document: Document, profile: Profile) -> Iterator[SettingsError]:
    for keys, place, resolved in places(profile):
        if isinstance(place, ProfilePoint):
            yield from _of_point(document, keys, place, resolved)
    covered = {(vector.get("variant"), name) for vector in profile.vectors for name in vector["expect"]}
    for variant in profile.variants:
        if variant not in {edition for edition, _ in covered}:
            yield document.fault(("variants", variant), _NO_VECTOR_OF, None, name=variant)
    for name in unproved_counters(profile):
        yield document.fault(("points", name), _IN_NO_VECTOR, None, name=name)
    for name, doubt in register_doubts(profile):
        yield document.fault(("points", name), doubt, None)


def _of_point(document: Document, keys: Keys, point: ProfilePoint, profile: Profile) -> Iterator[SettingsError]:
    name = keys[-1]
    if point.role == "counter":
        if point.resettable:
            yield document.fault(keys, _RESETTABLE, None, name=name)
        if not _bounded(point) and ROLLOVER_UNKNOWN not in point.doc:
            yield document.fault(keys, _UNBOUNDED, None, name=name)
        if accumulates(point) is False:
            yield document.fault((*keys, "unit"), _RATE, None, name=name, unit=point.unit)
    elif point.role == "gauge" and accumulates(point) is True:
        yield document.fault((*keys, "role"), _TOTAL, None, name=name, unit=point.unit)
    if point.resolution == "ulp" and (point.type or profile.defaults.type) not in (None, "f32"):
        yield document.fault((*keys, "resolution"), _ULP, None, type=point.type or profile.defaults.type)


def _bounded(point: ProfilePoint) -> bool:
    return point.digits is not None or point.modulus is not None or point.resolution == "ulp"


def accumulates(point: ProfilePoint) -> bool | None:
    """Return whether a point's unit is one that adds up (energy, volume, mass), is a rate or a state, or could be either."""
    dimensions = dict(unit(point.unit).dimensions)
    if dimensions in ({"J": 1}, {"m": 3}, {"g": 1}, {"var": 1, "s": 1}, {"pcs": 1}):
        return True
    return None if dimensions in ({}, {"s": 1}) else False


_POINT = Text("{setting}：{wrong}", "{setting}: {wrong}")
_RANGE = Text("下限 {low} 不小于上限 {high}", "the lower bound {low} is not below the upper bound {high}")
_NO_SETTING = Text("本协议的仪表没有设置 {key}", "meters of this protocol have no setting {key}")
_DID_YOU_MEAN = Text("是不是 {near}？", "Did you mean {near}?")
_NO_VECTORS = Text("没有 vectors", "there are no vectors")
_WHAT_VECTORS_ARE = Text(
    "至少写一条：一帧应答或几个寄存器，以及它们应得的值",
    "Give at least one: a reply, or some registers, and the values they must give",
)
_NO_VARIANT = Text("没有型式 {name}，现有：{known}", "there is no variant {name}; there are {known}")
_ONE_FORM = Text(
    "写一种字节：registers、reply、reply_text 或 values",
    "give the bytes in one form: registers, reply, reply_text or values",
)
_HALF_A_REGISTER = Text(
    "{at}：{text!r} 不是整数个寄存器（每个 4 位十六进制数字）",
    "{at}: {text!r} is not a whole number of registers (4 hexadecimal digits each)",
)
_HALF_A_BYTE = Text(
    "{at}：{text!r} 不是整数个字节（每个 2 位十六进制数字）",
    "{at}: {text!r} is not a whole number of bytes (2 hexadecimal digits each)",
)
_NO_ADDRESS = Text(
    "reply 旁要写 address：当时请求的第一个寄存器", "beside reply stands address: the first register that was asked for"
)
_NO_POINT = Text("没有测点 {name}", "there is no point {name}")
_NO_VECTOR_OF = Text(
    "型式 {name} 没有自己的向量（variant: {name}）", "no vector reads the variant {name} (variant: {name})"
)
_IN_NO_VECTOR = Text(
    "{name} 不在任何向量里，也没有同样写法（类型、字序、倍率）的测点在",
    "{name} stands in no vector, nor does another point of its type, order and scale",
)
_RESETTABLE = Text(
    "{name} 可清零却作累计量：清零会被当作待判的减小；有不可清零的总量时请用它",
    "{name} can be reset and is a counter: a reset shows as a fall to judge; where the meter has a total, take that",
)
_UNBOUNDED = Text(
    "{name} 没有 digits 或 modulus：回零会成为待判事件；说明书没写时在 doc 里注明 rollover not documented",
    "{name} has neither digits nor modulus, so a rollover will be an event to judge; where the manual does not tell, say "
    "`rollover not documented` in doc",
)
_RATE = Text("{name} 作累计量，单位却是 {unit}", "{name} is a counter, yet {unit} is no unit that adds up")
_TOTAL = Text(
    "{name} 的单位是 {unit}，像累计量：role 应为 counter？", "{name} is in {unit}; should its role be counter?"
)
_ULP = Text("resolution: ulp 只用于 f32，这里是 {type}", "resolution: ulp is for f32; this is {type}")
