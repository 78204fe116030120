"""Modbus numbers and texts as bytes: own encoders of every type a profile may name, in the four orders."""

import datetime as dt
import re
import struct
from dataclasses import dataclass

from metering.profile import Place, Profile
from simulators.forms import Form, FormOf, Number

_CODES = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_BCD = re.compile(r"bcd(\d+)")
_TEXT = re.compile(r"str(\d+)")
_TIMES = {"datetime6": 6, "datetime3": 3, "datetime3_bcd": 3, "datetime_iec": 4, "unix32": 2}
"""Dates and times, and their registers."""


@dataclass(frozen=True)
class ModbusType:
    """One type: what it can hold, and how many registers it takes."""

    name: str
    form: Form
    words: int

    def encode(self, raw: Number | str) -> bytes:
        """Return the bytes in network order (ABCD)."""
        size = 2 * self.words
        if self.name in _TIMES:
            return _moment(self.name, dt.datetime.fromisoformat(str(raw)))
        if isinstance(raw, str):
            return raw.encode("ascii", "replace")[:size].ljust(size, b"\0")
        if self.name in _CODES:
            return struct.pack(">" + _CODES[self.name], raw)
        return bytes.fromhex(f"{int(raw):0{2 * size}d}")


def modbus_type(name: str) -> ModbusType:
    """Return a type by its name in profiles.

    Raises:
        LookupError: there is none of that name.
    """
    if name == "bool":
        return ModbusType(name, Form("whole", 0, 1), 1)
    if name in ("f32", "f64"):
        return ModbusType(name, Form("f32" if name == "f32" else "f64"), 2 if name == "f32" else 4)
    if name in _CODES:
        size = struct.calcsize(">" + _CODES[name])
        low, high = (0, 2 ** (8 * size) - 1) if name[0] == "u" else (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1)
        return ModbusType(name, Form("whole", low, high), -(-size // 2))
    if match := _BCD.fullmatch(name):
        return ModbusType(name, Form("whole", 0, 10 ** int(match[1]) - 1), -(-int(match[1]) // 4))
    if name in _TIMES:
        return ModbusType(name, Form("time"), _TIMES[name])
    if match := _TEXT.fullmatch(name):
        return ModbusType(name, Form("text"), -(-int(match[1]) // 2))
    raise LookupError(name)


def _moment(name: str, at: dt.datetime) -> bytes:
    """Return a time: six registers; year to second in six bytes, or these in BCD; CP56 as Schneider's meters send it;
    seconds since 1970."""
    fields = (at.year, at.month, at.day, at.hour, at.minute, at.second)
    if name == "datetime6":
        return struct.pack(">6H", *fields)
    if name == "datetime3":
        return bytes((at.year % 100, *fields[1:]))
    if name == "datetime3_bcd":
        return bytes.fromhex(at.strftime("%y%m%d%H%M%S"))
    if name == "datetime_iec":
        words = (at.year % 100, at.month << 8 | at.day, at.hour << 8 | at.minute, at.second * 1000)
        return struct.pack(">4H", *words)
    return struct.pack(">I", int(at.replace(tzinfo=dt.UTC).timestamp()))


def arranged(raw: bytes, order: str) -> bytes:
    """Return network-order bytes as a meter of this order sends them: CDAB has its words reversed, BADC the bytes of each
    word, DCBA both; eight letters say which of eight bytes comes when."""
    if len(order) == 8:
        return bytes(raw["ABCDEFGH".index(letter)] for letter in order) if len(raw) == 8 else raw
    words = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return b"".join(words)


def modbus_forms(profile: Profile) -> FormOf:
    """Return what lies at a place of this profile."""

    def form(place: Place, _address: int | str, type_name: str | None) -> Form:
        return modbus_type(type_name or type_of(place, profile)).form

    return form


def order_of(place: Place, profile: Profile) -> str:
    """Return the order of a place's bytes. A profile's default order of words is of its numbers; letters and dates begin in
    their first register."""
    kind, default = modbus_type(type_of(place, profile)).form.kind, profile.defaults.order
    in_words = kind not in ("text", "time") or type_of(place, profile) == "unix32" or default == "BADC"
    return place.order or (default if in_words else "ABCD")


def type_of(place: Place, profile: Profile) -> str:
    """Return the type of a place, the profile's default where it names none."""
    return place.type or ("bool" if function_of(place, profile) <= 2 else profile.defaults.type or "")


def function_of(place: Place, profile: Profile) -> int:
    return place.fc or profile.defaults.fc


def register(address: int | str) -> int:
    return address if isinstance(address, int) else int(address, 0)
