"""From CSV files to tonnes by commands alone: no broker, no service, every digit."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SITE = """\
site: {id: works, timezone: Asia/Shanghai, interval: 15min}
store: {series: data/series.duckdb, records: data/records.db}
factors: [cn-ndrc-other, cn-grid-mee-nbs]
meters:
  main: {kind: electricity, points: {energy: {unit: kWh, role: counter, digits: 5, resolution: 0.01, max_rate: 900 kWh/h}}}
  gas: {kind: gas, points: {volume: {unit: m3, role: counter, digits: 8, resolution: 0.001, reference: 20 C}}}
  store: {kind: fuel, points: {burnt: {unit: t, role: quantity}}}
sources:
  boiler: {category: fuel_combustion, fuel: natural_gas, activity: gas/volume, factor_set: cn-ndrc-other}
  trucks: {category: fuel_combustion, fuel: diesel, activity: store/burnt, factor_set: cn-ndrc-other}
  grid: {category: purchased_electricity, activity: main/energy, factor_set: cn-grid-mee-nbs}
"""
SHANGHAI = timezone(timedelta(hours=8))
MIDNIGHT = datetime(2023, 3, 1, tzinfo=SHANGHAI)
QUARTERS = 96
DAY = ("--from", "2023-03-01", "--to", "2023-03-02")
EXACT = Context(prec=34)


def _readings(meter: str, point: str, values: list[Any], left_out: int | None = None) -> str:
    """Return a CSV file with one value each quarter of an hour from midnight on."""
    lines = [
        f"{meter},{point},{(MIDNIGHT + timedelta(minutes=15 * n)).isoformat()},{value}"
        for n, value in enumerate(values)
        if n != left_out
    ]
    return "\n".join(["meter,point,time,value", *lines, ""])


def _register(total: int, start: int = 0, modulus: int = 10**8) -> list[Decimal]:
    """Return a counter that counts `total` over the day, unevenly, each reading of at most 3 decimals."""
    steps = [Decimal(total) * n * n / (QUARTERS * QUARTERS) for n in range(QUARTERS + 1)]
    return [(start + step).quantize(Decimal("0.01")) % modulus for step in steps]


@pytest.fixture
def works(tmp_path: Path, whole: SimpleNamespace) -> Callable[..., Any]:
    """Write files and import them; return what `report` says of the day."""
    (tmp_path / "ingester.yaml").write_text(SITE)

    def do(*arguments: str, **files: str) -> Any:
        for name, content in files.items():
            (tmp_path / f"{name}.csv").write_text(content)
            whole.asked("ingester", "import", "--json", f"{name}.csv", cwd=tmp_path)
        return whole.asked("report", "--format", "json", *DAY, *arguments, cwd=tmp_path)

    return do


def _row(report: Any, source: str) -> Any:
    (row,) = [row for row in report["rows"] if row["source"] == source]
    return row


def test_csv_files_give_the_products_of_the_factor_tables_to_every_digit(works: Callable[..., Any]) -> None:
    report = works(
        power=_readings("main", "energy", _register(1000, 99_600, 100_000)),
        gas=_readings("gas", "volume", _register(10_000)),
        tickets="meter,point,from,to,value\nstore,burnt,2023-03-01T00:00:00+08:00,2023-03-02T00:00:00+08:00,1\n",
    )
    carbon = Decimal("43.33") * Decimal("0.02020") * Decimal("0.98") * 44
    assert _row(report, "boiler")["emission"] == {"value": "21.62188809", "unit": "tCO2"}
    assert _row(report, "trucks")["emission"]["value"] == f"{EXACT.divide(carbon, Decimal(12)):f}"
    assert _row(report, "grid")["emission"]["value"] == "0.5306"
    assert [factor["row"] for factor in _row(report, "grid")["factors"]] == ["national-2023"]
    assert _row(report, "grid")["activity"] == {"value": "1000", "unit": "kWh"}
    assert "rollover" in _row(report, "grid")["flags"]
    assert all(row["quality"]["missing"] == 0 for row in report["rows"])


def test_importing_the_same_file_twice_changes_nothing(
    works: Callable[..., Any], whole: SimpleNamespace, tmp_path: Path
) -> None:
    files = {
        "gas": _readings("gas", "volume", _register(10_000)),
        "tickets": "meter,point,from,to,value\nstore,burnt,2023-03-01T00:00:00+08:00,2023-03-02T00:00:00+08:00,2.5\n",
    }
    first = works("--by", "interval", **files)
    (tmp_path / "copy.csv").write_text(files["gas"] + "\n")
    again = whole.asked("ingester", "import", "--json", "gas.csv", "tickets.csv", "copy.csv", cwd=tmp_path)
    assert [(file["new"], file["known"]) for file in again] == [(0, 97), (0, 1), (0, 97)]
    second = works("--by", "interval")
    assert second["rows"] == first["rows"]
    assert second["totals"] == first["totals"]


def test_intervals_hours_days_and_months_add_up_to_the_same(works: Callable[..., Any]) -> None:
    works(
        power=_readings("main", "energy", _register(1000, 99_600, 100_000)),
        gas=_readings("gas", "volume", _register(10_000)),
    )
    sums = {by: _sums(works("--by", by)) for by in ("interval", "hour", "day", "month")}
    assert sums["interval"]["count"] == 2 * QUARTERS
    assert {by: (found["grid"], found["gas_m3"]) for by, found in sums.items()} == dict.fromkeys(
        sums, ((Decimal(1000), Decimal("0.5306")), Decimal(10_000))
    )
    assert all(abs(found["gas_t"] - Decimal("21.62188809")) < Decimal("1e-28") for found in sums.values())


def _sums(report: Any) -> dict[str, Any]:
    def total(source: str, field: str) -> Decimal:
        return sum((Decimal(row[field]["value"]) for row in report["rows"] if row["source"] == source), Decimal(0))

    rows = [row for row in report["rows"] if row["activity"]["value"] is not None]
    return {
        "grid": (total("grid", "activity"), total("grid", "emission")),
        "gas_m3": total("boiler", "activity"),
        "gas_t": total("boiler", "emission"),
        "count": len(rows),
    }


def test_a_late_reading_makes_a_revision_and_as_of_gives_the_old_figure(
    works: Callable[..., Any], whole: SimpleNamespace, tmp_path: Path
) -> None:
    values = _register(1000)
    before = works("--by", "interval", "--source", "grid", early=_readings("main", "energy", values, left_out=50))
    known_at = datetime.now(UTC).isoformat()
    late = f"meter,point,time,value\nmain,energy,{(MIDNIGHT + timedelta(minutes=15 * 50)).isoformat()},{values[50]}\n"
    after = works("--by", "interval", "--source", "grid", late=late)
    as_of = works("--by", "interval", "--source", "grid", "--as-of", known_at)
    assert [row["revision"] for row in before["rows"]] == [1] * QUARTERS
    assert [n for n, row in enumerate(after["rows"]) if row["revision"] == 2] == [49, 50]
    assert [n for n in range(QUARTERS) if after["rows"][n]["emission"] != before["rows"][n]["emission"]] == [49, 50]
    assert as_of["rows"] == before["rows"]
    said = whole.command("report", *DAY, "--source", "grid", cwd=tmp_path).stdout
    then = whole.command("report", *DAY, "--source", "grid", "--as-of", known_at, cwd=tmp_path).stdout
    assert "revision" in said
    assert "as known at" not in said
    assert "revision" not in then
    assert "as known at" in then
    assert "of the source grid only" in then
    assert after["totals"] == before["totals"], "the late reading moves energy between intervals and adds none"


def test_the_trace_walks_a_figure_back_to_factor_rows_and_register_values(
    works: Callable[..., Any], whole: SimpleNamespace, tmp_path: Path
) -> None:
    works(gas=_readings("gas", "volume", _register(10_000)))
    at = (MIDNIGHT + timedelta(hours=12)).isoformat()
    found = whole.asked("trace", "--json", "--source", "boiler", "--at", at, cwd=tmp_path)
    (point,) = found["points"]
    (first,), (last,) = point["register_at_start"], point["register_at_end"]
    assert Decimal(found["activity"]["value"]) == Decimal(last["value"]) - Decimal(first["value"])
    assert [(factor["set"], factor["row"]) for factor in found["factors"]] == [("cn-ndrc-other", "natural-gas")] * 3
    said = whole.command("--lang", "en", "trace", "--source", "boiler", "--at", at, cwd=tmp_path)
    assert said.returncode == 0
    assert found["emission"]["value"] in said.stdout
