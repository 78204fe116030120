"""The whole system as its users start it: the installed command, real processes, sockets, ptys and files."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

TANBIAO = Path(sys.executable).parent / "tanbiao"
CONFIG = ("TANBIAO_", "LANG", "LC_")


def environment() -> dict[str, str]:
    """Return what a process of ours inherits: nothing that would choose its language or its settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CONFIG)}
    return {**kept, "LC_ALL": "C.UTF-8", "COLUMNS": "200"}


def command(*arguments: object, cwd: Path | None = None, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
    """Run one command of ours to its end; no traceback ever reaches its user."""
    done = subprocess.run(
        [TANBIAO, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, cwd=cwd, env=environment(),
        check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


def asked(*arguments: object, cwd: Path | None = None) -> Any:
    """Run a command that must succeed and return its JSON."""
    done = command(*arguments, cwd=cwd)
    assert done.returncode == 0, f"{arguments}: {done.returncode}, {done.stderr}"
    return json.loads(done.stdout)


@dataclass
class Process:
    """A process of ours that goes on, with what it has said."""

    popen: "subprocess.Popen[bytes]"
    said: Path

    @property
    def text(self) -> str:
        return self.said.read_text(errors="replace")

    def says(self, what: str, timeout_s: float = 30) -> str:
        """Wait for a line that has `what` in it; return all that was said."""
        until(lambda: what in self.text, timeout_s, lambda: f"{what!r} was not said: {self.text}")
        return self.text

    def interrupt(self) -> float:
        """Ctrl-C: return after how many seconds it had ended."""
        began = time.monotonic()
        self.popen.send_signal(signal.SIGINT)
        self.popen.wait(30)
        return time.monotonic() - began

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(10)


def started(said: Path, *arguments: object, before: Callable[[], None] | None = None) -> Process:
    """Start a command of ours in a session of its own, as a shell's terminal does."""
    said.parent.mkdir(parents=True, exist_ok=True)
    with said.open("ab") as log:
        popen = subprocess.Popen(
            [TANBIAO, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(),
            start_new_session=True, preexec_fn=before, cwd=said.parent,
        )  # fmt: skip
    return Process(popen, said)


def until(condition: Callable[[], Any], timeout_s: float, reason: Callable[[], str] | None = None) -> Any:
    """Wait for something true and return it."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(reason() if reason else f"not within {timeout_s} s")
        time.sleep(0.1)
    return found


def get(port: int, path: str) -> Any:
    """Return the JSON of the API, None while it is not there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None


def page(port: int, lang: str) -> str:
    """Return the page as it is first sent."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{lang}/", timeout=10) as answer:
        return str(answer.read().decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def family(process: Process) -> list[psutil.Process]:
    """Return a process and all it has started."""
    try:
        parent = psutil.Process(process.popen.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def left(known: list[psutil.Process], data: Path) -> list[str]:
    """Return which of the known processes still run, and any other that works in the data folder."""
    lines = [f"{process.pid}" for process in known if process.is_running()]
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(data) in line and process.info["pid"] != os.getpid():
            lines.append(line)
    return lines


@pytest.fixture(scope="session")
def whole() -> SimpleNamespace:
    """The functions of this file."""
    return SimpleNamespace(
        command=command, asked=asked, until=until, get=get, page=page, free_port=free_port, family=family, left=left
    )


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start commands that go on; those still alive at the end are killed."""
    begun: list[Process] = []

    def begin(*arguments: Any, before: Callable[[], None] | None = None) -> Process:
        begun.append(started(*arguments, before=before))
        return begun[-1]

    yield begin
    for process in begun:
        for member in family(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.popen.wait(10)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[..., Any]:
    """Give what `observe(folder)` returns (as JSON), made once for all tests that ask for `name`, in whatever process."""
    import fcntl

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def make(name: str, observe: Callable[[Path], Mapping[str, Any]]) -> Any:
        folder, result = shared / name, shared / f"{name}.json"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                assert not folder.exists(), f"the run of {name} has failed already, see {folder}"
                folder.mkdir()
                result.write_text(json.dumps(observe(folder)))
        return json.loads(result.read_text())

    return make
