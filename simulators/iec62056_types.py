"""IEC 62056-21 data sets: how a value stands in a readout."""

import re
from decimal import Decimal

from metering.profile import Place
from simulators.forms import Form, Number

HEADER = ("maker", "ident")
STEP = Decimal("0.001")
DIGITS = 8


def iec62056_form(place: Place, address: int | str, _type: str | None) -> Form:
    if address in HEADER or not hasattr(place, "unit"):
        return Form("text")
    high = 10**DIGITS - 1
    return Form("whole", -high, high, step_of(place))


def step_of(place: Place) -> Decimal:
    """Return the last digit shown: the resolution, of the bare number where that is scaled."""
    resolution = getattr(place, "resolution", None)
    step = resolution if isinstance(resolution, Decimal) else STEP
    return step / place.scale if place.type == "raw" else step


def written(place: Place, raw: Number) -> str:
    """Return a number as a meter writes it, with its unit and leading zeros: `004711.081*kWh`."""
    number = int(raw) * step_of(place)
    text = f"{abs(number):f}".zfill(DIGITS + 1)
    unit = str(getattr(place, "unit", "")).split("@")[0]
    sign = "-" if number < 0 else ""
    return f"{sign}{text}" if unit == "1" or place.type == "raw" else f"{sign}{text}*{unit}"


def set_of(place: Place) -> tuple[str, int]:
    """Return the address of the data set a place is in, and which of its values it is, from 1."""
    match = re.fullmatch(r"(\S+)(?: value=(\d+))?", str(place.address).strip())
    return (match[1], int(match[2] or 1)) if match else (str(place.address), 1)
