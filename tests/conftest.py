"""Real servers for all rooms' tests. A missing one skips, naming the Debian package; in CI that is a failure."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("nightly", max_examples=2_000, deadline=None)
settings.register_profile("default", deadline=None)
settings.load_profile("nightly" if os.environ.get("TANBIAO_NIGHTLY") else "default")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where TANBIAO_NO_SKIPS is set: there every server is at hand."""
    report = yield
    if report.skipped and os.environ.get("TANBIAO_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may be: {report.longrepr}"
    return report


class Mosquitto:
    """A real broker on a loopback port of its own. It keeps nothing over a restart, and root if root started it."""

    def __init__(self, program: str, folder: Path, settings: str) -> None:
        self._program = program
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start on the same port as before; return once it accepts connections."""
        self._config.write_text(f"listener {self.port} 127.0.0.1\nset_tcp_nodelay true\nuser root\n{self._settings}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not _accepts(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto did not start: {self._log.read_text()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def mosquitto_program() -> str:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    return program


@pytest.fixture
def start_mosquitto(
    mosquitto_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Mosquitto]]:
    """Start brokers with settings of the test's own; all end with it."""
    started: list[Mosquitto] = []

    def start(settings: str = "", *, anonymous: bool = True) -> Mosquitto:
        allow = f"allow_anonymous {str(anonymous).lower()}\n"
        broker = Mosquitto(mosquitto_program, tmp_path_factory.mktemp("mosquitto"), allow + settings)
        broker.start()
        started.append(broker)
        return broker

    yield start
    for broker in started:
        broker.kill()


@pytest.fixture
def mosquitto(start_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """A running broker: `port`, `url`, `pid`, `kill()`, `start()`. Mark the test `external`."""
    return start_mosquitto()
