from collections.abc import Callable
from pathlib import Path

from agent.scratch import Scratch, not_stored
from metering.wire import Batch

Draft = Callable[..., Batch]


def test_what_was_noted_and_not_committed_is_left_for_the_next_run(tmp_path: Path, draft: Draft) -> None:
    scratch = Scratch(tmp_path / "outbox.db")
    scratch.open()
    scratch.note(draft(3, seed=1))
    scratch.turn()
    scratch.note(draft(3, seed=2))
    scratch.committed()
    scratch.note(draft(3, seed=3))
    assert Scratch(tmp_path / "outbox.db").left() == [draft(3, seed=2), draft(3, seed=3)]


def test_a_torn_or_damaged_line_is_passed_over(tmp_path: Path, draft: Draft) -> None:
    scratch = Scratch(tmp_path / "outbox.db")
    scratch.open()
    for seed in (1, 2, 3):
        scratch.note(draft(3, seed=seed))
    file = tmp_path / "outbox.db.scratch-0"
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], lines[1].replace(b"5", b"6"), lines[2][:-9]]))
    assert Scratch(tmp_path / "outbox.db").left() == [draft(3, seed=1)]


def test_what_is_stored_already_is_left_out(draft: Draft) -> None:
    one, two = draft(3, at_ms=1000), draft(3, at_ms=2000)
    assert not_stored([one, two], [one]) == [two]
    assert not_stored([one, two], []) == [one, two]


def test_a_disk_that_refuses_costs_no_reading(tmp_path: Path, draft: Draft) -> None:
    scratch = Scratch(tmp_path / "missing" / "outbox.db")
    scratch.open()
    scratch.note(draft(3))
    scratch.turn()
    scratch.committed()
    assert scratch.left() == []
    scratch.close()
