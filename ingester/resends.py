"""Which batches the ingester asks its agents to send again.

Promises
    * What an agent says was receipted and is still in its outbox, and is not in the store, is asked for at once: so a store
      that was restored from a backup, or begun anew, fills itself from its agents.
    * A hole in a stream that stays for `HOLE_S`, though the agent has too little waiting to fill it, is asked for too.
    * At most `AT_ONCE` batches of a stream are asked for, the next when these are there. What does not come is asked for
      ever more rarely (30 s to 1 h); what the agent says it lost is settled, and not asked for.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ingester.store.contract import SeriesStore
from metering.ranges import Ranges
from metering.wire import AgentStatus, Receipt

AT_ONCE = 200
"""Batches of one request at most."""
STRETCHES = 20
"""Ranges of one request at most."""
STREAMS = 4
"""Streams of one agent that are asked for at once."""
ALL_STREAMS = 200
"""Streams of all agents that are asked for at once."""
REPEAT_S = 30.0
LONGEST_S = 3600.0
HOLE_S = 30.0
_TRACKED = 10_000
"""Streams with holes, and agents, that are kept in mind at most."""
_TOLD = 100
"""Streams of a status, and ranges of each, that are heeded."""

Stretches = list[tuple[int, int]]
Stream = tuple[str, str]
"""(agent, stream)."""


@dataclass(slots=True)
class _Request:
    """What was last asked of a stream."""

    asked: Stretches
    left: int
    """Batches of it that are still missing."""
    due_s: float
    """When it counts as not answered."""
    wait_s: float = REPEAT_S


class Resends:
    """What was asked for, and what to ask next. Touches the store only to see what it lacks."""

    def __init__(self, series: SeriesStore, uptime: Callable[[], float]) -> None:
        self._series = series
        self._uptime = uptime
        self._held: dict[str, Mapping[str, Stretches]] = {}
        """By agent and stream: what was receipted once and the agent still has."""
        self._waiting: dict[str, int] = {}
        """By agent: how many batches it has without a receipt."""
        self._requests: dict[Stream, _Request] = {}
        self._stuck: dict[Stream, tuple[int, float]] = {}
        """By stream with holes: up to where it is complete, and since when that has not grown."""
        self.asked = 0
        """Batches asked for since the start, repetitions included."""

    def hear(self, status: AgentStatus) -> list[Receipt]:
        """Take an agent's status; return the receipts that ask it for what the store lacks."""
        agent = status.agent
        if not status.online:
            self._forget(agent)
            return []
        if agent not in self._held and len(self._held) >= _TRACKED:
            return []
        self._waiting[agent] = status.unreceipted
        self._held[agent] = {name: status.delivered[name][:_TOLD] for name in list(status.delivered)[:_TOLD]}
        return [
            Receipt(stream=stream, through=self._series.settled(agent, stream).through, resend=wanted)
            for stream in self._held[agent]
            if (wanted := self.wanted(agent, stream))
        ]

    def _forget(self, agent: str) -> None:
        """An agent that is gone answers nothing; what is missing is asked for when it is back."""
        self._held.pop(agent, None)
        self._waiting.pop(agent, None)
        for key in [key for key in self._requests if key[0] == agent]:
            del self._requests[key]

    def wanted(self, agent: str, stream: str) -> Stretches:
        """Return what to ask for of a stream now: ranges of numbers, none while an earlier request is being answered."""
        key, now_s = (agent, stream), self._uptime()
        request = self._requests.get(key)
        if request is not None:
            left = self._left(agent, stream, request.asked)
            if left and left < request.left:
                request.left, request.due_s, request.wait_s = left, now_s + REPEAT_S, REPEAT_S
            if left and now_s < request.due_s:
                return []
            if not left:
                request = None
                del self._requests[key]
        missing = self._missing(agent, stream)
        if not missing or (request is None and self._is_busy(agent, now_s)):
            return []
        return self._ask(key, missing, request, now_s)

    def _ask(self, key: Stream, missing: Stretches, unanswered: _Request | None, now_s: float) -> Stretches:
        """Ask for the first batches that are missing; of what did not come, for those after it, and again from the first."""
        wait_s = REPEAT_S
        if unanswered is not None:
            later = [(max(first, unanswered.asked[-1][1] + 1), last) for first, last in missing]
            later = [(first, last) for first, last in later if first <= last]
            wait_s = unanswered.wait_s if later else min(2 * unanswered.wait_s, LONGEST_S)
            missing = later or missing
        asked = _first(missing)
        count = _count(asked)
        self.asked += count
        self._requests[key] = _Request(asked, count, now_s + wait_s, wait_s)
        return asked

    def _is_busy(self, agent: str, now_s: float) -> bool:
        """Whether enough is asked for already, and may yet come."""
        fresh = [name for (name, _), request in self._requests.items() if now_s < request.due_s]
        return len(fresh) >= ALL_STREAMS or fresh.count(agent) >= STREAMS

    def _missing(self, agent: str, stream: str) -> Stretches:
        held = self._held.get(agent, {}).get(stream, [])
        missing = [gap for first, last in held for gap in self._series.missing(agent, stream, max(first, 1), last)]
        return list(Ranges([*missing, *self._holes(agent, stream)]))

    def _holes(self, agent: str, stream: str) -> Stretches:
        """Return the holes of a stream that nothing on its way will fill."""
        settled = self._series.settled(agent, stream)
        if not settled.also:
            self._stuck.pop((agent, stream), None)
            return []
        now_s = self._uptime()
        through, since_s = self._stuck.get((agent, stream), (-1, now_s))
        if through != settled.through:
            if len(self._stuck) >= _TRACKED:
                self._stuck.clear()
            self._stuck[agent, stream] = settled.through, now_s
            return []
        holes = self._series.missing(agent, stream, settled.through + 1, settled.also[-1])
        return holes if now_s - since_s >= HOLE_S and _count(holes) > self._waiting.get(agent, 0) else []

    def _left(self, agent: str, stream: str, asked: Stretches) -> int:
        return sum(_count(self._series.missing(agent, stream, first, last)) for first, last in asked)


def _count(stretches: Iterable[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in stretches)


def _first(stretches: Stretches) -> Stretches:
    """Return the first `AT_ONCE` numbers of what is missing, in at most `STRETCHES` ranges."""
    found: Stretches = []
    room = AT_ONCE
    for first, last in stretches[:STRETCHES]:
        if room <= 0:
            break
        found.append((first, min(last, first + room - 1)))
        room -= last - first + 1
    return found
