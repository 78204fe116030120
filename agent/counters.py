"""What is counted of each meter and each line, for the status and for `tanbiao agent status`."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from metering.errors import MeterError, MeterRefused
from metering.text import Text

_ROUND_TRIPS = 64
_LOOKS = 60
"""Over which the utilisation is shown."""
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
    exceptions: Counter[int] = field(default_factory=Counter)
    """Refusals of the meter, by the protocol's own code."""
    stale: int = 0
    """Frames that came when none was due, and were thrown away."""
    retries: int = 0
    """Requests sent a second time within a slot after a spoilt reply."""
    reread: int = 0
    """Requests sent again because a counter had jumped."""
    disbelieved: int = 0
    """Of those, first replies that the second did not confirm."""
    last_good_ms: int | None = None
    silent_since_ms: int | None = None
    error: MeterError | None = None
    """Why it is silent."""
    no_value: dict[str, Text] = field(default_factory=dict)
    """Points that had no value when last asked for, and why."""
    doubtful: dict[str, Text] = field(default_factory=dict)
    """Points whose last value is uncertain, out of range, frozen or a substitute, and why."""
    forbidden: dict[str, str] = field(default_factory=dict)
    """Points that the meter refuses and that are no longer asked for, and why."""
    identity: dict[str, str] = field(default_factory=dict)
    """What it says of itself: serial number, maker, firmware."""
    variant: str = ""
    """Which edition of its model it was found to be."""
    replaced: tuple[str, str] | None = None
    """The serial numbers before and since, where it changed between two contacts."""
    unlike: Text | None = None
    """What was read at first contact and does not fit its model."""
    backfilled: int = 0
    """Values of the past that were asked for after a gap."""
    round_trips_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_ROUND_TRIPS))

    def note_failure(self, error: MeterError) -> None:
        """Count a failed exchange."""
        self.failures[error.cause] += 1
        if isinstance(error, MeterRefused):
            self.exceptions[error.code] += 1

    @property
    def cause(self) -> str:
        """Why it is silent, in a word."""
        return self.error.cause if self.error is not None else ""

    @property
    def detail(self) -> str:
        """Why it is silent, in a sentence."""
        return str(self.error) if self.error is not None else ""

    @property
    def state(self) -> str:
        if self.silent_since_ms is not None:
            return "silent"
        return "ok" if self.last_good_ms is not None else "starting"

    @property
    def typical_s(self) -> float:
        """How long an exchange takes at most, as a rule, seconds; 0 while nothing is known."""
        times = sorted(self.round_trips_ms)
        return times[len(times) * 95 // 100] / 1000 if times else 0.0

    def report(self) -> dict[str, Any]:
        """Return what the status says of the meter."""
        found: dict[str, Any] = {
            "state": self.state, "last_good": self.last_good_ms, "expected": self.expected, "read": self.read,
            "missed": dict(self.missed), "ok": self.ok, "failures": dict(self.failures),
            "exceptions": {str(code): count for code, count in self.exceptions.items()},
            "stale": self.stale, "retries": self.retries, "reread": self.reread, "disbelieved": self.disbelieved,
            "backfilled": self.backfilled,
        }  # fmt: skip
        if times := sorted(self.round_trips_ms):
            found["round_trip_ms"] = [round(times[len(times) // 2], 1), round(times[len(times) * 95 // 100], 1)]
        if self.state == "ok":
            found |= {"no_value": _named(self.no_value)} if self.no_value else {}
            found |= {"doubtful": _named(self.doubtful)} if self.doubtful else {}
        if self.silent_since_ms is not None:
            found |= {
                "since": self.silent_since_ms,
                "cause": self.cause,
                "detail": self.detail,
                "said": _said(self.error),
            }
        return found | self._findings()

    def _findings(self) -> dict[str, Any]:
        """Return what was found out about the device, as far as there is anything."""
        found: dict[str, Any] = {
            "forbidden": dict(self.forbidden), "identity": dict(self.identity), "variant": self.variant,
            "replaced": list(self.replaced) if self.replaced else None,
            "unlike": {"zh": self.unlike.zh, "en": self.unlike.en} if self.unlike else None,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value}


@dataclass(slots=True)
class LineCounters:
    """Of one line."""

    open: bool = False
    opened: int = 0
    """How often it was opened."""
    stale: int = 0
    """Bytes that had arrived before they were asked for, and were thrown away."""
    stale_frames: int = 0
    """How often there were such bytes."""
    echo_faults: int = 0
    """How often what came back of our own sending was not what was sent."""
    busy_s: float = 0.0
    """Time with a request under way."""
    dead_s: float = 0.0
    """Of it, spent on meters that were not read."""
    overruns: int = 0
    """Slots missed because the line had no time for them."""
    cycle_s: float = 0.0
    """What reading each meter once takes, by the newest reading of each."""
    utilisation: float = 0.0
    """Share of the last minute or so that a request was under way, 0 to 1."""
    resubscribed: int = 0
    """How often what a server tells by itself went quiet and was set up anew."""
    error: MeterError | None = None
    """Why it is closed, or was lost."""
    looks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_LOOKS))
    """Uptime and `busy_s` then."""

    @property
    def problem(self) -> str:
        """Why it is closed, or was lost, in a sentence."""
        return str(self.error) if self.error is not None else ""

    def note_use(self, now_s: float) -> None:
        """Note how busy the line is, once a second."""
        if self.looks and now_s - self.looks[-1][0] < 1.0:
            return
        self.looks.append((now_s, self.busy_s))
        (then_s, busy_s) = self.looks[0]
        if now_s > then_s:
            self.utilisation = min(1.0, (self.busy_s - busy_s) / (now_s - then_s))

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "state": "open" if self.open else "closed", "opened": self.opened, "stale_bytes": self.stale,
            "stale_frames": self.stale_frames, "echo_faults": self.echo_faults, "busy_s": round(self.busy_s, 3),
            "dead_s": round(self.dead_s, 3), "overruns": self.overruns, "cycle_s": round(self.cycle_s, 3),
            "utilisation": round(self.utilisation, 4), "resubscribed": self.resubscribed,
        }  # fmt: skip
        return found | ({"problem": self.problem, "said": _said(self.error)} if self.error is not None else {})


def _named(points: Mapping[str, Text]) -> dict[str, Any]:
    """Return how many points these are, and the first of them with their reasons."""
    first = islice(points.items(), _NAMED)
    return {"count": len(points), "points": {point: {"zh": why.zh, "en": why.en} for point, why in first}}


def _said(error: MeterError | None) -> dict[str, str]:
    """Return a sentence in both languages."""
    return {} if error is None else {"zh": error.say("zh"), "en": error.say("en")}
