"""The requests of one meter, cut around the places it refuses.

Many meters answer a read that touches one register they do not have with an exception, and so refuse all of it. Then the
request is divided, until the refused place is alone; the rest is read in the same slot. A place that was refused in two slots
while others were read (one that had been readable: for two minutes) is forbidden: it is not asked for again for a minute, then
ten, an hour, a day, or until the points have changed or the meter says another serial number. A meter that
refuses everything is left undivided: that is no forbidden place, and must not become a storm of requests.
"""

import logging
from collections.abc import Sequence

from agent.answer import Answer
from agent.counters import MeterCounters
from agent.memory import Forbidden, Memory, Remembered
from agent.wiring import Meter
from drivers.contract import Request
from metering.errors import MeterRefused

log = logging.getLogger(__name__)

AGAIN_MS = (60_000, 600_000, 3_600_000, 86_400_000)
"""A forbidden place is tried again after so long, and each time it is refused after the next of these."""
SURE_MS = 120_000
"""So long a place that had been readable is refused before it is forbidden."""
MOST_DIVISIONS = 16
"""In one slot; the rest follows in the next."""
_SLOTS = 2
ABSENT = (1, 2, 3)
"""Illegal function, data address, data value: what a device says of a place it does not have."""
_CODES = (2, 3)
"""Of these, what another place beside it may be the cause of."""


class Pieces:
    """What one meter is asked for, slot after slot."""

    def __init__(self, meter: Meter, whole: Sequence[Request], counters: MeterCounters, memory: Memory) -> None:
        self._meter = meter
        self._whole = whole
        self._counters = counters
        self._memory = memory
        self._known: Remembered = memory.of(meter)
        self._refused: dict[str, tuple[int, int]] = {}
        """Slots in a row in which an indivisible request was refused, and when first."""
        self._readable: set[str] = set()
        """Points that were read."""
        self._leaves: dict[str, Request] = {}
        self._slot_refused: dict[str, tuple[Request, MeterRefused]] = {}
        self._divided = 0
        self._read = False
        self._asked = self._cut(whole)
        self._show()

    @property
    def plan(self) -> object:
        return self._meter.plan

    def due(self, now_ms: int) -> list[Request]:
        """Begin a slot: return what to ask for in it."""
        self._slot_refused.clear()
        self._divided, self._read = 0, False
        if self._leaves.keys() - self._known.forbidden.keys():
            self._begin_anew()
        again = [
            request
            for key, request in self._leaves.items()
            if key in self._known.forbidden
            and now_ms - self._known.forbidden[key].at >= _wait_ms(self._known.forbidden[key])
        ]
        if not self._asked and not again:
            self._known.forbidden.clear()
            self._asked = list(self._whole)
        return [*self._asked, *again]

    def parts(self, request: Request, error: MeterRefused) -> Sequence[Request]:
        """Return what to ask for instead of a request that was refused, in this slot and the next ones."""
        if error.code not in _CODES or self._divided >= MOST_DIVISIONS or request not in self._asked:
            return ()
        halves = request.halves()
        if halves:
            self._divided += 1
            at = self._asked.index(request)
            self._asked[at : at + 1] = halves
        return halves

    def note(self, request: Request, answer: Answer, now_ms: int) -> None:
        """Note what came of a request of this slot."""
        key = _key(request)
        if answer.error is None:
            self._read = True
            self._readable.update(request.points)
            self._refused.pop(key, None)
            if self._known.forbidden.pop(key, None) is not None:
                log.info("meter %s: %s is readable again", self._meter.id, request.label)
                self._begin_anew()
        elif isinstance(answer.error, MeterRefused) and answer.error.code in _CODES:
            if key in self._known.forbidden:
                self._known.forbidden[key].at = now_ms
                self._known.forbidden[key].tries += 1
                self._memory.save()
            elif not request.halves():
                self._slot_refused[key] = (request, answer.error)

    def end(self, now_ms: int) -> None:
        """End a slot."""
        if not self._read:
            if self._divided or self._refused:
                self._refused.clear()
                self._asked = self._cut(self._whole)
            return
        for key, (request, error) in self._slot_refused.items():
            slots, since_ms = self._refused.get(key, (0, now_ms))
            self._refused[key] = (slots + 1, since_ms)
            sure = now_ms - since_ms >= SURE_MS or not self._readable.issuperset(request.points)
            if slots + 1 >= _SLOTS and sure:
                self._forbid(key, request, error, now_ms)

    def _forbid(self, key: str, request: Request, error: MeterRefused, now_ms: int) -> None:
        del self._refused[key]
        label = request.label
        self._known.forbidden[key] = Forbidden(request.points, label, error.code, error.detail, now_ms)
        self._leaves[key] = request
        self._asked = [other for other in self._asked if other is not request]
        log.warning(
            "meter %s refuses %s (%s), %s: not asked for again for a while",
            self._meter.id, label, ", ".join(request.points), error.detail,
        )  # fmt: skip
        self._memory.save()
        self._show()

    def _begin_anew(self) -> None:
        self._leaves.clear()
        self._asked = self._cut(self._whole)
        self._memory.save()
        self._show()

    def _cut(self, requests: Sequence[Request]) -> list[Request]:
        """Return the requests without the forbidden places."""
        found: list[Request] = []
        for request in requests:
            touched = [key for key, place in self._known.forbidden.items() if {*place.points} & {*request.points}]
            if not touched:
                found.append(request)
            elif _key(request) in touched:
                self._leaves[_key(request)] = request
            else:
                found += self._cut(request.halves()) or ([] if request.halves() else [request])
        return found

    def _show(self) -> None:
        for place in self._known.forbidden.values():
            for point in place.points:
                self._counters.no_value.pop(point, None)
        self._counters.forbidden = {
            point: f"{place.label}: {place.why}" for place in self._known.forbidden.values() for point in place.points
        }


def _wait_ms(place: Forbidden) -> int:
    return AGAIN_MS[min(place.tries, len(AGAIN_MS) - 1)]


def _key(request: Request) -> str:
    return ",".join(request.points)
