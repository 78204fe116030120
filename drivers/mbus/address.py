"""How a profile says which record of a telegram a point is.

energy                                by quantity: instantaneous, storage 0, tariff 0, subunit 0
energy storage=1 tariff=2 subunit=0   of another storage, tariff or subunit
power function=maximum                maximum, minimum, error (value during an error)
energy backward                       with a combinable VIFE: uncorrected, base, forward, backward, L1, L2, L3, …
energy vife=3C                        the same by its code
#3                                    the fourth record of the telegram
0C 06                                 by its DIF, DIFE, VIF and VIFE as they are sent
id, maker, version, medium, status, access   from the telegram's header
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from drivers.mbus.telegram import FUNCTIONS, Record
from drivers.mbus.vif import ERRORS, MANUFACTURER, MODIFIERS, NEUTRAL, QUANTITIES, factor_of
from metering.errors import MeteringError
from metering.text import Text

HEADER = ("id", "maker", "version", "medium", "status", "access")
_UNSIGNED = "7C11"
"""The VIFE that says only how the number is written."""
_HEX = re.compile(r"[0-9A-Fa-f]{2}(?: [0-9A-Fa-f]{2})+")
_NUMBER = re.compile(r"#([0-9]{1,3})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A record that is looked for."""

    text: str
    """The address as written."""
    fits: Callable[[Record], bool]
    quantity: str = ""
    """What it is, where the address says so."""


def modifiers_of(record: Record) -> str:
    """Return the VIFEs of a record that make its value another quantity, as hex: no errors, no factors, no type of data."""
    first, other = record.combined
    kept = bytes(vife for vife in first if vife not in ERRORS and vife not in NEUTRAL and not factor_of(vife))
    return (kept + other).hex().upper().replace(_UNSIGNED, "")


def wanted(address: int | str) -> Wanted:
    """Return what an address means.

    Raises:
        MeteringError: it means nothing; what is wrong with it, and what would be right.
    """
    text = str(address).strip()
    if _HEX.fullmatch(text):
        block = bytes.fromhex(text)
        return Wanted(text, lambda record: record.block == block)
    number = _NUMBER.fullmatch(text)
    if number is not None:
        place = int(number[1])
        return Wanted(text, lambda record: record.number == place)
    quantity, *qualifiers = text.split() or [""]
    if quantity not in QUANTITIES or quantity == MANUFACTURER:
        raise _unknown(quantity, [*QUANTITIES, *HEADER], _NO_QUANTITY)
    return _by_quantity(text, quantity, qualifiers)


def _by_quantity(text: str, quantity: str, qualifiers: list[str]) -> Wanted:
    counts = {"storage": 0, "tariff": 0, "subunit": 0}
    function, modifiers = FUNCTIONS[0], ""
    for qualifier in qualifiers:
        key, equals, value = qualifier.partition("=")
        if key in counts and value.isdecimal() and len(value) < 15:
            counts[key] = int(value)
        elif key == "function" and value in FUNCTIONS:
            function = value
        elif key == "vife" and re.fullmatch(r"([0-7][0-9A-Fa-f])+", value):
            modifiers += value.upper().replace(_UNSIGNED, "")
        elif not equals and key in MODIFIERS:
            modifiers += MODIFIERS[key]
        else:
            raise _unknown(qualifier, _QUALIFIERS, _NO_QUALIFIER)
    place = (counts["storage"], counts["tariff"], counts["subunit"])

    def fits(record: Record) -> bool:
        return (
            record.kind.quantity == quantity
            and record.function == function
            and (record.storage, record.tariff, record.subunit) == place
            and modifiers_of(record) == modifiers
        )

    return Wanted(text, fits, quantity)


_QUALIFIERS = ["storage=1", "tariff=1", "subunit=1", *(f"function={word}" for word in FUNCTIONS), "vife=3C", *MODIFIERS]
_NO_QUANTITY = Text(
    "{word!r} 不是 M-Bus 的量{hint}；也可写记录序号 #3，或 DIF/VIF 十六进制 “0C 06”",
    "{word!r} is no quantity of M-Bus{hint}; or give a record number, #3, or DIF and VIF in hex, 0C 06",
)
_NO_QUALIFIER = Text("{word!r} 不能用{hint}；可用：{known}", "{word!r} cannot be used{hint}; there are {known}")


def _unknown(word: str, known: list[str], text: Text) -> MeteringError:
    near = difflib.get_close_matches(word, known, n=1)
    hint = Text(f"，是否指 {near[0]}？", f", did you mean {near[0]}?") if near else Text("", "")
    return MeteringError(text, word=word, hint=hint, known=", ".join(known))
