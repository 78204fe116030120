"""Every shipped profile, whatever its protocol: its driver can read it, its vectors give what they promise, its points are sane."""

import re
from functools import cache
from typing import Any

import pytest

from metering.profile import Profile, ProfilePoint
from settings.profiles import list_profiles, load_profile, profile_path
from settings.syntax import parse
from tanbiao.profile_check import ROLLOVER_UNKNOWN, Checked, accumulates, check

NAMES = list_profiles()


@cache
def checked(name: str) -> Checked:
    return check(name)


def editions(profile: Profile) -> dict[str, Profile]:
    return {"": profile, **{name: profile.variant(name) for name in profile.variants}}


def points(profile: Profile) -> dict[str, ProfilePoint]:
    return {f"{edition}.{name}": point for edition, resolved in editions(profile).items()
            for name, point in resolved.points.items()}  # fmt: skip


def counters(profile: Profile) -> dict[str, ProfilePoint]:
    return {name: point for name, point in points(profile).items() if point.role == "counter"}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_has_no_fault_in_points_identity_probes_variants_or_line(name: str) -> None:
    assert isinstance(checked(name).profile, Profile)


@pytest.mark.parametrize("name", NAMES)
def test_each_vector_gives_exactly_what_it_promises(name: str) -> None:
    found = checked(name)
    assert [(vector.place, vector.error) for vector in found.vectors if vector.error is not None] == []
    assert [each for vector in found.vectors for each in vector.expectations if not each.met] == []
    assert found.vectors


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_pins_down_a_counter_and_each_variant(name: str) -> None:
    profile = load_profile(name)
    covered = [(vector.get("variant"), point) for vector in profile.vectors for point in vector["expect"]]
    assert {edition for edition, _ in covered} >= set(profile.variants)
    assert not counters(profile) or {f".{point}" for _, point in covered} & set(counters(profile))


@pytest.mark.parametrize("name", NAMES)
def test_a_counter_can_be_reset_where_a_caveat_says_so_and_nowhere_else(name: str) -> None:
    profile = load_profile(name)
    said = any(re.search("^(计数器|累计量|电能)可.*清零", each.zh) for each in profile.caveats)
    assert any(at.resettable for at in counters(profile).values()) == said
    warned = [warning for warning in checked(name).warnings if "can be reset" in str(warning)]
    assert bool(warned) == said


@pytest.mark.parametrize("name", NAMES)
def test_a_counter_says_where_it_begins_anew_or_that_nobody_says(name: str) -> None:
    unsaid = [
        name
        for name, point in counters(load_profile(name)).items()
        if point.digits is None and point.modulus is None and point.resolution != "ulp"
        if ROLLOVER_UNKNOWN not in point.doc
    ]
    assert unsaid == []


@pytest.mark.parametrize("name", NAMES)
def test_a_counter_adds_up_and_a_rate_is_none(name: str) -> None:
    assert [point for point, at in counters(load_profile(name)).items() if accumulates(at) is False] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_digit_or_modulus_and_the_last_shown_step_fit_each_other(name: str) -> None:
    for point in counters(load_profile(name)).values():
        modulus = 10**point.digits if point.digits is not None else point.modulus
        assert modulus is None or point.resolution in (None, "ulp") or point.resolution < modulus


@pytest.mark.parametrize(
    "name", [name for name in NAMES if load_profile(name).protocol == "modbus" and "demo/" not in name]
)
def test_a_valid_range_hurts_no_plant(name: str) -> None:
    """A reading out of range is refused; a plant without voltage, or one of 35 kV, must not be."""
    for point in points(load_profile(name)).values():
        if point.valid is not None and point.unit in ("Hz", "V", "A", "1"):
            low, high = point.valid
            assert low <= 0
            assert high >= {"Hz": 70, "V": 1000, "A": 1000, "1": 1}[point.unit]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_made_of_plain_words(name: str) -> None:
    assert all(part and set(part) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for part in name.split("/"))
    assert len(name.split("/")) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_named_after_the_maker(name: str) -> None:
    vendor = load_profile(name).vendor
    maker = vendor if isinstance(vendor, str) else vendor.en
    assert set(name.split("/")[0].split("-")) <= set(re.findall("[a-z0-9]+", maker.lower()))


@pytest.mark.parametrize("name", NAMES)
def test_people_read_it_in_both_languages(name: str) -> None:
    given: dict[str, Any] = parse(profile_path(name).read_text("utf-8")).data
    for caveat in given.get("caveats", []):
        assert set(caveat) == {"zh", "en"}
        assert any("\u4e00" <= letter <= "\u9fff" for letter in caveat["zh"])
    for variant in given.get("variants", {}).values():
        assert set(variant["name"]) == {"zh", "en"}


@pytest.mark.parametrize("name", NAMES)
def test_only_our_own_simulators_are_verified(name: str) -> None:
    """`verified` is for a meter somebody of us has read; of a maker's page one can only say where it stands."""
    profile = load_profile(name)
    assert (profile.status == "verified") == (name.startswith("demo/"))
    assert profile.source.title
    assert profile.status != "manual" or profile.source.page is not None


def test_the_catalogue_holds_every_kind_of_meter_and_forty_models_of_modbus() -> None:
    profiles = [load_profile(name) for name in NAMES]
    assert {profile.kind for profile in profiles} >= {"electricity", "gas", "heat", "fuel", "water", "production"}
    assert sum(profile.protocol == "modbus" for profile in profiles) >= 40


@pytest.mark.parametrize("name", ["chint/dtsu666", "acrel/adl400", "carlo-gavazzi/em24", "sunspec/meter-203"])
def test_a_meter_of_one_name_and_two_maps_has_variants(name: str) -> None:
    assert len(load_profile(name).variants) >= 2


@pytest.mark.parametrize(
    ("name", "answers", "edition"),
    [
        ("chint/dtsu666", {0x2006: 2302.0, 0x5000: None}, "standard"),
        ("chint/dtsu666", {0x2006: 230.2, 0x5000: None}, "h"),
        ("chint/dtsu666", {0x2006: None, 0x5000: 0x20D5}, "sungrow"),
        ("chint/dtsu666", {0x2006: 0.0, 0x5000: None}, None),
        ("acrel/adl400", {0x0834: 50.01, 0x0077: 5001.0}, "primary"),
        ("acrel/adl400", {0x0834: None, 0x0077: 5001.0}, "secondary"),
        ("acrel/adl400", {0x0077: 5001.0}, None),
        ("carlo-gavazzi/em24", {0x000B: 72.0}, "rs485"),
        ("carlo-gavazzi/em24", {0x000B: 1650.0}, "e1"),
        ("carlo-gavazzi/em24", {0x000B: 341.0}, None),
        ("sunspec/meter-203", {40070: 203.0, 40069: 65.0}, "l66"),
        ("sunspec/meter-203", {40070: 105.0, 40069: 203.0}, "l65"),
    ],
)
def test_what_a_meter_answers_at_the_probes_tells_its_variant(
    name: str, answers: dict[int, float | None], edition: str | None
) -> None:
    """Silence at a probe (no entry) decides nothing; a refusal (None) does."""
    profile = load_profile(name)
    found = {
        variant: {at: answers[int(probe.address)] for at, probe in of.probe.items() if int(probe.address) in answers}
        for variant, of in profile.variants.items()
    }
    assert profile.variant_of(found) == edition


def test_a_variant_changes_what_it_says_and_keeps_the_rest() -> None:
    secondary = load_profile("acrel/adl400").variant("secondary")
    assert secondary.side == "secondary"
    assert (secondary.points["power"].address, secondary.points["power"].type) == (0x016A, "i32")
    assert secondary.points["ratio_ct"].address == 0x008E
