"""What a value information field means: quantity, unit and power of ten (EN 13757-3, tables 10, 12 and 14).

A quantity has one name whatever its unit: `energy` may come in Wh, J, MWh or GJ.
"""

from dataclasses import dataclass
from decimal import Decimal

MANUFACTURER = "manufacturer"
TEXT = "text"
UNKNOWN = "unknown"
"""Quantities of records whose meaning only their maker, a text or nobody here knows."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a VIF says of a number."""

    quantity: str
    unit: str | None = None
    """A unit of `metering.quantity`; None: there is none, or none that is exact."""
    step: Decimal = Decimal(1)
    """The number times this is in the unit."""
    binary: str = "B"
    """The type of binary data: `B` a number with a sign, `C` one without (an identification), `D` a set of flags."""


def _powers(first: int, count: int, quantity: str, unit: str | None, exponent: int) -> dict[int, Kind]:
    return {first + n: Kind(quantity, unit, Decimal(1).scaleb(exponent + n)) for n in range(count)}


def _spans(first: int, quantity: str, units: str = "s min h d") -> dict[int, Kind]:
    return {first + n: Kind(quantity, unit) for n, unit in enumerate(units.split())}


def _marks(quantities: dict[int, str], binary: str = "C") -> dict[int, Kind]:
    return {code: Kind(quantity, binary=binary) for code, quantity in quantities.items()}


PRIMARY: dict[int, Kind] = {
    **_powers(0x00, 8, "energy", "Wh", -3),
    **_powers(0x08, 8, "energy", "J", 0),
    **_powers(0x10, 8, "volume", "m3", -6),
    **_powers(0x18, 8, "mass", "kg", -3),
    **_spans(0x20, "on_time"),
    **_spans(0x24, "operating_time"),
    **_powers(0x28, 8, "power", "W", -3),
    **_powers(0x30, 8, "power", "J/h", 0),
    **_powers(0x38, 8, "flow", "m3/h", -6),
    **_powers(0x40, 8, "flow", "m3/min", -7),
    **_powers(0x48, 8, "flow", "m3/s", -9),
    **_powers(0x50, 8, "mass_flow", "kg/h", -3),
    **_powers(0x58, 4, "supply_temperature", "C", -3),
    **_powers(0x5C, 4, "return_temperature", "C", -3),
    **_powers(0x60, 4, "temperature_difference", "K", -3),
    **_powers(0x64, 4, "external_temperature", "C", -3),
    **_powers(0x68, 4, "pressure", "bar", -3),
    0x6C: Kind("date"),
    0x6D: Kind("time"),
    0x6E: Kind("heat_cost_units"),
    **_spans(0x70, "averaging_time"),
    **_spans(0x74, "actuality_time"),
    **_marks({0x78: "fabrication_number", 0x79: "identification", 0x7A: "bus_address"}),
    0x7E: Kind(UNKNOWN),
    0x7F: Kind(MANUFACTURER),
}
"""The primary table. 7B and 7D lead to the tables FB and FD, 7C to a text."""

FB: dict[int, Kind] = {
    **_powers(0x00, 2, "energy", "MWh", -1),
    **_powers(0x02, 2, "reactive_energy", "kvarh", 0),
    **_powers(0x04, 2, "apparent_energy", None, 0),
    **_powers(0x08, 2, "energy", "GJ", -1),
    **_powers(0x0C, 4, "energy_in_calories", None, 0),
    **_powers(0x10, 2, "volume", "m3", 2),
    **_powers(0x14, 4, "reactive_power", "kvar", -3),
    **_powers(0x18, 2, "mass", "t", 2),
    **_powers(0x1A, 2, "humidity", "%", -1),
    0x20: Kind("volume", "scf"),
    0x21: Kind("volume", "scf", Decimal("0.1")),
    **_powers(0x22, 2, "volume", "gal", -1),
    0x24: Kind("flow", "gal/min", Decimal("0.001")),
    0x25: Kind("flow", "gal/min"),
    0x26: Kind("flow", "gal/h"),
    **_powers(0x28, 2, "power", "MW", -1),
    **_powers(0x2A, 1, "angle_of_voltages", None, -1),
    **_powers(0x2B, 1, "angle_of_current", None, -1),
    **_powers(0x2C, 4, "frequency", "Hz", -3),
    **_powers(0x30, 2, "power", "GJ/h", -1),
    **_powers(0x34, 4, "apparent_power", "kVA", -3),
    **_powers(0x74, 4, "temperature_limit", "C", -3),
    **_powers(0x78, 8, "maximum_power_total", "W", -3),
}

FD: dict[int, Kind] = {
    **_powers(0x00, 4, "credit", None, -3),
    **_powers(0x04, 4, "debit", None, -3),
    **_marks({
        0x08: "access_number", 0x09: "medium_code", 0x0A: "maker_code", 0x0B: "parameter_set", 0x0C: "model",
        0x0D: "hardware_version", 0x0E: "firmware_version", 0x0F: "software_version", 0x10: "customer_location",
        0x11: "customer",
    }),
    **_marks({0x17: "error_flags", 0x18: "error_mask", 0x1A: "digital_output", 0x1B: "digital_input"}, "D"),
    0x1C: Kind("baud_rate"),
    0x1D: Kind("response_delay"),
    0x1E: Kind("retries"),
    **_spans(0x24, "storage_interval"),
    **_spans(0x2C, "since_readout"),
    0x30: Kind("tariff_start"),
    0x31: Kind("tariff_time", "min"),
    0x32: Kind("tariff_time", "h"),
    0x33: Kind("tariff_time", "d"),
    **_spans(0x34, "tariff_period"),
    0x3A: Kind("count", "1"),
    **_powers(0x40, 16, "voltage", "V", -9),
    **_powers(0x50, 16, "current", "A", -12),
    0x60: Kind("reset_counter"),
    0x67: Kind("supplier_information", binary="D"),
    0x61: Kind("cumulation_counter"),
    0x68: Kind("since_cumulation", "h"),
    0x69: Kind("since_cumulation", "d"),
    0x6C: Kind("battery_time", "h"),
    0x6D: Kind("battery_time", "d"),
    0x70: Kind("battery_change"),
    0x71: Kind("signal_strength"),
    0x74: Kind("battery_left", "d"),
}  # fmt: skip

QUANTITIES: dict[str, str | None] = {
    kind.quantity: kind.unit for table in (FD, FB, PRIMARY) for kind in table.values() if kind.quantity != UNKNOWN
}
"""Each quantity, and a unit it comes in."""

MODIFIERS = {
    "uncorrected": "3A", "forward": "3B", "backward": "3C", "base": "3E", "L1": "7C01", "L2": "7C02", "L3": "7C03",
    "N": "7C04", "L1-L2": "7C05", "L2-L3": "7C06", "L3-L1": "7C07",
}  # fmt: skip
"""Words for combinable VIFEs (EN 13757-3, tables 15 and 16): at metering or base conditions, direction, phase."""

ERRORS = {
    0x01: "too many DIFE", 0x02: "storage number not implemented", 0x03: "unit number not implemented",
    0x04: "tariff number not implemented", 0x05: "function not implemented", 0x06: "data class not implemented",
    0x07: "data size not implemented", 0x0B: "too many VIFE", 0x0C: "illegal VIF group", 0x0D: "illegal VIF exponent",
    0x0E: "VIF and DIF mismatch", 0x0F: "unimplemented action", 0x15: "no data available", 0x16: "data overflow",
    0x17: "data underflow", 0x18: "data error", 0x1C: "premature end of record",
}  # fmt: skip
"""Record errors, told by a VIFE (EN 13757-3, table 18)."""

NEUTRAL = frozenset({0x00, 0x1D})
"""VIFEs that change nothing: no error, standard-conform content."""
DATED = frozenset({0x39, 0x6A, 0x6B, 0x6E, 0x6F, *(code for code in range(0x42, 0x50) if code & 2)})
"""VIFEs that make the data the time at which the quantity began, ended, or was so."""
PER_TIME = {0x20: "s", 0x21: "min", 0x22: "h", 0x23: "d"}
COUNTS = frozenset({0x41, 0x49})
"""VIFEs that make the data the number of times a lower or upper limit was exceeded."""
DURATIONS = {code: ["s", "min", "h", "d"][code & 3] for code in range(0x50, 0x68)}
"""VIFEs that make the data the time for which a limit was exceeded, or for which the value was so."""
SAME_UNIT = frozenset(
    {*NEUTRAL, 0x12, 0x3A, 0x3B, 0x3C, 0x3E, 0x40, 0x48, 0x68, 0x69, 0x6C, 0x6D, 0x7E, *range(0x70, 0x78), 0x7D}
)
"""VIFEs after which the value is still in the unit of the VIF: an average, a limit, a direction, a power of ten."""
TYPE_C, TYPE_D = 0x11, 0x12
SAME_UNIT_7C = frozenset({*range(0x01, 0x0D), 0x10, TYPE_C, 0x13, 0x14})
"""The same, of those that follow a 7C (table 16): phase, quadrant, sum of both directions, binary data of type C."""


def kind_of(vif: int, first_vife: int | None) -> tuple[Kind, int]:
    """Return what a VIF means, and how many VIFEs (0 or 1) that took. Bit 7 of both is ignored."""
    code = vif & 0x7F
    if code in (0x7B, 0x7D) and vif & 0x80 and first_vife is not None:
        table = FB if code == 0x7B else FD
        return table.get(first_vife & 0x7F, Kind(UNKNOWN)), 1
    if code == 0x7C:
        return Kind(TEXT), 0
    return PRIMARY.get(code, Kind(UNKNOWN)), 0


def combinable(vifes: bytes) -> tuple[bytes, bytes]:
    """Return the VIFEs that stand in the first combinable table, and those that do not: each after a 7C, all after a 7F."""
    first, other, at = b"", b"", 0
    while at < len(vifes):
        if vifes[at] == 0x7F:
            return first, other + vifes[at:]
        taken = 2 if vifes[at] == 0x7C else 1
        if taken == 2:
            other += vifes[at : at + 2]
        else:
            first += vifes[at : at + 1]
        at += taken
    return first, other


def binary_type(kind: Kind, other: bytes) -> str:
    """Return the type of a record's binary data: that of its kind, if none of its VIFEs `other` says C or D."""
    said = orthogonal(other)
    return "C" if TYPE_C in said else "D" if TYPE_D in said else kind.binary


def orthogonal(other: bytes) -> bytes:
    """Return the codes that each follow a 7C, up to a maker's 7F; FF for one that is missing."""
    pairs = other.split(b"\x7f")[0]
    return pairs[1::2] + b"\xff" * (len(pairs) % 2)


def unit_after(name: str | None, first: bytes, other: bytes) -> tuple[str | None, bool]:
    """Return the unit that VIFEs make of a VIF's unit, None where none of ours, and whether the VIF's power of ten is still
    in it: the time or the number of a limit's exceeding has a unit of its own. Of a maker's 7F his address knows."""
    scaled = True
    for vife in first:
        if vife in PER_TIME:
            name = f"{name}/{PER_TIME[vife]}" if name and "/" not in name and scaled else None
        elif vife in COUNTS or vife in DURATIONS:
            name, scaled = (DURATIONS.get(vife, "1") if scaled else None), False
        elif vife not in SAME_UNIT:
            name = None
    known = SAME_UNIT_7C.issuperset(orthogonal(other)) and (scaled or not any(map(factor_of, first)))
    return (name if known else None), scaled


def factor_of(vife: int) -> Decimal | None:
    """Return what a multiplicative correction VIFE multiplies the value by (10^-6 to 10, 1000), or None."""
    if 0x70 <= vife <= 0x77:
        return Decimal(1).scaleb(vife - 0x76)
    return Decimal(1000) if vife == 0x7D else None
