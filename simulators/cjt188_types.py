"""What CJ/T 188 meters send, in their order, and the unit bytes: own table after CJ/T 188-2018."""

from dataclasses import dataclass
from decimal import Decimal

from metering.errors import MeteringError
from metering.profile import Place
from metering.quantity import convert, unit
from simulators.forms import Form

# unit byte -> unit; the two bytes above it mean ten and a hundred of it
CODES = {0x02: "Wh", 0x05: "kWh", 0x08: "MWh", 0x0B: "kJ", 0x0E: "MJ", 0x11: "GJ", 0x14: "W", 0x17: "kW", 0x1A: "MW",
         0x29: "L", 0x2C: "m3", 0x32: "L/h", 0x35: "m3/h", 0x43: "kJ/h", 0x46: "MJ/h", 0x49: "GJ/h"}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """One value of the answer."""

    size: int
    decimals: int
    code: int | None = None
    """The unit byte where the profile's unit has none."""


VOLUME = {"total": Slot(4, 2, 0x2C), "settlement": Slot(4, 2, 0x2C), "clock": Slot(7, 0), "status": Slot(2, 0)}
HEAT = {
    "settlement_heat": Slot(4, 2, 0x05), "heat": Slot(4, 2, 0x05), "power": Slot(4, 2, 0x17), "flow": Slot(4, 4, 0x35),
    "total": Slot(4, 2, 0x2C), "supply_temperature": Slot(3, 2), "return_temperature": Slot(3, 2), "hours": Slot(3, 0),
    "clock": Slot(7, 0), "status": Slot(2, 0),
}  # fmt: skip


def code_of(slot: Slot, unit_name: str | None) -> int:
    """Return the unit byte a meter sends with a value its profile wants in this unit."""
    bare = (unit_name or "").split("@")[0]
    return next((code for code, name in CODES.items() if name == bare), slot.code or 0)


def cjt188_form(place: Place, address: int | str, _type: str | None) -> Form:
    """Return what lies at a place; its step is in the place's unit."""
    slot = {**HEAT, **VOLUME}[str(address)]
    if address == "clock":
        return Form("time")
    if address == "status":
        return Form("whole", 0, 0xFFFF)
    step = Decimal(1).scaleb(-slot.decimals)
    unit_name = getattr(place, "unit", None)
    if slot.code is not None and unit_name:
        sent, wanted = unit(CODES[code_of(slot, unit_name)]), unit(unit_name)
        try:
            step *= convert(Decimal(1), sent.at(wanted.reference) if wanted.reference else sent, wanted)
        except MeteringError:
            step = Decimal(1).scaleb(-slot.decimals)
    return Form("whole", 0, 10 ** (2 * slot.size) - 1, step)
