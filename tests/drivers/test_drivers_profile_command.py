"""`tanbiao profile`: a stranger with a new meter writes a file, and hears exactly what is wrong with it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from settings.profiles import list_profiles, load_profile, profile_path
from tanbiao.profile_check import check
from tanbiao.profile_cli import app, matches, noted
from tanbiao.profile_schema import profile_schema

GOOD = """
vendor: Acme
model: EM-1
kind: electricity
protocol: modbus
line: {baud: 9600, frame: 8N1}
defaults: {fc: 3, type: f32, order: ABCD}
points:
  energy_import: {address: 0x0100, type: u32, scale: 0.01, unit: kWh, role: counter, digits: 6}
  power:         {address: 0x0102, unit: kW, role: gauge}
vectors:
  - registers: {0x0100: "000F423F", 0x0102: "42F6E979"}
    expect: {energy_import: 9999.99, power: 123.456}
source: {title: EM-1 manual, page: 12}
status: manual
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Test the good file with something replaced; return the exit code and the answer."""

    def test(old: str = "", new: str = "") -> tuple[int, dict[str, Any]]:
        assert old in GOOD
        file = tmp_path / "em1.yaml"
        file.write_text(GOOD.replace(old, new, 1) if old else GOOD, encoding="utf-8")
        result = CliRunner().invoke(app, ["test", str(file), "--json"])
        return result.exit_code, json.loads(result.stdout)

    return test


def hints(answer: dict[str, Any]) -> dict[str, str]:
    return {each["point"]: each["hint"] for profile in answer["profiles"] for vector in profile["vectors"]
            for each in vector["points"] if not each["good"]}  # fmt: skip


def test_a_good_file_is_good(run: Callable[..., Any]) -> None:
    code, answer = run()
    assert code == 0
    assert answer["faults"] == []
    assert answer["profiles"][0]["warnings"] == []


@pytest.mark.parametrize(
    ("old", "new", "point", "hint"),
    [
        ("order: ABCD", "order: CDAB", "power", "order: ABCD"),
        ("scale: 0.01", "scale: 0.1", "energy_import", "scale: 0.01"),
        ("address: 0x0100", "address: 0x0101", "energy_import", "address: 0x0100 (256)"),
        ("address: 0x0102", "address: 0x0103", "power", "address: 0x0102 (258)"),
        ("type: u32, ", "", "energy_import", "type: u32"),
        ("address: 0x0100", "address: 40257", "energy_import", "address: 0x0100 (256)"),
    ],
)
def test_f25_a_slip_that_a_vector_shows_is_named(
    run: Callable[..., Any], old: str, new: str, point: str, hint: str
) -> None:
    code, answer = run(old, new)
    assert code == 1
    assert answer["faults"] == []
    assert hint in hints(answer)[point]


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("type: u32", "type: uint32", ":9:3:", "u32"),
        ("unit: kWh", "unit: kwhh", ":9:", "kWh"),
        ("role: gauge", "rolle: gauge", ":10:", "role"),
        ('"42F6E979"', '"42F6 979"', ":12:", "0x0102: '42F6 979' is not a whole number of registers"),
        ('"42F6E979"', '"42F6E9"', ":12:", "0x0102: '42F6E9' is not a whole number of registers"),
        ('"42F6E979"', '"42F6E97G"', ":12:", "'G' in '42F6E97G'"),
        ('registers: {0x0100: "000F423F", 0x0102: "42F6E979"}', 'reply: "01 03 04 BA 4"\n    address: 0x0102', ":12:", "reply: '01 03"),
        ('registers: {0x0100: "000F423F", 0x0102: "42F6E979"}', 'reply: "01 03"', ":12:", "address"),
        ("points:", "identity: {serial: {address: 1, type: string12}}\npoints:", ":8:", "Did you mean str12?"),
        ("frame: 8N1", "frame: E81", ":6:", "Did you mean 8E1?"),
        ("  power: ", "  Active-Power: ", ":10:", "active_power"),
        ("points:\n", "point:\n", ":8:1:", "points"),
        ("role: counter", "role: count", ":9:", "counter"),
        ("expect: {energy_import", "expect: {energy_inport", ":13:", "energy_import"),
        ("baud: 9600", "bauds: 9600", ":6:", "baud"),
        ("protocol: modbus", "protocol: modbuss", ":5:", "modbus"),
        ('vectors:\n  - registers: {0x0100: "000F423F", 0x0102: "42F6E979"}\n'
         "    expect: {energy_import: 9999.99, power: 123.456}\n", "", "em1.yaml:", "vectors"),
        ("digits: 6", "digits: 6, valid: [10, 1]", ":9:", "10"),
        ("expect: {energy_import: 9999.99, power: 123.456}", "expect: {}", ":13:", "expect"),
        ("- registers: {", "- register: {", ":12:", "registers"),
        ("expect: {energy_import: 9", "variant: old\n    expect: {energy_import: 9", ":13:", "variant"),
    ],
)  # fmt: skip
def test_a_fault_has_its_place_and_what_was_meant(
    run: Callable[..., Any], old: str, new: str, place: str, said: str
) -> None:
    code, answer = run(old, new)
    assert code == 78
    assert place in answer["faults"][0]
    assert said in answer["faults"][0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("digits: 6", "resettable: true, digits: 6", "reset"),
        (", digits: 6", "", "rollover"),
        ("unit: kWh, role: counter", "unit: kW, role: counter", "kW"),
        ("unit: kW, role: gauge", "unit: kWh, role: gauge", "counter"),
        ("digits: 6", "resolution: ulp", "ulp"),
        ("address: 0x0102", "address: 0x0101", "power overlaps energy_import"),
        ("address: 0x0102, unit: kW", 'address: 40259, doc: "40259 total power", unit: kW', "manual's number (40259)"),
        ("expect: {energy_import: 9999.99, ", "expect: {", "energy_import stands in no vector"),
    ],
)
def test_what_is_doubtful_is_a_warning(run: Callable[..., Any], old: str, new: str, said: str) -> None:
    _, answer = run(old, new)
    assert answer["faults"] == []
    assert any(said in warning for warning in answer["profiles"][0]["warnings"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("digits: 6", "digits: 6, bits: [0, 15]"),
        ("points:\n", "points:\n  energy_too: {address: 0x0100, type: u32, unit: kWh, role: gauge}\n"),
    ],
)
def test_points_may_share_a_register_whole_or_bit_by_bit(run: Callable[..., Any], old: str, new: str) -> None:
    _, answer = run(old, new)
    assert not [warning for warning in answer["profiles"][0]["warnings"] if "overlaps" in warning]


def test_an_address_on_the_wire_like_a_manuals_number_is_no_doubt_where_the_source_says_so(
    run: Callable[..., Any],
) -> None:
    _, answer = run(
        "address: 0x0102, unit: kW, role: gauge}\n", 'address: 40259, doc: "40259", unit: kW, role: gauge}\n'
    )
    assert len(answer["profiles"][0]["warnings"]) == 1
    for name in list_profiles():
        assert not any(re.search("manual's number|overlaps|no vector", str(doubt)) for doubt in check(name).warnings)


def test_what_stands_in_no_vector_is_told(run: Callable[..., Any]) -> None:
    _, answer = run("expect: {energy_import: 9999.99, power: 123.456}", "expect: {energy_import: 9999.99}")
    assert answer["profiles"][0]["unread"] == ["power"]


def test_a_rollover_nobody_documents_is_said_and_warned_of_no_more(run: Callable[..., Any]) -> None:
    _, answer = run("digits: 6", "doc: rollover not documented")
    assert answer["profiles"][0]["warnings"] == []


def test_bytes_a_driver_refuses_are_told(run: Callable[..., Any]) -> None:
    code, answer = run('registers: {0x0100: "000F423F", 0x0102: "42F6E979"}',
                       'reply: "01 03 04 00 0F 42 3F 00 00"\n    address: 0x0100')  # fmt: skip
    assert code == 1
    assert "CRC" in answer["profiles"][0]["vectors"][0]["error"]


def test_a_reply_of_the_other_function_code_is_named(run: Callable[..., Any]) -> None:
    code, answer = run('registers: {0x0100: "000F423F", 0x0102: "42F6E979"}\n'
                       "    expect: {energy_import: 9999.99, power: 123.456}",
                       'reply: "01 04 04 00 0F 42 3F BB 37"\n    address: 0x0100\n    expect: {energy_import: 9999.99}')  # fmt: skip
    assert code == 1
    assert "fc: 4" in hints(answer)["energy_import"]


@pytest.mark.parametrize("order", ["ABCD", "CDAB"])
def test_the_sign_is_proposed_before_a_shorter_type_that_fits_by_chance(run: Callable[..., Any], order: str) -> None:
    """FFFFFFFF is -1 of any signed type; written as u32 it is 4294967295."""
    _, answer = run('power:         {address: 0x0102, unit: kW, role: gauge}\nvectors:\n  - registers: {0x0100: "000F423F", '
                    '0x0102: "42F6E979"}\n    expect: {energy_import: 9999.99, power: 123.456}',
                    f'power:         {{address: 0x0102, type: u32, order: {order}, scale: 0.001, unit: kW, role: gauge}}\n'
                    'vectors:\n  - registers: {0x0100: "000F423F", 0x0102: "FFFFFFFF"}\n'
                    "    expect: {energy_import: 9999.99, power: -0.001}")  # fmt: skip
    assert "type: i32 " in hints(answer)["power"]


def test_a_serial_number_is_a_text_even_where_it_looks_like_a_number(run: Callable[..., Any]) -> None:
    code, answer = run('vectors:\n  - registers: {0x0100: "000F423F", 0x0102: "42F6E979"}\n    expect: {',
                       'identity: {serial: {address: 0x0200, type: str6}}\nvectors:\n  - registers: '
                       '{0x0100: "000F423F", 0x0102: "42F6E979", 0x0200: "303031323334"}\n'
                       '    expect: {serial: "001234", ')  # fmt: skip
    assert (code, answer["faults"]) == (0, [])


def test_a_missing_file_or_model_is_a_fault() -> None:
    for name in ("nowhere.yaml", "eastron/sdm631"):
        assert CliRunner().invoke(app, ["test", name]).exit_code == 78


def test_people_read_the_same_as_scripts(tmp_path: Path) -> None:
    file = tmp_path / "em1.yaml"
    file.write_text(GOOD.replace("order: ABCD", "order: CDAB"), encoding="utf-8")
    result = CliRunner().invoke(app, ["test", str(file)])
    assert result.exit_code == 1
    assert f"{file}:13:" in result.stdout
    assert "order: ABCD" in result.stdout


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("chint/dtsu666", {"text": "正泰"}),
        ("chint/dtsu666", {"text": "CHINT dtsu"}),
        ("janitza/umg96rm-e", {"text": "weidm"}),
        ("fuxin/gas-turbine", {"kind": "gas", "protocol": "modbus"}),
        ("fuxin/gas-turbine", {"kind": "燃气", "text": "涡轮"}),
    ],
)
def test_a_model_is_found_by_maker_name_kind_and_protocol_in_either_language(name: str, search: dict[str, str]) -> None:
    assert matches(name, load_profile(name), **search)
    assert not matches("eastron/sdm630", load_profile("eastron/sdm630"), **search)


def test_the_list_holds_what_was_looked_for_and_says_when_there_is_nothing() -> None:
    result = CliRunner().invoke(app, ["list", "--json", "--protocol", "modbus", "正泰"])
    assert [each["id"] for each in json.loads(result.stdout)] == ["chint/dtsu666"]
    assert CliRunner().invoke(app, ["list", "no-such-maker"]).exit_code == 1


def test_the_list_fits_a_hundred_columns() -> None:
    lines = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    assert max(len(line) for line in lines if "profile" not in line and ";" not in line) <= 100


@pytest.mark.parametrize("name", ["chint/dtsu666", "schneider/ion6200", "siemens/pac2200", "tuf/tuf-2000"])
def test_a_model_shows_what_one_knows_of_it(name: str) -> None:
    result = CliRunner().invoke(app, ["show", name])
    assert result.exit_code == 0
    assert "counter" in result.stdout
    assert json.loads(CliRunner().invoke(app, ["show", name, "--json"]).stdout)["model"]


def test_what_many_profiles_say_is_said_in_the_readers_language() -> None:
    assert noted("组合无功1总电能；rollover not documented", "zh") == "组合无功1总电能；资料未写何时回零"
    assert noted("the vector is composed; page 3", "en") == "the vector is composed; page 3"


SCHEMA = profile_schema()


@pytest.mark.parametrize("name", list_profiles())
def test_every_shipped_profile_is_valid_by_the_schema(name: str) -> None:
    given = YAML(typ="safe").load(profile_path(name).read_text("utf-8"))
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(given, default=str)))


@pytest.mark.parametrize("wrong", [{"kind": "electric"}, {"model": None}, {"pionts": {}}, {"status": "good"}])
def test_the_schema_refuses_what_the_model_refuses(wrong: dict[str, Any]) -> None:
    given = {**YAML(typ="safe").load(GOOD), **wrong}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(given, default=str)))


def test_the_schema_says_what_each_field_is() -> None:
    assert "zero" not in SCHEMA["description"]
    assert SCHEMA["$defs"]["ProfilePoint"]["properties"]["scale"]["description"]
    assert SCHEMA["properties"]["side"]["description"]


@pytest.mark.external
def test_the_schema_in_docs_is_current() -> None:
    """`tanbiao profile schema > docs/schemas/profile.json` renews it."""
    assert json.loads(Path("docs/schemas/profile.json").read_text("utf-8")) == SCHEMA


@pytest.mark.external
@pytest.mark.parametrize("page", ["docs/profiles.md", "docs/profiles.zh.md"])
def test_the_pages_table_of_models_is_current(page: str) -> None:
    """`tanbiao profile list --markdown` prints it."""
    rows = [line for line in Path(page).read_text("utf-8").splitlines() if re.match(r"\| `[a-z0-9-]+/", line)]
    assert rows == CliRunner().invoke(app, ["list", "--markdown"]).stdout.splitlines()


@pytest.mark.external
@pytest.mark.parametrize("page", ["docs/profiles.md", "docs/profiles.zh.md"])
def test_the_worked_example_of_the_page_passes(page: str, tmp_path: Path) -> None:
    text = Path(page).read_text("utf-8")
    example = text.split("```yaml\n# yaml-language-server")[1].split("```")[0]
    file = tmp_path / "example.yaml"
    file.write_text("#" + example, encoding="utf-8")
    result = CliRunner().invoke(app, ["test", str(file), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["profiles"][0]["warnings"] == []
