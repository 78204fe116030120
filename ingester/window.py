"""What is stored of an account's points over a stretch of time, judged; and the state of a register at an edge, its knot.

A knot is all that judging on from an edge needs of what came before: the last accepted reading, and the falls the register
has not come back from. So a window gives what judging everything at once would give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ingester.accounts import Account, PointSpec
from ingester.store.contract import Result, Samples, SeriesStore
from metering.quantity import exact, plain
from metering.register import LOOK_MS, RegisterEventKind, Track, amounts_track, register_track

OPEN_FALLS = 32
"""Falls a register has not come back from that are remembered; a register that falls more often is no counter."""


def judged_again_from(
    states: Sequence[dict[str, Any]], point: PointSpec, values: Sequence[float], start: int
) -> int | None:
    """Return from when on the register must be judged again, given its states around the reading before and the values that came."""
    if not states or not values:
        return None
    wanted: list[int] = [ms for knot in states for ms, fallen_from in knot["open"] if max(values) >= float(fallen_from)]
    if falls_in(float(states[-1]["shown"]), values, point):
        wanted.append(start - LOOK_MS)
    return min(wanted, default=None)


def installed(point: PointSpec, before_ms: int) -> int:
    """Return when the last exchange before a time put the register there, whose initial reading is known; else that time."""
    return max((e.at_ms for e in point.register.exchanges if e.at_ms <= before_ms), default=before_ms)


def falls_in(shown: float, values: Sequence[float], point: PointSpec) -> bool:
    for value in values:
        if shown - value > point.register.tolerance(shown):
            return True
        shown = max(shown, value)
    return False


def knots_of(result: Result | None) -> dict[str, Any]:
    points: Mapping[str, Any] = result.evidence["points"] if result else {}
    return {point: edges.get("knot") for point, edges in points.items()}


@dataclass(frozen=True)
class Window:
    """What is stored of an account's points over a stretch of time, judged."""

    tracks: dict[str, Track]
    knots: dict[str, dict[str, Any]]
    """Per point the register's state before the window."""
    flags: tuple[tuple[int, int, str], ...]
    """(start, end, flag) that come from the readings themselves."""

    @classmethod
    def load(
        cls, series: SeriesStore, account: Account, start: int, end: int, previous: Result | None, now_ms: int
    ) -> "Window":
        """Read the points of an account over [start, end) and a reading beyond; `previous` is the result of the interval before."""
        knots = {point: knot for point, knot in knots_of(previous).items() if knot}
        tracks: dict[str, Track] = {}
        flags: list[tuple[int, int, str]] = []
        for _, point in account.terms:
            track, found = _track(series, point, start, end, knots.get(point.name), now_ms)
            tracks[point.name] = track
            flags += found
            flags += [(event.start_ms, event.end_ms, event.kind.value) for event in track.events]
        return cls(tracks, knots, tuple(flags))

    def edges(self, start: int, end: int) -> dict[str, dict[str, Any]]:
        """Return per point the readings the interval's edges rest on, and the register's state at its end."""
        return {
            name: {
                "start": [[ms, plain(shown)] for ms, shown in track.neighbours(start)],
                "end": [[ms, plain(shown)] for ms, shown in track.neighbours(end)],
                "knot": _knot(track, end, self.knots.get(name)),
            }
            for name, track in self.tracks.items()
        }


def _knot(track: Track, end: int, earlier: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return all that judging on from `end` needs: the last accepted reading, and the falls the register has not come back from."""
    knot = track.knot(end)
    if knot is None:
        return None
    at, shown = knot
    falls = [
        [event.start_ms, plain(event.before)] for event in track.events if event.kind in _FALLS and event.end_ms <= end
    ]
    kept = (earlier["open"] if earlier else []) + falls
    return {
        "at": at,
        "shown": plain(exact(shown)),
        "first": track.begins_at(at) and (earlier is None or (earlier["first"] and earlier["at"] == at)),
        "open": [fall for fall in kept if float(fall[1]) > shown][-OPEN_FALLS:],
    }


_FALLS = frozenset({RegisterEventKind.UNRESOLVED, RegisterEventKind.ROLLOVER})


def _track(
    series: SeriesStore, point: PointSpec, start: int, end: int, knot: dict[str, Any] | None, now_ms: int
) -> tuple[Track, list[tuple[int, int, str]]]:
    if point.role == "quantity":
        amounts = series.amounts(point.name, start, end)
        flags = [(amount.from_ms, amount.to_ms, "simulated") for amount in amounts if amount.simulated]
        flags += [(amount.from_ms, amount.to_ms, "overlapping_amounts") for amount in amounts if amount.overlaps]
        return amounts_track((amount.from_ms, amount.to_ms, amount.value) for amount in amounts), flags
    before = knot["at"] if knot else series.last_sample_before(point.name, start + 1)
    after = series.first_sample_after(point.name, end)
    samples = series.samples(point.name, start if before is None else before, (end if after is None else after) + 1)
    readings = samples.readings
    spec = point.register
    if knot:
        readings = [(knot["at"], float(knot["shown"])), *(reading for reading in readings if reading[0] > knot["at"])]
    # An exchange up to the first reading at hand has been counted already; one to come has not happened.
    since = before if before is not None else installed(point, readings[0][0]) - 1 if readings else now_ms
    spec = replace(spec, exchanges=tuple(e for e in spec.exchanges if since < e.at_ms <= now_ms))
    return register_track(readings, spec, resumed=knot is not None and not knot["first"]), _sample_flags(samples)


def _sample_flags(samples: Samples) -> list[tuple[int, int, str]]:
    flags = [(ms - 1, ms + 1, "conflict") for ms in samples.conflicts]  # at an edge it concerns both sides
    if samples.simulated is not None:
        flags.append((*samples.simulated, "simulated"))
    return flags
