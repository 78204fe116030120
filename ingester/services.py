"""What the centre can be asked, by its running service or by a command that opens the stores itself: the same answer either way.

Each call takes and returns what JSON can hold; times are Unix milliseconds. A command uses `asking`: it asks the service
that runs, and opens the stores only where none does.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibration.effect import Register
from ingester.accounts import Accounts
from ingester.alerts import alert_json
from ingester.completeness import Completeness, MeterDay
from ingester.csv_files import CsvFile, rows_of
from ingester.derive import Deriver
from ingester.grid import Grid
from ingester.report import Question, Reporter
from ingester.seed import register_of, seed
from ingester.store.contract import RecordStore, SeriesStore
from ingester.store.duckdb_series import DuckdbSeries
from ingester.store.sqlite_records import SqliteRecords
from ingester.trace import Tracer
from ingester.wiring import accounts_of, grid_of, points_of
from link import control
from metering.errors import NotRunning, StoreFailed
from metering.text import Text
from settings.document import Document
from settings.ingester import IngesterSettings

Ask = Callable[[str, Mapping[str, Any]], Any]
"""Asks a call by its name, with its arguments."""


def control_socket(settings: IngesterSettings) -> Path:
    """Return where a running ingester answers: beside its series."""
    return settings.store.series.with_name("ingester.sock")


@dataclass
class Services:
    """The stores of a site and what is computed from them. Blocking: writes in the writer's Worker."""

    series: SeriesStore
    records: RecordStore
    accounts: Accounts
    grid: Grid
    instruments: Register
    site: str
    now_ms: Callable[[], int]
    bound: Mapping[str, str] = field(default_factory=dict)
    """The agent of each meter that is bound to one by configuration."""
    deriver: Deriver = field(init=False)
    reporter: Reporter = field(init=False)
    tracer: Tracer = field(init=False)
    completeness: Completeness = field(init=False)
    _records_version: int = field(init=False)

    def __post_init__(self) -> None:
        self.deriver = Deriver(self.accounts, self.series, self.instruments, self.grid)
        self.reporter = Reporter(self.accounts, self.series, self.deriver, self.grid, self.site)
        self.tracer = Tracer(self.accounts, self.series, self.deriver, self.grid)
        self.completeness = Completeness(self.series, self.grid, self.bound)
        self._records_version = -1

    @classmethod
    def open(cls, settings: IngesterSettings, document: Document, now_ms: Callable[[], int]) -> "Services":
        """Open the stores; put what of the seed is not in the records yet.

        Raises:
            StoreBusy: another process holds the series.
            StoreFailed: a store cannot be opened, or its folder cannot be made.
            SettingsFaults: the seed is wrong.
        """
        for path in (settings.store.series, settings.store.records):
            _make_folder(path.parent)
        grid = grid_of(settings)
        series = DuckdbSeries(settings.store.series)
        try:
            records = SqliteRecords(settings.store.records)
            seed(settings, document, records, now_ms(), grid.local(now_ms()).date())
        except BaseException:
            series.close()
            raise
        series.declare({name: str(point.unit) for name, point in points_of(settings).items()})
        accounts = accounts_of(settings, settings.factor_sets())
        bound = {name: meter.agent for name, meter in settings.meters.items() if meter.agent is not None}
        return cls(series, records, accounts, grid, register_of(records), settings.site.id, now_ms, bound)

    def close(self) -> None:
        self.series.close()
        self.records.close()

    def calls(self) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """Return the calls by their names."""
        return {**self.writing(), **self.reading()}

    def writing(self) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """Return the calls that write, for the writer's Worker."""
        return {"import": self.import_part, "derive": self.derive, "recompute": self.recompute}

    def reading(self) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        return {
            "report": self.report,
            "trace": self.trace,
            "alerts": self.alerts,
            "calibration_due": self.calibration_due,
        }

    def import_part(self, args: Mapping[str, Any]) -> dict[str, int]:
        """Append rows of a file (`CsvFile.parts`); return `{"new": rows}`."""
        readings, amounts = rows_of(args)
        new = self.series.import_rows(args["name"], args["sha256"], readings, amounts, self.now_ms())
        return {"new": new}

    def derive(self, _: Mapping[str, Any] | None = None) -> dict[str, int]:
        """Derive until nothing new is left; return `{"results": revisions}`."""
        results = 0
        while (found := self.derive_step()) is not None:
            results += found
        return {"results": results}

    def derive_step(self) -> int | None:
        """Do one bounded piece of deriving; return how many intervals changed, None when nothing is left."""
        version = self.records.version()
        if version != self._records_version:
            self.instruments = self.deriver.instruments = register_of(self.records)
            self.deriver.stale = True
            self._records_version = version
        results = self.deriver.step(self.now_ms())
        return None if results is None else len(results)

    def recompute(self, args: Mapping[str, Any]) -> dict[str, int]:
        """Derive [from, to) again; return `{"results": revisions}` of what changed."""
        start, end = self.grid.floor(int(args["from"])), self.grid.ceil(int(args["to"]))
        return {"results": len(self.deriver.recompute(start, end, self.now_ms()))}

    def report(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report of `from`, `to`, `by`, `source`, `as_of`, `include_open` (contracts.md section 5)."""
        question = Question(
            start_ms=args["from"],
            end_ms=args["to"],
            by=args.get("by", "day"),
            source=args.get("source"),
            as_of_ms=args.get("as_of"),
            include_open=bool(args.get("include_open", False)),
        )
        return self.reporter.report(question, self.now_ms())

    def trace(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return why the number of `source` at `at` is what it is."""
        return self.tracer.trace(args["source"], args["at"], self.now_ms())

    def alerts(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return alerts, newest first; `active`: not cleared, or cleared."""
        rows = self.records.alerts(args.get("active"), int(args.get("limit", 200)))
        return {"rows": [alert_json(alert) for alert in rows]}

    def slots(self, start_ms: int, end_ms: int, meter: str | None = None) -> list[MeterDay]:
        """Return what became of the slots of each meter and day in [start, end)."""
        return self.completeness.days(start_ms, end_ms, self.now_ms(), meter)

    def calibration_due(self, _: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return every instrument and its state today, the most urgent first."""
        today = self.grid.local(self.now_ms()).date()
        return {
            "rows": [
                {
                    "instrument": instrument.id,
                    "name": {"zh": instrument.name.text.zh, "en": instrument.name.text.en},
                    "serial_number": instrument.serial_number,
                    "meters": sorted({installation.meter for installation in instrument.installations}),
                    "state": state.state.value,
                    "due": state.due.isoformat() if state.due else None,
                    "days_left": state.days_left,
                    "certificate": state.certificate.number if state.certificate else None,
                    "text": {"zh": state.say("zh"), "en": state.say("en")},
                }
                for instrument, state in register_of(self.records).due(today)
            ]
        }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFailed(path=folder, reason=_no_folder(error.strerror or str(error))) from error


def _no_folder(reason: str) -> Text:
    return Text(
        f"无法建立文件夹（{reason}）。请建立它并让本用户可写，或改 ingester.yaml 的 store 一节",
        f"the folder cannot be made ({reason}). Make it, writable for this user, or change the section store of ingester.yaml",
    )


@contextmanager
def asking(settings: IngesterSettings, document: Document, now_ms: Callable[[], int]) -> Iterator[Ask]:
    """Give what answers calls: the running service, or the stores, opened here.

    Raises:
        StoreBusy: a process that does not answer holds the series.
    """
    socket = control_socket(settings)
    try:
        control.ask(socket, "ping", {})
    except NotRunning:
        services = Services.open(settings, document, now_ms)
        try:
            calls = services.calls()
            yield lambda call, args: json.loads(json.dumps(calls[call](args), allow_nan=False))
        finally:
            services.close()
    else:
        yield lambda call, args: control.ask(socket, call, args)


def import_file(ask: Ask, file: CsvFile) -> dict[str, Any]:
    """Import a file part by part and derive; return what became of it, for a person to read."""
    new = sum(ask("import", part)["new"] for part in file.parts())
    ask("derive", {})
    rows = len(file.readings) + len(file.amounts)
    return {"file": file.name, "rows": rows, "new": new, "known": rows - new, "marked": file.marked}
