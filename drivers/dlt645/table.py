"""Which data there are in a DL/T 645 meter and how each lies in its bytes: annex A of both editions, as far as people
read it, and the types by which a profile names the rest.
"""

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from drivers.bcd import digits_of, moment_of, number_of

Kind = Literal["number", "word", "digits", "text", "moment"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a value lies in its bytes, lowest first."""

    size: int
    decimals: int = 0
    signed: bool = False
    """The top bit of the highest byte is the sign."""
    kind: Kind = "number"
    digits: int | None = None
    """How many of the bytes are the number, where a time follows it (a demand); None: all."""
    unit: str | None = None
    """What its number counts; None: what the table knows no unit for (degrees, constants, a DI with a type of its own)."""
    fields: str = ""
    """Of a moment: what each pair is, highest first (`bcd.moment_of`)."""

    @property
    def step(self) -> Decimal:
        return Decimal(1).scaleb(-self.decimals)

    @property
    def is_number(self) -> bool:
        return self.kind in ("number", "word")

    def number(self, data: bytes) -> int | None:
        """Return the digits or bits as a whole number; None where a digit is above 9 (all F: not available)."""
        if self.kind == "word":
            return int.from_bytes(data, "little")
        return number_of(data[: self.digits], signed=self.signed)

    def text(self, data: bytes) -> str | None:
        """Return what is no number: a number's digits with their zeros, letters, a date or time as ISO 8601 writes it."""
        if self.kind == "digits":
            return digits_of(data)
        if self.kind == "moment":
            return self._moment(data)
        letters = data[::-1].strip(b"\x00\xff ")
        return letters.decode("ascii") if letters and all(0x20 <= letter < 0x7F for letter in letters) else None

    def _moment(self, data: bytes) -> str | None:
        moment = moment_of(data, self.fields)
        if moment is None:
            return None
        if "h" not in self.fields:
            return moment.date().isoformat()
        return moment.isoformat(" ") if "D" in self.fields else moment.time().isoformat()


def _digits(size: int) -> Layout:
    return Layout(size, kind="digits")


def _text(size: int) -> Layout:
    return Layout(size, kind="text")


def _moment(fields: str) -> Layout:
    return Layout(len(fields), kind="moment", fields=fields)


def _word(size: int) -> Layout:
    return Layout(size, kind="word")


_ACTIVE = "(?:0[12]|8[1-6]|15|16|9[5-9A]|29|2A|A[9A-E]|3[DE]|B[DEF]|C[0-2])"
"""DI2 of active energy and demand: forward, reverse, of all phases and of each; fundamental, harmonic and losses."""
_COMBINED_REACTIVE = "(?:0[34]|1[78]|2[BC]|3F|40)"
"""Reactive 1 and 2, which have a sign."""
_REACTIVE = "(?:0[5-8]|1[9ABC]|2[DEF]|30|4[1-4])"
"""Reactive by quadrant."""
_APPARENT = "(?:09|0A|1[DE]|31|32|45|46)"
_TARIFF = "[0-3][0-9A-F]"
_SETTLED = "0[0-9A-C]"
"""DI0: now, or the last to the twelfth settlement before."""

_2007: list[tuple[str, Layout]] = [
    (f"0000{_TARIFF}{_SETTLED}", Layout(4, 2, signed=True, unit="kWh")),
    (f"00{_ACTIVE}{_TARIFF}{_SETTLED}", Layout(4, 2, unit="kWh")),
    (f"00{_COMBINED_REACTIVE}{_TARIFF}{_SETTLED}", Layout(4, 2, signed=True, unit="kvarh")),
    (f"00{_REACTIVE}{_TARIFF}{_SETTLED}", Layout(4, 2, unit="kvarh")),
    (f"00{_APPARENT}{_TARIFF}{_SETTLED}", Layout(4, 2, unit="kVAh")),
    (f"01{_ACTIVE}{_TARIFF}{_SETTLED}", Layout(8, 4, digits=3, unit="kW")),
    (f"01{_COMBINED_REACTIVE}{_TARIFF}{_SETTLED}", Layout(8, 4, signed=True, digits=3, unit="kvar")),
    (f"01{_REACTIVE}{_TARIFF}{_SETTLED}", Layout(8, 4, digits=3, unit="kvar")),
    (f"01{_APPARENT}{_TARIFF}{_SETTLED}", Layout(8, 4, digits=3, unit="kVA")),
    ("02010[123]00", Layout(2, 1, unit="V")),
    ("02020[123]00|02800001", Layout(3, 3, signed=True, unit="A")),
    ("02030[0123]00|0280000[34]", Layout(3, 4, signed=True, unit="kW")),
    ("02040[0123]00|02800005", Layout(3, 4, signed=True, unit="kvar")),
    ("02050[0123]00|02800006", Layout(3, 4, signed=True, unit="kVA")),
    ("02060[0123]00", Layout(2, 3, signed=True, unit="1")),
    ("02070[123]00", Layout(2, 1)),
    ("020[89]0[123]00|020[AB]0[123][01][0-9A-F]", Layout(2, 2, unit="%")),
    ("02800002", Layout(2, 2, unit="Hz")),
    ("0280000[89]", Layout(2, 2, unit="V")),
    ("02800007", Layout(2, 1, signed=True, unit="C")),
    ("0280000A", Layout(4, unit="min")),
    ("0280000B", Layout(4, 4, unit="CNY/kWh")),
    ("04000101", _moment("YMDw")),
    ("04000102", _moment("hms")),
    ("0400010C", _moment("YMDwhms")),
    ("0400010[34]", Layout(1, unit="min")),
    ("0400030[67]|040004(?:09|0A)", Layout(3)),
    ("0400040[12E]", _digits(6)),
    ("04000403|0480000[123]", _text(32)),
    ("0400040[456]", _text(6)),
    ("0400040[78]", _text(4)),
    ("040004(?:0B|0C)", _text(10)),
    ("0400040D", _text(16)),
    ("0400050[1-7]", _word(2)),
    ("0400060[123]", _word(1)),
    ("050600(?:[0-2][0-9A-F]|3[0-9A-E])", _moment("YMDhm")),
]
"""Energies, demands (with the time of each), voltage, current, active, reactive and apparent power, power factor, angle,
distortion, frequency, temperature, batteries, price of the step, clock, ratios, constants, nameplate, status and composition words, the
times of the daily freezes. DL/T 645-2007, annex A; the top bit is a sign where its notes say so."""

_1997: list[tuple[str, Layout]] = [
    ("9[048](?:1|2)[0-9A-E]", Layout(4, 2, unit="kWh")),
    ("9[159][1-6][0-9A-E]", Layout(4, 2, unit="kvarh")),
    ("A[048](?:1|2)[0-9A-E]", Layout(3, 4, unit="kW")),
    ("A[159][1-6][0-9A-E]", Layout(3, 4, unit="kvar")),
    ("B61[123]", Layout(2, unit="V")),
    ("B62[123]", Layout(2, 2, unit="A")),
    ("B63[0-5]", Layout(3, 4, unit="kW")),
    ("B64[0-3]", Layout(2, 2, unit="kvar")),
    ("B65[0-3]", Layout(2, 3, unit="1")),
    ("C010", _moment("YMDw")),
    ("C011", _moment("hms")),
    ("C02[01]", _word(1)),
    ("C03[01]", Layout(3)),
    ("C03[234]", _digits(6)),
]
"""Energies and demands of this month and the two before, V, A, kW, kvar, power factor, clock, status words, constants,
numbers of meter, user and device. DL/T 645-1997, annex A; it knows no signs."""

_TYPE = re.compile(r"(?:(s?)bcd([1-8])(?:\.(\d{1,2}))?|(u|digits|text)([1-9]\d?))")


def layout(di: str, type_name: str | None) -> Layout | None:
    """Return how the value of a DI lies: as `type_name` says (`bcd4.2`, `sbcd3.4`, `u2`, `digits6`, `text32`), else as
    the table of its edition does. What it counts is the DI's own in either case."""
    table = _2007 if len(di) == 8 else _1997
    known = next((found for pattern, found in table if re.fullmatch(pattern, di)), None)
    if type_name is None:
        return known
    typed = _typed(type_name)
    return replace(typed, unit=known.unit) if typed and known and typed.kind == "number" else typed


def _typed(name: str) -> Layout | None:
    match = _TYPE.fullmatch(name)
    if match is None:
        return None
    if match[2]:
        size, decimals = int(match[2]), int(match[3] or 0)
        return Layout(size, decimals, bool(match[1])) if decimals <= 2 * size else None
    size = int(match[5])
    if match[4] == "u":
        return _word(size) if size <= 6 else None
    return _digits(size) if match[4] == "digits" else _text(size)


def block_of(di: str) -> tuple[str, int] | None:
    """Return the block a DI is read in together with its neighbours, and its place there; None where there is none."""
    if len(di) == 4:
        return _block_1997(di)
    low = int(di[4:6], 16)
    if di[:2] in ("00", "01") or re.match("020[3456]", di):
        return f"{di[:4]}FF{di[6:]}", low
    if re.match("020[12789]", di):
        return f"{di[:4]}FF{di[6:]}", low - 1
    return ("040005FF", int(di[6:], 16) - 1) if di[:6] == "040005" else None


def _block_1997(di: str) -> tuple[str, int] | None:
    low = int(di[3], 16)
    if di[0] in "9A" or re.match("B6[345]", di):
        return f"{di[:3]}F", low
    return (f"{di[:3]}F", low - 1) if re.match("B6[12]", di) else None
