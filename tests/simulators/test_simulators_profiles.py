"""Every shipped profile is served by its protocol's simulator, and the agent's driver reads what is shown.

The simulators encode by themselves, so a reading that agrees was encoded and decoded by two different hands.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from metering.reading import Quality
from settings.profiles import list_profiles, load_profile

NOON = 1_783_483_200_000
"""2026-07-08T12:00+08:00."""
EXCHANGED = [name for name in list_profiles() if load_profile(name).protocol != "opcua"]
EDITIONS = [(name, None) for name in EXCHANGED] + [
    (name, edition) for name in EXCHANGED for edition in load_profile(name).variants
]
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
