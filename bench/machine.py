"""What machine the figures are from: without it they say nothing."""

import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

SYNCS = 40
LIBRARIES = ("msgspec", "zstandard", "paho-mqtt", "duckdb")
PAGE = bytes(4096)


def folder() -> str:
    """Return where the files of the measurements go: TMPDIR, else /var/tmp, which is a disk where /tmp may be memory."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else tempfile.gettempdir())


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and those it starts meanwhile, on one core: waking another one costs more than a poll, or nothing,
    as the scheduler pleases."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def describe(where: Path) -> dict[str, str]:
    """Return the machine in words, name by name."""
    return {
        "cores": f"{len(os.sched_getaffinity(0))} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "disk": f"{where.parent} ({_file_system(where)}), {sync_rate(where):,.0f} appends of 4 kB with fdatasync a second",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES) + f", SQLite {sqlite3.sqlite_version}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def sync_rate(where: Path) -> float:
    """Return how many durable appends a second the disk takes, one after another."""
    path = where / "sync"
    durations: list[float] = []
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for _ in range(SYNCS):
            start = time.perf_counter()
            os.write(handle, PAGE)
            os.fdatasync(handle)
            durations.append(time.perf_counter() - start)
    finally:
        os.close(handle)
        path.unlink()
    return 1 / median(durations)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _file_system(where: Path) -> str:
    """Return the type of the mount that holds a path: the longest mount point above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for point, kind in mounts if where.resolve().is_relative_to(point)]
    return max(above)[1]
