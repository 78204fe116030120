from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, Field

from metering.errors import SettingsFaults
from metering.fields import Id, Number, Strict, UnitName
from metering.profile import Bilingual
from metering.text import Text
from settings.document import Document, read
from settings.syntax import parse

Write = Callable[..., Path]
Said = Callable[[Callable[[], object]], list[str]]


class Leaf(Strict):
    unit: UnitName
    factor: Number = Decimal(1)
    address: int | str = 0
    kind: Literal["gas", "fuel"] = "gas"
    digits: int = Field(default=8, ge=1, le=15)
    on: bool = True
    name: Bilingual | None = None
    since: AwareDatetime | None = None
    step: Number | Literal["ulp"] | None = None
    words: list[str] = []
    password: str = Field(default="", pattern="^[a-z]*$")


class Plant(Strict):
    title: str = Field(examples=["north"])
    points: dict[Id, Leaf]


def plant(write: Write, text: str) -> Document:
    return read(write(text, "plant.yaml"))


def test_a_decimal_arrives_exactly_as_it_was_written(write: Write) -> None:
    points = plant(write, "title: a\npoints: {p: {unit: kWh, factor: 0.0100}}").check(Plant).points
    assert str(points["p"].factor) == "0.0100"


def test_hexadecimal_numbers_are_whole_numbers(write: Write) -> None:
    assert plant(write, "title: a\npoints: {p: {unit: kWh, address: 0x0C}}").check(Plant).points["p"].address == 12


def test_a_leading_zero_keeps_an_address_as_text(write: Write) -> None:
    assert plant(write, "a: 000123456789").data == {"a": "000123456789"}


def test_a_version_is_not_shortened(write: Write) -> None:
    assert plant(write, "a: 1.10").data == {"a": "1.10"}


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(write: Write) -> None:
    assert plant(write, "\ufefftitle: 北\r\npoints: {}\r\n").data == {"title": "北", "points": {}}


def test_one_text_serves_both_languages(write: Write) -> None:
    leaf = plant(write, "unit: kWh\nname: 锅炉").check(Leaf)
    assert leaf.name == Bilingual(zh="锅炉", en="锅炉")


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("", "plant.yaml", "the file is empty. See the samples"),
        ("# only words\n", "plant.yaml", "the file is empty"),
        ("- a\n- b\n", "plant.yaml:1:1", "should consist of `key: value`"),
        ("just text", "plant.yaml:1:1", "should consist of `key: value`"),
        ("a:\n\tb: 1\n", "plant.yaml:2:1", "a tab stands here. Indent YAML with spaces"),
        ("a: b: c\n", "plant.yaml:1:5", "a colon is not expected here"),
        ("a: 1\nb\nc: 2\n", "plant.yaml:3:1", "lacks its colon"),
        ("a: [1, 2\n", "plant.yaml:2:1", "a bracket [ is not closed"),
        ("a: {b: 1\n", "plant.yaml:2:1", "a brace is not closed"),
        ("a: 'open\n", "plant.yaml:2:1", "a quotation mark is not closed"),
        ("a: @x\n", "plant.yaml:1:4", "cannot begin with this character. Quote the whole value"),
        ("- a\nb: 1\n", "plant.yaml:2:1", "indented wrongly"),
        ("a: 1\nb: 2\na: 3\n", "plant.yaml:3:1", "the key 'a' stands twice, first on line 1. Keep one of the two"),
        ("a: &x 1\nb: *x\n", "plant.yaml:1:4", "anchors, aliases and merge keys are not taken (x)"),
        ("a:\n  <<: {b: 1}\n", "plant.yaml:2:3", "merge keys are not taken (<<)"),
        ("a: !!python/object:os.system x\n", "plant.yaml:1:4", "tags are not taken"),
        ("a: 1\n---\nb: 2\n", "plant.yaml:2:1", "a second document begins here"),
        ("? [a]\n: 1\n", "plant.yaml:1:3", "a key was expected here"),
        ("a: \x01\n", "plant.yaml:1:4", "is not correct YAML"),
        ("a: " + "[" * 60 + "]" * 60, "plant.yaml:1:44", "nested too deeply"),
    ],
)
def test_what_is_not_settings_gets_one_clear_fault(write: Write, said: Said, text: str, place: str, part: str) -> None:
    english, chinese = said(lambda: plant(write, text))
    assert english.startswith(place + ": ")
    assert part in english
    assert chinese.startswith(place + ": ")
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)


def test_a_missing_file_a_directory_and_a_foreign_encoding_are_told_apart(write: Write, said: Said) -> None:
    assert said(lambda: read(Path("absent.yaml")))[0] == "absent.yaml: there is no such file. Check the path"
    Path("folder").mkdir()
    assert said(lambda: read(Path("folder")))[0] == "folder: this is a directory, not a file. Check the path"
    latin = write("a: 1\nb: 锅炉\n".encode("gbk"))
    assert said(lambda: read(latin))[0].startswith("agent.yaml:2:4: the file is not UTF-8. Save it as UTF-8")


def test_a_file_too_large_to_be_settings_is_refused(write: Write, said: Said) -> None:
    huge = write("# " + "x" * 8_000_001)
    assert "larger than 8000000 bytes" in said(lambda: read(huge))[0]


@given(st.text(alphabet=st.sampled_from("ab01:-?[]{}'\"\n\t #&*!|>%@`,.<~x锅\ufeff\x00"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_text_makes_the_parser_raise(text: str) -> None:
    tree = parse(text)
    assert all(fault.problem.say("en", **dict(fault.values)) for fault in tree.faults)


@pytest.mark.parametrize(
    ("line", "place", "message"),
    [
        ("unti: kWh", "3:9", "unknown key points.p.unti. Did you mean unit?"),
        ("colour: red", "3:9", "unknown key points.p.colour. Known here: unit, factor, address, kind, digits, on"),
        ("unit: kWhh", "3:15", "points.p.unit: unknown unit kWhh (kWh?). Common units: kWh"),
        ("unit: Nm3", "3:15", "points.p.unit: unknown unit Nm3 (m3?). A normal cubic metre is ambiguous: write unit"),
        ("factor: 1.5.2", "3:17", "points.p.factor: '1.5.2' is not a number"),
        ("factor: true", "3:17", "points.p.factor: True is not a number"),
        ("kind: gass", "3:15", "points.p.kind: 'gass' is none of gas, fuel. Did you mean gas?"),
        ("digits: 20", "3:17", "points.p.digits: 20 is above 15. At most 15"),
        ("digits: 0", "3:17", "points.p.digits: 0 is below 1. At least 1"),
        ("digits: many", "3:17", "points.p.digits: 'many' is not a whole number"),
        ("digits: 1.5", "3:17", "points.p.digits: '1.5' is not a whole number"),
        ("on: perhaps", "3:13", "points.p.on: 'perhaps' should be true or false"),
        ("name: {zh: 一}", "3:9", "points.p.name lacks en. Add it"),
        ("name: [一]", "3:9", "points.p.name: […] should be a section (key: value)"),
        ("words: one", "3:16", "points.p.words: 'one' should be a list"),
        ("words: [1]", "3:17", "points.p.words[0]: 1 should be text. Quote a number that is meant as text"),
        ("since: 2026-01-01T00:00:00", "3:16", "has no offset from UTC. Write it as 2026-01-31T08:00:00+08:00"),
        ("since: yesterday", "3:16", "points.p.since: 'yesterday' is not a time. Write it as"),
        ("step: fine", "3:15", "points.p.step: 'fine' is not a number. It may also be 'ulp'"),
        ("password: Geheim9", "3:19", "points.p.password: *** is not written as it should be"),
    ],
)
def test_a_wrong_setting_names_its_place_its_value_and_the_remedy(
    write: Write, said: Said, line: str, place: str, message: str
) -> None:
    unit = "" if line.startswith("unit:") else ", unit: kWh"
    document = plant(write, f"title: t\npoints:\n  p:   {{{line}{unit}}}\n".replace("p:   {", "p: {  "))
    messages = said(lambda: document.check(Plant))
    assert len(messages) == 2
    assert messages[0].startswith(f"plant.yaml:{place}: ")
    assert message in messages[0]
    assert messages[1] != messages[0]
    assert "Geheim9" not in "".join(messages)


def test_a_missing_key_is_named_with_an_example(write: Write, said: Said) -> None:
    assert said(lambda: plant(write, "points: {}").check(Plant))[0] == (
        "plant.yaml:1:1: title is missing. Add it, such as title: north"
    )


def test_an_empty_section_says_so_at_its_key(write: Write, said: Said) -> None:
    assert said(lambda: plant(write, "title: a\npoints:\n  p:\n").check(Plant))[0].startswith(
        "plant.yaml:3:3: points.p is empty"
    )


def test_a_bad_id_is_found_at_the_key(write: Write, said: Said) -> None:
    message = said(lambda: plant(write, "title: a\npoints:\n  Gas_Main: {unit: kWh}\n").check(Plant))[0]
    assert message.startswith("plant.yaml:3:3: points.Gas_Main: 'Gas_Main' may hold lower-case letters")


def test_all_faults_come_at_once_in_the_order_of_the_file(write: Write, said: Said) -> None:
    document = plant(write, "points:\n  p: {unit: x, kind: y}\n  q: {uint: kWh}\ntitle: [1]\n")
    places = [message.split(": ")[0] for message in said(lambda: document.check(Plant))[:4]]
    assert places == [f"plant.yaml:{spot}" for spot in ("2:13", "2:22", "3:7", "4:1")]


def test_a_part_of_a_section_is_checked_against_the_keys_of_both_models(write: Write, said: Said) -> None:
    class Address(Strict):
        unit_id: int

    document = plant(write, "title: a\npoints:\n  p: {unit: kWh}\n")
    document.check(Plant)
    rest = {"unit_id": 1, "facotr": 2}
    message = said(lambda: document.check(Address, ("points", "p"), rest))[0]
    assert message == "plant.yaml:3:3: unknown key points.p.facotr. Did you mean factor?"


def test_a_fault_of_a_check_across_sections_has_a_place_too(write: Write) -> None:
    document = plant(write, "title: a\npoints:\n  p: {unit: kWh}\n")
    fault = document.fault(("points", "p", "unit"), Text("{a} 不行", "{a} will not do"), Text("改", "Change it"), a=1)
    assert fault.say("en") == "plant.yaml:3:13: 1 will not do. Change it"
    assert fault.say("zh") == "plant.yaml:3:13: 1 不行。改"
    with pytest.raises(SettingsFaults):
        raise document.faults([fault])
