"""The shipped factor sets against the tables they were taken from, and the rules of choosing a row."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from metering.emission import direct_ratio, fuel_ratio
from metering.errors import UnknownFactor
from metering.factor import FactorSet, FuelRow, Variant, fuel_row, grid_row, heat_row, plausibility_faults
from metering.quantity import plain, unit
from metering.region import GRIDS, PROVINCES, region_key
from settings.factors import list_factor_sets, load_factor_set

Write = Callable[..., Path]
Said = Callable[[Callable[[], object]], list[str]]

NDRC = load_factor_set("cn-ndrc-other")
MEE = load_factor_set("cn-mee-2022")
NBS = load_factor_set("cn-grid-mee-nbs")
ETS = load_factor_set("cn-grid-ets")


def product(row: FuelRow) -> Decimal:
    """tCO2 of one tonne, or of 10^4 m3 at the row's reference state."""
    activity = unit("10^4 m3").at("20C") if row.reference else unit("t")
    return fuel_ratio(activity, row.ncv, row.cc, row.oxidation()).tonnes(Decimal(1))


@pytest.mark.parametrize(
    ("factors", "fuel", "printed"),
    [
        (NDRC, "natural_gas", "21.621888"),
        (NDRC, "anthracite", "2.322768"),
        (NDRC, "bituminous_coal", "2.071509"),
        (NDRC, "lignite", "1.424093"),
        (NDRC, "coke", "2.851825"),
        (NDRC, "gasoline", "3.042547"),
        (NDRC, "diesel", "3.145122"),
        (NDRC, "lpg", "2.953847"),
        (NDRC, "lng", "2.325307"),
        (MEE, "natural_gas", "21.650152"),
        (MEE, "diesel", "3.095910"),
        (MEE, "gasoline", "2.925056"),
        (MEE, "lpg", "3.101330"),
    ],
    ids=lambda value: value.id if isinstance(value, FactorSet) else str(value),
)
def test_a_fuel_gives_the_product_its_table_is_known_for(factors: FactorSet, fuel: str, printed: str) -> None:
    assert product(fuel_row(factors, fuel)).quantize(Decimal("0.000001")) == Decimal(printed)


def test_ten_thousand_cubic_metres_of_gas_are_exact_to_the_last_digit() -> None:
    assert plain(product(fuel_row(NDRC, "natural_gas"))) == "21.62188809"
    exact = Fraction("389.31") * Fraction("0.01530") * Fraction("0.99") * Fraction(44, 12)
    assert Fraction(product(fuel_row(NDRC, "natural_gas"))) == exact


@pytest.mark.parametrize(
    ("fuel", "ncv", "cc", "of"),
    [
        ("crude_oil", "42.62", "0.02010", "98"),
        ("fuel_oil", "40.19", "0.02110", "98"),
        ("kerosene", "44.75", "0.01960", "98"),
        ("naphtha", "41.031", "0.0200", "98"),
        ("petroleum_coke", "31.00", "0.02750", "98"),
        ("briquette", "17.46", "0.03360", "90"),
        ("other_washed_coal", "15.373", "0.02540", "90"),
        ("cleaned_coal", "26.344", "0.02540", "93"),
        ("refinery_gas", "46.05", "0.01820", "99"),
        ("coke_oven_gas", "173.854", "0.01360", "99"),
        ("blast_furnace_gas", "37.69", "0.07080", "99"),
        ("converter_gas", "79.54", "0.04960", "99"),
        ("calcium_carbide_gas", "111.19", "0.03951", "99"),
        ("crude_benzol", "41.816", "0.02270", "98"),
    ],
)
def test_values_of_the_ndrc_table_typed_a_second_time_agree(fuel: str, ncv: str, cc: str, of: str) -> None:
    row = fuel_row(NDRC, fuel)
    assert (str(row.ncv.value), str(row.cc.value), str(row.oxidation().value)) == (ncv, cc, of)


@pytest.mark.parametrize(
    ("region", "year", "value"),
    [
        (None, 2021, "0.5568"), (None, 2022, "0.5366"), (None, 2023, "0.5306"),
        ("华北", 2021, "0.7120"), ("东北", 2023, "0.5122"), ("华东", 2022, "0.5617"), ("华中", 2023, "0.5271"),
        ("西北", 2021, "0.5951"), ("南方", 2023, "0.4042"), ("西南", 2022, "0.2268"),
        ("北京", 2023, "0.5554"), ("河北", 2021, "0.7901"), ("山西", 2022, "0.7096"), ("陕西", 2022, "0.6558"),
        ("山东", 2021, "0.6838"), ("山东", 2022, "0.6410"), ("山东", 2023, "0.6191"), ("云南", 2022, "0.1073"),
        ("青海", 2023, "0.1796"), ("四川", 2021, "0.1255"), ("宁夏", 2022, "0.6423"), ("河南", 2023, "0.5897"),
        ("广东", 2023, "0.4419"), ("海南", 2023, "0.3648"), ("重庆", 2021, "0.4743"), ("贵州", 2023, "0.5683"),
        ("湖北", 2021, "0.3672"), ("江西", 2023, "0.5836"), ("黑龙江", 2022, "0.5368"), ("内蒙古", 2023, "0.6479"),
    ],
)  # fmt: skip
def test_values_of_the_grid_tables_typed_a_second_time_agree(region: str | None, year: int, value: str) -> None:
    row, provisional = grid_row(NBS, region, "average", year)
    assert (str(row.value.value), provisional) == (value, False)


def test_the_grid_tables_change_as_the_ministry_says() -> None:
    def change(region: str) -> float:
        before, after = (grid_row(NBS, region, "average", year)[0].value.value for year in (2022, 2023))
        return float((after / before - 1) * 100)

    assert [change(region) for region in GRIDS] == pytest.approx([-6.1, -8.0, -2.1, -2.3, -5.4, 4.5, 9.0], abs=0.1)
    published = [region for region in PROVINCES if any(row.region == region for row in NBS.grid)]
    rises = [region for region in published if change(region) > 0]
    assert (len(published), len(rises)) == (30, 10)


@pytest.mark.parametrize(
    ("variant", "values"),
    [
        ("average", ["0.5568", "0.5366", "0.5306"]),
        ("excluding_market", ["0.5942", "0.5856", "0.6096"]),
        ("fossil", ["0.8426", "0.8325", "0.8273"]),
    ],
)
def test_the_nation_has_three_variants(variant: Variant, values: list[str]) -> None:
    rows = [grid_row(NBS, "national", variant, year)[0] for year in (2021, 2022, 2023)]
    assert [str(row.value.value) for row in rows] == values


def test_one_kilogram_a_kilowatt_hour_is_one_tonne_a_megawatt_hour() -> None:
    row, _ = grid_row(NBS, "山东", "average", 2023)
    assert plain(direct_ratio(unit("kWh"), row.value).tonnes(Decimal(1000))) == "0.6191"


def test_a_year_without_a_factor_yet_takes_the_newest_earlier_one_provisionally() -> None:
    row, provisional = grid_row(NBS, "山东", "average", 2026)
    assert (row.id, provisional) == ("shandong-2023", True)


def test_a_year_before_the_first_is_refused() -> None:
    with pytest.raises(UnknownFactor) as caught:
        grid_row(NBS, "山东", "average", 2020)
    assert caught.value.say("en") == (
        "factor set cn-grid-mee-nbs has no factor for 山东 (shandong), 2020 (the first year is 2021)"
    )


def test_the_trading_schemes_factor_follows_its_notices() -> None:
    def value(year: int, as_of: date | None = None) -> tuple[str, bool]:
        row, provisional = grid_row(ETS, None, "average", year, as_of=as_of)
        return str(row.value.value), provisional

    assert [value(year) for year in (2018, 2020, 2021, 2022, 2023)] == [
        ("0.6101", False), ("0.6101", False), ("0.5810", False), ("0.5703", False), ("0.5703", False),
    ]  # fmt: skip
    assert value(2022, as_of=date(2022, 12, 1)) == ("0.5810", False)
    assert value(2025) == ("0.5703", True)


def test_a_fixed_year_and_the_newest_row_are_taken_as_named() -> None:
    assert grid_row(NBS, "山东", "average", 2022, "fixed")[0].id == "shandong-2022"
    assert grid_row(NBS, "山东", "average", 2021, "latest_at_reporting")[0].id == "shandong-2023"
    assert grid_row(NBS, "山东", "average", 2021, "latest_at_reporting", date(2025, 12, 30))[0].id == "shandong-2022"
    with pytest.raises(UnknownFactor):
        grid_row(NBS, "山东", "average", 2026, "fixed")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("山东", "shandong"), ("山东省", "shandong"), ("ShanDong", "shandong"), ("Shandong Province", "shandong"),
        ("北京市", "beijing"), ("内蒙古自治区", "neimenggu"), ("Inner Mongolia", "neimenggu"), ("广西壮族自治区", "guangxi"),
        ("新疆维吾尔自治区", "xinjiang"), ("山西", "shanxi"), ("陕西省", "shaanxi"), ("Shaanxi", "shaanxi"),
        ("华北", "huabei"), ("华北电网", "huabei"), ("HUABEI", "huabei"), ("North China", "huabei"), ("南方电网", "nanfang"),
        ("全国", "national"), ("national", "national"), ("None", "national"), ("", "national"), (None, "national"),
        ("西藏自治区", "xizang"), ("Atlantis", None), ("省", None), ("grid", None),
    ],
)  # fmt: skip
def test_a_region_is_known_by_all_its_names(name: str | None, key: str | None) -> None:
    assert region_key(name) == key


def test_the_two_provinces_that_sound_alike_keep_their_own_factors() -> None:
    values = {
        name: str(grid_row(NBS, name, "average", 2023)[0].value.value) for name in ("山西", "陕西", "shanxi", "shaanxi")
    }
    assert values == {"山西": "0.6634", "陕西": "0.6335", "shanxi": "0.6634", "shaanxi": "0.6335"}


@pytest.mark.parametrize(
    ("region", "variant", "message"),
    [
        ("西藏", "average", "no factor for 西藏 (xizang) (西南 (xinan), 青海 (qinghai), 四川 (sichuan)"),
        ("shandnog", "average", "no factor for shandnog (shandong?)"),
        ("山东", "fossil", "no factor for 山东 (shandong), fossil (全国 (national)?)"),
    ],
)
def test_a_region_without_a_factor_is_refused_by_name_with_those_near_it(
    region: str, variant: Variant, message: str
) -> None:
    with pytest.raises(UnknownFactor) as caught:
        grid_row(NBS, region, variant, 2023)
    assert message in caught.value.say("en")


def test_a_withheld_row_is_refused_with_its_reason() -> None:
    with pytest.raises(UnknownFactor) as caught:
        fuel_row(MEE, "lng")
    assert "0.886 tC/t is impossible" in caught.value.say("en")
    assert "不可能" in caught.value.say("zh")
    with pytest.raises(UnknownFactor, match="withholds bituminous_coal"):
        fuel_row(MEE, "bituminous_coal")


def test_an_unknown_fuel_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownFactor) as caught:
        fuel_row(NDRC, "natural_gass")
    assert caught.value.say("en") == "factor set cn-ndrc-other has no factor for natural_gass (natural_gas?)"


def test_an_oxidation_rate_that_depends_on_the_device_needs_the_device() -> None:
    row = fuel_row(MEE, "anthracite")
    assert str(row.oxidation("industrial_boiler")) == "85 %"
    with pytest.raises(UnknownFactor, match="cement_kiln, power_boiler, industrial_boiler"):
        row.oxidation()


def test_purchased_heat_has_its_default() -> None:
    assert str(heat_row(load_factor_set("cn-heat")).value) == "0.11 tCO2/GJ"
    with pytest.raises(UnknownFactor):
        heat_row(NDRC)


@pytest.mark.parametrize("name", list_factor_sets())
def test_every_shipped_set_is_named_after_its_file_and_claims_no_more_than_was_seen(name: str) -> None:
    factors = load_factor_set(name)
    assert factors.id == name
    assert not factors.verified
    assert not any(row.verified for row in factors.rows() if row.provenance.trust in ("V2", "M", "K"))
    assert not plausibility_faults(factors)


@pytest.mark.parametrize(
    ("name", "row", "trust"),
    [
        ("cn-grid-mee-nbs", "national-2021", "M"),
        ("cn-grid-mee-nbs", "national-2023", "V2"),
        ("cn-grid-mee-nbs", "national-excluding-market-2022", "M"),
        ("cn-grid-mee-nbs", "national-fossil-2023", "V2"),
        ("cn-grid-mee-nbs", "shandong-2021", "V2"),
        ("cn-grid-ets", "national-2021", "V2"),
        ("cn-grid-ets", "national-2022", "M"),
        ("cn-grid-ets", "national-2023", "M"),
        ("cn-ndrc-other", "natural-gas", "V2"),
    ],
)
def test_a_row_carries_the_mark_of_how_it_was_seen(name: str, row: str, trust: str) -> None:
    found = {each.id: each for each in load_factor_set(name).rows()}
    assert found[row].provenance.trust == trust
    assert found[row].remembered == (trust == "M")


def test_the_reference_state_of_a_gas_row_has_its_own_mark() -> None:
    reference = fuel_row(NDRC, "natural_gas").reference
    assert reference is not None
    assert (reference.state, reference.trust) == ("20 C", "M")


SET = """\
id: own
version: "1"
title: own
verified: {verified}
common: {{heat_basis: net, provenance: {{source: lab, trust: {trust}}}}}
fuels:
  - {{id: a, fuel: {fuel}, name: a, phase: {phase}, ncv: {ncv}, cc: {cc} tC/GJ, of: {of} %{more}}}
"""


def own(**changes: str) -> str:
    row = {"verified": "false", "trust": "V", "fuel": "diesel", "phase": "liquid", "ncv": "42.6 GJ/t", "cc": "0.0202",
           "of": "98", "more": ""}  # fmt: skip
    return SET.format(**{**row, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ncv": "51.498 GJ/t", "cc": "0.01720", "fuel": "lng"}, "row a: NCV x CC is 0.8857656 tC/t, above 0.80"),
        ({"ncv": "46 GJ/t"}, "NCV x CC is 0.9292 tC/t, above 0.87. Compare it with the original"),
        ({"ncv": "10200 kJ/kg", "phase": "solid", "cc": "0.2"}, "row a: cc = 0.2 tC/GJ is not within 0.010 and 0.075"),
        ({"ncv": "4260 GJ/t"}, "row a: ncv = 4260 GJ/t is not within 30 and 52"),
        ({"of": "9.8"}, "row a: of = 9.8 % is not within 80 and 100"),
        ({"ncv": "389.31 kWh/t"}, "row a: ncv = 1.401516 GJ/t is not within 30 and 52"),
        ({"ncv": "42.6 GJ/kWh"}, "fuels[0].ncv: 42.6 GJ/kWh should have a unit such as GJ/t, GJ/10^4 m3"),
        ({"ncv": "389.31 GJ/10^4 m3", "more": ", reference: {state: 20 C, trust: M}"}, "name different states"),
        ({"trust": "M", "verified": "true"}, "the row a is not verified, so the set is not either"),
        ({"trust": "X"}, "fuels[0].provenance.trust: 'X' is none of V, V2, RUN, M, K"),
    ],
)
def test_a_factor_that_cannot_be_true_is_refused(
    write: Write, said: Said, changes: dict[str, str], message: str
) -> None:
    file = write(own(**changes), "own.yaml")
    assert message in said(lambda: load_factor_set(file))[0]


def test_a_row_outside_its_bounds_stands_with_a_reason() -> None:
    diesel = fuel_row(NDRC, "diesel")
    assert diesel.doubt is not None
    assert diesel.ncv.value * diesel.cc.value > Decimal("0.87")


def test_two_rows_of_one_id_are_refused(write: Write, said: Said) -> None:
    line = own().splitlines()[-1]
    assert "the row a stands twice" in said(lambda: load_factor_set(write(own() + line + "\n", "own.yaml")))[0]


def test_an_unknown_set_is_answered_with_the_nearest(said: Said) -> None:
    assert said(lambda: load_factor_set("cn-ndrc-othr")) == [
        "cn-ndrc-othr: there is no such factor set. Did you mean cn-ndrc-other?",
        "cn-ndrc-othr: 没有这个因子集。是不是 cn-ndrc-other？",
    ]
