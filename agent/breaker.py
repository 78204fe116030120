"""The circuit breaker of one meter on its line, and the share of the line that all dead meters have together, so that
they cost the living little. Pure."""

from dataclasses import dataclass

FAILURES = 3
"""So many more failed slots than read ones open the breaker."""
LONGEST_S = 60.0
SHARE = 0.05
"""Of the line's time, for all its dead meters together, while another meter lives."""


@dataclass(slots=True)
class Breaker:
    """Closed: every slot is tried. Open: the next probe waits, twice as long each time, at most 60 s. A success closes it and
    makes up for one failure, so that a meter that fails most of its slots is soon only probed again."""

    shortest_s: float
    """The first wait: the meter's interval."""
    failures: int = 0
    probe_at_s: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.failures >= FAILURES

    def lets_through(self, uptime_s: float) -> bool:
        """Return whether a slot may be tried now."""
        return self.failures < FAILURES or uptime_s >= self.probe_at_s

    def succeeded(self) -> None:
        self.failures = max(0, min(self.failures, FAILURES) - 1)

    def failed(self, uptime_s: float, dice: float) -> None:
        """Note a failed slot; `dice` from 0 to 1 spreads the probes of many meters."""
        self.failures += 1
        if self.failures >= FAILURES:
            self.probe_at_s = uptime_s + backoff_s(self.failures - FAILURES, self.shortest_s, LONGEST_S, dice)


@dataclass(slots=True)
class DeadShare:
    """When the next dead meter of a line may be probed: after one that cost t seconds, not before t / share.

    What was spent long ago is forgiven: no debt outlasts a minute. An answered probe says that things have changed, and
    lets the next one through at once.
    """

    share: float = SHARE
    free_at_s: float = 0.0

    def lets_through(self, uptime_s: float) -> bool:
        """Return whether a dead meter may be probed now."""
        return uptime_s >= self.free_at_s

    def spent(self, uptime_s: float, cost_s: float) -> None:
        """Note what a meter that did not answer has cost, seconds, at the end of its slot."""
        began_s = uptime_s - cost_s
        longest_s = max(LONGEST_S, cost_s / self.share)
        self.free_at_s = min(max(self.free_at_s, began_s) + cost_s / self.share, began_s + longest_s)

    def answered(self) -> None:
        self.free_at_s = 0.0


def backoff_s(failures: int, shortest_s: float, longest_s: float, dice: float) -> float:
    """Return the wait after `failures` earlier ones: doubling, between half and the whole of it."""
    whole = min(longest_s, shortest_s * 2.0 ** min(failures + 1, 30))
    return whole * (0.5 + dice / 2)
