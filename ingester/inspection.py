"""Which messages, and what of them, may be committed.

Promises
    * A batch of wrong shape or of another agent's topic is refused whole, with its reason.
    * A meter belongs to one agent: the one it is bound to by configuration, else the first to send it. Others' readings of it,
      and readings in a unit that cannot be converted, are left in the body and said once; the rest of the batch is used.
    * A reading at a time that cannot be is kept as a bad value: it never counts.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from ingester.store.contract import Arrived
from ingester.store.sampling import convertible
from ingester.strange_times import StrangeTimes, marked
from ingester.twice import refuse_repeated_keys
from link.world import Message
from metering.errors import MalformedBatch
from metering.expression import POINT
from metering.wire import (
    ID,
    Batch,
    Event,
    Exchange,
    Gap,
    Key,
    Lost,
    Seal,
    Slots,
    Thinned,
    Topics,
    decode_batch,
    digest,
    unpack,
)

log = logging.getLogger(__name__)

LARGEST = 2**53
"""Times and numbers beyond this are garbage, and would not fit the store."""
EARLIEST_MS = 946_684_800_000
"""2000-01-01: what is dated before it was dated by a clock that never was set."""
KEPT_MS = 3650 * 86_400_000
"""Ten years: the longest that records are kept for. Older readings cannot come from an outbox."""
AHEAD_MS = 300_000
"""How far in our future a reading may lie."""
MOST_READINGS = 100_000
"""Of one batch: far beyond what an agent puts into 60 kB, and little enough to be held in memory."""
LONGEST_NAME = 200
"""Characters of a boot id, a configuration's digest or a hash."""
IMPOSSIBLE_TIME = "readings before 2000, older than ten years or more than 5 min in the future: kept, not counted"
_REMEMBERED = 10_000
"""What was said once, at most; then all of it may be said again."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message, or a part of one, that is not used."""

    agent: str
    received_ms: int
    reason: str
    payload: bytes


@dataclass
class Inspector:
    """Turns messages into batches that may be committed. Touches nothing but its own memory."""

    topics: Topics
    units: Mapping[str, str]
    """The configured unit of each configured point."""
    bound: Mapping[str, str]
    """The agent of each meter that is bound to one by configuration."""
    owners: dict[str, str]
    """The agent that first sent each meter."""
    strange: StrangeTimes = field(default_factory=StrangeTimes)
    _said: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._configured = {point.partition("/")[0] for point in self.units}

    def inspect(self, message: Message, received_ms: int) -> tuple[Arrived | None, list[Refused]]:
        """Return the batch of a message as far as it may be used, and what of it may not."""
        agent = self.topics.agent_of(message.topic) or ""
        try:
            body = unpack(message.payload)
            batch = decode_batch(body)
            refuse_repeated_keys(body, batch)
            self._check(batch, agent)
        except MalformedBatch as error:
            return None, [Refused(agent, received_ms, str(error.values["reason"]), message.payload)]
        refused = self._refused_points(batch)
        reasons = [
            Refused(agent, received_ms, reason, _name(batch))
            for point, reason in refused.items()
            if self._first_time(agent, reason)
        ]
        used = _without(batch, refused)
        dated = self._dated(used, received_ms)
        if dated is not used and self._first_time(agent, IMPOSSIBLE_TIME):
            reasons.append(Refused(agent, received_ms, IMPOSSIBLE_TIME, _name(batch)))
        self._note_unknown_meters(batch)
        return Arrived(dated, body, digest(body), received_ms), reasons

    def claim(self, sound: Iterable[Arrived]) -> tuple[list[Arrived], list[Refused]]:
        """Give each meter that is nobody's to the first of these to send it: they are sound and about to be committed.

        What a later one of them sends of it is left out, with the reason.
        """
        kept: list[Arrived] = []
        contested: list[Refused] = []
        for arrived in sound:
            batch = arrived.batch
            owners = {point: self._owner(point.partition("/")[0], batch.agent) for point, _ in batch.points}
            lost = {
                point: f"meter {point.partition('/')[0]} belongs to agent {owner}"
                for point, owner in owners.items()
                if owner != batch.agent
            }
            for point in owners.keys() - lost.keys():
                self.owners.setdefault(point.partition("/")[0], batch.agent)
            contested += [Refused(batch.agent, arrived.received_ms, reason, _name(batch)) for reason in lost.values()]
            kept.append(replace(arrived, batch=_without(batch, lost)) if lost else arrived)
        return kept, contested

    def _check(self, batch: Batch, agent: str) -> None:
        if (batch.site, batch.agent) != (self.topics.site, agent):
            raise MalformedBatch(reason=f"from {batch.site}/{batch.agent} on the topic of {self.topics.site}/{agent}")
        if max(_numbers(batch)) >= LARGEST or min(_numbers(batch)) <= -LARGEST:
            raise MalformedBatch(reason="a number beyond 2^53")
        names = (batch.prev, batch.boot, batch.config)
        if not ID.fullmatch(batch.stream) or any(len(name) > LONGEST_NAME or "\0" in name for name in names):
            raise MalformedBatch(reason="stream, prev, boot or config is none")
        if len(batch.t) > MOST_READINGS:
            raise MalformedBatch(reason=f"{len(batch.t)} readings, at most {MOST_READINGS}")
        wrong = [point for point, _ in batch.points if not POINT.fullmatch(point)]
        wrong += [meter for event in batch.events for meter in _meters(event) if not ID.fullmatch(meter)]
        if wrong:
            raise MalformedBatch(reason=f"{wrong[0][:80]!r} is no point or meter")

    def _dated(self, batch: Batch, received_ms: int) -> Batch:
        """Return the batch with readings at impossible times marked bad."""
        earliest, latest = _bounds(received_ms)
        if not batch.t or (batch.t0 + min(batch.t) >= earliest and batch.t0 + max(batch.t) <= latest):
            return batch
        qualities, times = marked(batch, earliest, latest)
        self.strange.note(batch.agent, times, received_ms)
        return msgspec.structs.replace(batch, q=qualities)

    def _refused_points(self, batch: Batch) -> dict[str, str]:
        """Return the points whose readings are not used, and why."""
        refused: dict[str, str] = {}
        for point, sent_unit in batch.points:
            meter = point.partition("/")[0]
            owner = self._owner(meter, batch.agent)
            wanted = self.units.get(point)
            if owner != batch.agent:
                refused[point] = f"meter {meter} belongs to agent {owner}"
            elif wanted is not None and not convertible(sent_unit, wanted):
                refused[point] = f"unit {sent_unit} of {point} cannot be converted to {wanted}"
        return refused

    def _owner(self, meter: str, agent: str) -> str:
        return self.bound.get(meter) or self.owners.get(meter, agent)

    def _note_unknown_meters(self, batch: Batch) -> None:
        meters = {point.partition("/")[0] for point, _ in batch.points} - self._configured
        new = [meter for meter in sorted(meters) if self._first_time(batch.agent, f"unknown {meter}")]
        if new:
            log.warning("not configured, stored and not accounted: of agent %s meter %s", batch.agent, ", ".join(new))

    def _first_time(self, agent: str, said: str) -> bool:
        new = (agent, said) not in self._said
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said.add((agent, said))
        return new


def _meters(event: Event) -> Iterable[str]:
    """Return the meters an event names."""
    if isinstance(event, Slots):
        return event.meters
    return [event.meter] if isinstance(event, Gap) else []


def _name(batch: Batch) -> bytes:
    """Name a batch whose body is stored, for what is set aside of it."""
    return f"{batch.stream} {batch.seq}".encode()


def _numbers(batch: Batch) -> list[int]:
    numbers = [batch.seq, batch.t0, batch.up, batch.t0 + max(batch.t, default=0)]
    for event in batch.events:
        if isinstance(event, Gap):
            numbers += [event.start, event.end or 0, event.missed]
        elif isinstance(event, Lost | Thinned):
            numbers += [event.from_seq, event.to_seq, event.readings]
        elif isinstance(event, Seal):
            numbers.append(event.through_seq)
        elif isinstance(event, Slots):
            numbers += [event.at, event.since]
        elif not isinstance(event, Key):
            numbers.append(event.at)
    return numbers


def _bounds(received_ms: int) -> tuple[int, int]:
    """Return the earliest and the latest time a reading may have. A clock of ours that is not set judges neither."""
    if received_ms < EARLIEST_MS:
        return EARLIEST_MS, LARGEST
    return max(EARLIEST_MS, received_ms - KEPT_MS), received_ms + AHEAD_MS


def _without(batch: Batch, refused: Mapping[str, str]) -> Batch:
    """Return the batch without the readings and events of refused points."""
    if not refused:
        return batch
    kept = [i for i, (point, _) in enumerate(batch.points) if point not in refused]
    place = {old: new for new, old in enumerate(kept)}
    rows = [row for row, p in enumerate(batch.p) if p in place]
    meters = {point.partition("/")[0] for point in refused} - {batch.points[i][0].partition("/")[0] for i in kept}
    return msgspec.structs.replace(
        batch,
        points=[batch.points[i] for i in kept],
        t=[batch.t[row] for row in rows],
        p=[place[batch.p[row]] for row in rows],
        x=[batch.x[row] for row in rows],
        q=[batch.q[row] for row in rows],
        s=msgspec.UNSET,
        raw=msgspec.UNSET,
        events=[
            event
            for event in batch.events
            if not (isinstance(event, Gap) and event.meter in meters)
            and not (isinstance(event, Exchange) and event.point in refused)
        ],
    )
