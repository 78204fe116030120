"""How the API writes what the snapshot holds: plain JSON, decimals as strings, times ISO 8601 with the site's offset."""

from collections.abc import Iterable, Mapping
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from calibration.due import DueState
from calibration.instrument import Instrument
from ingester.alerts import say
from ingester.completeness import MeterDay
from ingester.live import Snapshot, SourceNow
from ingester.page.words import moment
from ingester.store.contract import AlertRow, GapRow, Latest
from metering.slots import Account
from metering.text import Text
from metering.wire import AgentStatus

Json = dict[str, Any]


def time(ms: int | None, zone: tzinfo) -> str | None:
    return None if ms is None else moment(ms, zone).isoformat(timespec="milliseconds")


def decimal(value: Decimal | None) -> str | None:
    """Return a decimal as the report writes it: no exponent, no trailing zeros."""
    if value is None:
        return None
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def both(text: Text) -> Json:
    return {"zh": text.zh, "en": text.en}


def agent(status: AgentStatus, zone: tzinfo) -> Json:
    return {
        "agent": status.agent,
        "online": status.online,
        "version": status.version,
        "at": time(status.at, zone),
        "clock": status.clock,
        "unreceipted": status.unreceipted,
        "outbox_bytes": status.outbox_bytes,
        "silent_since": time(status.silent_since, zone),
        "lines": status.lines,
    }


def meters(snapshot: Snapshot, zone: tzinfo) -> list[Json]:
    """Return every meter an agent reports or a reading names, with its points."""
    points: dict[str, list[Latest]] = {}
    for latest in snapshot.readings:
        points.setdefault(latest.point.partition("/")[0], []).append(latest)
    reported = {meter: (status.agent, facts) for status in snapshot.agents for meter, facts in status.meters.items()}
    return [
        _meter(meter, reported.get(meter), points.get(meter, []), zone) for meter in sorted(reported.keys() | points)
    ]


def _meter(meter: str, reported: tuple[str, Mapping[str, Any]] | None, points: list[Latest], zone: tzinfo) -> Json:
    name, facts = reported or (points[0].agent, {})
    return {
        "meter": meter,
        "agent": name,
        "state": facts.get("state"),
        "cause": facts.get("cause"),
        "silent_since": time(facts.get("since"), zone),
        "last_good": time(facts.get("last_good"), zone),
        "slots": {key: facts.get(key) for key in ("expected", "read", "missed")},
        "points": [reading(latest, zone) for latest in points],
    }


def source(now: SourceNow) -> Json:
    return {
        "source": now.id,
        "name": both(now.name),
        "category": now.category,
        "part_of": now.part_of,
        "activity_today": {"value": decimal(now.activity_today), "unit": now.unit},
        "emission_today": {"value": decimal(now.tonnes_today), "unit": "tCO2"},
        "rate": {"value": decimal(now.kg_per_hour), "unit": "kgCO2/h"},
        "missing_share": now.missing_share,
        "flags": list(now.flags),
    }


def reading(latest: Latest, zone: tzinfo) -> Json:
    return {
        "point": latest.point,
        "time": time(latest.measured_ms, zone),
        "value": latest.value,
        "unit": latest.unit,
        "quality": latest.quality.name.lower(),
        "agent": latest.agent,
    }


def alert(row: AlertRow, zone: tzinfo) -> Json:
    return {
        "id": row.id,
        "rule": row.rule,
        "meter": row.meter,
        "state": "active" if row.cleared_ms is None else "cleared",
        "since": time(row.since_ms, zone),
        "raised": time(row.raised_ms, zone),
        "cleared": time(row.cleared_ms, zone),
        "acknowledged": time(row.acknowledged_ms, zone),
        "acknowledged_by": row.acknowledged_by,
        "code": row.code,
        "values": row.values,
        "text": {"zh": say(row, "zh"), "en": say(row, "en")},
    }


def completeness(day: MeterDay, zone: tzinfo) -> Json:
    return {
        "meter": day.meter,
        "agent": day.agent,
        "start": time(day.start_ms, zone),
        "end": time(day.end_ms, zone),
        "interval": day.interval_ms / 1000,
        **slots(day.slots),
    }


def slots(account: Account) -> Json:
    return {
        "expected": account.expected,
        "read": account.read,
        "late": account.late,
        "backfilled": account.backfilled,
        "missed": dict(account.missed),
        "share": round(account.share, 6),
    }


def gap(row: GapRow, zone: tzinfo) -> Json:
    return {
        "meter": row.meter,
        "agent": row.agent,
        "start": time(row.start_ms, zone),
        "end": time(row.end_ms, zone),
        "cause": row.cause,
        "missed": row.missed,
    }


def due(instrument: Instrument, state: DueState) -> Json:
    return {
        "instrument": instrument.id,
        "name": instrument.name.model_dump(),
        "serial_number": instrument.serial_number,
        "state": state.state.value,
        "certificate": state.certificate.number if state.certificate else None,
        "due": state.due.isoformat() if state.due else None,
        "days_left": state.days_left,
    }


def total(snapshot: Snapshot, zone: tzinfo) -> Json:
    return {
        "at": time(snapshot.at_ms, zone),
        "total_today": {"value": decimal(snapshot.total_tonnes_today), "unit": "tCO2"},
        "sources": [source(now) for now in snapshot.sources],
    }


def changed(before: Iterable[Latest], after: Iterable[Latest]) -> list[Latest]:
    """Return the readings of `after` that `before` does not hold."""
    known = {(latest.point, latest.measured_ms) for latest in before}
    return [latest for latest in after if (latest.point, latest.measured_ms) not in known]
