"""What could not be used, kept with its reason: a bounded number of an agent and hour; the rest is counted.

A sender of garbage fills neither the store nor the log, and delays nobody: what is beyond the bound costs no write.
"""

import logging
from collections import Counter
from collections.abc import Callable

from ingester.inspection import Refused
from ingester.store.contract import SeriesStore

log = logging.getLogger(__name__)

OF_AGENT = 100
"""Kept of one agent in an hour."""
OF_ALL = 1000
"""Kept of all agents in an hour."""
HOUR_S = 3600.0
KEPT_BYTES = 65_536
"""A longer message is kept cut."""
REASON = 300
"""Characters of a reason that are kept."""


class DeadLetters:
    """Keeps and counts. Blocking: in the writer's Worker."""

    def __init__(self, series: SeriesStore, uptime: Callable[[], float]) -> None:
        self._series = series
        self._uptime = uptime
        self._hour = -1
        self._this_hour: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        """The reason last said of an agent, in this hour."""
        self.refused = 0
        """Messages, or parts of one, that were not used, since the start."""
        self.unkept = 0
        """Of these, those that were not kept."""

    def keep(self, refused: Refused) -> None:
        """Keep what could not be used, or count it where enough is kept.

        Raises:
            StoreFailed: it is not kept, and not counted either.
        """
        self._turn_hour()
        reason = refused.reason[:REASON]
        room = self._this_hour[refused.agent] < OF_AGENT and self._this_hour.total() < OF_ALL
        if room:
            self._series.set_aside(refused.agent, refused.received_ms, reason, refused.payload[:KEPT_BYTES])
            self._this_hour[refused.agent] += 1
            self._say(refused.agent, reason)
        else:
            self.unkept += 1
        self.refused += 1

    def _say(self, agent: str, reason: str) -> None:
        if self._said.get(agent) != reason:
            self._said[agent] = reason
            log.warning("from agent %s set aside: %r", agent, reason)
        if self._this_hour[agent] == OF_AGENT:
            log.warning("from agent %s %d were set aside this hour: more are counted only", agent, OF_AGENT)

    def _turn_hour(self) -> None:
        hour = int(self._uptime() // HOUR_S)
        if hour != self._hour:
            self._hour = hour
            self._this_hour.clear()
            self._said.clear()
