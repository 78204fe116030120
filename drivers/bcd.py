"""Binary coded decimal with the lowest pair first, as DL/T 645 and CJ/T 188 send it."""

from datetime import datetime


def digits_of(data: bytes) -> str | None:
    """Return the digits, highest first; None where a nibble is above 9 (all F: not available)."""
    text = data[::-1].hex()
    return text if text.isdecimal() else None


def number_of(data: bytes, *, signed: bool = False) -> int | None:
    """Return the digits as a whole number; with `signed` the top bit is the sign. None where a nibble is above 9."""
    if not signed or not data[-1] & 0x80:
        digits = digits_of(data)
        return None if digits is None else int(digits)
    digits = digits_of(data[:-1] + bytes([data[-1] & 0x7F]))
    return None if digits is None else -int(digits)


def moment_of(data: bytes, fields: str) -> datetime | None:
    """Return the time in `data`, in no zone. `fields` says what each pair is, highest first: C Y M D w h m s (century,
    year, month, day, weekday, hour, minute, second). None where there is no such time."""
    digits = digits_of(data)
    if digits is None:
        return None
    pairs = {field: int(digits[at * 2 : at * 2 + 2]) for at, field in enumerate(fields)}
    try:
        return datetime(  # noqa: DTZ001 - the meter's clock knows no zone
            pairs.get("C", 20) * 100 + pairs.get("Y", 0), pairs.get("M", 1), pairs.get("D", 1),
            pairs.get("h", 0), pairs.get("m", 0), pairs.get("s", 0),
        )  # fmt: skip
    except ValueError:
        return None
