"""The shipped units, judged by systemd's own programs."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ("tanbiao-agent.service", "tanbiao-ingester.service")
TARGETS = ("sysinit", "basic", "multi-user", "network-online", "time-sync", "shutdown")

pytestmark = pytest.mark.external


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is missing: apt-get install systemd")
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def systemd_version() -> int:
    found = re.search(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)
    assert found
    return int(found[1])


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A file tree with our units, what they start, and the targets they name."""
    units, program = tmp_path / "etc/systemd/system", tmp_path / "opt/tanbiao/bin/tanbiao"
    units.mkdir(parents=True)
    for service in SERVICES:
        shutil.copy(UNITS / service, units)
    for target in TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDescription=a target\n")
    (units / "modprobe@.service").write_text("[Service]\nType=oneshot\nExecStart=/opt/tanbiao/bin/tanbiao\n")
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("service", SERVICES)
def test_systemd_finds_nothing_wrong_with_a_unit(machine: Path, service: str) -> None:
    verdict = run("systemd-analyze", "verify", f"--root={machine}", "--man=no", service)
    complaints = verdict.stderr.splitlines()
    if systemd_version() < 254:
        complaints = [line for line in complaints if not re.search(r"Unknown key 'Restart(Steps|MaxDelaySec)'", line)]
    assert complaints == []
    assert verdict.returncode == 0


def test_systemd_would_find_a_missing_program(machine: Path) -> None:
    (machine / "opt/tanbiao/bin/tanbiao").unlink()
    verdict = run("systemd-analyze", "verify", f"--root={machine}", "--man=no", SERVICES[0])
    assert "is not executable" in verdict.stderr
    assert verdict.returncode != 0


@pytest.mark.parametrize(("service", "limit"), [("tanbiao-agent.service", 18), ("tanbiao-ingester.service", 15)])
def test_a_unit_is_hardened(service: str, limit: int) -> None:
    verdict = run("systemd-analyze", "security", "--offline=true", f"--threshold={limit}", UNITS / service)
    assert verdict.returncode == 0, verdict.stdout


def test_only_the_agent_reaches_serial_ports() -> None:
    agent, ingester = ((UNITS / service).read_text() for service in SERVICES)
    assert "SupplementaryGroups=dialout" in agent
    assert "char-ttyUSB" in agent
    assert "dialout" not in ingester
    assert "char-tty" not in ingester


def test_the_user_and_the_folders_are_made_as_the_units_need_them(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is missing: folders cannot be given to another user")
    settings = tmp_path / "etc/tanbiao/agent.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("agent: {}\n")
    users = run("systemd-sysusers", f"--root={tmp_path}", UNITS / "sysusers.d/tanbiao.conf")
    assert users.returncode == 0, users.stderr
    assert ":/var/lib/tanbiao:" in (tmp_path / "etc/passwd").read_text()
    folders = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", UNITS / "tmpfiles.d/tanbiao.conf")
    assert folders.returncode == 0, folders.stderr
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640
    assert stat.S_IMODE(settings.parent.stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "var/lib/tanbiao").stat().st_mode) == 0o750
