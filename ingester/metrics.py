"""What Prometheus reads at /metrics. What is unknown is left out, never zero."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from fastapi import Response

from ingester.live import Snapshot
from ingester.page.feed import Feed, Site

Sample = tuple[str, dict[str, str], float | None]

KINDS = {
    "tanbiao_info": ("gauge", "Version of this ingester."),
    "tanbiao_snapshot_age_seconds": ("gauge", "Age of the figures that page and API show."),
    "tanbiao_ingester_waiting_messages": ("gauge", "Messages that wait to be committed."),
    "tanbiao_ingester_batches_total": (
        "counter",
        "Batches since the start: stored, known (came again), held back (of a flood), asked for again.",
    ),
    "tanbiao_ingester_set_aside_total": (
        "counter",
        "Messages, or parts of one, that could not be used; kept or counted.",
    ),
    "tanbiao_ingester_strange_times_total": ("counter", "Readings at impossible times: stored, counting nowhere."),
    "tanbiao_agent_online": ("gauge", "1 while the agent is connected."),
    "tanbiao_agent_unreceipted_batches": ("gauge", "Batches in the agent's outbox without a receipt."),
    "tanbiao_agent_outbox_bytes": ("gauge", "Size of the agent's outbox."),
    "tanbiao_meter_slots_total": ("counter", "Slots of a meter since its agent started, read or missed by cause."),
    "tanbiao_meter_exchanges_total": ("counter", "Requests to a meter since its agent started, by what came of them."),
    "tanbiao_meter_exceptions_total": (
        "counter",
        "Refusals of a meter since its agent started, by the protocol's code.",
    ),
    "tanbiao_meter_round_trip_seconds": ("gauge", "Time from request to reply, quantiles of the last exchanges."),
    "tanbiao_meter_last_good_time_seconds": ("gauge", "When a meter was last read, Unix seconds."),
    "tanbiao_line_utilisation": ("gauge", "Share of the last minute that a request was under way, 0 to 1."),
    "tanbiao_line_cycle_seconds": ("gauge", "What reading each meter of a line once takes."),
    "tanbiao_line_events_total": (
        "counter",
        "Of a line since its agent started: opened, overruns, stale frames, resubscribed.",
    ),
    "tanbiao_reading_time_seconds": ("gauge", "When a point was last read, Unix seconds."),
    "tanbiao_source_emission_today_tonnes": ("gauge", "Tonnes of CO2 since midnight of the site."),
    "tanbiao_source_emission_rate_kg_per_hour": ("gauge", "Kilograms of CO2 an hour over the last minutes."),
    "tanbiao_source_missing_share": ("gauge", "Share of today that is missing."),
    "tanbiao_alerts_active": ("gauge", "Alerts that are not cleared."),
    "tanbiao_gaps_open": ("gauge", "Gaps that still last."),
    "tanbiao_instruments": ("gauge", "Instruments by the state of their calibration."),
}


def metrics_route(feed: Feed, site: Site) -> Callable[[], Awaitable[Response]]:
    async def metrics() -> Response:
        samples = [("tanbiao_info", {"version": site.version}, 1.0), *_samples(feed.snapshot, feed.now_ms())]
        return Response(exposition(samples), media_type="text/plain; version=0.0.4; charset=utf-8")

    return metrics


def exposition(samples: list[Sample]) -> str:
    """Return the samples in the text format, one block a name."""
    lines = []
    for name, (kind, help_text) in KINDS.items():
        known = [(labels, value) for sample, labels, value in samples if sample == name and value is not None]
        if known:
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels(labels)} {value!r}" for labels, value in known]
    return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    escaped = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in labels.items()
    }
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}"


def _samples(snapshot: Snapshot | None, now_ms: int) -> Iterator[Sample]:
    if snapshot is None:
        return
    yield "tanbiao_snapshot_age_seconds", {}, (now_ms - snapshot.at_ms) / 1000
    yield "tanbiao_alerts_active", {}, float(sum(alert.cleared_ms is None for alert in snapshot.alerts))
    yield "tanbiao_gaps_open", {}, float(sum(gap.end_ms is None for gap in snapshot.gaps))
    for state, count in Counter(state.state.value for _, state in snapshot.due).items():
        yield "tanbiao_instruments", {"state": state}, float(count)
    for latest in snapshot.readings:
        yield "tanbiao_reading_time_seconds", {"point": latest.point}, latest.measured_ms / 1000
    yield from of_receiving(snapshot.receiving)
    yield from _of_sources(snapshot)
    yield from _of_agents(snapshot)


def of_receiving(counts: Mapping[str, int]) -> Iterator[Sample]:
    """Yield what `Receiver.counts` says."""
    yield "tanbiao_ingester_waiting_messages", {}, counts.get("waiting")
    for outcome in ("stored", "known", "held_back", "asked_for"):
        yield "tanbiao_ingester_batches_total", {"outcome": outcome}, counts.get(outcome)
    for kept, name in (("yes", "set_aside"), ("no", "set_aside_unkept")):
        yield "tanbiao_ingester_set_aside_total", {"kept": kept}, counts.get(name)
    yield "tanbiao_ingester_strange_times_total", {}, counts.get("strange_times_readings")


def _of_sources(snapshot: Snapshot) -> Iterator[Sample]:
    for source in snapshot.sources:
        labels = {"source": source.id}
        tonnes, rate = source.tonnes_today, source.kg_per_hour
        yield "tanbiao_source_emission_today_tonnes", labels, None if tonnes is None else float(tonnes)
        yield "tanbiao_source_emission_rate_kg_per_hour", labels, None if rate is None else float(rate)
        yield "tanbiao_source_missing_share", labels, source.missing_share


def _of_agents(snapshot: Snapshot) -> Iterator[Sample]:
    for agent in snapshot.agents:
        labels = {"agent": agent.agent}
        yield "tanbiao_agent_online", labels, float(agent.online)
        yield "tanbiao_agent_unreceipted_batches", labels, float(agent.unreceipted)
        yield "tanbiao_agent_outbox_bytes", labels, float(agent.outbox_bytes)
        for meter, facts in agent.meters.items():
            slots = {"": facts.get("read"), **dict(facts.get("missed") or {})}
            for cause, count in slots.items():
                yield "tanbiao_meter_slots_total", {**labels, "meter": meter, "missed": cause}, _number(count)
            yield from _of_meter({**labels, "meter": meter}, facts)
        for line, facts in agent.lines.items():
            yield from _of_line({**labels, "line": line}, facts)


def _of_meter(labels: dict[str, str], facts: Mapping[str, Any]) -> Iterator[Sample]:
    outcomes = {"ok": facts.get("ok"), **dict(facts.get("failures") or {})}
    outcomes |= {word: facts.get(word) for word in ("stale", "retries", "reread", "disbelieved", "backfilled")}
    for outcome, count in outcomes.items():
        yield "tanbiao_meter_exchanges_total", {**labels, "outcome": outcome}, _number(count)
    for code, count in dict(facts.get("exceptions") or {}).items():
        yield "tanbiao_meter_exceptions_total", {**labels, "code": str(code)}, _number(count)
    for quantile, ms in zip(("0.5", "0.95"), facts.get("round_trip_ms") or (), strict=False):
        yield "tanbiao_meter_round_trip_seconds", {**labels, "quantile": quantile}, _number(ms, 1000)
    yield "tanbiao_meter_last_good_time_seconds", labels, _number(facts.get("last_good"), 1000)


def _of_line(labels: dict[str, str], facts: Mapping[str, Any]) -> Iterator[Sample]:
    yield "tanbiao_line_utilisation", labels, _number(facts.get("utilisation"))
    yield "tanbiao_line_cycle_seconds", labels, _number(facts.get("cycle_s"))
    for event in ("opened", "overruns", "stale_frames", "resubscribed"):
        yield "tanbiao_line_events_total", {**labels, "event": event}, _number(facts.get(event))


def _number(found: Any, divisor: float = 1.0) -> float | None:
    """Return a number of a status message, which any agent may have sent, or None where it is none."""
    return found / divisor if isinstance(found, int | float) else None
