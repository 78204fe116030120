"""The catalogue of drivers, and what each driver's README promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import drivers.catalogue as catalogue
from agent.wiring import wire
from drivers.catalogue import driver, drivers
from metering.errors import MeteringError
from settings.agent import load_agent

FOLDER = Path(catalogue.__file__).parent


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_every_driver_folder_is_in_the_catalogue() -> None:
    folders = sorted(folder.parent.name for folder in FOLDER.glob("*/driver.py"))
    assert sorted(drivers()) == folders
    assert [driver(name).name for name in folders] == folders


@pytest.mark.parametrize("name", drivers())
def test_every_driver_folder_has_the_same_files(name: str) -> None:
    files = {file.name for file in (FOLDER / name).iterdir()}
    assert {"__init__.py", "driver.py", "settings.py", "codec.py", "README.md"} <= files


def test_an_unknown_driver_is_answered_with_the_nearest() -> None:
    with pytest.raises(MeteringError) as unknown:
        driver("modbuss")
    assert unknown.value.say("en") == f"no driver 'modbuss'; there are {', '.join(drivers())}. Did you mean modbus?"
    assert "是否指 modbus？" in unknown.value.say("zh")


def test_a_missing_library_names_its_extra() -> None:
    said = python("import sys; sys.modules['asyncua'] = None\nfrom drivers.catalogue import driver\ndriver('opcua')")
    assert "driver opcua needs asyncua: pip install 'tanbiao[opcua]'" in said


def test_a_driver_is_imported_when_it_is_used() -> None:
    said = python(
        "import sys, drivers.catalogue as c\nc.drivers(), c.driver('modbus')\nprint('asyncua' in sys.modules)"
    )
    assert said == "False\n"


@pytest.mark.parametrize("name", drivers())
def test_the_sample_of_a_readme_is_wired_as_it_stands(name: str, tmp_path: Path) -> None:
    sample = re.search(r"```yaml\n(.*?)```", (FOLDER / name / "README.md").read_text(), re.DOTALL)
    assert sample is not None
    file = tmp_path / "agent.yaml"
    file.write_text(f"agent: {{id: a, site: s}}\nmqtt: {{url: mqtt://127.0.0.1}}\n{sample[1]}")
    wiring = wire(*load_agent(file, {}))
    assert {line.driver.name for line in wiring.lines} == {name}
    assert len(list(wiring.meters)) == len(YAML(typ="safe").load(sample[1])["meters"])
