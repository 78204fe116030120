"""The site's time: intervals, hours, days and months as [start, end) in Unix milliseconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

By = Literal["interval", "hour", "day", "month"]


@dataclass(frozen=True)
class Grid:
    """Intervals of one length, aligned to midnight of the site's time zone."""

    interval_ms: int
    zone: ZoneInfo

    @property
    def origin_ms(self) -> int:
        """The offset of the grid from Unix time: zero, but for zones like +05:30 with intervals of an hour."""
        offset = self.zone.utcoffset(datetime(2000, 1, 1)) or timedelta(0)  # noqa: DTZ001 - a wall time of the zone
        return -int(offset.total_seconds() * 1000) % self.interval_ms

    def floor(self, ms: int) -> int:
        """Return the start of the interval that holds `ms`."""
        return ms - (ms - self.origin_ms) % self.interval_ms

    def ceil(self, ms: int) -> int:
        """Return the first interval edge at or after `ms`."""
        return self.floor(ms + self.interval_ms - 1)

    def holds(self, start_ms: int, end_ms: int) -> bool:
        """Whether [start, end) is an interval of this grid; results of an earlier one stay stored and are not shown."""
        return end_ms - start_ms == self.interval_ms and self.floor(start_ms) == start_ms

    def intervals(self, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the intervals that start in [start, end); both are edges."""
        for start in range(start_ms, end_ms, self.interval_ms):
            yield start, start + self.interval_ms

    def local(self, ms: int) -> datetime:
        """Return the wall time of the site, with its offset."""
        return datetime.fromtimestamp(ms / 1000, UTC).astimezone(self.zone)

    def iso(self, ms: int) -> str:
        """Return ISO 8601 with the site's offset, to the second (or the millisecond where it has one)."""
        return self.local(ms).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")

    def year(self, ms: int) -> int:
        """Return the data year of `ms`: the year of the site's wall clock."""
        return self.local(ms).year

    def midnight(self, ms: int) -> int:
        """Return the start of the site's day that holds `ms`."""
        return self.start_of(ms, "day")

    def start_of(self, ms: int, by: By) -> int:
        """Return the start of the interval, hour, day or month that holds `ms`."""
        if by == "interval":
            return self.floor(ms)
        local = self.local(ms)
        if by == "hour":  # by offset, so that the repeated hour of a clock change stays two hours
            return ms - (local.minute * 60_000 + local.second * 1000 + ms % 1000)
        start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if by == "month":
            start = start.replace(day=1)
        return _ms(start)

    def end_of(self, start_ms: int, by: By) -> int:
        """Return the end of the interval, hour, day or month that starts at `start_ms`."""
        if by == "interval":
            return start_ms + self.interval_ms
        if by == "hour":
            return start_ms + 3_600_000
        local = self.local(start_ms)
        later = local + timedelta(days=1 if by == "day" else 32)
        later = later.replace(day=1) if by == "month" else later
        return _ms(later.replace(hour=0, minute=0, second=0, microsecond=0, fold=0))

    def periods(self, start_ms: int, end_ms: int, by: By) -> Iterator[tuple[int, int]]:
        """Yield the rows of a report over [start, end): the first and last may be cut short by it."""
        start = start_ms
        while start < end_ms:
            end = min(self.end_of(self.start_of(start, by), by), end_ms)
            yield start, end
            start = end


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
