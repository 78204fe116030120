"""What the page shows at one moment, in one language: made once a second, shared by every browser of that language."""

from dataclasses import dataclass, field
from typing import Any, Literal

from metering.text import Text

Tone = Literal["", "good", "warn", "bad", "muted"]
Kind = Literal["words", "number", "pill", "bar"]


@dataclass(frozen=True)
class Column:
    label: Text
    kind: Kind = "words"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and a smaller note below it."""

    text: str
    note: str = ""
    tone: Tone = ""
    share: float | None = None
    """Length of the bar, 0 to 1, in a column of bars."""
    colour: str = ""
    """Of the bar, and of the dot before a name."""


@dataclass(frozen=True)
class Row:
    key: str
    cells: tuple[Cell, ...]
    tone: Tone = ""


@dataclass(frozen=True)
class Figure:
    """One number to be seen from afar."""

    key: str
    label: str
    value: str
    unit: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Alarm:
    """One active alert."""

    key: str
    what: str
    since: str
    carbon: str


@dataclass(frozen=True)
class PageModel:
    name: str
    now: str
    """Time of day, zone and the state of the clock."""
    fresh: str
    """How old the figures are, or why there are none."""
    fresh_tone: Tone
    total: Figure
    figures: tuple[Figure, ...]
    alarms: tuple[Alarm, ...]
    tables: dict[str, tuple[Row, ...]]
    chart: dict[str, Any] = field(default_factory=dict)
    chart_note: str = ""
