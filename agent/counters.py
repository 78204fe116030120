"""What is counted of each meter and each line, for the status and for `tanbiao agent status`."""

from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

_ROUND_TRIPS = 64
_NAMED = 5
"""Points without a value that the status names of a meter; the count says how many there are."""


@dataclass(slots=True)
class MeterCounters:
    """Since the agent started. `expected` = `read` + all of `missed`, at any moment."""

    expected: int = 0
    read: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    """Slots without a reading, by cause."""
    ok: int = 0
    """Exchanges that succeeded; a meter may need several a slot."""
    failures: Counter[str] = field(default_factory=Counter)
    """Exchanges that failed, by cause."""
    last_good_ms: int | None = None
    silent_since_ms: int | None = None
    cause: str = ""
    """Why it is silent, in a word; `detail` says it in a sentence."""
    detail: str = ""
    no_value: dict[str, str] = field(default_factory=dict)
    """Points that had no value when last asked for, and why."""
    round_trips_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_ROUND_TRIPS))

    @property
    def state(self) -> str:
        if self.silent_since_ms is not None:
            return "silent"
        return "ok" if self.last_good_ms is not None else "starting"

    def report(self) -> dict[str, Any]:
        """Return what the status says of the meter."""
        times = sorted(self.round_trips_ms)
        found: dict[str, Any] = {
            "state": self.state, "last_good": self.last_good_ms, "expected": self.expected, "read": self.read,
            "missed": dict(self.missed), "ok": self.ok, "failures": dict(self.failures),
        }  # fmt: skip
        if times:
            found["round_trip_ms"] = [round(times[len(times) // 2], 1), round(times[len(times) * 95 // 100], 1)]
        if self.state == "ok" and self.no_value:
            named = dict(islice(self.no_value.items(), _NAMED))
            found["no_value"] = {"count": len(self.no_value), "points": named}
        if self.silent_since_ms is not None:
            found |= {"since": self.silent_since_ms, "cause": self.cause, "detail": self.detail}
        return found


@dataclass(slots=True)
class LineCounters:
    """Of one line."""

    open: bool = False
    opened: int = 0
    """How often it was opened."""
    stale: int = 0
    """Bytes that had arrived before they were asked for, and were thrown away."""
    busy_s: float = 0.0
    problem: str = ""

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "state": "open" if self.open else "closed", "opened": self.opened, "stale_bytes": self.stale,
            "busy_s": round(self.busy_s, 3),
        }  # fmt: skip
        return found | ({"problem": self.problem} if self.problem else {})
