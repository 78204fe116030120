"""What can go wrong in a simulated plant, on which protocols, and how `plant.yaml` asks for it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from metering.fields import DurationS, FieldError, Strict, seconds
from metering.text import Text

FaultKind = Literal[
    "silence", "checksum", "late", "reset", "rollover", "stuck", "burst", "refuse", "abort", "stale", "transaction",
    "foreign", "noise", "truncated", "doubled", "echo", "exception", "swapped", "length", "endless", "vanish",
    "permission", "nibble", "uncertain", "future", "unstamped",
]  # fmt: skip
FAULTS: tuple[FaultKind, ...] = FaultKind.__args__  # type: ignore[attr-defined]

AT_ONCE: frozenset[FaultKind] = frozenset({"reset", "rollover"})
LASTING: frozenset[FaultKind] = frozenset({kind for kind in FAULTS if kind not in AT_ONCE})
"""Faults with an end; the others happen at once."""
OF_THE_COUNTER: frozenset[FaultKind] = AT_ONCE | {"stuck", "burst"}
"""Faults of what a meter shows, not of how it answers."""
OF_THE_LINE: frozenset[FaultKind] = frozenset({"refuse", "vanish", "permission"})
"""Faults that all meters of the line share."""

_ON: Mapping[FaultKind, frozenset[str]] = {
    "refuse": frozenset({"*/tcp", "*/tls"}),
    "abort": frozenset({"*/tcp", "*/tls"}),
    "transaction": frozenset({"modbus-tcp/*"}),
    "exception": frozenset({"modbus-tcp/*", "modbus-rtu/*", "modbus-ascii/*", "dlt645/*", "cjt188/*"}),
    "swapped": frozenset({"modbus-tcp/*", "modbus-rtu/*", "modbus-ascii/*"}),
    "length": frozenset({"modbus-tcp/*", "modbus-rtu/*", "modbus-ascii/*", "dlt645/*", "cjt188/*", "mbus/*"}),
    "nibble": frozenset({"modbus-tcp/*", "modbus-rtu/*", "modbus-ascii/*", "dlt645/*", "cjt188/*", "mbus/*", "iec62056/*"}),
    "foreign": frozenset({"modbus-tcp/*", "modbus-rtu/*", "modbus-ascii/*", "dlt645/*", "cjt188/*", "mbus/*"}),
    "vanish": frozenset({"*/serial"}),
    "permission": frozenset({"*/serial"}),
    "endless": frozenset({"*/serial", "*/tcp", "*/tls"}),
    "echo": frozenset({"*/serial", "*/tcp"}),
    "uncertain": frozenset({"opcua/*"}),
    "future": frozenset({"opcua/*"}),
    "unstamped": frozenset({"opcua/*"}),
}  # fmt: skip
"""Where a fault can be (`protocol/way`); any other lasting fault of a reply can be on every protocol but OPC UA."""
_OPCUA: frozenset[FaultKind] = frozenset(
    {"silence", "checksum", "late", "refuse", "uncertain", "future", "unstamped", *OF_THE_COUNTER}
)


@dataclass(frozen=True)
class Wire:
    """What a fault of a reply depends on: the protocol of the line and what carries it."""

    protocol: str
    way: str

    def can_have(self, fault: FaultKind) -> bool:
        """Return whether the fault means anything here."""
        if self.protocol == "opcua":
            return fault in _OPCUA
        names = {f"{self.protocol}/{self.way}", f"{self.protocol}/*", f"*/{self.way}"}
        return fault not in _ON or not names.isdisjoint(_ON[fault])

    @property
    def faults(self) -> tuple[FaultKind, ...]:
        return tuple(fault for fault in FAULTS if self.can_have(fault))


def clock_time(value: Any) -> dt.time:
    """Read a time of day.

    Raises:
        FieldError: it is none.
    """
    if isinstance(value, dt.time):
        return value
    try:
        return dt.time.fromisoformat(str(value))
    except ValueError as error:
        text = Text(
            '{value!r} 不是时刻，例如 "08:00"（要加引号）', '{value!r} is not a time such as "08:00", in quotes'
        )
        raise FieldError(text, value=value) from error


def _when(value: Any) -> dt.time | float:
    """Read `70 s` (after the start) or `"14:30"` (each day, plant time)."""
    return clock_time(value) if isinstance(value, dt.time) or ":" in str(value) else seconds(value)


class PlantFault(Strict):
    """One thing that goes wrong."""

    at: Annotated[dt.time | float, BeforeValidator(_when)]
    """`70 s` after the start of the simulators, or `"14:30"` each day in plant time."""
    duration_s: DurationS | None = Field(default=None, alias="for")
    """How long; by default 60 s. Not for reset and rollover."""
    fault: FaultKind
    meter: str
    factor: float = Field(default=2.5, ge=0)
    """burst: the consumption is multiplied by this."""
    delay: DurationS = 1.5
    """late: the reply comes this much later."""
    code: int = Field(default=2, ge=0, le=255)
    """exception: the code of the refusal (Modbus), or its error byte (DL/T 645, CJ/T 188)."""
    addresses: tuple[int, int] | None = None
    """exception: only requests that touch a register from the first to the last of these; by default all."""

    @model_validator(mode="after")
    def _possible(self) -> "PlantFault":
        if self.duration_s is not None and self.fault not in LASTING:
            raise FieldError(Text("{fault} 没有持续时间 for", "{fault} has no duration `for`"), fault=self.fault)
        for key, owner in (("code", "exception"), ("addresses", "exception"), ("factor", "burst"), ("delay", "late")):
            if key in self.model_fields_set and self.fault != owner:
                raise FieldError(Text("{key} 只用于 fault: {owner}", "{key} goes with fault: {owner} only"),
                                 key=key, owner=owner)  # fmt: skip
        return self
