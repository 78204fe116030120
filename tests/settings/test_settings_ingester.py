from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.expression import expression
from metering.factor import FactorSet
from metering.fields import FieldError
from metering.quantity import plain, unit
from settings.accounting import SourceFactor, source_factor
from settings.ingester import IngesterSettings, load_ingester
from settings.origin import origins
from settings.sources import SourceSection

Write = Callable[..., Path]
Said = Callable[[Callable[[], object]], list[str]]

SITE = """\
site: {id: demo, timezone: Asia/Shanghai}
store: {series: data/series.duckdb, records: data/records.db}
factors: [cn-ndrc-other, cn-mee-2022, cn-grid-mee-nbs, cn-grid-ets, cn-heat]
meters:
  main:
    kind: electricity
    points:
      energy: {unit: kWh, role: counter, digits: 8, multiplier: 6000, max_rate: 5000 kWh/h}
      power: {unit: kW, role: gauge}
  gas: {kind: gas, points: {volume: {unit: m3, role: counter, reference: 20 C}, raw: {unit: m3, role: counter}}}
  oil: {kind: fuel, points: {bought: {unit: L, role: quantity}, tank: {unit: L, role: stock}}, density: 0.845 kg/L}
  drum: {kind: fuel, points: {bought: {unit: L, role: quantity}}}
  steam: {kind: heat, points: {heat: {unit: GJ, role: counter}}}
  scale: {kind: production, points: {tonnes: {unit: t, role: counter}}}
sources:
  boiler:
    category: fuel_combustion
    fuel: natural_gas
    activity: gas/volume
    factor_set: cn-ndrc-other
  grid:
    category: purchased_electricity
    activity: main/energy
    factor_set: cn-grid-mee-nbs
    region: 山东
"""


def source(**settings: object) -> str:
    """One more source, as YAML."""
    lines = "".join(f"    {key}: {value}\n" for key, value in settings.items())
    return f"{SITE}  more:\n{lines}"


FUEL = {"category": "fuel_combustion", "fuel": "diesel", "activity": "oil/bought", "factor_set": "cn-ndrc-other"}
POWER = {"category": "purchased_electricity", "activity": "main/energy", "factor_set": "cn-grid-mee-nbs"}


def test_a_site_becomes_typed_settings(write: Write, tmp_path: Path) -> None:
    settings, document = load_ingester(write(SITE, "ingester.yaml"), {})
    assert settings.site.interval == 900.0
    assert settings.site.zone.key == "Asia/Shanghai"
    assert str(settings.site.atmospheric_pressure) == "101.325 kPa"
    assert settings.store.series == tmp_path / "data/series.duckdb"
    assert settings.page.port == 8080
    assert set(settings.factor_sets()) == set(settings.factors)
    assert settings.sources["boiler"].activity.points == ("gas/volume",)
    assert document.place(("sources", "boiler", "fuel")) == "ingester.yaml:18:11"
    assert any(origin.key == "meters.main.points.energy.multiplier" for origin in origins(settings, document))


def test_a_register_knows_its_rules(write: Write) -> None:
    settings, _ = load_ingester(write(SITE, "ingester.yaml"), {})
    energy = settings.meters["main"].points["energy"]
    spec = energy.register()
    assert spec.modulus == 10**8
    assert spec.max_per_hour is not None
    assert spec.max_per_hour * 6000 == pytest.approx(Decimal(5000))
    assert [change.value for change in energy.multipliers] == [6000]
    assert str(settings.meters["gas"].points["volume"].counted_unit) == "m3@20C"
    assert settings.meters["gas"].points["raw"].register().modulus is None


def test_multipliers_exchanges_and_float_registers_are_taken_as_written(write: Write) -> None:
    text = SITE.replace("multiplier: 6000", "resolution: ulp, modulus: 4294967296, "
        "multiplier: [{from: 2025-01-01T00:00:00+08:00, value: 4000}, {from: 2026-03-01T00:00:00+08:00, value: 6000}], "
        "exchanges: [{at: 2026-02-01T10:00:00.5+08:00, old_final: 998123.40, new_initial: 0.2}]")  # fmt: skip
    energy = load_ingester(write(text, "i.yaml"), {})[0].meters["main"].points["energy"]
    spec = energy.register()
    assert (spec.float32, spec.modulus) == (True, 4294967296)
    at = int(datetime(2026, 2, 1, 2, 0, 0, 500_000, tzinfo=UTC).timestamp() * 1000)
    assert [(e.at_ms, str(e.old_final), str(e.new_initial)) for e in spec.exchanges] == [(at, "998123.40", "0.2")]
    assert [change.value for change in energy.multipliers] == [4000, 6000]
    assert spec.max_per_hour == Decimal("1.25")


@pytest.mark.parametrize(
    ("text", "there", "message"),
    [
        (source(**FUEL | {"activity": "oil/bougth"}), "oil/bougth", "there is no point oil/bougth. Did you mean oil/bought?"),
        (source(**FUEL | {"activity": "zzz/qqq"}), "zzz/qqq", "there is no point zzz/qqq. Defined here: main/energy, main"),
        (source(**FUEL | {"fuel": "deisel"}), "deisel", "cn-ndrc-other has no factor for deisel (diesel?)"),
        (source(**FUEL | {"factor_set": "cn-ndrc"}), "cn-ndrc\n", "cn-ndrc is not under factors. Did you mean cn-ndrc-other?"),
        (source(**FUEL | {"factor_set": "cn-mee-2022", "fuel": "lng"}), "lng", "cn-mee-2022 withholds lng: 51.498"),
        (source(**FUEL | {"factor_set": "cn-mee-2022", "fuel": "anthracite", "activity": "scale/tonnes"}), "anthracite",
         "depends on the device: write method: {device: …}, one of cement_kiln, power_boiler"),
        (source(**FUEL | {"activity": "gas/raw", "fuel": "natural_gas"}), "gas/raw",
         "gas volume without a reference state (m3), which is no activity. If its register already counts at a reference"),
        (source(**FUEL | {"activity": "drum/bought"}), "drum/bought", "Its factor is per mass: write density at the meter, such"),
        (source(**FUEL | {"activity": "steam/heat"}), "steam/heat", "source more counts GJ, which does not fit its factor"),
        (source(**FUEL | {"activity": "oil/tank"}), "oil/tank", "the point oil/tank is a stock, which is no activity"),
        (source(**FUEL | {"activity": "oil/bought - scale/tonnes"}), "oil/bought - scale", "counts t, which cannot be added to L. Take"),
        (source(**FUEL | {"parameters": "{ncv: cn-x}"}), "cn-x", "the factor set cn-x is not under factors"),
        (source(**FUEL | {"parameters": "{ncv: 43 GJ/kWhh}"}), "43 GJ/kWhh", "unknown unit"),
        (source(category="fuel_combustion", activity="oil/bought", fuel="diesel"), "more:", "no factor set is named: add"),
        (source(category="fuel_combustion", activity="oil/bought", factor_set="cn-ndrc-other"), "more:", "add fuel, such as"),
        (source(category="process", activity="scale/tonnes"), "more:", "process has no default factor: add ef under param"),
        (source(**POWER | {"region": "西藏", "part_of": "grid"}), "西藏", "no factor for 西藏 (xizang) (西南 (xinan), 青海"),
        (source(**POWER | {"region": "shandnog", "part_of": "grid"}), "shandnog", "no factor for shandnog (shandong?)"),
        (source(**POWER | {"variant": "market", "part_of": "grid"}), "market", "'market' is none of average, excluding_ma"),
        (source(**POWER | {"method": "{vintage: fixed, year: 2019}", "part_of": "grid"}), "method", "2019 (the first year is"),
        (source(**POWER | {"method": "{vintage: fixed}", "part_of": "grid"}), "method", "vintage: fixed and year go together"),
        (source(**POWER | {"factor_set": "cn-ndrc-other", "part_of": "grid"}), "cn-ndrc-other", "cn-ndrc-other has no factor for 全国"),
        (source(**POWER | {"activity": "steam/heat", "factor_set": "cn-heat"}), "cn-heat", "cn-heat has no factor for 全国"),
        (source(**POWER), "main/energy", "main/energy enters the total twice: in grid and in more. If more only breaks grid down"),
        (source(**POWER | {"part_of": "gird"}), "gird", "there is no source gird. Did you mean grid?"),
        (source(**POWER | {"part_of": "more"}), "more", "source more is part of itself"),
        (source(**POWER | {"part_of": "boiler"}), "boiler", "(purchased_electricity) cannot be part of boiler (fuel_combus"),
        (source(**POWER | {"biogenic_share": "1.5"}), "1.5", "biogenic_share: '1.5' is above 1"),
        (source(**POWER | {"commissioned": "May 2019"}), "May 2019", "May 2019 is not a day such as 2024-02-29"),
        (source(**FUEL | {"activity": "gas/volume-oil/bought"}), "gas/volume-oil", "'gas/volume-oil/bought' should be meter/point"),
        (SITE + "products: {p: {activity: scale/ton}}\n", "scale/ton}", "there is no point scale/ton. Did you mean scale/tonnes?"),
        (SITE.replace("cn-heat]", "cn-haet]"), "cn-haet", "cn-haet: there is no such factor set. Did you mean cn-heat?"),
        (SITE.replace("cn-heat]", "own.yaml]"), "own.yaml", "own.yaml: there is no such file. Check the path"),
        (SITE.replace("cn-heat]", "cn-grid-ets]"), "", "the factor set cn-grid-ets is listed twice"),
        (SITE.replace("max_rate: 5000 kWh/h", "max_rate: 5000 m3/h"), "energy", "the rate 5000 m3/h should have a unit such as"),
        (SITE.replace("reference: 20 C", "reference: 25 C"), "25 C", "'25 C' is none of 0 C, 15 C, 20 C"),
        (SITE.replace("role: gauge", "role: gauge, digits: 6"), "power", "digits, modulus and exchanges are for role: counter"),
        (SITE.replace("unit: GJ", "unit: GJ, reference: 20 C"), "heat", "a reference state is for volumes; GJ is none"),
        (SITE.replace("0.845 kg/L", "0.845 L/kg"), "oil:", "0.845 L/kg is no density such as 0.845 kg/L"),
        (SITE.replace("multiplier: 6000", "multiplier: 0"), "0", "multiplier: it must be above 0"),
        (SITE.replace("Asia/Shanghai", "Asia/Shangai"), "Asia/Shangai", "'Asia/Shangai' is not a time zone such as Asia/Shanghai"),
        (SITE.replace("Asia/Shanghai}", "Asia/Shanghai, interval: 7 min}"), "7 min", "should part a day evenly"),
        (SITE.replace("Asia/Shanghai}", "Asia/Shanghai, atmospheric_pressure: 1 bar/h}"), "1 bar/h", "1 bar/h is no atmospheric"),
        (SITE + "page: {host: 0.0.0.0}\n", "0.0.0.0", "would open the page to the network, and it has no accounts yet. Write 127"),
        (SITE + "page: {port: 80800}\n", "80800", "page.port: 80800 is above 65535. At most 65535"),
        (SITE + "rules: {r: {point: gas/volum, compare: limit, limit: 5 m3/h}}\n", "gas/volum,", "Did you mean gas/volume?"),
        (SITE + "rules: {r: {point: gas/volume, compare: limit}}\n", "r:", "compare: limit and limit go together"),
        (SITE + "rules: {r: {point: gas/volume, compare: limit, limit: 5 kW}}\n", "5 kW", "5 kW is no rate of this point. Write"),
        (SITE + "rules: {r: {point: main/power, compare: limit, limit: 5 t/h}}\n", "5 t/h", "no rate of this point. Write it in kW"),
        (SITE + "rules: {r: {point: oil/bought, compare: same_hour}}\n", "oil/bought", "is a quantity, which has no rate. A rule needs"),
        (SITE + "rules: {r: {point: gas/volume, compare: same_hour, by: 30 t}}\n", "30 t", "30 t should be a percentage such"),
        (SITE + "rules: {r: {point: gas/volume, compare: same_hour, days: 2}}\n", "r:", "min_days is more than days"),
        (SITE + "rules: {r: {point: gas/volume, compare: limit, limit: 5 m3/h, by: 3 %}}\n", "r:", "by is for compare: same_"),
        (SITE.replace("max_rate: 5000 kWh/h", "exchanges: [{at: 2026-02-01T10:00:00, old_final: 1, new_initial: 0}]"), "2026-02-01T10",
         "has no offset from UTC. Write it as 2026-01-31T08:00:00+08:00"),
        (SITE.replace("multiplier: 6000", "multiplier: [{from: 2026-02-01T00:00:00Z, value: 1}, {from: 2025-02-01T00:00:00Z, "
                      "value: 1}]"), "energy", "they should stand in order of time"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_with_its_place_and_remedy(
    write: Write, said: Said, text: str, there: str, message: str
) -> None:
    messages = said(lambda: load_ingester(write(text, "ingester.yaml"), {}))
    assert message in messages[0]
    line, column = (int(number) for number in messages[0].split(":")[1:3])
    assert text.splitlines(keepends=True)[line - 1][column - 1 :].startswith(there)
    assert all(max(half) >= "\u4e00" for half in messages[len(messages) // 2 :])


@pytest.mark.parametrize(
    "text",
    [
        source(**POWER | {"part_of": "grid"}),
        source(category="purchased_heat", activity="steam/heat", factor_set="cn-heat"),
        source(category="recovered_co2", activity="scale/tonnes"),
        source(category="process", activity="scale/tonnes", parameters="{ef: 0.440 tCO2/t}"),
        source(**FUEL | {"parameters": "{ncv: cn-mee-2022, of: 95 %}", "biogenic_share": "5 %"}),
        source(**FUEL | {"factor_set": "cn-mee-2022", "fuel": "coke", "activity": "scale/tonnes",
                         "method": "{device: power_boiler}"}),
        SITE + "rules: {r: {point: main/energy, compare: limit, limit: 500 kW, for: 5 min}}\nproducts:\n",
        SITE + "rules: {r: {point: main/power, compare: same_hour, by: 50 %}}\nseed:\npage:\n",
    ],
)  # fmt: skip
def test_what_fits_together_is_taken(write: Write, text: str) -> None:
    load_ingester(write(text, "ingester.yaml"), {})


def test_an_implausible_row_of_ones_own_set_is_told_in_its_own_file(write: Write, said: Said, tmp_path: Path) -> None:
    write("id: own\nversion: '1'\ntitle: t\nverified: false\nheat:\n"
          "  - {id: h, value: 11 tCO2/GJ, provenance: {source: s, trust: M}}\n", "own.yaml")  # fmt: skip
    message = said(lambda: load_ingester(write(SITE.replace("cn-heat]", "own.yaml]"), "i.yaml"), {}))[0]
    assert message.startswith(f"{tmp_path}/own.yaml:6:5: row h: value = 11 tCO2/GJ is not within 0.02 and 0.2.")


def test_a_set_misspelt_in_the_list_is_one_fault_not_one_per_source(write: Write, said: Said) -> None:
    text = SITE.replace("factors: [cn-ndrc-other", "factors: [cn-ndrc-othr")
    assert len(said(lambda: load_ingester(write(text, "i.yaml"), {}))) == 2


def test_two_files_with_one_id_are_refused(write: Write, said: Said) -> None:
    write("id: cn-heat\nversion: '1'\ntitle: t\nverified: false\n", "own.yaml")
    messages = said(lambda: load_ingester(write(SITE.replace("cn-heat]", "cn-heat, own.yaml]"), "i.yaml"), {}))
    assert (
        messages[0]
        == "i.yaml:3:78: the factor set cn-heat is already given by another file. Change the id of one of them"
    )


@pytest.fixture(scope="module")
def sets() -> dict[str, FactorSet]:
    return IngesterSettings.model_construct(factors=["cn-ndrc-other", "cn-mee-2022", "cn-grid-mee-nbs"]).factor_sets()


def factor(sets: dict[str, FactorSet], counted: str, year: int = 2026, **settings: object) -> SourceFactor:
    section = SourceSection.model_validate({"activity": "a/b", **settings})
    return source_factor(section, unit(counted), None, sets, year)


def test_gas_gives_the_tables_product(sets: dict[str, FactorSet]) -> None:
    found = factor(sets, "m3@20C", category="fuel_combustion", fuel="natural_gas", factor_set="cn-ndrc-other")
    assert plain(found.ratio.tonnes(Decimal(10_000))) == "21.62188809"
    assert found.formula == "E = FC x 389.31 GJ/10^4 m3@20C x 0.0153 tC/GJ x 99 % x 44/12"
    assert {(value.set, value.row, value.kind) for value in found.values} == {
        ("cn-ndrc-other", "natural-gas", "default")
    }
    assert not found.verified


def test_a_value_of_the_plant_goes_before_the_table_and_says_so(sets: dict[str, FactorSet]) -> None:
    found = factor(sets, "t", category="fuel_combustion", fuel="diesel", factor_set="cn-ndrc-other",
                   parameters={"ncv": "42.9 GJ/t", "of": "cn-mee-2022"})  # fmt: skip
    assert [(value.parameter, value.kind, value.set) for value in found.values] == [
        ("ncv", "declared", ""), ("cc", "default", "cn-ndrc-other"), ("of", "default", "cn-mee-2022"),
    ]  # fmt: skip
    assert plain(found.ratio.tonnes(Decimal(3))) == plain(Decimal("42.9") * Decimal("0.0202") * Decimal("0.98") * 11)


def test_a_grid_factor_of_a_year_not_yet_published_is_provisional(sets: dict[str, FactorSet]) -> None:
    power = {"category": "purchased_electricity", "factor_set": "cn-grid-mee-nbs", "region": "山东"}
    assert factor(sets, "kWh", 2026, **power).provisional
    assert not factor(sets, "kWh", 2022, **power).provisional
    fixed = factor(sets, "kWh", 2026, **power, method={"vintage": "fixed", "year": 2022})
    assert (fixed.provisional, plain(fixed.ratio.tonnes(Decimal(1000)))) == (False, "0.641")


def test_recovered_carbon_dioxide_counts_itself(sets: dict[str, FactorSet]) -> None:
    for counted in ("t", "tCO2"):
        assert factor(sets, counted, category="recovered_co2").ratio.value == 1


POINTS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,9}/[a-z0-9][a-z0-9_-]{0,9}", fullmatch=True)


@given(st.lists(st.tuples(st.sampled_from("+-"), POINTS), min_size=1, max_size=6, unique_by=lambda term: term[1]))
def test_a_sum_of_points_is_read_as_it_is_written(terms: list[tuple[str, str]]) -> None:
    read = expression(" ".join(f"{sign} {point}" for sign, point in terms))
    assert [("+" if term.sign > 0 else "-", term.point) for term in read.terms] == terms
    assert expression(str(read)) == read


@given(st.text(alphabet="ab/+- 1_", max_size=20))
def test_any_text_is_a_sum_or_refused_in_our_words(text: str) -> None:
    with suppress(FieldError):
        assert expression(text).terms


@pytest.mark.parametrize("text", ["", "a/b a/c", "a/b +", "a/b * c/d", "a/b + a/b", "A/b", 5])
def test_what_is_no_sum_of_points_is_refused(text: object) -> None:
    with pytest.raises(FieldError):
        expression(text)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("density: 0.845 kg/L", "density: 845 kg/L", "Did you mean 0.845 kg/L?"),
        ("density: 0.845 kg/L", "density: 0.1 kg/L", "it lies within 0.3 kg/L and 2.0 kg/L"),
        ("multiplier: 6000", "multiplier: -6000", "it must be above 0"),
        ("timezone: Asia/Shanghai", "timezone: Europe/Berlin, interval: 2 h", "clocks change in Europe/Berlin"),
        ("    fuel: natural_gas\n", "    fuel: natural_gas\n    parameters: {cc: 15.32 tC/GJ}\n", "cc = 15.32 tC/GJ"),
        ("    fuel: natural_gas\n", "    fuel: natural_gas\n    parameters: {of: 9.9 %}\n", "of = 9.9 %"),
        ("    fuel: natural_gas\n", "    fuel: natural_gas\n    parameters: {ncv: 39 MJ/kWh}\n", "the parameter ncv"),
        ("    activity: gas/volume\n", "    activity: scale/tonnes\n    parameters: {ncv: 389 GJ/10^4 m3@20C}\n", "the parameter ncv"),
    ],
)  # fmt: skip
def test_a_number_that_cannot_be_true_does_not_pass(
    write: Write, said: Said, before: str, after: str, message: str
) -> None:
    file = write(SITE.replace(before, after, 1), "ingester.yaml")
    messages = said(lambda: load_ingester(file, {}))
    assert any(message in line for line in messages), messages


def test_meters_of_one_source_share_a_density(write: Write, said: Said) -> None:
    text = source(**{**FUEL, "activity": "oil/bought + drum/bought"})
    messages = said(lambda: load_ingester(write(text, "ingester.yaml"), {}))
    assert any("differ in density" in line for line in messages), messages


def test_long_intervals_are_taken_where_clocks_do_not_change(write: Write) -> None:
    text = SITE.replace("Asia/Shanghai", "Asia/Shanghai, interval: 2 h")
    assert load_ingester(write(text, "ingester.yaml"), {})[0].site.interval == 7200
