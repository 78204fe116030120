"""A status message that fits: what is normal is told in few words, or not at all, before anything that is wrong is left out.

Promises
    * A payload is at most `MAX_SENT` bytes, however many meters and lines there are.
    * Where anything was left out, an alarm says so, and how many are not named; `agent status` on site has it all.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from metering.wire import MAX_SENT, AgentStatus, encode, pack

_METER = ("line", "state", "last_good", "expected", "read", "missed", "since", "cause")
_LINE = ("state", "problem", "utilisation", "overruns")
_WRONG = ("no_value", "doubtful", "forbidden", "replaced", "unlike")
_FEW = 50
"""Meters or lines in trouble that are named in any case."""

Facts = Mapping[str, Any]
Told = dict[str, dict[str, Any]]


def payload(status: AgentStatus) -> bytes:
    """Return a status as it is sent, shortened as far as it must be."""
    sent = pack(encode(status))
    for shorter in _ever_shorter(status):
        if len(sent) <= MAX_SENT:
            break
        sent = pack(encode(shorter))
    return sent


def _ever_shorter(status: AgentStatus) -> Iterator[AgentStatus]:
    meters, lines = status.meters, status.lines
    yield _with(status, _brief(meters, _METER, _is_well), lines)
    meters, lines = _brief(meters, _METER), _brief(lines, _LINE)
    yield _with(status, meters, lines)
    meters = {name: facts for name, facts in meters.items() if not _is_well(status.meters[name])}
    yield _with(status, meters, lines)
    lines = {name: facts for name, facts in lines.items() if facts.get("state") != "open"}
    while max(len(meters), len(lines)) > _FEW:
        yield _with(status, meters, lines)
        meters, lines = _half(meters), _half(lines)
    lines = {name: {"state": facts["state"]} for name, facts in lines.items()}
    yield _with(msgspec.structs.replace(status, delivered={}, alarms=[]), meters, lines)


def _is_well(meter: Facts) -> bool:
    return meter.get("state") == "ok" and not any(meter.get(name) for name in _WRONG)


def _brief(told: Told, kept: tuple[str, ...], which: Callable[[Facts], bool] = lambda _: True) -> Told:
    return {
        name: {key: facts[key] for key in kept if key in facts} if which(facts) else facts
        for name, facts in told.items()
    }


def _half(told: Told) -> Told:
    return dict(list(told.items())[: max(_FEW, len(told) // 2)])


def _with(status: AgentStatus, meters: Told, lines: Told) -> AgentStatus:
    left_out = len(status.meters) - len(meters), len(status.lines) - len(lines)
    said = f"status shortened: {left_out[0]} meters and {left_out[1]} lines are not named, the others in few words"
    return msgspec.structs.replace(status, meters=meters, lines=lines, alarms=[*status.alarms, said])
