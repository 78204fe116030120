"""What must hold for the house as a whole: its names are its own, and every text exists in both languages."""

import importlib
import importlib.metadata
import os
import pkgutil
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from metering.text import Text

ROOMS = ("agent", "calibration", "drivers", "ingester", "link", "metering", "settings", "simulators", "tanbiao")


def modules() -> Iterator[ModuleType]:
    for room in ROOMS:
        package = importlib.import_module(room)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def texts(value: object, depth: int = 0) -> Iterator[Text]:
    if isinstance(value, Text):
        yield value
    elif isinstance(value, dict) and depth < 3:
        for item in value.values():
            yield from texts(item, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset) and depth < 3:
        for item in value:
            yield from texts(item, depth + 1)
    elif isinstance(value, type) and depth < 1:
        for item in vars(value).values():
            yield from texts(item, depth + 1)


def fields(sentence: str) -> set[str]:
    return {
        name.split(".")[0].split("[")[0] for _, name, _, _ in string.Formatter().parse(sentence) if name is not None
    }


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_owns_one_of_our_import_names(room: str) -> None:
    owners = importlib.metadata.packages_distributions().get(room, ["tanbiao"])
    assert set(owners) == {"tanbiao"}


def test_every_text_exists_in_both_languages_with_the_same_values() -> None:
    found = [
        (module.__name__, text) for module in modules() for value in vars(module).values() for text in texts(value)
    ]
    assert len(found) > 100
    for where, text in found:
        assert text.zh.strip() or not text.en.strip(), f"{where}: {text.en!r} has no Chinese"
        assert text.en.strip() or not text.zh.strip(), f"{where}: {text.zh!r} has no English"
        assert {name.removesuffix("_zh").removesuffix("_en") for name in fields(text.zh)} == {
            name.removesuffix("_zh").removesuffix("_en") for name in fields(text.en)
        }, f"{where}: {text} names different values"


def test_what_runs_under_the_wheel_comes_from_the_wheel() -> None:
    import metering

    here = Path(__file__).resolve().parent.parent
    from_the_tree = Path(metering.__file__).resolve().is_relative_to(here)
    assert from_the_tree is (os.environ.get("TANBIAO_WHEEL") != "1")


def test_configuration_and_units_are_found_beside_the_package_or_in_share() -> None:
    from settings.places import config_dir

    assert (config_dir() / "demo" / "plant.yaml").is_file()
    if os.environ.get("TANBIAO_WHEEL") == "1":
        assert (Path(sys.prefix) / "share" / "tanbiao" / "systemd").is_dir()
