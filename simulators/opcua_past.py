"""What the simulated OPC UA server recorded: what its meters showed each second, for a day back, also while it was down."""

import datetime as dt
from collections.abc import Callable

from asyncua import ua
from asyncua.server.history import HistoryStorageInterface

KEPT = dt.timedelta(days=1)
STEP_MS = 1000
AT_ONCE = 500


class Past(HistoryStorageInterface):
    """Computed when it is asked for: a meter is a function of the time."""

    def __init__(self, shown: Callable[[ua.NodeId, int], float | None], now_ms: Callable[[], int]) -> None:
        super().__init__()
        self._shown = shown
        self._now_ms = now_ms

    async def init(self) -> None:
        """Nothing is kept, so nothing is opened."""

    async def stop(self) -> None:
        """Nor closed."""

    async def read_node_history(
        self, node_id: ua.NodeId, start: dt.datetime | None, end: dt.datetime | None, nb_values: int
    ) -> tuple[list[ua.DataValue], dt.datetime | None]:
        """Return values oldest first, and where to go on."""
        now_ms = self._now_ms()
        oldest_ms = now_ms - round(KEPT.total_seconds() * 1000)
        from_ms, to_ms = max(oldest_ms, _ms(start, oldest_ms)), min(now_ms, _ms(end, now_ms))
        most = min(nb_values or AT_ONCE, AT_ONCE)
        times = range(-(-from_ms // STEP_MS) * STEP_MS, to_ms + 1, STEP_MS)
        found = [self._value(node_id, ms) for ms in times[:most]]
        return [value for value in found if value is not None], _time(times[most]) if len(times) > most else None

    def _value(self, node: ua.NodeId, ms: int) -> ua.DataValue | None:
        value = self._shown(node, ms)
        if value is None:
            return None
        held = ua.Variant(value, ua.VariantType.Double)
        return ua.DataValue(held, ua.StatusCode(), SourceTimestamp=_time(ms), ServerTimestamp=_time(ms))


def _ms(time: dt.datetime | None, otherwise: int) -> int:
    """Return Unix ms; a time of 1601 is none."""
    if time is None or time.year < 1970:
        return otherwise
    return round((time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def _time(ms: int) -> ua.DateTime:
    return ua.DateTime.fromtimestamp(ms / 1000, dt.UTC)
