"""The record store of one machine: what people and rules wrote, in one SQLite file.

Promises
    * What `put` or `save_alert` returned for survives a power cut (WAL, synchronous=FULL).
    * A document is never overwritten: each writing is kept with its time and author; the newest one is in force.
    * Reads see whole transactions only, from any thread.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ingester.store.contract import AlertRow, Entry
from metering.errors import StoreFailed

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents(
    n INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL, at_ms INTEGER NOT NULL, author TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS documents_of ON documents(kind, key, n);
CREATE TABLE IF NOT EXISTS alerts(
    id TEXT PRIMARY KEY, raised_ms INTEGER NOT NULL, cleared_ms INTEGER, document TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS alerts_raised ON alerts(raised_ms);
CREATE TABLE IF NOT EXISTS version(n INTEGER NOT NULL) STRICT;
INSERT INTO version SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM version);
"""
NEWEST = "n IN (SELECT max(n) FROM documents WHERE kind = ? GROUP BY key)"
_to_json = msgspec.json.Encoder().encode
_alert = msgspec.json.Decoder(AlertRow).decode


class SqliteRecords:
    """A `RecordStore` on one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or create the store.

        Raises:
            StoreFailed: it cannot be opened, or is no SQLite file.
        """
        self.path = path
        with self._translated():
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.executescript(SCHEMA)
            self._reader = self._connect()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=5, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        with self._translated():
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors into ours; the only place that knows them."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreFailed(path=self.path, reason=error) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise

    def _ask(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._translated():
            return self._reader.execute(query, parameters).fetchall()

    def put(self, kind: str, key: str, document: dict[str, Any], at_ms: int, by: str) -> None:
        text = json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)
        with self._transaction() as con:
            in_force = con.execute(
                "SELECT document FROM documents WHERE kind = ? AND key = ? ORDER BY n DESC LIMIT 1", (kind, key)
            ).fetchone()
            if in_force == (text,):
                return
            con.execute(
                "INSERT INTO documents(kind, key, document, at_ms, author) VALUES (?, ?, ?, ?, ?)",
                (kind, key, text, at_ms, by),
            )
            con.execute("UPDATE version SET n = n + 1")

    def documents(self, kind: str) -> list[dict[str, Any]]:
        rows = self._ask(f"SELECT document FROM documents WHERE {NEWEST} ORDER BY key", (kind,))  # noqa: S608
        return [json.loads(document) for (document,) in rows]

    def history(self, kind: str, key: str) -> list[Entry]:
        rows = self._ask(
            "SELECT document, at_ms, author FROM documents WHERE kind = ? AND key = ? ORDER BY n", (kind, key)
        )
        return [Entry(json.loads(document), at_ms, author) for document, at_ms, author in rows]

    def version(self) -> int:
        version: int = self._ask("SELECT n FROM version")[0][0]
        return version

    def save_alert(self, alert: AlertRow) -> None:
        row = (alert.id, alert.raised_ms, alert.cleared_ms, _to_json(alert).decode())
        with self._transaction() as con:
            con.execute("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?)", row)
            con.execute("UPDATE version SET n = n + 1")

    def alerts(self, active: bool | None = None, limit: int = 200) -> list[AlertRow]:
        rows = self._ask(
            "SELECT document FROM alerts WHERE ? IS NULL OR (cleared_ms IS NULL) = ? ORDER BY raised_ms DESC, id LIMIT ?",
            (active, active, limit),
        )
        return [_alert(document) for (document,) in rows]
