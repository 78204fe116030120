"""What a meter of 2007 recorded at its midnights: the daily freezes, 0506 00 NN their times, 0506 01 NN and on their
registers. They fill the gap an outage left in the counters.

Freeze 1 is the last one, 62 the oldest kept. Which of them is a day's is not computed but read: the freeze itself says
when it was made, and one that says another day is refused.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from drivers.bcd import moment_of
from drivers.contract import Send, Value
from drivers.dlt645.codec import EDITION_2007, LONGEST, bad
from drivers.dlt645.read import Exchange, Item, cut
from metering.errors import MeterRefused
from metering.reading import Quality
from metering.text import Text

MAX_FREEZES = 62
_TRIES = 4
"""A meter that was without power at midnight has fewer freezes than days; so often is it asked for the next better one."""
_REGISTER = re.compile(r"000([1-8])([0-3][0-9A-F])00")
"""DI of a counter that is frozen: forward and reverse active, combined and quadrant reactive, all tariffs."""
_REGISTER_BYTES, _TIME_BYTES = 4, 5


def frozen(di: str) -> bool:
    """Whether the daily freeze holds this DI."""
    return _REGISTER.fullmatch(di) is not None


def midnights(from_ms: int, to_ms: int, zone: ZoneInfo) -> Iterator[date]:
    """Return the days that began strictly between two times, the latest first, as many as a meter may have kept."""
    day = datetime.fromtimestamp(to_ms / 1000, zone).date()
    for _ in range(MAX_FREEZES + 1):
        begin_ms = _ms(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - the zone is put on in _ms
        if begin_ms <= from_ms:
            return
        if begin_ms < to_ms:
            yield day
        day -= timedelta(days=1)


def _ms(local: datetime, zone: ZoneInfo) -> int:
    return round(local.replace(tzinfo=zone).timestamp() * 1000)


class FreezeRead:
    """The registers one day began with. First the freeze of that day is sought by its time, then it is read."""

    replies_are_distinct = True
    longest_reply = LONGEST

    def __init__(
        self, exchange: Exchange, day: date, items: Sequence[Item], zone: ZoneInfo, within_ms: tuple[int, int]
    ) -> None:
        self._exchange = exchange
        self._day = day
        self._zone = zone
        self._within_ms = within_ms
        self._groups: dict[str, list[tuple[int, Item]]] = {}
        for item in items:
            if match := _REGISTER.fullmatch(item.di):
                self._groups.setdefault(match[1], []).append((int(match[2], 16), item))
        self.points = tuple(item.point for item in items)
        self.label = f"daily freeze of {day}"
        self.request_bytes = exchange.request_bytes
        steps = (_TIME_BYTES, _TIME_BYTES, *(5 * _REGISTER_BYTES for _ in self._groups))
        self.reply_bytes = sum(exchange.reply_bytes(size) for size in steps) + exchange.request_bytes * (len(steps) - 1)
        self.request()

    def _begin(self) -> None:
        self._which = 1
        self._tries = 0
        self._at_ms: int | None = None
        self._left = list(self._groups)
        self._found: list[Value] = []

    def request(self) -> bytes:
        self._begin()
        return self._ask_time()

    def length_of(self, received: bytes) -> int | None:
        return self._exchange.length_of(received)

    def decode(self, reply: bytes) -> list[Value] | Send:
        data = self._exchange.take(reply)
        if isinstance(data, Send):
            return data
        if self._at_ms is None:
            return self._take_time(data)
        self._take_registers(data, self._at_ms)
        return self._next() if self._left else self._found

    def halves(self) -> list["FreezeRead"]:
        return []

    def _ask_time(self) -> bytes:
        self._tries += 1
        return self._exchange.ask(f"050600{self._which:02X}", _TIME_BYTES)

    def _take_time(self, data: bytes) -> Send:
        """Go to the freeze of the day: as many further back as it is days earlier."""
        made = moment_of(data, "YMDhm")
        if made is None:
            raise bad(f"日冻结时间 {data[::-1].hex()} 无效", f"{data[::-1].hex()} is no time of a freeze")
        if made.date() == self._day:
            self._at_ms = self._wanted(_ms(made, self._zone))
            return self._next()
        self._which += (made.date() - self._day).days
        if self._tries == _TRIES or not 1 <= self._which <= MAX_FREEZES:
            raise MeterRefused(Text(f"表内没有 {self._day} 的日冻结", f"the meter has no daily freeze of {self._day}"))
        return Send(self._ask_time())

    def _wanted(self, at_ms: int) -> int:
        """A meter may be set to freeze at another hour than midnight."""
        if not self._within_ms[0] < at_ms < self._within_ms[1]:
            raise MeterRefused(
                Text(f"{self._day} 的日冻结不在缺口之内", f"its daily freeze of {self._day} is not in the gap")
            )
        return at_ms

    def _next(self) -> Send:
        return Send(self._exchange.ask(f"05060{self._left[0]}{self._which:02X}", None))

    def _take_registers(self, data: bytes, at_ms: int) -> None:
        parts = cut(data, _REGISTER_BYTES, EDITION_2007)
        for at, item in self._groups[self._left.pop(0)]:
            if at < len(parts):
                self._found.append(replace(item.value(parts[at], Quality.BACKFILLED), at_ms=at_ms))
