"""Broker, ingester and agent are killed with SIGKILL while they work; what is stored is compared with what was served.

What can be proven, and is:
    * Each batch that ever stood in the agent's outbox is in the store once, byte for byte, and its readings with it.
    * Each reading in the store was served by the simulators, with this value, at this time, and each serving is used once:
      one that was polled as an answer, one that was backfilled as history.
    * Each value served is in the store, but for the one meter of each line that was just being polled when the agent (or the
      plant, at the end) ended. A poll is all requests of a meter's slot, and is noted when the last is answered; where the
      kill came between an answer and the note of it, no test from outside can tell.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from ruamel.yaml import YAML

from metering.reading import Quality
from metering.wire import Gap, decode_batch, digest, unpack
from settings.places import config_dir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

KILLED = ["broker", "ingester", "agent", "agent"]
CALM_S = 4.0
"""Between two kills."""
UNDER_WAY_MS = 1500
"""A request is answered within this time."""
INTERVALS = {"workshop-power": "2 s", "main-power": "500 ms"}
LINES = {
    "main-power": "panel",
    "gas-main": "rtu-1",
    "gas-2": "rtu-1",
    "workshop-power": "dlt-1",
    "oil-burner": "plc-1",
    "line-1": "plc-1",
}


@pytest.fixture
def story(once: Callable[..., Any], whole: SimpleNamespace, start: Callable[..., Any]) -> Any:
    """What was served, polled, sent and stored in one run with its kills."""
    return once("kills", lambda folder: _run(folder, whole, start))


def _run(folder: Path, whole: SimpleNamespace, start: Callable[..., Any]) -> dict[str, Any]:
    site = _Site(folder, whole, start)
    site.start("simulators")
    whole.until((folder / "plant.json").exists, 20, lambda: site.words("simulators"))
    for name in ("broker", "ingester", "agent"):
        site.start(name)
    whole.until(lambda: site.meters_read() == len(LINES), 40, lambda: site.words("agent"))
    cuts_ms = []
    for name in KILLED:
        time.sleep(CALM_S)
        cut_ms = site.kill(name)
        if name == "agent":
            cuts_ms.append(cut_ms)
        time.sleep(0.5)
        site.start(name)
    time.sleep(CALM_S)
    cuts_ms.append(time.time() * 1000)
    site.stop("simulators")
    time.sleep(1.5)  # the last flush of the agent
    whole.until(lambda: site.status().get("unreceipted") == 0, 60, lambda: f"not drained: {site.status()}")
    for name in ("agent", "ingester", "broker"):
        site.stop(name)
    words = {name: site.words(name) for name in ("simulators", "broker", "ingester", "agent")}
    return {"cuts_ms": cuts_ms, "served": _served(folder), **_outbox(folder), **_stored(folder), "words": words}


class _Site:
    """Four processes of ours in one folder, on the demo's files with shorter intervals."""

    def __init__(self, folder: Path, whole: SimpleNamespace, start: Callable[..., Any]) -> None:
        self._folder, self._whole, self._start = folder, whole, start
        self._running: dict[str, Any] = {}
        ports = {name: whole.free_port() for name in ("broker", "panel", "plc-1", "page")}
        self._write("plant.yaml", lambda plant: _short_plant(plant, ports))
        self._write("agent.yaml", lambda agent: _short_agent(agent, ports, folder))
        self._write("ingester.yaml", lambda ingester: _short_ingester(ingester, ports))
        self._commands = {
            "simulators": ("simulate", folder / "plant.yaml", "--data", folder),
            "broker": ("demo-broker", ports["broker"]),
            "ingester": ("ingester", "run", "--config", folder / "ingester.yaml"),
            "agent": ("agent", "run", "--config", folder / "agent.yaml"),
        }

    def _write(self, name: str, change: Callable[[Any], None]) -> None:
        yaml = YAML()
        document = yaml.load((config_dir() / "demo" / name).read_text())
        change(document)
        with (self._folder / name).open("w") as file:
            yaml.dump(document, file)

    def start(self, name: str) -> None:
        self._running[name] = self._start(self._folder / f"{name}.log", *self._commands[name])

    def kill(self, name: str) -> float:
        """End it as the kernel would; return when, Unix ms."""
        self._running[name].kill()
        return time.time() * 1000

    def stop(self, name: str) -> None:
        assert self._running[name].interrupt() < 5
        assert self._running[name].popen.returncode == 0

    def status(self) -> dict[str, Any]:
        said = self._whole.command("agent", "status", "--json", "--config", self._folder / "agent.yaml").stdout
        return dict(json.loads(said)) if said else {}

    def meters_read(self) -> int:
        return sum(meter["read"] > 0 for meter in self.status().get("meters", {}).values())

    def words(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()


def _short_plant(plant: Any, ports: dict[str, int]) -> None:
    plant["served_log"] = "served.jsonl"
    del plant["faults"]
    for line in ("panel", "plc-1"):
        plant["lines"][line]["port"] = ports[line]


def _short_agent(agent: Any, ports: dict[str, int], folder: Path) -> None:
    agent["mqtt"]["url"] = f"mqtt://127.0.0.1:{ports['broker']}"
    lines = agent["lines"]
    lines["panel"]["tcp"] = f"127.0.0.1:{ports['panel']}"
    lines["plc-1"]["url"] = f"opc.tcp://127.0.0.1:{ports['plc-1']}/tanbiao/"
    for name in ("rtu-1", "dlt-1"):
        lines[name]["serial"] = str(folder / "lines" / name)
    for name, meter in agent["meters"].items():
        meter["interval"] = INTERVALS.get(name, "1 s")


def _short_ingester(ingester: Any, ports: dict[str, int]) -> None:
    ingester["mqtt"]["url"] = f"mqtt://127.0.0.1:{ports['broker']}"
    ingester["page"]["port"] = ports["page"]
    del ingester["seed"]


def _served(folder: Path) -> list[tuple[str, int, float, bool]]:
    """Return point, time and value of each serving, and whether it was history."""
    rows = [json.loads(line) for line in (folder / "served.jsonl").read_text().splitlines()]
    assert not any("fault" in row for row in rows)
    return sorted((f"{row['meter']}/{row['point']}", row["t"], row["value"], row.get("past", False)) for row in rows)


def _outbox(folder: Path) -> dict[str, Any]:
    with sqlite3.connect(folder / "agent" / "outbox.db") as outbox:
        rows = outbox.execute("SELECT stream, seq, payload FROM batches ORDER BY id").fetchall()
    bodies = [(stream, seq, unpack(payload)) for stream, seq, payload in rows]
    batches = [decode_batch(body) for _, _, body in bodies]
    readings = [
        (batch.points[p][0], batch.t0 + at, x, q == Quality.BACKFILLED)
        for batch in batches
        for at, p, x, q in zip(batch.t, batch.p, batch.x, batch.q, strict=True)
    ]
    gaps = [[g.meter, g.start, g.end, g.cause] for b in batches for g in b.events if isinstance(g, Gap)]
    return {
        "outbox": [(stream, seq, digest(body)) for stream, seq, body in bodies], "polled": sorted(readings, key=str),
        "gaps": gaps,
    }  # fmt: skip


def _stored(folder: Path) -> dict[str, Any]:
    with duckdb.connect(str(folder / "ingester" / "series.duckdb"), read_only=True) as store:
        batches = store.execute("SELECT stream, seq, sha256 FROM batches ORDER BY stream, seq").fetchall()
        readings = store.execute("SELECT name, at_ms, x, q = 8 FROM readings JOIN points ON id = point").fetchall()
        aside = store.execute("SELECT reason FROM set_aside").fetchall()
    return {"batches": batches, "stored": sorted(readings, key=str), "set_aside": aside}


def _by_point(rows: Iterable[Any]) -> dict[str, list[tuple[int, float]]]:
    """Return time and value of what was polled, by point."""
    found: dict[str, list[tuple[int, float]]] = {}
    for point, ms, value, past in rows:
        if value is not None and not past:
            found.setdefault(point, []).append((ms, value))
    return {point: sorted(readings) for point, readings in found.items()}


def _matched(stored: list[tuple[int, float]], served: list[tuple[int, float]]) -> tuple[list[Any], list[Any]]:
    """Pair readings with servings in the order of time; return the readings and the servings that are left over."""
    invented, unused, rest = [], [], iter(served)
    for at, value in stored:
        for serving in rest:
            if serving[1] == value and abs(serving[0] - at) <= UNDER_WAY_MS:
                break
            unused.append(serving)
        else:
            invented.append((at, value))
    return invented, [*unused, *rest]


def test_each_batch_of_the_outbox_is_in_the_store_once_byte_for_byte(story: Any) -> None:
    assert len(story["outbox"]) > 10
    outbox, stored = [tuple(row) for row in story["outbox"]], [tuple(row) for row in story["batches"]]
    assert len(set(stored)) == len(stored)
    assert set(stored) <= set(outbox)
    waiting = [row for row in outbox if row not in set(stored)]
    assert waiting in ([], outbox[-1:])  # what the stop itself added may wait for the next start
    assert len({(stream, seq) for stream, seq, _ in story["batches"]}) == len(story["batches"])
    assert story["set_aside"] == []


def test_each_reading_that_was_polled_is_in_the_store_once(story: Any) -> None:
    assert len(story["polled"]) > 200
    assert story["stored"] == story["polled"]
    assert max(Counter((point, at) for point, at, *_ in story["stored"]).values()) == 1


def test_nothing_is_in_the_store_that_was_not_served(story: Any) -> None:
    served = _by_point(story["served"])
    for point, readings in _by_point(story["stored"]).items():
        invented, _ = _matched(readings, served[point])
        assert invented == [], point


def test_what_was_backfilled_is_what_the_history_says(story: Any) -> None:
    recorded = {(point, ms, value) for point, ms, value, past in story["served"] if past}
    backfilled = [(point, ms, value) for point, ms, value, past in story["stored"] if past]
    assert backfilled, "each kill of the agent leaves a second that the PLC still knows"
    assert [one for one in backfilled if one not in recorded] == []


def test_all_that_was_served_is_in_the_store_but_the_meter_just_being_polled_when_the_agent_was_killed(
    story: Any,
) -> None:
    lost = _lost(story)
    for cut_ms in story["cuts_ms"]:
        cut = [(point, ms) for point, ms in lost if abs(cut_ms - ms) <= UNDER_WAY_MS]
        assert max(Counter(point for point, _ in cut).values(), default=0) <= 1, cut
        meters = {point.split("/")[0] for point, _ in cut}
        assert max(Counter(LINES[meter] for meter in meters).values(), default=0) <= 1, cut
        lost = [one for one in lost if one not in cut]
    assert lost == []


def _lost(story: Any) -> list[tuple[str, int]]:
    """Return what was served of the points the agent reads and is not in the store."""
    stored = _by_point(story["stored"])
    served = {point: servings for point, servings in _by_point(story["served"]).items() if point in stored}
    return [(point, ms) for point, servings in served.items() for ms, _ in _matched(stored[point], servings)[1]]


def test_only_the_kills_of_the_agent_left_gaps(story: Any) -> None:
    assert {cause for _, start, _, cause in story["gaps"] if start < story["cuts_ms"][-1] - UNDER_WAY_MS} <= {
        "crashed",
        "starting",
    }


def test_no_process_said_a_traceback(story: Any) -> None:
    assert [name for name, words in story["words"].items() if "Traceback" in words] == []
