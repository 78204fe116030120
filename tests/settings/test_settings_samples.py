"""The samples are the reference: they load, they explain every setting, and what they call a default is one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from drivers.catalogue import driver, drivers
from settings.agent import AgentSettings, load_agent
from settings.ingester import IngesterSettings, load_ingester
from settings.origin import SECTIONS
from settings.places import config_dir
from settings.profiles import load_profile
from settings.schema import arms, models_in
from settings.syntax import parse

AGENT = config_dir() / "agent.sample.yaml"
INGESTER = config_dir() / "ingester.sample.yaml"
DEMO = config_dir() / "demo"


def fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield (key, field) of a model and of all models within it, those of people's texts apart."""
    for name, info in model.model_fields.items():
        yield info.alias or name, info
        for inner in inside(info.annotation):
            if inner.__name__ != "Bilingual":
                yield from fields(inner)


def inside(annotation: Any) -> Iterator[type[BaseModel]]:
    yield from models_in(annotation)
    for arm in arms(annotation):
        for argument in getattr(arm, "__args__", ()):
            yield from inside(argument)


def _cases() -> Iterator[tuple[Path, str, FieldInfo]]:
    for key, info in fields(AgentSettings):
        yield AGENT, key, info
    for key, info in fields(IngesterSettings):
        yield INGESTER, key, info
    for name in drivers():
        for key, info in [*fields(driver(name).line_model), *fields(driver(name).meter_model)]:
            yield AGENT, key, info


CASES = list(_cases())


@pytest.mark.parametrize(("sample", "key", "info"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_setting_is_explained_in_the_sample(sample: Path, key: str, info: FieldInfo) -> None:
    assert re.search(rf"(^|[\s#{{,]){re.escape(key)}:(\s|$)", sample.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("sample", "key", "info"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_value_that_is_commented_out_is_the_default(sample: Path, key: str, info: FieldInfo) -> None:
    if info.default is None or info.is_required() or isinstance(info.default, BaseModel | list | dict):
        return
    commented = re.findall(rf"^\s*# {re.escape(key)}: ([^\n#]+?)\s*(?:#.*)?$", sample.read_text("utf-8"), re.MULTILINE)
    values = [_checked(info, parse(text).data) for text in commented]
    assert not values or info.default in values


def _checked(info: FieldInfo, value: object) -> object:
    annotated: Any = TypeAdapter(info.rebuild_annotation())
    try:
        return annotated.validate_python(value)
    except ValidationError:
        return None


@pytest.mark.parametrize("file", [AGENT, DEMO / "agent.yaml"], ids=lambda file: file.name)
def test_an_agent_file_we_ship_loads_with_the_drivers_own_settings(file: Path) -> None:
    settings, document = load_agent(file, {})
    for name, line in settings.lines.items():
        document.check(driver(line.driver).line_model, ("lines", name))
    for name, meter in settings.meters.items():
        its_driver, profile = driver(settings.lines[meter.line].driver), load_profile(meter.profile)
        document.check(its_driver.meter_model, ("meters", name), meter.address)
        assert not [fault for point in meter.of(profile).values() if (fault := its_driver.fault(point, profile))]


@pytest.mark.parametrize("file", [INGESTER, DEMO / "ingester.yaml"], ids=lambda file: file.name)
def test_an_ingester_file_we_ship_loads(file: Path) -> None:
    load_ingester(file, {})


def test_the_samples_speak_both_languages() -> None:
    for sample in (AGENT, INGESTER):
        heads = re.findall(r"((?:^#.*\n)+)^\w+:", sample.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(heads) == len(parse(sample.read_text(encoding="utf-8")).data)
        assert all(re.search(r"[\u4e00-\u9fff]", head) and re.search(r"[a-z]{3}", head) for head in heads)


def test_the_sections_the_environment_may_name_are_those_of_the_files() -> None:
    assert set(SECTIONS["agent"]) == set(AgentSettings.model_fields)
    assert set(SECTIONS["ingester"]) == set(IngesterSettings.model_fields)
