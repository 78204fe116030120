"""The meters of a site, as `ingester.yaml` declares them: what their points count, in which unit, up to which modulus."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from metering.activity import Multiplier
from metering.errors import MeteringError
from metering.fields import Amount, FieldError, Id, Number, Strict, UnitName
from metering.profile import Bilingual, Kind, Role
from metering.quantity import EXACT, Quantity, Unit, convert, unit
from metering.register import ExchangeOfMeter, RegisterSpec
from metering.text import Text

POINT_NAME = r"^[a-z0-9][a-z0-9_.-]{0,62}$"
PointName = Annotated[str, Field(pattern=POINT_NAME, examples=["energy_import"])]
State = Literal["0 C", "15 C", "20 C"]


def _state(value: Any) -> Any:
    """Read `20C`, `20 °C` as `20 C`."""
    bare = str(value).replace("°", "").replace("℃", "C").replace(" ", "")
    return f"{bare[:-1]} C" if bare.endswith("C") else value


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise FieldError(Text("必须大于 0", "it must be above 0"))
    return value


DENSITIES = (Decimal("0.3"), Decimal("2.0"))
"""kg/L; LNG and LPG lie above the lower bound, sulphuric acid below the upper."""
Reference = Annotated[State, BeforeValidator(_state)]
Factor = Annotated[Number, AfterValidator(_positive)]


class MultiplierChange(Strict):
    """A multiplier from a time on."""

    since: AwareDatetime = Field(alias="from")
    value: Factor


class ExchangeEntry(Strict):
    """An exchange of the meter, for imported history; live ones are records."""

    at: AwareDatetime
    old_final: Number
    new_initial: Number


class PointSection(Strict):
    """One point of a meter. `digits`, `modulus`, `resolution` and exchanges are before the multiplier, `max_rate` after."""

    unit: UnitName = Field(examples=["kWh"])
    role: Role = Field(examples=["counter"])
    name: Bilingual | None = None
    digits: int | None = Field(default=None, ge=1, le=15)
    """Places left of the decimal point; the modulus is 10^digits."""
    modulus: Number | None = Field(default=None, gt=0)
    """Where the register begins anew, if that is no power of ten."""
    resolution: Annotated[Number, Field(gt=0)] | Literal["ulp"] | None = None
    """The last shown step; `ulp` for a 32-bit float register."""
    multiplier: Factor | list[MultiplierChange] = Decimal(1)
    """CT x PT or pulse weight, or a list of them in order of time."""
    max_rate: Amount | None = None
    """The fastest the point can count; a faster jump is no rollover."""
    reference: Reference | None = None
    """The state a gas volume already counts at; pressure 101.325 kPa."""
    substitute: Literal["none"] = "none"
    """What stands in for missing data: nothing."""
    exchanges: list[ExchangeEntry] = []
    uncertainty_percent: Number | None = Field(default=None, ge=0, le=100)
    """U95 of what it counts in a reporting period."""

    @model_validator(mode="after")
    def _sound(self) -> "PointSection":
        if self.role != "counter" and (self.digits or self.modulus or self.exchanges):
            raise FieldError(_COUNTERS_ONLY)
        own = unit(self.unit)
        if self.reference and (own.dimensions != unit("m3").dimensions or own.reference not in (None, self._label)):
            raise FieldError(_NO_GAS, unit=self.unit)
        if isinstance(self.multiplier, list):
            _check_order([change.since for change in self.multiplier])
        _check_order([entry.at for entry in self.exchanges])
        if self.max_rate is not None:
            self.max_per_hour()
        return self

    @property
    def _label(self) -> str | None:
        return self.reference.replace(" ", "") if self.reference else None

    @property
    def counted_unit(self) -> Unit:
        """The unit with its reference state: `m3@20C`."""
        own = unit(self.unit)
        return own.at(self._label) if self._label and own.reference is None else own

    @property
    def multipliers(self) -> tuple[Multiplier, ...]:
        if isinstance(self.multiplier, list):
            return tuple(Multiplier(_ms(change.since), change.value) for change in self.multiplier)
        return () if self.multiplier == 1 else (Multiplier(0, self.multiplier),)

    def max_per_hour(self) -> Decimal | None:
        """Return the fastest the register can count, in its own unit per hour, before the multiplier.

        Raises:
            FieldError: `max_rate` is no rate of this unit.
        """
        if self.max_rate is None:
            return None
        per_hour = per_time(self.max_rate, unit(self.unit))
        smallest = min((abs(each.value) for each in self.multipliers), default=Decimal(1))
        return EXACT.divide(per_hour, smallest)

    def register(self) -> RegisterSpec:
        """Return the rules of the register."""
        modulus = self.modulus if self.modulus is not None or not self.digits else Decimal(10) ** self.digits
        return RegisterSpec(
            modulus=modulus,
            resolution=self.resolution if isinstance(self.resolution, Decimal) else None,
            float32=self.resolution == "ulp",
            max_per_hour=self.max_per_hour(),
            exchanges=tuple(ExchangeOfMeter(_ms(e.at), e.old_final, e.new_initial) for e in self.exchanges),
        )


class MeterSection(Strict):
    """One meter. Its id is unique in the site."""

    kind: Kind = Field(examples=["electricity"])
    points: dict[PointName, PointSection] = Field(min_length=1)
    name: Bilingual | None = None
    agent: Id | None = None
    """The only agent its readings are taken from; None: the first to send it."""
    density: Amount | None = None
    """Brings a volume of fuel to the mass its factor is for."""

    @model_validator(mode="after")
    def _mass_per_volume(self) -> "MeterSection":
        if self.density is not None and self.density.unit.dimensions != unit("kg/L").dimensions:
            raise FieldError(_NO_DENSITY, given=self.density)
        if self.density is not None and not DENSITIES[0] <= self.density.to("kg/L").value <= DENSITIES[1]:
            thousandth = self.density.value / 1000
            near = Quantity(thousandth, self.density.unit)
            meant = DENSITIES[0] <= near.to("kg/L").value <= DENSITIES[1]
            raise FieldError(_DENSITY_MEANT if meant else _DENSITY_BOUNDS, given=self.density, near=near)
        return self


def per_time(rate: Quantity, counted: Unit) -> Decimal:
    """Return a rate in `counted` per hour, whatever reference state either names.

    Raises:
        FieldError: it is no rate of that unit.
    """
    bare, hourly = _bare(rate.unit.symbol), unit(f"{_bare(counted.symbol)}/h")
    try:
        return convert(rate.value, unit(bare), hourly)
    except MeteringError as error:
        raise FieldError(_NO_RATE, rate=rate, hourly=hourly) from error


def _bare(symbol: str) -> str:
    return "/".join(part.split("@")[0] for part in symbol.split("/"))


def _check_order(times: Sequence[datetime]) -> None:
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise FieldError(Text("应按时间先后排列", "they should stand in order of time"))


def _ms(moment: datetime) -> int:
    return int(Decimal(str(moment.timestamp())) * 1000)


_COUNTERS_ONLY = Text(
    "digits、modulus、exchanges 只用于 role: counter", "digits, modulus and exchanges are for role: counter only"
)
_NO_GAS = Text(
    "参比状态只用于体积单位，{unit} 不是，或写了另一状态",
    "a reference state is for volumes; {unit} is none, or names another",
)
_NO_DENSITY = Text("{given} 不是密度，例如 0.845 kg/L", "{given} is no density such as 0.845 kg/L")
_DENSITY_MEANT = Text(
    "没有密度为 {given} 的燃料。是不是 {near}？", "no fuel has a density of {given}. Did you mean {near}?"
)
_DENSITY_BOUNDS = Text(
    "没有密度为 {given} 的燃料：应在 0.3 kg/L 到 2.0 kg/L 之间，例如 0.845 kg/L",
    "no fuel has a density of {given}: it lies within 0.3 kg/L and 2.0 kg/L, such as 0.845 kg/L",
)
_NO_RATE = Text("max_rate 等速率 {rate} 的单位应当类似 {hourly}", "the rate {rate} should have a unit such as {hourly}")
