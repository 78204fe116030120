"""The database of the outbox: opened, its shape made and checked, its errors told as ours.

It is held exclusively: there is one connection, and without others SQLite keeps the index of its log in memory.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.room import PAGE
from metering.errors import StoreFailed

SCHEMA = 1
SMALLEST = 1 << 20
"""Bytes; a `max_size` below this is raised to it."""
CHECKED_BELOW = 64 << 20
"""Bytes; a larger file is checked batch by batch as it is read, not as a whole when it is opened."""
_TABLES = """
CREATE TABLE IF NOT EXISTS batches(
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, seq INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    readings INTEGER NOT NULL, losses TEXT, sha256 BLOB NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS streams(stream TEXT PRIMARY KEY, before INTEGER NOT NULL, first_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS delivered(
    first_id INTEGER PRIMARY KEY, last_id INTEGER NOT NULL, at_ms INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS facts(name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_DISK = ("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_PERM")


class StoreDamaged(StoreFailed):
    """What is in the file is not what was written."""


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours; the only place that knows them."""
    try:
        yield
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        name = getattr(error, "sqlite_errorname", "")
        kind = StoreFailed if name.startswith(_DISK) else StoreDamaged
        raise kind(path=path, reason=f"{error} {name}".strip()) from error
    except OSError as error:
        raise StoreFailed(path=path, reason=error.strerror or str(error)) from error


def opened(path: Path, max_size: int) -> tuple[sqlite3.Connection, int]:
    """Open or create the database; return it, and how many pages it may have.

    Raises:
        StoreDamaged: the file is not what was written.
        StoreFailed: the disk refuses, or a newer version wrote it.
    """
    max_size = max(max_size, SMALLEST)
    wal_bytes = min(max_size // 4, 4 << 20)
    page_limit = (max_size - wal_bytes - (64 << 10)) // PAGE
    with store_errors(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        with store_errors(path):
            _prepare(db, path, page_limit, wal_bytes)
    except BaseException:
        db.close()
        raise
    return db, page_limit


def _prepare(db: sqlite3.Connection, path: Path, page_limit: int, wal_bytes: int) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA:
        raise StoreFailed(path=path, reason=f"written by a newer version (schema {version}, known {SCHEMA})")
    for pragma in (
        f"page_size={PAGE}", "locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL",
        f"max_page_count={page_limit}", f"wal_autocheckpoint={wal_bytes // 2 // PAGE}",
        f"journal_size_limit={wal_bytes}", "cell_size_check=ON", "temp_store=MEMORY", "cache_size=-2000",
    ):  # fmt: skip
        db.execute(f"PRAGMA {pragma}")
    if version < SCHEMA:
        db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")
        _sync_folder(path.parent)
    elif path.stat().st_size <= CHECKED_BELOW:
        (answer,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if answer != "ok":
            raise StoreDamaged(path=path, reason=str(answer))


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
