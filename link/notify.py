"""What systemd is told: ready, what we are doing, stopping, still alive. Without NOTIFY_SOCKET nothing happens.

The watchdog is fed by work done, never by a timer alone: a service whose loop turns but whose poll or writer hangs is
restarted by systemd. sd_notify(3), sd_watchdog_enabled(3).
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Systemd:
    """The service manager that started us, or nobody."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")

    def ready(self) -> None:
        """Everything is open; `systemctl start` may return."""
        self.tell("READY=1")

    def status(self, line: str) -> None:
        """Set the line that `systemctl status` shows."""
        self.tell("STATUS=" + line.replace("\n", " "))

    def stopping(self) -> None:
        self.tell("STOPPING=1")

    def tell(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as to_systemd:
            try:
                to_systemd.sendto(message.encode(), address)
            except OSError as error:
                log.warning("systemd was not told %s: %s", message.split("=")[0], error)


class Watchdog:
    """Tells systemd that work goes on, at half of WatchdogSec, and only if `progress` was called since."""

    def __init__(self, systemd: Systemd, environ: Mapping[str, str] = os.environ) -> None:
        self._systemd = systemd
        self._progressed = True
        self.period_s = _watchdog_s(environ) / 2
        """Call `progress` at least this often, idle or not. 0: systemd asked for no watchdog."""

    def progress(self) -> None:
        """Note that a poll, a write or an idle turn of the loop was completed. Costs nothing."""
        self._progressed = True

    async def run(self) -> None:
        """Feed the watchdog until cancelled; return at once when systemd asked for none."""
        while self.period_s > 0:
            if self._progressed:
                self._progressed = False
                self._systemd.tell("WATCHDOG=1")
            await asyncio.sleep(self.period_s)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(environ.get("WATCHDOG_USEC", "0")) / 1_000_000
