"""Alerts: one for each cause and episode, raised, updated and cleared; worded when they are read.

An alert stores a code and named values. Whoever reads it gets a sentence in the language asked for: what deviates, from what,
by how much. Each change is published as a CloudEvent (CNCF CloudEvents 1.0, JSON).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from ingester.judge import Deviation, Rule, Standing, Verdict
from ingester.store.contract import AlertRow
from metering.quantity import EXACT, Unit, plain
from metering.text import Lang, Text

UPDATE_MS = 10_000
"""An alert that lasts is written anew this often at most."""
DIGITS = 4
"""Significant digits of what a person reads."""

TEXTS = {
    "rate_above_same_hour": Text(
        "{name}：{point} 为 {rate} {unit}，前 {days} 天同一时段为 {expected} {unit}（高 {percent} %）",
        "{name}: {point} is at {rate} {unit}; the same hour of {days} earlier days had {expected} {unit} ({percent} % more)",
    ),
    "rate_above_limit": Text(
        "{name}：{point} 为 {rate} {unit}，超过上限 {expected} {unit}（高 {percent} %）",
        "{name}: {point} is at {rate} {unit}, above the limit of {expected} {unit} ({percent} % more)",
    ),
    "strange_times": Text(
        "采集器 {agent} 的 {readings} 个读数时间不可信（{first} 至 {last}）：已保存，不计入合计。请检查该采集器与本机的时钟",
        "{readings} readings of agent {agent} have impossible times ({first} to {last}): they are kept and count nowhere. "
        "Check that agent's clock, and this machine's",
    ),
}
UNKNOWN_CODE = Text("报警 {code}：{point}", "alert {code}: {point}")


def say(alert: AlertRow, lang: Lang) -> str:
    """Return what deviates, from what and by how much, for a person."""
    values = dict(alert.values)
    name = values.get("name")
    if isinstance(name, dict):
        values["name"] = name.get(lang, alert.rule)
    sentence = TEXTS.get(alert.code, UNKNOWN_CODE)
    return sentence.say(lang, **{"code": alert.code, "point": alert.meter, **values})


@dataclass(frozen=True)
class Change:
    """What became of an alert."""

    kind: Literal["raised", "updated", "cleared"]
    alert: AlertRow


def standing_of(alert: AlertRow) -> Standing:
    """Return what the judge needs of an alert to go on from it."""
    return Standing(alert.since_ms, int(alert.values["until_ms"]), Decimal(alert.values["excess"]))


def changes(
    active: Mapping[tuple[str, str], AlertRow],
    verdicts: Sequence[tuple[Rule, Verdict]],
    now_ms: int,
    new_id: Callable[[], str],
) -> list[Change]:
    """Return what the verdicts change in the active alerts, which are given by (rule, meter)."""
    found = []
    for rule, verdict in verdicts:
        change = _change(active.get((rule.id, rule.point.meter)), rule, verdict, now_ms, new_id)
        if change is not None:
            found.append(change)
    return found


def orphans(active: Mapping[tuple[str, str], AlertRow], rules: Sequence[Rule], now_ms: int) -> list[Change]:
    """Clear alerts whose rule is no longer configured."""
    known = {(rule.id, rule.point.meter) for rule in rules}
    return [Change("cleared", replace(alert, cleared_ms=now_ms)) for key, alert in active.items() if key not in known]


def _change(
    alert: AlertRow | None, rule: Rule, verdict: Verdict, now_ms: int, new_id: Callable[[], str]
) -> Change | None:
    if isinstance(verdict, Deviation):
        if alert is None:
            return Change("raised", _alert(new_id(), verdict, now_ms))
        if verdict.until_ms - int(alert.values["until_ms"]) >= UPDATE_MS:
            return Change("updated", replace(alert, values=_values(verdict)))
    elif verdict == "fine" and alert is not None:
        return Change("cleared", replace(alert, cleared_ms=now_ms))
    return None


def _alert(name: str, found: Deviation, now_ms: int) -> AlertRow:
    return AlertRow(
        id=name,
        rule=found.rule.id,
        meter=found.rule.point.meter,
        raised_ms=now_ms,
        since_ms=found.since_ms,
        cleared_ms=None,
        acknowledged_ms=None,
        acknowledged_by=None,
        code="rate_above_limit" if found.rule.compare == "limit" else "rate_above_same_hour",
        values=_values(found),
    )


def _values(found: Deviation) -> dict[str, Any]:
    more = EXACT.divide((found.rate - found.expected) * 100, found.expected) if found.expected else None
    return {
        "name": {"zh": found.rule.name.zh, "en": found.rule.name.en},
        "point": found.rule.point.name,
        "rate": _shown(found.rate),
        "expected": _shown(found.expected),
        "unit": _per_hour(found.rule.point.unit, found.rule.point.role == "gauge"),
        "percent": "∞" if more is None else _shown(more),
        "days": found.days,
        "until_ms": found.until_ms,
        "excess": plain(found.excess),
        "kg_co2": None if found.kg_co2 is None else _shown(found.kg_co2),
    }


def _per_hour(unit: Unit, is_rate: bool) -> str:
    bare = str(unit).split("@")[0]
    return bare if is_rate else f"{bare}/h"


def _shown(value: Decimal) -> str:
    """Write a number for a person: four significant digits, integers whole."""
    rounded = value.quantize(Decimal(1).scaleb(min(0, value.adjusted() - DIGITS + 1)), context=EXACT)
    return plain(rounded)


def cloud_event(change: Change, site: str, event_id: str, at_ms: int) -> bytes:
    """Return a change as a CloudEvent in JSON."""
    alert = change.alert
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/tanbiao/{site}",
        "type": f"tanbiao.alert.{change.kind}",
        "subject": alert.meter,
        "time": _iso(at_ms),
        "datacontenttype": "application/json",
        "data": alert_json(alert),
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def alert_json(alert: AlertRow) -> dict[str, Any]:
    """Return an alert as JSON can hold it, worded in both languages."""
    return {
        "id": alert.id,
        "rule": alert.rule,
        "meter": alert.meter,
        "since": _iso(alert.since_ms),
        "raised": _iso(alert.raised_ms),
        "cleared": None if alert.cleared_ms is None else _iso(alert.cleared_ms),
        "acknowledged": None if alert.acknowledged_ms is None else _iso(alert.acknowledged_ms),
        "acknowledged_by": alert.acknowledged_by,
        "code": alert.code,
        "values": alert.values,
        "text": {"zh": say(alert, "zh"), "en": say(alert, "en")},
    }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
