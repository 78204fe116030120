"""Readings whose time cannot be right: kept as bad values, out of every total, and told by an alert of the agent.

The cause is nearly always a clock: that of the agent, or ours. So the alert says how far off the readings are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ingester.alerts import Change
from ingester.store.contract import AlertRow
from metering.reading import Quality
from metering.wire import Batch

RULE = "times.strange"
"""The rule of these alerts; no rule of a configuration can have this name."""
CODE = "strange_times"
OVER_MS = 3_600_000
"""An alert is over when nothing strange has come for so long."""
UPDATE_MS = 10_000
_AGENTS = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one agent at impossible times."""

    readings: int
    first_ms: int
    """The first and the last of these times."""
    last_ms: int
    since_ms: int
    """When the first of them was received, and the last."""
    until_ms: int


class StrangeTimes:
    """What was seen since it was last told."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self.readings = 0
        """Since the start."""

    def note(self, agent: str, times: Sequence[int], received_ms: int) -> None:
        self.readings += len(times)
        before = self._seen.get(agent)
        if before is None and len(self._seen) >= _AGENTS:
            return
        now = Seen(len(times), min(times), max(times), received_ms, received_ms)
        self._seen[agent] = _joined(before, now) if before else now

    def changes(
        self, active: Mapping[tuple[str, str], AlertRow], now_ms: int, new_id: Callable[[], str]
    ) -> list[Change]:
        """Return what becomes of the alerts, which are given by (rule, agent)."""
        alerts = {name: alert for (rule, name), alert in active.items() if rule == RULE}
        found: list[Change] = []
        for agent, seen in list(self._seen.items()):
            alert = alerts.get(agent)
            if alert is None:
                found.append(Change("raised", _alert(new_id(), agent, seen, now_ms)))
            elif seen.until_ms - int(alert.values["until_ms"]) < UPDATE_MS:
                continue
            else:
                found.append(Change("updated", replace(alert, values=_values(agent, _joined(_of(alert), seen)))))
            del self._seen[agent]
        for agent, alert in alerts.items():
            if (
                agent not in self._seen
                and now_ms - int(alert.values["until_ms"]) >= OVER_MS
                and not _told(found, alert)
            ):
                found.append(Change("cleared", replace(alert, cleared_ms=now_ms)))
        return found


def marked(batch: Batch, earliest_ms: int, latest_ms: int) -> tuple[list[int], list[int]]:
    """Return the qualities with what is outside these times marked bad, and the times of what was marked."""
    strange = [not earliest_ms <= batch.t0 + t <= latest_ms for t in batch.t]
    qualities = [
        int(Quality.BAD) if is_strange and Quality(q).counts else q
        for q, is_strange in zip(batch.q, strange, strict=True)
    ]
    return qualities, [batch.t0 + t for t, is_strange in zip(batch.t, strange, strict=True) if is_strange]


def _told(found: Sequence[Change], alert: AlertRow) -> bool:
    return any(change.alert.id == alert.id for change in found)


def _joined(a: Seen, b: Seen) -> Seen:
    return Seen(
        a.readings + b.readings, min(a.first_ms, b.first_ms), max(a.last_ms, b.last_ms), min(a.since_ms, b.since_ms),
        max(a.until_ms, b.until_ms),
    )  # fmt: skip


def _of(alert: AlertRow) -> Seen:
    values = alert.values
    return Seen(values["readings"], values["first_ms"], values["last_ms"], alert.since_ms, values["until_ms"])


def _alert(name: str, agent: str, seen: Seen, now_ms: int) -> AlertRow:
    return AlertRow(
        id=name, rule=RULE, meter=agent, raised_ms=now_ms, since_ms=seen.since_ms, cleared_ms=None, acknowledged_ms=None,
        acknowledged_by=None, code=CODE, values=_values(agent, seen),
    )  # fmt: skip


def _values(agent: str, seen: Seen) -> dict[str, Any]:
    return {
        "agent": agent, "readings": seen.readings, "first": _shown(seen.first_ms), "last": _shown(seen.last_ms),
        "first_ms": seen.first_ms, "last_ms": seen.last_ms, "until_ms": seen.until_ms,
    }  # fmt: skip


def _shown(ms: int) -> str:
    """Return a time for a person; one that no calendar has, as the number it is."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
