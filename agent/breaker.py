"""The circuit breaker of one meter on its line, so that a dead one costs the living little. Pure."""

from dataclasses import dataclass

FAILURES = 3
"""Failed slots in a row after which the breaker opens."""
LONGEST_S = 60.0


@dataclass(slots=True)
class Breaker:
    """Closed: every slot is tried. Open: the next probe waits, twice as long each time, at most 60 s."""

    shortest_s: float
    """The first wait: the meter's interval."""
    failures: int = 0
    probe_at_s: float = 0.0

    def lets_through(self, uptime_s: float) -> bool:
        """Return whether a slot may be tried now."""
        return self.failures < FAILURES or uptime_s >= self.probe_at_s

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self, uptime_s: float, dice: float) -> None:
        """Note a failed slot; `dice` from 0 to 1 spreads the probes of many meters."""
        self.failures += 1
        if self.failures >= FAILURES:
            self.probe_at_s = uptime_s + backoff_s(self.failures - FAILURES, self.shortest_s, LONGEST_S, dice)


def backoff_s(failures: int, shortest_s: float, longest_s: float, dice: float) -> float:
    """Return the wait after `failures` earlier ones: doubling, between half and the whole of it."""
    whole = min(longest_s, shortest_s * 2.0 ** min(failures + 1, 30))
    return whole * (0.5 + dice / 2)
