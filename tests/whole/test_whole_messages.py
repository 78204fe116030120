"""What goes wrong is said in one clear line, in the user's language, with the exit code of the contract and no traceback."""

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from settings.places import config_dir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COMMANDS = [
    "", "demo", "simulate", "agent", "agent check", "agent plan", "agent run", "agent status",
    "agent trust", "ingester", "ingester check", "ingester run", "ingester import", "ingester recompute", "config",
    "config show", "report", "trace", "calibration",
    "calibration list", "calibration due", "profile", "profile list", "profile show", "profile test",
    "profile schema", "factors", "factors list", "factors show", "factors check",
]  # fmt: skip
SERIAL = """\
agent: {id: workshop-1, site: demo}
mqtt: {url: "mqtt://127.0.0.1:BROKER"}
outbox: {path: agent/outbox.db}
lines: {rtu-1: {driver: modbus, serial: ./port, baud: 9600}}
meters: {gas-main: {line: rtu-1, unit: 1, profile: demo/gas-corrector, interval: 1 s}}
"""
PERMISSIONS = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root open files of mode 000."""
PR_CAPBSET_DROP = 24


@pytest.fixture
def site(tmp_path: Path, whole: SimpleNamespace) -> Path:
    """A folder with the demo's files, the broker's port in them one where nothing listens."""
    port = whole.free_port()
    for name in ("agent.yaml", "ingester.yaml", "plant.yaml"):
        text = (config_dir() / "demo" / name).read_text().replace("127.0.0.1:18830", f"127.0.0.1:{port}")
        (tmp_path / name).write_text(text.replace("port: 8080", f"port: {whole.free_port()}"))
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody else listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def _change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


MISTAKES = {
    "a wrong key": ("ingester", "    fuel: natural_gas\n", "    feul: natural_gas\n", "feul", "fuel"),
    "a wrong unit": ("ingester", "mass: {unit: kg,", "mass: {unit: kgg,", "kgg", "kg?"),
    "a factor set that is not there": ("ingester", "[cn-ndrc-other,", "[cn-ndrc-othr,", "cn-ndrc-othr", "cn-ndrc-other"),
    "a factor set that is not chosen": (
        "ingester", "    factor_set: cn-ndrc-other\n", "    factor_set: cn-mee-2022\n", "cn-mee-2022", "factors"
    ),
    "a meter on an unknown line": ("agent", "line: dlt-1", "line: dlt-9", "dlt-9", "dlt-1"),
}  # fmt: skip


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_settings_is_one_line_with_its_place_and_remedy(
    whole: SimpleNamespace, site: Path, mistake: str, lang: str
) -> None:
    room, before, after, wrong, remedy = MISTAKES[mistake]
    _change(site / f"{room}.yaml", before, after)
    done = whole.command("--lang", lang, room, "check", cwd=site)
    (said,) = done.stderr.splitlines()
    place, rest = said.split(" ", 1)
    assert done.returncode == 78
    assert done.stdout == ""
    assert place.startswith(f"{room}.yaml:"), said
    _, line, column, _ = place.split(":")
    assert wrong in (site / f"{room}.yaml").read_text().splitlines()[int(line) - 1][int(column) - 1 :]
    assert wrong in rest
    assert remedy in rest
    assert any("一" <= letter <= "鿿" for letter in rest) == (lang == "zh")


@pytest.mark.parametrize("room", ["agent", "ingester"])
def test_a_service_does_not_start_on_wrong_settings(whole: SimpleNamespace, site: Path, room: str) -> None:
    _change(site / f"{room}.yaml", "site:", "sight:")
    done = whole.command(room, "run", cwd=site)
    assert done.returncode == 78
    assert f"{room}.yaml:" in done.stderr


def test_a_port_in_use_is_one_line(whole: SimpleNamespace, site: Path, taken: int) -> None:
    text = (site / "ingester.yaml").read_text().splitlines()
    page = next(line for line in text if line.startswith("page:"))
    _change(site / "ingester.yaml", page, f"page: {{host: 127.0.0.1, port: {taken}}}")
    _change(site / "plant.yaml", "modbus-tcp, port: 0", f"modbus-tcp, port: {taken}")
    for arguments in (
        ("demo", "--port", taken, "--data", site / "data"),
        ("demo-broker", taken),
        ("simulate", site / "plant.yaml", "--data", site / "data"),
        ("ingester", "run"),
    ):
        done = whole.command(*arguments, cwd=site)
        said = [line for line in done.stderr.splitlines() if " INFO " not in line and " WARNING " not in line]
        assert done.returncode == 1, arguments
        assert len(said) == 1, (arguments, done.stderr)
        assert f"127.0.0.1:{taken}" in said[0]


def test_a_second_demo_on_the_same_data_is_refused(
    whole: SimpleNamespace, tmp_path: Path, start: Callable[..., Any]
) -> None:
    data = tmp_path / "data"
    first = start(tmp_path / "first.txt", "demo", "--data", data, "--port", whole.free_port())
    first.says("Importing")
    second = whole.command("demo", "--data", data, "--port", whole.free_port(), cwd=tmp_path)
    family = whole.family(first)
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1
    assert str(data) in second.stderr
    assert first.interrupt() < 5, "during the import too"
    assert whole.left(family, data) == []


def test_a_simulated_plant_says_where_it_listens_is_alone_on_its_folder_and_stops_with_its_terminal(
    whole: SimpleNamespace, site: Path, start: Callable[..., Any]
) -> None:
    first = start(site / "plant.txt", "simulate", "plant.yaml", before=_in_the_background)
    said = first.says("Ctrl-C").splitlines()
    lines = [line.split(":")[0].strip() for line in said if "Z INFO" not in line]
    assert lines == ["panel", "main-power", "rtu-1", "gas-main", "gas-2", "dlt-1", "workshop-power", "plc-1",
                     "oil-burner", "line-1", "Ctrl-C stops"]  # fmt: skip
    assert (site / "plant-data" / "plant.json").exists()
    second = whole.command("simulate", "plant.yaml", cwd=site)
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1
    assert str(site / "plant-data") in second.stderr
    first.popen.send_signal(signal.SIGHUP)
    assert first.popen.wait(10) == 0, first.text
    again = start(site / "again.txt", "simulate", "plant.yaml", before=_in_the_background)
    again.says("Ctrl-C")
    assert again.interrupt() < 5
    assert again.popen.returncode == 0


def _in_the_background() -> None:
    """What a shell does to a job started with &."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_a_demo_ends_with_its_terminal(whole: SimpleNamespace, tmp_path: Path, start: Callable[..., Any]) -> None:
    data = tmp_path / "data"
    demo = start(tmp_path / "demo.txt", "demo", "--data", data, "--port", whole.free_port())
    demo.says("Importing")
    family = whole.family(demo)
    os.killpg(demo.popen.pid, signal.SIGHUP)
    assert demo.popen.wait(10) == 0, demo.text
    assert "Stopped" in demo.text
    assert whole.left(family, data) == []


def test_a_second_agent_and_a_second_ingester_name_the_first(
    whole: SimpleNamespace, site: Path, start: Callable[..., Any]
) -> None:
    for room in ("agent", "ingester"):
        first = start(site / f"{room}.txt", room, "run")
        first.says("the broker")
        second = whole.command(room, "run", cwd=site)
        said = second.stderr.splitlines()
        assert second.returncode == 1
        assert str(first.popen.pid) in said[-1], second.stderr
        assert first.interrupt() < 5


def test_without_a_broker_agent_and_ingester_go_on_and_say_it_once(site: Path, start: Callable[..., Any]) -> None:
    rooms = {room: start(site / f"{room}.txt", room, "run") for room in ("agent", "ingester")}
    for process in rooms.values():
        process.says("the broker")
    time.sleep(6)
    for process in rooms.values():
        assert process.popen.poll() is None
        assert sum("the broker" in line for line in process.text.splitlines()) == 1, process.text
        assert process.interrupt() < 5
        assert process.popen.returncode == 0
        assert "Traceback" not in process.text


def _without_root_permissions() -> None:
    """Let the next program obey file permissions even where root runs the tests."""
    for capability in PERMISSIONS:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize(("port", "said"), [("forbidden", "dialout"), ("missing", "/dev/serial/by-id")])
def test_a_serial_port_without_permission_or_device_is_one_clear_line(
    whole: SimpleNamespace, site: Path, start: Callable[..., Any], port: str, said: str, lang: str
) -> None:
    (site / "agent.yaml").write_text(SERIAL.replace("BROKER", str(whole.free_port())))
    if port == "forbidden":
        (site / "port").touch(0o000)
    dry = start(
        site / "dry.txt", "--lang", lang, "agent", "run", "--dry-run", before=_without_root_permissions
    )  # fmt: skip
    dry.says("gas-main")
    time.sleep(2)
    assert dry.interrupt() < 5
    lines = [line for line in dry.text.splitlines() if " WARNING " not in line]
    assert len(lines) == 1, dry.text
    assert said in lines[0]
    assert "Traceback" not in dry.text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ingester", "import", "nothing.csv"), 1),
        (("agent", "status"), 1),
        (("trace", "--source", "nothing"), 1),
        (("report", "--source", "nothing"), 1),
        (("ingester", "check", "--config", "nothing.yaml"), 78),
        (("agent", "check", "--config", "nothing.yaml"), 78),
        (("simulate", "nothing.yaml"), 78),
        (("profile", "show", "nothing/at-all"), 78),
        (("factors", "show", "nothing"), 78),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_not_there_is_one_line(whole: SimpleNamespace, site: Path, arguments: Any, code: int) -> None:
    done = whole.command(*arguments, cwd=site)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "line",
    ["gas-main,volume,yesterday,1", "gas-main,volum,2026-01-01T00:00:00+08:00,1", "gas-main,volume,2026-01-01T00:00:00+08:00,x"],
)  # fmt: skip
def test_a_wrong_line_of_a_csv_file_is_one_line_with_its_place(whole: SimpleNamespace, site: Path, line: str) -> None:
    (site / "readings.csv").write_text(f"meter,point,time,value\n{line}\n")
    done = whole.command("ingester", "import", "readings.csv", cwd=site)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith("readings.csv:2:")


@pytest.mark.parametrize(
    "arguments",
    ["nothing", "report --nothing", "report --by week", "report --from yesterday", "trace", "demo --port 0", "--lang fr"],
)  # fmt: skip
def test_wrong_usage_exits_2(whole: SimpleNamespace, site: Path, arguments: str) -> None:
    done = whole.command(*arguments.split(), cwd=site)
    assert done.returncode == 2
    assert done.stderr


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_command_explains_itself(whole: SimpleNamespace, lang: str) -> None:
    def helped(name: str) -> tuple[str, int, str]:
        done = whole.command("--lang", lang, *name.split(), "--help")
        return name, done.returncode, done.stdout

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(helped, COMMANDS))
    assert [name for name, code, _ in answers if code != 0] == []
    chinese = [name for name, _, text in answers if any("一" <= letter <= "鿿" for letter in text)]
    assert chinese == (COMMANDS if lang == "zh" else [])


def test_no_command_is_missing_from_the_list_above(whole: SimpleNamespace) -> None:
    import typer

    from tanbiao import cli

    cli._rooms()

    def names(command: Any, path: str) -> list[str]:
        found = [path]
        for name, child in getattr(command, "commands", {}).items():
            found += [] if child.hidden else names(child, f"{path} {name}".strip())
        return found

    assert sorted(names(typer.main.get_command(cli.app), "")) == sorted(COMMANDS)


@pytest.mark.parametrize("arguments", [("agent.yaml",), ("--config", "agent.yaml"), ("-c", "agent.yaml")])
def test_config_show_takes_its_file_either_way_and_says_what_is_a_default(
    whole: SimpleNamespace, site: Path, arguments: tuple[str, ...]
) -> None:
    done = whole.command("config", "show", "--origin", *arguments, cwd=site)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "outbox.keep_delivered: 7 d    # default" in lines
    assert any(line.startswith("agent.id: ") and "# agent.yaml:" in line for line in lines)


def test_the_help_of_import_names_every_quality() -> None:
    from metering.reading import quality_named
    from tanbiao.ingester_cli import QUALITIES

    named = [quality_named(name) for name in QUALITIES.split(", ")]
    assert named == list(type(named[0]))
