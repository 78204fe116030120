"""What a meter of any profile shows, where `plant.yaml` does not say: something that suits the point's unit and name."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from metering.errors import MeteringError
from metering.profile import Place, Profile, ProfilePoint, ScaleFrom
from metering.quantity import Unit, convert, unit
from metering.text import Text
from settings.plant_meters import PlantMeter, Running, flows_back, hourly, main_counter, number_of, places
from simulators.forms import FormOf, Spot, spot

DEFAULT_IDLE = 0.4
"""Share of the full consumption when nothing is produced."""
DEFAULT_FULL: tuple[tuple[str, str], ...] = (
    ("kWh", "12"), ("m3", "60"), ("kg", "200"), ("kvarh", "4"), ("h", "1"),
)  # fmt: skip
"""Full consumption an hour of a counter whose unit is like one of these."""
EXPORTED = Decimal(1234)
"""What has flowed back until the first day; a zero would mean `not available` in some maps."""
FLAT = frozenset({"s", "min", "h", "d"})
"""Units of a counter that runs whatever the plant does."""
_PHASE = re.compile(r"(?:^|_)(?:l[123]|[abc]|p[123]|phase_?[123abc])(?:_|$)")
_TARIFF = re.compile(r"(?:^|_)(?:t[1-8]|tariff_?\d?|sharp|peak|flat|valley|deep)(?:_|$)")
_LINE_VOLTAGE = re.compile(r"(?:^|_)(?:ll|l12|l23|l31|l1_l2|l2_l3|l3_l1|ab|bc|ca)(?:_|$)")


@dataclass(frozen=True)
class Band:
    """A gauge that drifts between two values."""

    low: float
    high: float


@dataclass(frozen=True)
class Follows:
    """A gauge in step with the consumption: `share` times the rate of the main counter, in that counter's unit per hour."""

    share: float


@dataclass(frozen=True)
class Counts:
    """A counter: `share` times the consumption of the meter, from `start` on; `flat`: so much an hour, come what may."""

    share: float
    start: Decimal
    flat: bool = False


Behaviour = Band | Follows | Counts | str | None
"""What a place does: also a fixed text, or None for `not available`."""


@dataclass(frozen=True)
class Shape:
    """A profile's meter: all its places, where their values lie, and what each of them does."""

    profile: Profile
    spots: Mapping[str, Spot]
    behaviours: Mapping[str, Behaviour]
    counter: str | None
    """The main counter."""
    idle: float
    """In units of the main counter an hour."""
    full: float


def shape(settings: PlantMeter, form_of: FormOf) -> Shape:
    """Return what a meter with these settings shows."""
    profile = settings.of_profile()
    main = main_counter(profile)
    idle, full = _flow(settings, main[1] if main else None)
    known = places(settings)
    behaviours = {name: _behaviour(name, place, settings, main, full) for name, place in known.items()}
    for name, place in known.items():
        _spot(name, place, form_of, 0)  # a place that cannot be served is told by its name
    exponents = _exponents(known, behaviours, form_of)
    spots = {name: _spot(name, place, form_of, _exponent(place, exponents)) for name, place in known.items()}
    return Shape(profile, spots, behaviours, main[0] if main else None, idle, full)


def _spot(name: str, place: Place, form_of: FormOf, exponent: int) -> Spot:
    try:
        return spot(place, form_of, getattr(place, "unit", None), exponent)
    except (LookupError, ValueError) as error:
        what = str(error).strip("'")
        raise MeteringError(_NOT_SERVED, point=name, address=place.address, what=what) from error


_NOT_SERVED = Text(
    "模拟器不能显示测点 {point}（{address}）：不认识 {what}。请核对模型中的 address 和 type",
    "the simulators cannot show the point {point} ({address}): {what} is not known; check address and type in the profile",
)


def _flow(settings: PlantMeter, main: ProfilePoint | None) -> tuple[float, float]:
    if main is None:
        return DEFAULT_IDLE, 1.0
    if settings.rate is not None:
        return (hourly(settings.rate, main),) * 2
    if settings.idle is not None and settings.full is not None:
        return hourly(settings.idle, main), hourly(settings.full, main)
    full = _usual(main.unit) * float(settings.ratio)
    return (full if main.unit in FLAT else DEFAULT_IDLE * full), full


def _usual(unit_name: str) -> float:
    own = _plain(unit_name)
    for like, amount in DEFAULT_FULL:
        if _plain(like).dimensions == own.dimensions:
            return float(convert(Decimal(amount), _plain(like), own))
    return 1.0


def _plain(unit_name: str) -> Unit:
    """Return the unit without its reference state, whatever it is called there."""
    return unit(unit_name.split("@")[0])


def _behaviour(
    name: str, place: Place, settings: PlantMeter, main: tuple[str, ProfilePoint] | None, full: float
) -> Behaviour:
    if name in settings.shows:
        return _told(name, settings, main, full)
    if not isinstance(place, ProfilePoint):
        return _once(name, place, settings)
    if place.role == "counter" and main is not None:
        return _counting(name, place, main, settings.start, full)
    return _within(place, _gauge(name, place, main))


def _told(name: str, settings: PlantMeter, main: tuple[str, ProfilePoint] | None, full: float) -> Behaviour:
    """What `plant.yaml` says the place shows."""
    shown = settings.shows[name]
    if isinstance(shown, Running):
        own = settings.of_profile().points[name]
        return Counts(hourly(shown.rate, own), shown.start, flat=True)
    if isinstance(shown, tuple):
        return Band(float(shown[0]), float(shown[1]))
    number = number_of(shown)
    return Band(number, number) if number is not None and name in settings.of_profile().points else shown


def _counting(name: str, place: ProfilePoint, main: tuple[str, ProfilePoint], start: Decimal, full: float) -> Counts:
    own, of = _plain(place.unit), _plain(main[1].unit)
    if name == main[0]:
        return Counts(1.0, start)
    if flows_back(name):
        return Counts(0.0, EXPORTED)
    if place.unit in FLAT:
        return Counts(_usual(place.unit), Decimal(0), flat=True)
    share = 1 / 3 if _PHASE.search(name) else 0.25 if _TARIFF.search(name) else 1.0
    if own.dimensions == of.dimensions:
        share *= float(convert(Decimal(1), of, own))
        return Counts(share, start * Decimal(repr(share)))
    return Counts(share * _usual(place.unit) / (full or 1.0), Decimal(0))


def _once(name: str, place: Place, settings: PlantMeter) -> Behaviour:
    """Identity and probes: a band where a number is wanted, else a text."""
    within, among = getattr(place, "within", None), getattr(place, "among", [])
    if within is not None:
        middle = float(within[0] + within[1]) / 2
        return Band(middle, middle)
    if among:
        return str(among[0]) if isinstance(among[0], str) else Band(float(among[0]), float(among[0]))
    last = name.rsplit(".", 1)[-1]
    if last == "ct":
        return Band(float(settings.ratio), float(settings.ratio))
    if "time" in str(place.type) or str(place.type).startswith("unix"):
        return "2026-01-02T03:04:05"
    if last == "pt":
        return Band(1, 1)
    texts = {"firmware": "1.02", "model": settings.of_profile().model}
    return texts.get(last, settings.digits.zfill(8))


def _gauge(name: str, place: ProfilePoint, main: tuple[str, ProfilePoint] | None) -> Band | Follows:
    own = _plain(place.unit)
    if main is not None:
        per_hour = _plain(f"{main[1].unit.split('@')[0]}/h")
        if own.dimensions == per_hour.dimensions:
            share = 0.0 if flows_back(name) else 1 / 3 if _PHASE.search(name) else 1.0
            return Follows(share * float(convert(Decimal(1), per_hour, own)))
        beside = _beside_power(own, per_hour)
        if beside is not None:
            return Follows(beside / (3 if _PHASE.search(name) and own.dimensions != _plain("A").dimensions else 1))
    if "difference" in name and own.dimensions == _plain("K").dimensions:
        return Band(21.0, 21.0)  # of supply and return
    for like, middle, swing in USUAL_GAUGES:
        if _plain(like).dimensions == own.dimensions:
            return _band(_middle(name, like, middle), swing, _plain(like), own)
    return Band(9.5, 10.5)


BESIDE_POWER = (("kvar", 0.33), ("kVA", 1.06), ("A", 1.61))
"""What goes with each kW of three phases: reactive and apparent power, the current of a phase at 222 V and 0.93."""


def _beside_power(own: Unit, per_hour: Unit) -> float | None:
    """Return how much of a gauge goes with one of the main counter's unit an hour, where that is a power."""
    if per_hour.dimensions != _plain("kW").dimensions:
        return None
    for like, share in BESIDE_POWER:
        if _plain(like).dimensions == own.dimensions:
            per_kw = float(convert(Decimal(1), _plain(like), own)) * share
            return per_kw * float(convert(Decimal(1), per_hour, _plain("kW")))
    return None


USUAL_GAUGES: tuple[tuple[str, float, float], ...] = (
    ("V", 222.0, 3.0), ("A", 31.5, 4.0), ("Hz", 50.0, 0.03), ("kW", 18.0, 2.0), ("kvar", 6.0, 0.5), ("kVA", 19.0, 2.0),
    ("C", 21.5, 2.0), ("kPa", 301.3, 4.0), ("kg/m3", 845.0, 3.0), ("m3/h", 12.0, 1.0), ("kg/h", 120.0, 10.0),
    ("kWh", 100.0, 1.0), ("m3", 50.0, 1.0), ("kg", 500.0, 5.0), ("1", 0.93, 0.02), ("h", 1200.0, 0.0),
)  # fmt: skip
"""A gauge whose unit is like one of these: its middle and its swing."""


_WELL_AT_ZERO = ("valve", "battery_low", "alarm", "fault", "error")
"""What shows 0 where a meter is well: an open valve, a full battery."""
_STEADY = (0.0, 1.0, 62.0, 41.0)
"""Middles without a swing; supply less return is the difference."""


def _middle(name: str, like: str, middle: float) -> float:
    if like == "V" and _LINE_VOLTAGE.search(name):
        return middle * 3**0.5
    if like == "C" and any(word in name for word in ("supply", "flow", "forward", "inlet")):
        return 62.0
    if like == "C" and "return" in name:
        return 41.0
    if like == "1" and any(word in name for word in _WELL_AT_ZERO):
        return 0.0
    if like == "1" and not any(word in name for word in ("factor", "pf", "cos")):
        return 1.0
    return middle


def _band(middle: float, swing: float, of: Unit, own: Unit) -> Band:
    if middle in _STEADY:
        swing = 0.0
    try:
        low, high = (float(convert(Decimal(repr(middle + way * swing)), of, own)) for way in (-1, 1))
    except MeteringError:
        return Band(middle, middle)
    return Band(min(low, high), max(low, high))


def _within(place: ProfilePoint, band: Band | Follows) -> Band | Follows:
    """Return the band, or one in the middle of what the profile says can be true."""
    if place.valid is None or isinstance(band, Follows):
        return band
    low, high = float(place.valid[0]), float(place.valid[1])
    if low <= band.low and band.high <= high:
        return band
    middle, swing = (low + high) / 2, (high - low) / 50
    return Band(middle - swing, middle + swing)


def _power_of(place: Place) -> ScaleFrom | None:
    """Return the register that holds a power of ten."""
    return next((of for of in place.scale_from if of.units is None), None)


def _exponent(place: Place, exponents: Mapping[str, int]) -> int:
    of = _power_of(place)
    return 0 if of is None else exponents[str(of.address)]


def _exponents(known: Mapping[str, Place], behaviours: Mapping[str, Behaviour], form_of: FormOf) -> dict[str, int]:
    """Return the power of ten of each scaling register: so that the largest value it scales takes all but two digits."""
    found: dict[str, int] = {}
    for name, place in known.items():
        of = _power_of(place)
        if of is None:
            continue
        at = str(of.address)
        does = behaviours[name]
        largest = max(abs(does.low), abs(does.high), 1.0) if isinstance(does, Band) else 1e5
        high = form_of(place, place.address, place.type).high or 1
        exponent = 0 if (of.type or "i").startswith("u") else -2
        while largest / float(abs(place.scale)) / 10.0**exponent > high / 10:
            exponent += 1
        found[at] = max(found.get(at, -9), exponent)
    return found


FormsOf = Callable[[Profile], FormOf]
"""A protocol's forms, with the profile's defaults."""
