"""DL/T 645 numbers as bytes, and which data a meter has: own table after annex A of both editions."""

import re
from dataclasses import dataclass
from decimal import Decimal

from metering.profile import Place
from simulators.forms import Form, Number

_TABLE: tuple[tuple[str, int, int, bool], ...] = (
    # DI, bytes, decimals, whether the top bit is a sign
    (r"00(?:0[034]|1[78]|2[BC]|3F|40)....", 4, 2, True),
    (r"00......", 4, 2, False),
    (r"01......", 3, 4, False),
    (r"0201..00", 2, 1, False),
    (r"0202..00|02800001", 3, 3, True),
    (r"020[345]..00|0280000[3456]", 3, 4, True),
    (r"0206..00", 2, 3, True),
    (r"0207..00", 2, 1, False),
    (r"020[89AB]....|0280000[289]", 2, 2, False),
    (r"02800007", 2, 1, True),
    (r"0280000A", 4, 0, False),
    (r"0400010[34]", 1, 0, False),
    (r"0400030[67]|0400040[9A]", 3, 0, False),
    (r"9[0-9A-F]..", 4, 2, False),
    (r"A[0-9A-F]..", 3, 4, False),
    (r"B61.", 2, 0, False),
    (r"B62.|B64.", 2, 2, False),
    (r"B63.", 3, 4, False),
    (r"B65.", 2, 3, False),
    (r"C03[01]", 3, 0, False),
)
_DIGITS = {"04000401": 6, "04000402": 6, "0400040E": 6, "C032": 6, "C033": 6, "C034": 6}
"""Numbers of meter and asset: digits with their zeros."""
_LETTERS = {"04000403": 32, "04000404": 6, "04000405": 6, "04000406": 6, "04000407": 4, "04000408": 4, "0400040B": 10,
            "0400040C": 10, "0400040D": 16, "04800001": 32, "04800002": 32, "04800003": 32}  # fmt: skip
_WORDS = {"04000501": 2, "04000601": 1, "04000602": 1, "04000603": 1, "C020": 1, "C021": 1}
_TIMES = {
    "04000101": "%y%m%d0%w",
    "04000102": "%H%M%S",
    "0400010C": "%y%m%d0%w%H%M%S",
    "C010": "%y%m%d0%w",
    "C011": "%H%M%S",
}
_TYPE = re.compile(r"(s?)bcd(\d)(?:\.(\d+))?|(u|digits|text)(\d+)")


@dataclass(frozen=True)
class Dlt645Type:
    """How the value of a DI lies in its bytes."""

    size: int
    decimals: int = 0
    signed: bool = False
    kind: str = "bcd"
    """`bcd`, `u` (bits), `digits`, `text` or a time's format."""

    @property
    def form(self) -> Form:
        if self.kind == "u":
            return Form("whole", 0, 256**self.size - 1)
        if self.kind != "bcd":
            return Form("text")
        high = 10 ** (2 * self.size) - 1
        high = 8 * 10 ** (2 * self.size - 1) - 1 if self.signed else high
        return Form("whole", -high if self.signed else 0, high, Decimal(1).scaleb(-self.decimals))

    def encode(self, raw: Number | str) -> bytes:
        """Return the bytes, lowest first."""
        if self.kind == "u":
            return int(raw).to_bytes(self.size, "little")
        if self.kind == "text":
            return str(raw).encode("ascii", "replace")[: self.size].ljust(self.size, b"\0")[::-1]
        if self.kind == "digits":
            return bytes.fromhex(str(raw)[-2 * self.size :].zfill(2 * self.size))[::-1]
        return bcd(int(raw), self.size)


def bcd(number: int, size: int) -> bytes:
    """Return `number` as little-endian BCD; the top bit of the last byte is the sign, too large a number shows nines."""
    digits = min(abs(number), 10 ** (2 * size) - 1)
    data = bytearray.fromhex(f"{digits:0{2 * size}d}")[::-1]
    if number < 0:
        data[-1] |= 0x80
    return bytes(data)


def dlt645_type(di: str, type_name: str | None) -> Dlt645Type:
    """Return how a DI lies.

    Raises:
        LookupError: no table has it and no type is named.
    """
    if type_name is not None:
        match = _TYPE.fullmatch(type_name)
        if match is None:
            raise LookupError(type_name)
        if match[2]:
            return Dlt645Type(int(match[2]), int(match[3] or 0), bool(match[1]))
        return Dlt645Type(int(match[5]), kind=match[4])
    upper = di.upper()
    if upper[:7] == "0400050":
        return Dlt645Type(2, kind="u")
    for table, kind in ((_DIGITS, "digits"), (_LETTERS, "text"), (_WORDS, "u")):
        if upper in table:
            return Dlt645Type(table[upper], kind=kind)
    if upper in _TIMES:
        return Dlt645Type(0, kind=_TIMES[upper])
    for pattern, size, decimals, signed in _TABLE:
        if re.fullmatch(pattern, upper):
            return Dlt645Type(size, decimals, signed)
    raise LookupError(di)


def dlt645_form(_place: Place, address: int | str, type_name: str | None) -> Form:
    return dlt645_type(str(address), type_name).form
