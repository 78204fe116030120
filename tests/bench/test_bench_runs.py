"""The measurements run, at their smallest size. How fast they are is for people to judge, on a quiet machine.

Slow: it takes longer than a unit test, and the benches are not in the wheel.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENTS = ("poll", "libmodbus", "rtu", "living", "codec", "outbox", "broker", "ingest", "derive")

pytestmark = pytest.mark.slow


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "bench/run.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_runs_and_gives_positive_figures(name: str, tmp_path: Path) -> None:
    done = run("--smallest", "--only", name, "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    missing = [row["missing"] for row in rows if "missing" in row]
    needs = {"broker": "/usr/sbin/mosquitto", "libmodbus": "/usr/include/modbus/modbus.h"}
    assert missing == [] or not Path(needs[name]).exists()
    for row in rows:
        if "missing" not in row:
            assert min(row["ours"] + row["limit"] + [row["of_limit"]]) > 0, row["name"]


def test_the_table_fits_and_says_what_machine_it_is_from() -> None:
    done = run("--smallest", "--only", "codec")
    assert max(cell_len(line) for line in done.stdout.splitlines()) <= 100
    assert "cores: " in done.stdout
    assert "fdatasync" in done.stdout
    assert "测量" in done.stdout


def test_an_unknown_measurement_is_refused_with_those_there_are() -> None:
    done = run("--only", "nothing")
    assert done.returncode == 2
    assert all(name in done.stderr for name in MEASUREMENTS)
