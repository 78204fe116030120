"""What a record store promises, on every adapter."""

from dataclasses import replace

import pytest

from ingester.store.contract import AlertRow
from ingester.store.sqlite_records import SqliteRecords
from metering.errors import StoreFailed


def alert(name: str, raised_ms: int, cleared_ms: int | None = None) -> AlertRow:
    return AlertRow(
        name, "gas", "gas-main", raised_ms, raised_ms - 60, cleared_ms, None, None, "rate", {"actual": "12.5"}
    )


def test_a_document_is_never_overwritten(open_records):
    store = open_records()
    store.put("instrument", "g-1", {"id": "g-1", "name": "燃气表"}, 10, "seed")
    store.put("instrument", "g-1", {"id": "g-1", "name": "气表"}, 20, "li")
    store.put("instrument", "e-1", {"id": "e-1"}, 20, "li")
    store.put("certificate", "g-1", {"id": "other kind"}, 20, "li")
    store.close()
    again = open_records()
    assert again.documents("instrument") == [{"id": "e-1"}, {"id": "g-1", "name": "气表"}]
    assert [(entry.document["name"], entry.at_ms, entry.by) for entry in again.history("instrument", "g-1")] == [
        ("燃气表", 10, "seed"),
        ("气表", 20, "li"),
    ]


def test_a_document_in_force_is_not_written_again(records):
    records.put("exchange", "x", {"a": 1, "b": 2}, 10, "seed")
    version = records.version()
    records.put("exchange", "x", {"b": 2, "a": 1}, 20, "li")
    assert len(records.history("exchange", "x")) == 1
    assert records.version() == version


def test_the_version_grows_with_every_change(records):
    before = records.version()
    records.put("instrument", "g-1", {}, 10, "seed")
    after_document = records.version()
    records.save_alert(alert("a", 10))
    assert before < after_document < records.version()


def test_alerts_are_updated_by_id_and_told_newest_first(records):
    records.save_alert(alert("a", 10))
    records.save_alert(alert("b", 20))
    records.save_alert(replace(alert("a", 10), cleared_ms=30))
    assert [row.id for row in records.alerts()] == ["b", "a"]
    assert records.alerts(active=True) == [alert("b", 20)]
    assert records.alerts(active=False) == [alert("a", 10, 30)]
    assert records.alerts(limit=1) == [alert("b", 20)]


def test_what_is_no_json_is_refused_and_nothing_written(records):
    with pytest.raises(ValueError, match="JSON"):
        records.put("instrument", "g-1", {"x": float("nan")}, 10, "seed")
    assert records.documents("instrument") == []


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "records.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreFailed, match=r"records\.db"):
        SqliteRecords(tmp_path / "records.db")
