"""plant.yaml: the demo's own is right, and a mistake is named with its place."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from metering.errors import SettingsFaults
from settings.places import config_dir
from settings.plant import PlantFault, PlantLine, PlantMeter, PlantSettings, Shift, read_plant
from simulators.meters import build_meters

PlantText = Callable[..., str]
SAMPLE = config_dir() / "plant.sample.yaml"
DEMO = config_dir() / "demo" / "plant.yaml"


def test_the_plant_of_the_demo_is_right() -> None:
    plant = read_plant(DEMO)
    assert list(plant.meters) == ["main-power", "gas-main", "gas-2", "workshop-power", "oil-burner", "line-1"]
    assert plant.faults[0].fault == "burst"
    assert plant.served_log is None


def test_the_sample_plant_is_right() -> None:
    assert set(read_plant(SAMPLE).meters) == {"feeder", "compressor", "pump", "optical", "flow", "workshop"}


@pytest.mark.parametrize("section", [PlantSettings, Shift, PlantLine, PlantMeter, PlantFault])
def test_every_setting_stands_in_the_sample(section: type[BaseModel]) -> None:
    sample = DEMO.read_text(encoding="utf-8") + SAMPLE.read_text(encoding="utf-8")
    for name, field in section.model_fields.items():
        assert re.search(rf"\b{field.alias or name}\b", sample), name


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (("line: panel, model", "line: pannel, model"), "16:22", "no line pannel; lines has panel, rtu-1, dlt-1, plc-1"),
        (("unit: 2", "unit: 1"), "18:3", "gas-2 and gas-main have the same address 1 on line rtu-1"),
        (("line: rtu-1, model: gas-corrector, unit: 2", "line: dlt-1, model: gas-corrector, unit: 2"), "18:17",
         "cannot hang on the dlt645 line dlt-1"),
        (("meter: gas-main}", "meter: gas-9}"), "23:49", "no meter gas-9"),
        (("protocol: modbus-rtu", "protocol: modbus"), "12:21", "did you mean modbus-rtu, modbus-tcp or modbus-ascii?"),
        (("fault: burst", "fault: bust"), "23:35", "bust"),
        (("at: 70 s", "at: 70"), "23:10", "a duration needs its unit"),
        (("idle: 500 kW", "idle: 500 m3/h"), "16:3", "should be in kW"),
        (("timezone: Asia/Shanghai", "timezone: Asia/Peking"), "2:11", "is not a time zone"),
        (('from: "08:00"', 'from: "00:00"'), "5:1", "two shifts begin at 00:00"),
        ((', number: "202611230001"', ""), "19:3", "number is the 12 digits"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(
    plant_text: PlantText, tmp_path: Path, change: tuple[str, str], place: str, says: str
) -> None:
    text = plant_text(more="faults:\n  - {at: 70 s, for: 1 min, fault: burst, meter: gas-main}")
    assert change[0] in text
    path = tmp_path / "plant.yaml"
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(SettingsFaults) as caught:
        read_plant(path)
    assert len(caught.value.faults) == 1
    fault = caught.value.faults[0]
    assert fault.place == f"{path}:{place}"
    assert says in fault.say("en")
    assert fault.say("zh") != fault.say("en")


@pytest.mark.parametrize(("frame", "bits"), [("8N1", 10), ("8E1", 11), ("8N2", 11), ("7E1", 10), (None, 11)])
def test_a_byte_takes_its_bits(frame: str | None, bits: int) -> None:
    assert PlantLine.model_validate({"protocol": "dlt645", "frame": frame}).bits == bits


def test_what_the_sample_says_is_shown() -> None:
    """Scalars of a file come as they are written there."""
    plant = read_plant(SAMPLE)
    compressor = build_meters(plant)["compressor"]
    noon = 1_795_483_200_000
    assert compressor.value("frequency", noon) == 49.9
    assert 218 <= compressor.value("voltage_l1", noon) <= 226
    assert not compressor.available("reactive")
    assert plant.meters["compressor"].forbidden == [0x0900, (0x0A00, 0x0AFF)]
