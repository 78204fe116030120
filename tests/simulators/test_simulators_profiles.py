"""Every shipped profile is served by its protocol's simulator, and the agent's driver reads what is shown.

The simulators encode by themselves, so a reading that agrees was encoded and decoded by two different hands.
"""

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client

from metering.errors import MeteringError
from metering.reading import Quality
from settings.places import config_dir
from settings.plant import PlantSettings
from settings.profiles import list_profiles, load_profile
from simulators.meters import history

NOON = 1_783_483_200_000
"""2026-07-08T12:00+08:00."""
EXCHANGED = [name for name in list_profiles() if load_profile(name).protocol != "opcua"]
EDITIONS = [(name, edition) for name in EXCHANGED for edition in load_profile(name).variants or (None,)]
LINES = {"modbus": "modbus-rtu"}

Desk = Callable[..., Any]


@pytest.fixture
def bench(desk: Desk) -> Callable[..., Any]:
    """Return a meter of a profile on the desk."""

    def make(name: str, edition: str | None = None, protocol: str | None = None, **settings: Any) -> Any:
        driver_name = load_profile(name).protocol
        line = {"protocol": protocol or LINES.get(driver_name, driver_name)}
        return desk({"profile": name, "variant": edition, **settings}, line)

    return make


@pytest.mark.parametrize(("name", "edition"), EDITIONS)
def test_a_driver_reads_what_a_profiles_meter_shows(bench: Callable[..., Any], name: str, edition: str | None) -> None:
    stand = bench(name, edition)
    values = stand.read(stand.profile.points)
    wrong = {
        value.point: (value.value, value.quality, value.why, stand.meter.value(value.point, NOON))
        for value in values
        if value.value != stand.meter.value(value.point, NOON) or value.quality != Quality.GOOD
    }
    assert wrong == {}
    assert {value.point for value in values} == set(stand.profile.points)


@pytest.mark.parametrize("name", [name for name in EXCHANGED if load_profile(name).identity])
def test_a_driver_reads_who_a_profiles_meter_is(bench: Callable[..., Any], name: str) -> None:
    stand = bench(name)
    values = stand.read(stand.profile.identity)
    assert all(value.text or value.value is not None for value in values), values
    assert {value.point for value in values} == set(stand.profile.identity)


@pytest.mark.parametrize(("name", "edition"), [(name, edition) for name, edition in EDITIONS if edition])
def test_a_variant_is_told_from_the_others_by_its_probes(bench: Callable[..., Any], name: str, edition: str) -> None:
    stand = bench(name, edition)
    found: dict[str, Mapping[str, float | str | None]] = {}
    whole = load_profile(name)
    for other, variant in whole.variants.items():
        found[other] = {
            probe: None if value is None else value.value if value.text is None else value.text
            for probe, place in variant.probe.items()
            for value in [stand.probe(probe, place)]
        }
    assert whole.variant_of(found) == edition


def test_a_profile_alone_shows_what_suits_its_units(desk: Desk) -> None:
    stand = desk({"profile": "eastron/sdm630"}, {"protocol": "modbus-rtu"})
    shown = {point: stand.meter.value(point, NOON) for point in stand.meter.points}
    assert 215 < shown["voltage_l1"] < 230
    assert 49.9 < shown["frequency"] < 50.1
    hour = stand.meter.value("energy_import", NOON + 3_600_000) - shown["energy_import"]
    assert hour == pytest.approx(shown["power"] / 1000, rel=0.1), "the counter counts what the power says"
    assert shown["power"] == pytest.approx(3 * 222 * shown["current_l1"] * 0.93, rel=0.1)


def test_what_a_point_shows_can_be_said(desk: Desk) -> None:
    shows = {
        "voltage_l1": 231.5,
        "frequency": [49.0, 49.2],
        "energy_export": {"rate": "3 kW", "start": 10},
        "power": None,
    }
    stand = desk(
        {"profile": "eastron/sdm630", "rate": "10 kW", "start": 100, "shows": shows}, {"protocol": "modbus-rtu"}
    )
    values = {value.point: value for value in stand.read(stand.profile.points)}
    assert values["voltage_l1"].value == 231.5
    assert 49.0 <= values["frequency"].value <= 49.2
    assert values["energy_export"].value == pytest.approx(10 + 3 * (NOON - 1_735_660_800_000) / 3_600_000, abs=0.02)
    assert values["power"].value is None
    assert values["power"].quality == Quality.BAD
    assert "power" not in stand.meter.points


def test_a_meter_behind_a_transformer_counts_by_its_ratio(desk: Desk) -> None:
    more = {"rate": "1000 kW", "ratio": 100}
    stand = desk({"profile": "eastron/sdm630", **more}, {"protocol": "modbus-rtu"})
    assert stand.meter.value("power", NOON) == pytest.approx(10_000, rel=0.1)


@pytest.mark.parametrize(
    ("meter", "says"),
    [
        ({"profile": "eastron/sdm63"}, "no such meter profile"),
        ({"profile": "eastron/sdm630", "variant": "x"}, "no variant x"),
        ({"profile": "generic/dlt645-2007"}, "speaks dlt645"),
        ({"profile": "eastron/sdm630", "shows": {"voltage_l9": 1}}, "no point voltage_l9"),
        ({"profile": "eastron/sdm630", "shows": {"power": "much"}}, "shows a number"),
        ({"profile": "eastron/sdm630", "rate": "5 m3/h"}, "should have a unit such as kWh/h"),
        ({"profile": "eastron/sdm630", "shows": {"power": {"rate": "1 kW"}}}, "power is no counter"),
    ],
)
def test_a_meter_that_cannot_be_is_refused(meter: dict[str, Any], says: str) -> None:
    head = {"timezone": "Asia/Shanghai", "since": date(2025, 1, 1), "shifts": [{"from": "00:00", "load": 0.5}]}
    given = {**head, "lines": {"l": {"protocol": "modbus-rtu"}}, "meters": {"m": {"line": "l", **meter}}}
    found = PlantSettings.model_validate(given).contradictions()
    assert len(found) == 1
    assert says in found[0].problem.say("en", **found[0].values)
    assert found[0].problem.zh != found[0].problem.en


def test_history_of_a_profile_is_of_its_points(desk: Desk) -> None:
    stand = desk({"profile": "acrel/adl400"}, {"protocol": "modbus-rtu"})
    rows = list(history(stand.settings, NOON, NOON + 1, 60))
    assert {point for _, point, _, _ in rows} == set(stand.profile.points)
    assert all(value == stand.meter.value(point, NOON) for _, point, _, value in rows)


async def test_an_opcua_profile_is_served_at_its_nodes(
    simulated: Callable[..., Any], desk_settings: Callable[..., PlantSettings]
) -> None:
    settings = desk_settings({"profile": "generic/opcua-flow", "shows": {"density": 842.5}}, {"protocol": "opcua"})
    async with simulated(settings) as plant, Client(plant.lines["line"]["url"]) as client:
        assert await client.get_node("ns=2;s=OilFlow.Density").read_value() == 842.5
        assert await client.get_node("ns=2;s=OilFlow.MassTotal").read_value() > 0


def test_a_place_the_simulators_do_not_know_is_named(desk: Desk, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    known = (config_dir() / "profiles" / "eastron" / "sdm630.yaml").read_text(encoding="utf-8")
    mine.write_text(known.replace("type: f32", "type: f33"), encoding="utf-8")
    with pytest.raises(MeteringError) as caught:
        desk({"profile": str(mine)}, {"protocol": "modbus-rtu"})
    assert "cannot show the point" in caught.value.say("en")
    assert "f33" in caught.value.say("zh")
