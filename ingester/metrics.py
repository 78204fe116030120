"""What Prometheus reads at /metrics. What is unknown is left out, never zero."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

from fastapi import Response

from ingester.live import Snapshot
from ingester.page.feed import Feed, Site

Sample = tuple[str, dict[str, str], float | None]

KINDS = {
    "tanbiao_info": ("gauge", "Version of this ingester."),
    "tanbiao_snapshot_age_seconds": ("gauge", "Age of the figures that page and API show."),
    "tanbiao_agent_online": ("gauge", "1 while the agent is connected."),
    "tanbiao_agent_unreceipted_batches": ("gauge", "Batches in the agent's outbox without a receipt."),
    "tanbiao_agent_outbox_bytes": ("gauge", "Size of the agent's outbox."),
    "tanbiao_meter_slots_total": ("counter", "Slots of a meter since its agent started, read or missed by cause."),
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
    yield from _of_sources(snapshot)
    yield from _of_agents(snapshot)


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
                found = None if count is None else float(count)
                yield "tanbiao_meter_slots_total", {**labels, "meter": meter, "missed": cause}, found
