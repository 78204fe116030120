"""Readings as they are given back: one value a time, in the unit asked for. Pure."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np

from ingester.store.contract import Samples, Touched
from metering.errors import QuantityError
from metering.quantity import convert, exact, unit

Array: TypeAlias = "np.ndarray[Any, Any]"
NEAR_MS = 3_600_000
"""Touched stretches of a point closer than this are one."""


def one_a_time(times: Array, values: Array, counting: Array, simulated: tuple[int, int] | None) -> Samples:
    """Keep the last value of each time, and none where the last does not count.

    `times` ascends; values of one time stand in order of arrival.
    """
    if not counting.all():
        last = np.append(times[1:] != times[:-1], True)
        kept = counting & ~np.isin(times, times[last & ~counting])
        times, values = times[kept], values[kept]
    if not len(times):
        return Samples([])
    last = np.append(times[1:] != times[:-1], True)
    first = np.append(True, last[:-1])
    readings = list(zip(times[last].tolist(), values[last].tolist(), strict=True))
    if last.all():
        return Samples(readings, (), simulated)
    conflicts = []
    groups = zip(np.flatnonzero(first).tolist(), np.flatnonzero(last).tolist(), strict=True)
    for i, (begin, end) in enumerate(groups):
        if len(set(values[begin : end + 1].tolist())) > 1:
            conflicts.append(readings[i][0])
    return Samples(readings, tuple(conflicts), simulated)


def joined(rows: Sequence[tuple[str, int, int, int]]) -> Iterator[Touched]:
    """Join stretches of one point that lie near each other; `rows` come by point and arrival."""
    for point, arrivals in groupby(rows, key=lambda row: row[0]):
        stretches = sorted((start, end, n) for _, n, start, end in arrivals)
        begin, reached, newest_n = stretches[0]
        for start, end, n in stretches[1:]:
            if start > reached + NEAR_MS:
                yield Touched(newest_n, point, begin, reached)
                begin, reached, newest_n = start, end, n
            reached, newest_n = max(reached, end), max(newest_n, n)
        yield Touched(newest_n, point, begin, reached)


def convertible(sent_unit: str, target: str) -> bool:
    try:
        law(sent_unit, target)
    except QuantityError:
        return False
    return True


def law(sent_unit: str, target: str) -> Callable[[float], float] | None:
    """Return how a value as sent becomes one in the target unit; None where it is the same.

    A bare volume is a register that counts at the state its configuration names.

    Raises:
        QuantityError: there is no way.
    """
    if sent_unit in (target, ""):
        return None
    source, wanted = unit(sent_unit), unit(target)
    if source.reference is None:
        source = source.at(wanted.reference)
    if source == wanted:
        return None
    convert(Decimal(1), source, wanted)
    return lambda value: float(convert(exact(value), source, wanted))
