"""The demo as a newcomer has it: one command, its own files, the burst of gas, Ctrl-C, and a second start on the same data."""

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from simulators.control import ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LONGEST_INTERVAL_S = 10.5
METERS = ["gas-2", "gas-main", "line-1", "main-power", "oil-burner", "workshop-power"]
SOURCES = ["boiler-1", "burner", "grid"]
COUNTERS = ["gas-main/volume", "line-1/tonnes", "main-power/energy_import", "oil-burner/mass"]

MODULUS = {"gas-main/volume": 1e6, "main-power/energy_import": 1e6}
"""The earlier days may have seen a rollover."""


@pytest.fixture
def seen(once: Callable[..., Any], whole: SimpleNamespace, start: Callable[..., Any]) -> Any:
    """What two runs of the demo on the same data showed."""
    return once("newcomer", lambda folder: _two_runs(folder, whole, start))


def _two_runs(folder: Path, whole: SimpleNamespace, start: Callable[..., Any]) -> dict[str, Any]:
    data, port = folder / "data", whole.free_port()
    arguments = (folder / "first.txt", "demo", "--for", 300, "--data", data, "--port", port)
    first = _first_run(start(*arguments), data, port, whole)
    ended = time.monotonic()
    after = _accounts(data, whole, first["closed"])
    time.sleep(max(0.0, LONGEST_INTERVAL_S - (time.monotonic() - ended)))  # so that every meter has missed a slot
    stopped_ms = time.time() * 1000
    second = _second_run(start(folder / "second.txt", *arguments[1:]), data, port, whole)
    return {"first": first, "after": after, "second": second, "stopped_ms": stopped_ms, **_stored(data)}


def _first_run(demo: Any, data: Path, port: int, whole: SimpleNamespace) -> dict[str, Any]:
    began = time.monotonic()
    start = whole.until(lambda: _tonnes(port, whole), 90, lambda: demo.text)
    live = whole.until(lambda: _alive(port, whole, start), 90, lambda: f"{whole.get(port, 'meters')}")
    took_s = time.monotonic() - began
    asked_ms = time.time() * 1000
    ask(data, {"fault": "burst", "meter": "gas-main", "for": 240, "factor": 3})
    alert = whole.until(lambda: (whole.get(port, "alerts?state=active") or {"rows": []})["rows"], 180)[0]
    alert_after_s = time.time() - asked_ms / 1000
    closed = (datetime.now(UTC) - timedelta(minutes=3)).isoformat(timespec="minutes")
    beside = _accounts(data, whole, closed)
    due = whole.get(port, "calibration/due")["rows"]
    pages = {lang: whole.page(port, lang) for lang in ("zh", "en")}
    family = whole.family(demo)
    began = time.monotonic()
    os.killpg(demo.popen.pid, signal.SIGINT)  # as a terminal: the whole group hears it
    code = demo.popen.wait(30)
    return {
        "took_s": took_s, "live": live, "alert": alert, "burst_ms": asked_ms, "alert_after_s": alert_after_s, "due": due, "pages": pages,
        "closed": closed, "beside": beside, "family": len(family), "stop_s": time.monotonic() - began, "code": code,
        "left": whole.left(family, data), "said": demo.text,
    }  # fmt: skip


def _second_run(demo: Any, data: Path, port: int, whole: SimpleNamespace) -> dict[str, Any]:
    began_ms = time.time() * 1000

    def all_read_again() -> Any:
        now = whole.get(port, "meters")
        rows = now["rows"] if now else []
        fresh = [row for row in rows if row["points"] and _ms(row["points"][0]["time"]) > began_ms]
        return rows if len(fresh) == len(METERS) else None

    whole.until(all_read_again, 90, lambda: demo.text)
    gaps = whole.until(lambda: _ended_gaps(port, whole), 30, lambda: f"{whole.get(port, 'gaps')}")
    family = whole.family(demo)
    stop_s = demo.interrupt()
    return {"gaps": gaps, "stop_s": stop_s, "left": whole.left(family, data), "said": demo.text, "began_ms": began_ms}


def _tonnes(port: int, whole: SimpleNamespace) -> Any:
    found = whole.get(port, "sources")
    known = {row["source"]: row["emission_today"]["value"] for row in found["rows"]} if found else {}
    return known if all(known.get(source) for source in SOURCES) else None


def _alive(port: int, whole: SimpleNamespace, start: dict[str, str]) -> Any:
    """Return what is shown once every meter is read, the tonnes have risen and the intensity is known."""
    meters, tonnes = whole.get(port, "meters"), _tonnes(port, whole)
    emissions = whole.get(port, "emissions?by=day")
    if not (meters and tonnes and emissions):
        return None
    ages = {row["meter"]: min(_age_s(point) for point in row["points"]) for row in meters["rows"] if row["points"]}
    young = sorted(meter for meter, age_s in ages.items() if age_s < 30)
    rising = [source for source in SOURCES if Decimal(tonnes[source]) > Decimal(start[source])]
    intensity = emissions["totals"]["intensity"].get("tonnes", {}).get("value")
    found = {"young": young, "rising": rising, "intensity": intensity, "tonnes": tonnes}
    return found if young == METERS and rising == SOURCES and intensity else None


def _ended_gaps(port: int, whole: SimpleNamespace) -> Any:
    found = whole.get(port, "gaps")
    ended = [gap for gap in found["rows"] if gap["end"]] if found else []
    return ended if {gap["meter"] for gap in ended if gap["cause"] == "stopped"} >= set(METERS) else None


def _accounts(data: Path, whole: SimpleNamespace, closed: str) -> dict[str, Any]:
    """Return what report, trace and import answer, of time that is closed."""
    config = data / "ingester.yaml"
    begin = (datetime.fromisoformat(closed) - timedelta(hours=2)).isoformat()
    report = whole.asked(
        "report", "--format", "json", "--by", "interval", "--from", begin, "--to", closed, "--config", config
    )
    trace = whole.asked("trace", "--json", "--source", "boiler-1", "--at", begin, "--config", config)
    known = whole.asked("ingester", "import", "--json", "--simulated", data / "earlier-days.csv", "--config", config)
    return {"report": {key: value for key, value in report.items() if key != "as_of"}, "trace": trace, "import": known}


def _stored(data: Path) -> dict[str, Any]:
    with duckdb.connect(str(data / "ingester" / "series.duckdb"), read_only=True) as store:
        series = {
            counter: store.execute(
                "SELECT at_ms, x FROM readings JOIN points ON id = point WHERE name = ? AND x IS NOT NULL ORDER BY at_ms",
                [counter],
            ).fetchall()
            for counter in COUNTERS
        }
        aside = store.execute("SELECT reason FROM set_aside").fetchall()
    return {"series": series, "set_aside": aside}


def _ms(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() * 1000


def _age_s(point: dict[str, Any]) -> float:
    return datetime.now(UTC).timestamp() - _ms(point["time"]) / 1000


def test_all_meters_are_live_tonnes_rise_and_the_intensity_is_known_within_a_minute(seen: Any) -> None:
    assert seen["first"]["took_s"] < 60
    assert seen["first"]["live"]["young"] == METERS
    assert all(Decimal(tonnes) > 0 for tonnes in seen["first"]["live"]["tonnes"].values())
    assert Decimal(seen["first"]["live"]["intensity"]) > 0


@pytest.mark.parametrize("run", ["first", "second"])
def test_exactly_one_address_is_printed(seen: Any, run: str) -> None:
    assert seen[run]["said"].count("http") == 1
    assert seen[run]["said"].count("http://127.0.0.1:") == 1
    assert "Traceback" not in seen[run]["said"]


@pytest.mark.parametrize(("lang", "name"), [("zh", "1号锅炉"), ("en", "Boiler 1")])
def test_the_page_is_there_in_both_languages(seen: Any, lang: str, name: str) -> None:
    assert name in seen["first"]["pages"][lang]


@pytest.mark.parametrize("run", ["first", "second"])
def test_no_child_had_to_be_started_again(seen: Any, run: str) -> None:
    assert "starting it again" not in seen[run]["said"]


def test_a_burst_of_gas_raises_an_alert_that_says_what_since_when_and_how_much_co2(seen: Any) -> None:
    alert, burst_ms = seen["first"]["alert"], seen["first"]["burst_ms"]
    assert seen["first"]["alert_after_s"] < 180
    assert (alert["rule"], alert["meter"], alert["state"]) == ("gas-high", "gas-main", "active")
    assert -60_000 <= _ms(alert["since"]) - burst_ms <= 120_000, "since when"
    assert Decimal(alert["values"]["kg_co2"]) > 0
    for language in ("zh", "en"):
        assert "gas-main/volume" in alert["text"][language]
        assert alert["values"]["rate"] in alert["text"][language]
        assert alert["values"]["expected"] in alert["text"][language]


def test_one_instrument_is_overdue_one_is_due_soon_and_the_figures_that_rest_on_it_say_so(seen: Any) -> None:
    states = sorted(row["state"] for row in seen["first"]["due"])
    assert (states.count("overdue"), states.count("due_soon")) == (1, 1)
    overdue = next(row for row in seen["first"]["due"] if row["state"] == "overdue")
    assert overdue["instrument"] == "gas-meter-1"
    flagged = {
        row["source"] for row in seen["first"]["beside"]["report"]["rows"] if "overdue_instrument" in row["flags"]
    }
    assert flagged == {"boiler-1"}


@pytest.mark.parametrize("run", ["first", "second"])
def test_ctrl_c_ends_everything_within_five_seconds_and_leaves_no_process(seen: Any, run: str) -> None:
    assert seen[run]["stop_s"] < 5
    assert seen[run]["left"] == []


def test_parent_and_four_children_were_there_to_be_stopped(seen: Any) -> None:
    assert seen["first"]["family"] == 5
    assert seen["first"]["code"] == 0


def test_report_and_trace_say_the_same_beside_the_running_demo_and_after_it(seen: Any) -> None:
    beside, after = seen["first"]["beside"], seen["after"]
    assert beside["report"]["rows"], "there is something to compare"
    assert beside["report"] == after["report"]
    assert beside["trace"] == after["trace"]


def test_importing_the_earlier_days_again_beside_the_demo_and_after_it_changes_nothing(seen: Any) -> None:
    beside, after = seen["first"]["beside"]["import"], seen["after"]["import"]
    assert beside == after
    assert [(file["new"], file["known"]) for file in beside] == [(0, beside[0]["rows"])]


def test_the_stop_is_the_only_gap_beside_a_slow_start_and_says_its_cause(seen: Any) -> None:
    told = seen["second"]["gaps"]
    gaps = [gap for gap in told if gap["cause"] == "stopped"]
    assert sorted(gap["meter"] for gap in gaps) == METERS, told
    # A line that starts listens first, and a busy machine may be late: a slot or two, and each says so.
    rest = [gap for gap in told if gap["cause"] != "stopped"]
    assert all(gap["cause"] in ("starting", "overrun") and gap["missed"] <= 3 for gap in rest), rest
    for gap in gaps:
        assert seen["first"]["burst_ms"] < _ms(gap["start"]) < seen["stopped_ms"] + 15_000
        assert _ms(gap["end"]) > seen["second"]["began_ms"]


def test_counters_continue_over_the_stop(seen: Any) -> None:
    for counter, readings in seen["series"].items():
        values = [value for _, value in readings]
        steps = [(later - earlier) % MODULUS.get(counter, 1e12) for earlier, later in pairwise(values)]
        assert 0 <= max(steps) < 1000, counter
        assert readings[-1][0] > seen["second"]["began_ms"]


def test_nothing_was_set_aside(seen: Any) -> None:
    assert seen["set_aside"] == []
