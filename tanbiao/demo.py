"""The demo's wiring: one parent and four children, the whole system on one machine.

Promises
    * One address is printed when the page answers. Everything listens on 127.0.0.1 only.
    * A child that dies is started again, at most once a second, and the parent says so.
    * Ctrl-C, SIGTERM and the terminal's end stop the children in order and leave none behind; they also die with the parent.
    * The data folder is kept: a second start goes on where the first one stopped.
"""

import asyncio
import contextlib
import csv
import json
import os
import re
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from metering.errors import LineBusy, MeteringError
from metering.text import Text
from settings.places import config_dir
from tanbiao.service import PARENT, alone, signals_that_stop
from tanbiao.speech import LANG, say, tell

USUAL_PORTS = {"broker": 18830, "panel": 15020, "plc-1": 14840}
EARLIER_DAYS = 7
"""Days before the first start that the demo's plant has run already, so that rules have something to compare with."""
EVERYDAY = re.compile(r"\S+Z (DEBUG|INFO|WARNING) ")
"""A line of a log that explains no end."""
RESTART_S = 1.0
STOP_S = 4.0
"""Longest goodbye of all children together; then they are killed."""


@dataclass
class Child:
    """One child process, its log, and when it was last started."""

    name: str
    arguments: list[str]
    log: Path
    process: asyncio.subprocess.Process | None = None
    started: float = 0.0
    said_before: int = 0
    """Bytes of the log that earlier runs wrote."""

    async def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-P", "-m", "tanbiao", "--lang", LANG, *self.arguments]
        with self.log.open("ab") as log:
            self.said_before = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self.started = time.monotonic()

    async def stop(self, patience_s: float) -> None:
        """Ask it to stop, and insist when the patience is over."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), max(patience_s, 0.1))
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def reason(self) -> str:
        """Return why it ended: the signal that killed it, or its last words where they are no everyday line of its log."""
        code = self.process.returncode if self.process else None
        if code is not None and code < 0:
            return signal.Signals(-code).name
        lines = self.log.read_bytes()[self.said_before :].decode(errors="replace").strip().splitlines()
        return lines[-1] if code and lines and not EVERYDAY.match(lines[-1]) else ""


@dataclass
class Demo:
    """The demo in one data folder, with its page on `port`."""

    data: Path
    port: int
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ports: dict[str, int] = field(default_factory=dict)

    async def run(self, seconds: float | None) -> int:
        """Run until Ctrl-C or for so many seconds; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in signals_that_stop():
            loop.add_signal_handler(number, self.stopping.set)
        with alone(self.data, "demo.lock", Text("另一个演示正在使用", "another demo runs on it")):
            self._prepare()
            children = self._children()
            try:
                await self._start(children)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._watch(children), seconds)
            finally:
                await self._stop(children)
        return 0

    def _prepare(self) -> None:
        _require_free(self.port)
        self.ports = self._choose_ports()
        for name in ("plant.yaml", "agent.yaml", "ingester.yaml"):
            (self.data / name).write_text(self._filled((config_dir() / "demo" / name).read_text()))

    def _choose_ports(self) -> dict[str, int]:
        """Return the ports of the last start where they are still free, else free ones."""
        kept = self.data / "ports.json"
        wanted = json.loads(kept.read_text()) if kept.exists() else USUAL_PORTS
        chosen = {name: port if _is_free(port) else _any_free() for name, port in wanted.items()}
        kept.write_text(json.dumps(chosen))
        return chosen

    def _filled(self, text: str) -> str:
        """Return a demo file with this machine's ports and paths, and its dates moved to today."""
        for name, usual in USUAL_PORTS.items():
            text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{self.ports[name]}")
        text = re.sub(
            r"(panel|plc-1): (\{protocol: \S+ port:) 0\}", lambda m: f"{m[1]}: {m[2]} {self.ports[m[1]]}}}", text
        )
        text = text.replace("serial: lines/", f"serial: {self.data}/lines/").replace(
            "port: 8080}", f"port: {self.port}}}"
        )
        return re.sub(r"\d{4}-\d\d-\d\d(  # (\d+) days ago)", lambda m: f"{_days_ago(int(m[2]))}{m[1]}", text)

    def _children(self) -> list[Child]:
        data, logs = str(self.data), self.data / "logs"
        agent, centre = str(self.data / "agent.yaml"), str(self.data / "ingester.yaml")
        return [
            Child("simulators", ["simulate", str(self.data / "plant.yaml"), "--data", data], logs / "simulators.log"),
            Child("broker", ["demo-broker", str(self.ports["broker"])], logs / "broker.log"),
            Child("ingester", ["ingester", "run", "--demo", "--config", centre], logs / "ingester.log"),
            Child("agent", ["agent", "run", "--config", agent], logs / "agent.log"),
        ]

    async def _start(self, children: list[Child]) -> None:
        simulators, broker, ingester, agent = children
        await simulators.start()
        await broker.start()
        await self._seed()
        await self._until_the_plant_listens(simulators)
        if self.stopping.is_set():
            return
        await ingester.start()
        await agent.start()
        await self._until_the_page_answers(ingester)

    async def _seed(self) -> None:
        """Import the days before the first start, once."""
        marker = self.data / "seeded"
        if marker.exists():
            return
        _announce(
            say("正在导入此前 {days} 天的模拟数据……", "Importing {days} earlier simulated days ...", days=EARLIER_DAYS)
        )
        file = self.data / "earlier-days.csv"
        await asyncio.to_thread(_write_history, self.data / "plant.yaml", file, self.stopping)
        if self.stopping.is_set():
            return
        arguments = ["ingester", "import", str(file), "--simulated", "--config", str(self.data / "ingester.yaml")]
        importer = Child("import", arguments, self.data / "logs" / "import.log")
        await importer.start()
        assert importer.process is not None
        waiting = asyncio.ensure_future(importer.process.wait())
        stopped = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not waiting.done():
            await importer.stop(STOP_S)
        elif waiting.result() != 0:
            raise MeteringError(Text("导入失败：{reason}", "the import failed: {reason}"), reason=importer.reason())
        else:
            marker.write_text(datetime.now(UTC).isoformat())

    async def _until_the_plant_listens(self, simulators: Child) -> None:
        began, listening = time.monotonic(), self.data / "plant.json"
        while not self.stopping.is_set() and time.monotonic() - began < 20:
            pid = simulators.process.pid if simulators.process else 0
            if listening.exists() and json.loads(listening.read_text() or "{}").get("pid") == pid:
                return
            await asyncio.sleep(0.05)

    async def _until_the_page_answers(self, ingester: Child) -> None:
        began = time.monotonic()
        while not self.stopping.is_set() and time.monotonic() - began < 60:
            if not _is_free(self.port):
                _announce(
                    say(
                        "页面：http://127.0.0.1:{port}    （Ctrl-C 停止）",
                        "Page: http://127.0.0.1:{port}    (Ctrl-C stops)",
                        port=self.port,
                    )
                )
                return
            if ingester.process is not None and ingester.process.returncode is not None:
                return
            await asyncio.sleep(0.1)

    async def _watch(self, children: list[Child]) -> None:
        """Start again what dies, until told to stop."""
        while not self.stopping.is_set():
            for child in children:
                if child.process is not None and child.process.returncode is not None:
                    await self._start_again(child)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), 0.2)

    async def _start_again(self, child: Child) -> None:
        assert child.process is not None
        if time.monotonic() - child.started < RESTART_S:
            await asyncio.sleep(RESTART_S)
        if self.stopping.is_set():
            return
        code, reason = child.process.returncode, child.reason()
        why = f"{code}" if not reason else reason if code is not None and code < 0 else f"{code}: {reason}"
        _announce(
            say(
                "{name} 已退出（{why}），重新启动。",
                "{name} ended ({why}), starting it again.",
                name=child.name,
                why=why,
            )
        )
        await child.start()

    async def _stop(self, children: list[Child]) -> None:
        """Agent first, so that it can still deliver; then the centre; broker and plant together."""
        deadline = time.monotonic() + STOP_S
        simulators, broker, ingester, agent = children
        for group in ([agent], [ingester], [broker, simulators]):
            await asyncio.gather(*(child.stop(deadline - time.monotonic()) for child in group))
        _announce(say("已停止，数据在 {data}", "Stopped; the data are in {data}", data=self.data))


def _announce(text: str) -> None:
    """Tell the terminal, if it is still there."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _write_history(plant: Path, file: Path, stopping: asyncio.Event) -> None:
    """Write what the plant's meters showed each minute of the earlier days, as an import file, unless told to stop."""
    from settings.plant import read_plant
    from simulators.app import history

    settings = read_plant(plant)
    end = int(time.time() * 1000) // 60_000 * 60_000
    start = end - EARLIER_DAYS * 86_400_000
    counters = ("energy_import", "volume", "mass", "tonnes")
    points = frozenset(f"{meter}/{counter}" for meter in settings.meters for counter in counters)
    with file.open("w", newline="") as target:
        rows = csv.writer(target)
        rows.writerow(["meter", "point", "time", "value"])
        for meter, point, ms, value in history(settings, start, end, 60.0, points=points):
            if stopping.is_set():
                return
            rows.writerow([meter, point, datetime.fromtimestamp(ms / 1000, UTC).isoformat(), repr(value)])


def _days_ago(days: int) -> date:
    return datetime.now().astimezone().date() - timedelta(days=days)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _require_free(port: int) -> None:
    if not _is_free(port):
        reason = Text(
            "端口被占用；换一个：make demo PORT=8081", "the port is in use; take another: make demo PORT=8081"
        )
        raise LineBusy(name=f"127.0.0.1:{port}", reason=tell(reason))
