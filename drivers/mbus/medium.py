"""Who makes a meter and what it measures, as the header of an M-Bus telegram codes it (EN 13757-3, table 3 and 5.4)."""

MEDIA = {
    0x00: "other", 0x01: "oil", 0x02: "electricity", 0x03: "gas", 0x04: "heat (return)", 0x05: "steam", 0x06: "warm water",
    0x07: "water", 0x08: "heat cost allocator", 0x09: "compressed air", 0x0A: "cooling (return)", 0x0B: "cooling (supply)",
    0x0C: "heat (supply)", 0x0D: "heat and cooling", 0x0E: "bus or system", 0x0F: "unknown", 0x14: "calorific value",
    0x15: "hot water", 0x16: "cold water", 0x17: "hot and cold water", 0x18: "pressure", 0x19: "A/D converter",
    0x1A: "smoke detector", 0x1B: "room sensor", 0x1C: "gas detector", 0x20: "breaker", 0x21: "valve",
    0x25: "customer unit", 0x28: "waste water", 0x29: "garbage", 0x31: "communication controller", 0x36: "radio converter",
}  # fmt: skip
_FIXED = (0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x03, 0x04, 0x06, 0x07, 0x08, 0x0F, 0x0F)
"""The medium of the header for each of the fixed structure; of gas, heat and water in its second mode the same."""


def fixed_medium(code: int) -> int:
    """Return the medium for the four bits of the fixed structure."""
    return _FIXED[code]


def medium_name(code: int) -> str:
    """Return the name of a medium, such as `water`; of a reserved one its number."""
    return MEDIA.get(code, f"medium {code:02X}")


def maker_of(data: bytes) -> str:
    """Return the three letters of a maker; `???` where they are none (0x40 + five bits each)."""
    code = int.from_bytes(data, "little")
    letters = [code >> shift & 0x1F for shift in (10, 5, 0)]
    return "".join(chr(0x40 + letter) if 1 <= letter <= 26 else "?" for letter in letters)


def maker_code(letters: str) -> bytes:
    """Return the two bytes of three capital letters."""
    high, middle, low = (ord(letter) - 0x40 for letter in letters)
    return (high << 10 | middle << 5 | low).to_bytes(2, "little")
