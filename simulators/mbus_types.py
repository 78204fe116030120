"""M-Bus records: from what a profile says of a point to DIF, VIF and data. Own tables after EN 13757-3."""

import re
import struct
from dataclasses import dataclass
from decimal import Decimal

from metering.errors import MeteringError
from metering.profile import Place
from metering.quantity import convert, unit
from simulators.forms import Form, Number

HEADER = ("id", "maker", "version", "medium", "status", "access")
INTEGER, BCD = 0x04, 0x0C
"""DIF of a 32-bit integer, of eight digits."""
_SIZES = {0x1: 1, 0x2: 2, 0x3: 3, 0x4: 4, 0x5: 4, 0x6: 6, 0x7: 8, 0x9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6}
_BCD_SIZES = frozenset({0x9, 0xA, 0xB, 0xC, 0xE})
_FUNCTIONS = ("instantaneous", "maximum", "minimum", "error")
_MODIFIERS = {
    "uncorrected": "3A", "forward": "3B", "backward": "3C", "base": "3E", "L1": "7C01", "L2": "7C02", "L3": "7C03",
    "N": "7C04", "L1-L2": "7C05", "L2-L3": "7C06", "L3-L1": "7C07",
}  # fmt: skip
_VIFS: tuple[tuple[str, str, int, str, int], ...] = (
    # quantity, first VIF (with its table), how many, unit, power of ten of the first
    ("energy", "00", 8, "Wh", -3), ("energy", "08", 8, "J", 0), ("energy", "7B00", 2, "MWh", -1),
    ("energy", "7B08", 2, "GJ", -1), ("volume", "10", 8, "m3", -6), ("mass", "18", 8, "kg", -3),
    ("power", "28", 8, "W", -3), ("power", "30", 8, "J/h", 0), ("flow", "38", 8, "m3/h", -6),
    ("mass_flow", "50", 8, "kg/h", -3), ("supply_temperature", "58", 4, "C", -3), ("return_temperature", "5C", 4, "C", -3),
    ("temperature_difference", "60", 4, "K", -3), ("external_temperature", "64", 4, "C", -3), ("pressure", "68", 4, "bar", -3),
    ("operating_time", "26", 1, "h", 0), ("on_time", "22", 1, "h", 0), ("operating_time", "24", 1, "s", 0),
    ("on_time", "20", 1, "s", 0), ("operating_time", "27", 1, "d", 0), ("on_time", "23", 1, "d", 0),
    ("voltage", "7D40", 16, "V", -9), ("current", "7D50", 16, "A", -12), ("frequency", "7B2C", 4, "Hz", -3),
    ("reactive_energy", "7B02", 2, "kvarh", 0), ("reactive_power", "7B14", 4, "kvar", -3),
    ("apparent_power", "7B34", 4, "kVA", -3), ("humidity", "7B1A", 2, "%", -1), ("count", "7D3A", 1, "1", 0),
    ("fabrication_number", "78", 1, "", 0), ("identification", "79", 1, "", 0), ("bus_address", "7A", 1, "", 0),
    ("model", "7D0C", 1, "", 0), ("hardware_version", "7D0D", 1, "", 0), ("firmware_version", "7D0E", 1, "", 0),
    ("software_version", "7D0F", 1, "", 0), ("error_flags", "7D17", 1, "", 0), ("parameter_set", "7D0B", 1, "", 0),
    ("battery_left", "7D74", 1, "d", 0), ("battery_time", "7D6C", 1, "h", 0), ("access_number", "7D08", 1, "", 0),
    ("customer_location", "7D10", 1, "", 0), ("reset_counter", "7D60", 1, "1", 0),
)  # fmt: skip


@dataclass(frozen=True)
class RecordType:
    """How one record is sent."""

    block: bytes
    """DIF to last VIFE."""
    step: Decimal
    """What one of the number means, in the unit of the point."""
    number: int | None = None
    """Its place among the records, where the profile counts."""

    @property
    def field(self) -> int:
        return self.block[0] & 0x0F

    @property
    def bcd(self) -> bool:
        return self.field in _BCD_SIZES

    @property
    def form(self) -> Form:
        size = _SIZES[self.field]
        if self.field == 0x5:
            return Form("f32")
        if self.bcd:
            return Form("whole", 0, 10 ** (2 * size) - 1, self.step)
        return Form("whole", -(256**size // 2) + 1, 256**size // 2 - 1, self.step)

    def encode(self, raw: Number) -> bytes:
        """Return the data, lowest byte first."""
        size = _SIZES[self.field]
        if self.field == 0x5:
            return struct.pack("<f", raw)
        if self.bcd:
            return bytes.fromhex(f"{int(raw):0{2 * size}d}")[::-1]
        return int(raw).to_bytes(size, "little", signed=True)

    @property
    def invalid(self) -> bytes:
        """What stands for `not available`: digits above nine, the lowest integer."""
        size = _SIZES[self.field]
        if self.bcd:
            return b"\xff" * size
        return b"\xff\xff\xff\x7f" if self.field == 0x5 else b"\0" * (size - 1) + b"\x80"


def record_type(place: Place) -> RecordType:
    """Return how a place of a profile is sent.

    Raises:
        LookupError: its address means nothing here.
    """
    text = str(place.address).strip()
    if re.fullmatch(r"[0-9A-Fa-f]{2}( [0-9A-Fa-f]{2})+", text):
        return _by_block(bytes.fromhex(text), place)
    if text.startswith("#"):
        _, code, step = _vif(_quantity_of(place), place)
        return RecordType(bytes((_coding(place),)) + _chain(code, ""), step, int(text[1:]))
    quantity, *qualifiers = text.split()
    counts = {"storage": 0, "tariff": 0, "subunit": 0, "function": 0}
    modifiers = ""
    for qualifier in qualifiers:
        key, _, value = qualifier.partition("=")
        if key == "function":
            counts[key] = _FUNCTIONS.index(value)
        elif key in counts:
            counts[key] = int(value)
        else:
            modifiers += value if key == "vife" else _MODIFIERS[key]
    _, code, step = _vif(quantity, place)
    return RecordType(_difs(_coding(place), **counts) + _chain(code, modifiers), step)


def _coding(place: Place) -> int:
    return BCD if getattr(place, "role", "") == "counter" or not hasattr(place, "unit") else INTEGER


def _difs(coding: int, storage: int, tariff: int, subunit: int, function: int) -> bytes:
    """Return DIF and DIFEs: the lowest bit of the storage number in the DIF, four more in each DIFE."""
    found = [coding | function << 4 | (storage & 1) << 6]
    storage >>= 1
    while storage or tariff or subunit:
        found.append(storage & 0xF | (tariff & 3) << 4 | (subunit & 1) << 6)
        storage, tariff, subunit = storage >> 4, tariff >> 2, subunit >> 1
    return _extended(bytes(found))


def _chain(code: bytes, modifiers: str) -> bytes:
    return _extended(code + bytes.fromhex(modifiers))


def _extended(chain: bytes) -> bytes:
    """Set bit 7 of all but the last."""
    return bytes(byte | 0x80 for byte in chain[:-1]) + chain[-1:]


def _vif(quantity: str, place: Place) -> tuple[str, bytes, Decimal]:
    """Return the VIF of a quantity whose step suits the place, and that step in its unit."""
    wanted: str | None = getattr(place, "unit", None)
    fitting = [entry for entry in _VIFS if entry[0] == quantity]
    if not fitting:
        raise LookupError(quantity)
    if wanted is None or place.type == "raw":
        return _step_of(fitting[0], 0, None)
    resolution = getattr(place, "resolution", None)
    target = resolution if isinstance(resolution, Decimal) else Decimal("0.01")
    steps = [_step_of(entry, n, wanted) for entry in fitting for n in range(entry[2]) if _like(entry[3], wanted)]
    return max((each for each in steps if each[2] <= target), key=lambda each: each[2], default=steps[0])


def _like(sent: str, wanted: str) -> bool:
    return {sent, wanted} == {"C", "K"} or unit(sent or "1").dimensions == unit(wanted).dimensions


def _step_of(entry: tuple[str, str, int, str, int], n: int, wanted: str | None) -> tuple[str, bytes, Decimal]:
    quantity, first, _, sent, exponent = entry
    code = bytes.fromhex(first)
    step = Decimal(1).scaleb(exponent + n) if sent else Decimal(1)
    return quantity, code[:-1] + bytes((code[-1] + n,)), step * _factor(sent, wanted) if wanted else Decimal(1)


def _factor(sent: str, wanted: str) -> Decimal:
    """Return how many of the wanted unit one sent is; a volume counts at the state the wanted one names."""
    source, target = unit(sent or "1"), unit(wanted)
    try:
        return convert(Decimal(1), source.at(target.reference) if target.reference else source, target)
    except MeteringError:
        return Decimal(1)


def _quantity_of(place: Place) -> str:
    wanted = getattr(place, "unit", None)
    found = next((entry[0] for entry in _VIFS if wanted and entry[3] and _like(entry[3], wanted)), None)
    return found or "fabrication_number"


def _by_block(block: bytes, place: Place) -> RecordType:
    wanted = getattr(place, "unit", None)
    at = 1
    while block[at - 1] & 0x80:
        at += 1
    code = bytes(byte & 0x7F for byte in block[at:])
    for entry in _VIFS:
        first = bytes.fromhex(entry[1])
        n = code[len(first) - 1] - first[-1] if code[: len(first) - 1] == first[:-1] and len(code) >= len(first) else -1
        if 0 <= n < entry[2] and wanted and place.type != "raw":
            return RecordType(block, _step_of(entry, n, wanted)[2])
    return RecordType(block, Decimal(1))


def mbus_form(place: Place, address: int | str, _type: str | None) -> Form:
    if address in ("id", "maker"):
        return Form("text")
    if address in HEADER:
        return Form("whole", 0, 255)
    return record_type(place).form
