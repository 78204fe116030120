"""Documentation that fails the build: every driver has its page in both languages, and every setting stands on it."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from drivers.catalogue import driver, drivers
from drivers.contract import ExchangeLine

pytestmark = pytest.mark.external  # the pages are in the sources, not in the wheel

DOCS = Path("docs")
PAGES = [(name, ending) for name in drivers() for ending in ("md", "zh.md")]


def page(name: str, ending: str) -> str:
    return (DOCS / "protocols" / f"{name}.{ending}").read_text()


def own_settings(name: str) -> list[str]:
    """Settings of a driver's lines and meters; what every exchange line has is told once, in the sample."""
    common = {"driver", *ExchangeLine.model_fields}
    models: list[type[BaseModel]] = [driver(name).line_model, driver(name).meter_model]
    return [field for model in models for field in model.model_fields if field not in common]


@pytest.mark.parametrize(("name", "ending"), PAGES)
def test_every_protocol_has_a_page_that_names_each_of_its_settings(name: str, ending: str) -> None:
    text = page(name, ending)
    assert [setting for setting in own_settings(name) if not re.search(rf"\b{setting}\b", text)] == []


@pytest.mark.parametrize("file", sorted(DOCS.rglob("*.md")), ids=str)
def test_what_a_page_links_to_exists(file: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", file.read_text())
    assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == []


def test_every_page_exists_in_both_languages() -> None:
    alone = [file for file in DOCS.rglob("*.md") if not file.name.endswith(".zh.md")]
    assert [file for file in alone if not file.with_suffix(".zh.md").exists() and file.name != "decisions.md"] == []
