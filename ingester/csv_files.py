"""Readings and amounts out of CSV files: imported history, invoices, weighbridge tickets.

    meter,point,time,value[,quality]      readings; time in ISO 8601 with offset
    meter,point,from,to,value             amounts of [from, to)

Promises
    * Which of the two a file is, its header says. UTF-8 with or without BOM, any line ending, fields apart by commas.
    * Nothing of a file with a wrong line is given: all its faults are, each with file:line:column and what to do.
    * Values are as written: an amount is a Decimal, a reading the nearest double.
    * A row that could never count (of the wrong kind for its point, at a time that cannot be) is a fault. Readings have one
      value a time; amounts of one stretch are tickets that add up, and travel in one part.
"""

import csv
import difflib
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ingester.store.contract import Amount, ImportedReading
from metering.errors import SettingsError, SettingsFaults
from metering.quantity import plausible
from metering.reading import Quality, quality_named
from metering.text import Text

READINGS = ("meter", "point", "time", "value", "quality")
AMOUNTS = ("meter", "point", "from", "to", "value")
MOST_FAULTS = 100
"""Faults told of one file; a file with more is wrong as a whole."""
PART_ROWS = 50_000
"""Rows of one request to a running service: about 4 MB."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
AHEAD = timedelta(days=1)
"""How far in the future a row may lie."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class CsvFile:
    """What a file holds; either readings or amounts."""

    name: str
    sha256: str
    readings: Sequence[ImportedReading]
    amounts: Sequence[Amount]

    @property
    def marked(self) -> dict[str, int]:
        """How many readings are stored and do not count, by quality."""
        return dict(Counter(row.quality.text.en for row in self.readings if not row.quality.counts))

    def parts(self, part_rows: int = PART_ROWS) -> Iterator[dict[str, Any]]:
        """Yield the rows as JSON-able parts, for a running service to import one after another."""
        readings = [[r.point, r.measured_ms, r.value, int(r.quality), r.simulated] for r in self.readings]
        amounts = sorted([a.point, a.from_ms, a.to_ms, str(a.value), a.simulated] for a in self.amounts)
        whole = [("readings", rows) for rows in _cut(readings, 2, part_rows)] + [
            ("amounts", rows) for rows in _cut(amounts, 3, part_rows)
        ]
        for number, (kind, rows) in enumerate(whole):
            part = {"name": self.name, "sha256": f"{self.sha256}:{number}", "readings": [], "amounts": []}
            yield {**part, kind: rows}


def _cut(rows: list[list[Any]], key: int, part_rows: int) -> Iterator[list[list[Any]]]:
    """Cut rows into parts; rows that agree in their first `key` fields and follow each other stay together."""
    begin = 0
    while begin < len(rows):
        end = min(begin + part_rows, len(rows))
        while end < len(rows) and rows[end][:key] == rows[end - 1][:key]:
            end += 1
        yield rows[begin:end]
        begin = end


def rows_of(part: Mapping[str, Any]) -> tuple[list[ImportedReading], list[Amount]]:
    """Return the rows of a part, as they were before `parts`."""
    readings = [ImportedReading(p, ms, x, Quality(q), flag) for p, ms, x, q, flag in part["readings"]]
    amounts = [Amount(p, start, end, Decimal(x), flag) for p, start, end, x, flag in part["amounts"]]
    return readings, amounts


def read_csv(
    path: Path, points: Collection[str] | Mapping[str, str], simulated: bool = False, now_ms: int | None = None
) -> CsvFile:
    """Return what a file holds. `points` are the configured ones (`meter/point`), with their roles where it is a mapping.

    Raises:
        SettingsFaults: everything that is wrong in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsFaults([SettingsError(str(path), _UNREADABLE, reason=error.strerror)]) from error
    return parse_csv(str(path), content, points, simulated, now_ms)


def parse_csv(
    name: str,
    content: bytes,
    points: Collection[str] | Mapping[str, str],
    simulated: bool = False,
    now_ms: int | None = None,
) -> CsvFile:
    """Return what the bytes of a file hold; `name` is how its faults call it. Without `now_ms` no time is too late.

    Raises:
        SettingsFaults: everything that is wrong in it.
    """
    lines = _lines(name, content)
    header = [cell.strip().lower() for cell in next(lines, (1, []))[1]]
    columns = _columns(name, header)
    roles = points if isinstance(points, Mapping) else {}
    latest_ms = None if now_ms is None else now_ms + AHEAD // _MS
    table = _Table(name, columns, sorted(points), simulated, roles, latest_ms)
    read = table.amount if columns == AMOUNTS else table.reading
    found = [read(line, row) for line, row in lines if any(cell.strip() for cell in row)]
    if table.faults:
        raise SettingsFaults(table.faults[:MOST_FAULTS])
    return CsvFile(
        Path(name).name,
        hashlib.sha256(content).hexdigest(),
        [row for row in found if isinstance(row, ImportedReading)],
        [row for row in found if isinstance(row, Amount)],
    )


def _lines(name: str, content: bytes) -> Iterator[tuple[int, list[str]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsFaults([SettingsError(f"{name}:{line}:1", _NOT_UTF8, _SAVE_AS_UTF8)]) from error
    rows = csv.reader(text.splitlines(), strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise SettingsFaults([SettingsError(f"{name}:{rows.line_num}:1", _BROKEN, reason=error)]) from error
        if row is None:
            return
        yield rows.line_num, row


def _columns(name: str, header: Sequence[str]) -> tuple[str, ...]:
    """Return which of the two tables a header names."""
    for columns in (READINGS, READINGS[:4], AMOUNTS):
        if tuple(header) == columns:
            return columns
    hint = _COMMAS if len(header) == 1 and any(mark in header[0] for mark in ";\t") else _HEADERS
    raise SettingsFaults([SettingsError(f"{name}:1:1", _NO_HEADER, hint, header=",".join(header)[:80])])


class _Table:
    """Reads rows of one header, and collects what is wrong."""

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        points: Sequence[str],
        simulated: bool,
        roles: Mapping[str, str],
        latest_ms: int | None,
    ) -> None:
        self._name = name
        self._columns = columns
        self._points = points
        self._simulated = simulated
        self._roles = roles
        self._latest_ms = latest_ms
        self.faults: list[SettingsError] = []

    def reading(self, line: int, row: Sequence[str]) -> ImportedReading | None:
        cells = self._cells(line, row)
        if cells is None:
            return None
        point = self._point(line, cells)
        at_ms = self._time(line, cells, "time")
        quality = self._cell(line, cells, "quality", _quality) if cells.get("quality") else Quality.GOOD
        value = self._cell(line, cells, "value", _reading) if cells["value"] else None
        if point is None or at_ms is None or quality is None:
            return None
        if not cells["value"] and quality.counts:
            self._fault(line, "value", _NO_VALUE, None)
        return ImportedReading(point, at_ms, value, quality, self._simulated)

    def amount(self, line: int, row: Sequence[str]) -> Amount | None:
        cells = self._cells(line, row)
        if cells is None:
            return None
        point = self._point(line, cells)
        start = self._time(line, cells, "from")
        end = self._time(line, cells, "to")
        value = self._cell(line, cells, "value", _decimal)
        if point is None or start is None or end is None or value is None:
            return None
        if end <= start:
            self._fault(line, "to", _BACKWARDS, None)
            return None
        return Amount(point, start, end, value, self._simulated)

    def _cells(self, line: int, row: Sequence[str]) -> dict[str, str] | None:
        if len(row) != len(self._columns):
            self._fault(line, self._columns[0], _FIELDS, None, given=len(row), wanted=len(self._columns))
            return None
        return {name: cell.strip() for name, cell in zip(self._columns, row, strict=True)}

    def _point(self, line: int, cells: Mapping[str, str]) -> str | None:
        point = f"{cells['meter']}/{cells['point']}"
        if point in self._points:
            role = self._roles.get(point)
            if role is None or (role == "quantity") == (tuple(self._columns) == AMOUNTS):
                return point
            problem, remedy = (_TAKES_AMOUNTS, _AS_AMOUNTS) if role == "quantity" else (_TAKES_READINGS, _AS_READINGS)
            self._fault(line, "point", problem, remedy, given=point, role=role)
            return None
        meters = {known.partition("/")[0] for known in self._points}
        column, known = ("point", self._points) if cells["meter"] in meters else ("meter", sorted(meters))
        near = difflib.get_close_matches(point if column == "point" else cells["meter"], known, n=1, cutoff=0.0)
        self._fault(line, column, _UNKNOWN, _NEAREST, given=point, near=near[0] if near else "")
        return None

    def _cell(self, line: int, cells: Mapping[str, str], column: str, read: Callable[[str], Any]) -> Any:
        try:
            return read(cells[column])
        except ValueError:
            problem, remedy = _CELLS[column]
            self._fault(line, column, problem, remedy, given=cells[column][:60])
            return None

    def _time(self, line: int, cells: Mapping[str, str], column: str) -> int | None:
        at_ms: int | None = self._cell(line, cells, column, _time)
        if at_ms is None:
            return None
        if at_ms < (EARLIEST - _EPOCH) // _MS:
            self._fault(line, column, _TOO_EARLY, _CHECK_YEAR, given=cells[column])
            return None
        if self._latest_ms is not None and at_ms > self._latest_ms:
            self._fault(line, column, _TOO_LATE, _CHECK_YEAR, given=cells[column])
            return None
        return at_ms

    def _fault(self, line: int, column: str, problem: Text, remedy: Text | None, **values: object) -> None:
        place = f"{self._name}:{line}:{column}"
        self.faults.append(SettingsError(place, problem, remedy, **values))


def _time(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return (moment - _EPOCH) // _MS


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(text) from error
    if not plausible(value) or "_" in text:
        raise ValueError(text)
    return value


def _reading(text: str) -> float:
    value = float(_decimal(text))
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _quality(text: str) -> Quality:
    return Quality(int(text)) if text.isdecimal() else quality_named(text)


_UNREADABLE = Text("无法读取：{reason}", "cannot be read: {reason}")
_NOT_UTF8 = Text("不是 UTF-8 编码", "it is not UTF-8")
_SAVE_AS_UTF8 = Text("请在表格软件中另存为“CSV UTF-8”", "Save it as 'CSV UTF-8' in the spreadsheet program")
_BROKEN = Text("引号不成对：{reason}", "quotes do not match: {reason}")
_NO_HEADER = Text("首行 {header!r} 不是所要的表头", "the first line {header!r} is not a header of ours")
_HEADERS = Text(
    "应为 meter,point,time,value[,quality] 或 meter,point,from,to,value",
    "It should be meter,point,time,value[,quality] or meter,point,from,to,value",
)
_COMMAS = Text("各列请用英文逗号分隔", "Separate the columns by commas")
_FIELDS = Text("有 {given} 列，应为 {wanted} 列", "{given} fields instead of {wanted}")
_UNKNOWN = Text("没有配置测点 {given}", "point {given} is not configured")
_NEAREST = Text("最接近的是 {near}", "The nearest is {near}")
_NO_VALUE = Text("没有值，质量却不是坏值或超时", "there is no value, and the quality does not say why")
_BACKWARDS = Text("to 必须晚于 from", "to must be later than from")
_TAKES_AMOUNTS = Text(
    "测点 {given} 的角色是 {role}，读数不会被计入", "point {given} is a {role}: a reading of it would never count"
)
_AS_AMOUNTS = Text("请用表头 meter,point,from,to,value", "Write it under the header meter,point,from,to,value")
_TAKES_READINGS = Text(
    "测点 {given} 的角色是 {role}，数量不会被计入", "point {given} is a {role}: an amount of it would never count"
)
_AS_READINGS = Text(
    "请用表头 meter,point,time,value[,quality]", "Write it under the header meter,point,time,value[,quality]"
)
_TOO_EARLY = Text("{given} 早于 2000 年", "{given} is before the year 2000")
_TOO_LATE = Text("{given} 在未来一天以后", "{given} is more than a day in the future")
_CHECK_YEAR = Text("请检查年份", "Check the year")
_BAD_TIME = Text("{given!r} 不是带时区的 ISO 8601 时间", "{given!r} is no ISO 8601 time with offset")
_TIME_REMEDY = Text("应如 2026-11-23T08:00:00+08:00", "Write it like 2026-11-23T08:00:00+08:00")
_BAD_VALUE = Text("{given!r} 不是数", "{given!r} is not a number")
_VALUE_REMEDY = Text("应如 1234.5 或 1.2345e3，不带千分位", "Write it like 1234.5 or 1.2345e3, without separators")
_BAD_QUALITY = Text("{given!r} 不是质量标志", "{given!r} is no quality")
_QUALITY_REMEDY = Text(
    "可用：{names}".format(names=", ".join(quality.text.en for quality in Quality)),
    "One of: {names}".format(names=", ".join(quality.text.en for quality in Quality)),
)
_CELLS = {
    "time": (_BAD_TIME, _TIME_REMEDY), "from": (_BAD_TIME, _TIME_REMEDY), "to": (_BAD_TIME, _TIME_REMEDY),
    "value": (_BAD_VALUE, _VALUE_REMEDY), "quality": (_BAD_QUALITY, _QUALITY_REMEDY),
}  # fmt: skip
