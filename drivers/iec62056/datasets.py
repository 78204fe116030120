"""The data sets of a readout, `address(value*unit)(value*unit)…`, and how a profile names them.

    1.8.0                 of any medium and channel, or as the short form
    1-0:1.8.0             of this medium and channel, or as the short form
    1.8.0*01              of the first of the stored periods
    1.6.0 value=2         the second of several values
    maker, ident          from the identification message

Promises
    * `data_sets` takes every line of a readout or raises BadFrame: brackets that do not match are never guessed at.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.iec62056.codec import bad

HEADER = ("maker", "ident")
MOST_VALUES = 99
_SET = re.compile(r"([^()]*+)\(([^()]*+)\)")
_OBIS = re.compile(r"(?:(\d{1,3}-\d{1,3}):)?([0-9A-Za-z]{1,3}(?:\.[0-9A-Za-z]{1,3}){0,2})(?:[*&](\d{1,3}))?")
_ADDRESS = re.compile(r"(\S{1,24})(?: value=([1-9]\d?))?")


@dataclass(frozen=True, slots=True)
class Held:
    """One value with its unit, as they are written."""

    value: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One address with its values."""

    address: str
    values: tuple[Held, ...]


def data_sets(block: str) -> Sequence[DataSet]:
    """Return the data sets of a data block, in order. A line without brackets holds none.

    Raises:
        BadFrame: the brackets of a line do not match.
    """
    found: list[tuple[str, list[Held]]] = []
    for line in block.replace("\r", "\n").split("\n"):
        at = 0
        while match := _SET.match(line, at):
            at = match.end()
            if match[1].strip() or not found:
                found.append((match[1].strip(), []))
            found[-1][1].append(_held(match[2]))
        if set(line[at:]) & {"(", ")"}:
            raise bad(f"括号不成对：{line[:40]!r}", f"brackets that do not match: {line[:40]!r}")
    return [DataSet(address, tuple(values)) for address, values in found]


def _held(text: str) -> Held:
    value, _, unit = text.partition("*")
    return Held(value.strip(), unit.strip())


@dataclass(frozen=True, slots=True)
class Address:
    """A data set that is looked for."""

    text: str
    value: int = 1
    """Which of its values, from 1."""

    def fits(self, found: DataSet) -> bool:
        """Whether a data set is the one: a short form answers for every medium and channel."""
        if found.address == self.text:
            return True
        ours, theirs = _OBIS.fullmatch(self.text), _OBIS.fullmatch(found.address)
        if ours is None or theirs is None or ours[2].upper() != theirs[2].upper():
            return False
        return (ours[1] is None or theirs[1] in (None, ours[1])) and _period(ours[3]) == _period(theirs[3])


def _period(text: str | None) -> int | None:
    """255, or nothing, is the present."""
    return None if text is None or int(text) == 255 else int(text)


def address(text: str) -> Address | None:
    """Return what a profile's address means; None where it can be the address of no data set."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or set(match[1]) & set("()/!"):
        return None
    return Address(match[1], int(match[2] or 1))
