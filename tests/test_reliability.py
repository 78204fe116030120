"""The page of faults names tests that exist, the same in both languages, each for the fault it is named after."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.external  # the pages are in the sources, not in the wheel

PAGES = [Path("docs/reliability.md"), Path("docs/reliability.zh.md")]
ROW = re.compile(r"^\| (F\d\d) \|.*\| ([^|]+) \|$", re.MULTILINE)


def proofs(page: Path) -> list[tuple[str, str, str]]:
    """Return (fault, file, test) of each row."""
    rows: list[tuple[str, str]] = ROW.findall(page.read_text()) if page.exists() else []
    return [(fault, *proof.split("::")) for fault, cell in rows for proof in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize(("fault", "file", "test"), proofs(PAGES[0]))
def test_a_test_that_is_named_as_a_proof_exists(fault: str, file: str, test: str) -> None:
    assert re.search(rf"^(async )?def {test}\(", (Path("tests") / file).read_text(), re.MULTILINE)
    assert f"_{fault.lower()}_" in test


def test_both_languages_name_the_same_proofs() -> None:
    assert proofs(PAGES[0])
    assert proofs(PAGES[0]) == proofs(PAGES[1])
