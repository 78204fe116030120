"""What systemd hears, on a real datagram socket."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from link.notify import Systemd, Watchdog


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def heard(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_systemd_hears_of_start_state_and_stop(manager: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()})
    systemd.ready()
    systemd.status("4 meters, all answer\nWATCHDOG=1")
    systemd.stopping()
    assert heard(manager) == ["READY=1", "STATUS=4 meters, all answer WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0tanbiao-test-{os.getpid()}")
        listener.setblocking(False)
        Systemd({"NOTIFY_SOCKET": f"@tanbiao-test-{os.getpid()}"}).ready()
        assert heard(listener) == ["READY=1"]


def test_without_systemd_nothing_happens() -> None:
    Systemd({}).ready()


def test_a_systemd_that_does_not_listen_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    Systemd({"NOTIFY_SOCKET": "/nowhere/notify"}).ready()
    assert "systemd was not told READY" in caplog.text


async def test_the_watchdog_is_fed_by_progress_only(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "40000"}
    watchdog = Watchdog(Systemd(environ), environ)
    assert watchdog.period_s == 0.02
    feeding = asyncio.ensure_future(watchdog.run())
    await asyncio.sleep(0.15)
    assert heard(manager) == ["WATCHDOG=1"]
    watchdog.progress()
    await asyncio.sleep(0.15)
    assert heard(manager) == ["WATCHDOG=1"]
    feeding.cancel()


async def test_no_watchdog_is_fed_when_systemd_asked_for_none_or_asked_another_process() -> None:
    for environ in ({}, {"WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"}):
        watchdog = Watchdog(Systemd({}), environ)
        assert watchdog.period_s == 0
        await asyncio.wait_for(watchdog.run(), 1)
