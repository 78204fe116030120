"""Factors' products to every printed digit, uncertainty rules, and the refusals."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.emission import Ratio, direct_ratio, fuel_ratio, summed
from metering.errors import UnlikeUnits
from metering.quantity import plain, quantity, unit
from metering.uncertainty import of_correlated_sum, of_product, of_sum


def test_ten_thousand_cubic_metres_of_gas_give_the_tables_product() -> None:
    """GB/T 32150-2015 formula with 389.31 GJ/10^4 m3, 0.01530 tC/GJ, 99 %."""
    gas = fuel_ratio(unit("m3@20C"), quantity("389.31 GJ/10^4 m3@20C"), quantity("0.01530 tC/GJ"), quantity("99 %"))
    assert plain(gas.tonnes(Decimal(10_000))) == "21.62188809"


@pytest.mark.parametrize(
    ("ncv", "cc", "of", "product"),
    [
        ("24.515 GJ/t", "0.02749 tC/GJ", "94 %", "2.322768"),
        ("28.446 GJ/t", "0.02940 tC/GJ", "93 %", "2.851825"),
        ("43.33 GJ/t", "0.02020 tC/GJ", "98 %", "3.145122"),
        ("44.80 GJ/t", "0.01890 tC/GJ", "98 %", "3.042547"),
        ("47.31 GJ/t", "0.01720 tC/GJ", "99 %", "2.953847"),
        ("41.868 GJ/t", "0.01530 tC/GJ", "99 %", "2.325307"),
    ],
)
def test_a_tonne_of_fuel_gives_the_tables_product(ncv: str, cc: str, of: str, product: str) -> None:
    tonne = fuel_ratio(unit("t"), quantity(ncv), quantity(cc), quantity(of)).tonnes(Decimal(1))
    assert tonne.quantize(Decimal("1e-6")) == Decimal(product)


def test_a_volume_of_diesel_becomes_mass_by_its_density() -> None:
    diesel = (quantity("43.33 GJ/t"), quantity("0.02020 tC/GJ"), quantity("98 %"))
    by_volume = fuel_ratio(unit("L"), *diesel, density=quantity("0.845 kg/L")).tonnes(Decimal(1000))
    assert by_volume == fuel_ratio(unit("t"), *diesel).tonnes(Decimal("0.845"))


def test_a_volume_without_a_density_is_refused() -> None:
    with pytest.raises(UnlikeUnits, match=r"L and GJ/t"):
        fuel_ratio(unit("L"), quantity("43.33 GJ/t"), quantity("0.02020 tC/GJ"), quantity("98 %"))


def test_an_uncorrected_gas_volume_is_refused() -> None:
    with pytest.raises(UnlikeUnits):
        fuel_ratio(unit("m3"), quantity("389.31 GJ/10^4 m3@20C"), quantity("0.01530 tC/GJ"), quantity("99 %"))


def test_a_volume_at_0_c_is_brought_to_20_c_by_the_gas_law() -> None:
    """V20/V0 = 293.15/273.15 at the same pressure."""
    factors = (quantity("389.31 GJ/10^4 m3@20C"), quantity("0.01530 tC/GJ"), quantity("99 %"))
    at_0 = fuel_ratio(unit("m3@0C"), *factors)
    at_20 = fuel_ratio(unit("m3@20C"), *factors)
    assert float(at_0.value / at_20.value) == pytest.approx(1.0732198425773385, abs=1e-16)


def test_a_kilogram_per_kilowatt_hour_is_a_tonne_per_megawatt_hour() -> None:
    for factor in ("0.5306 kgCO2/kWh", "0.5306 tCO2/MWh"):
        assert plain(direct_ratio(unit("kWh"), quantity(factor)).tonnes(Decimal(1000))) == "0.5306"


def test_steam_heat_has_a_direct_factor() -> None:
    assert plain(direct_ratio(unit("GJ"), quantity("0.11 tCO2/GJ")).tonnes(Decimal("305.47"))) == "33.6017"


def test_a_factor_for_another_kind_of_activity_is_refused() -> None:
    with pytest.raises(UnlikeUnits, match=r"m3 and tCO2/MWh"):
        direct_ratio(unit("m3"), quantity("0.5306 tCO2/MWh"))


@given(st.lists(st.decimals(0, 10**9, places=9), min_size=1, max_size=50))
def test_a_row_is_divided_once_so_parts_and_whole_agree_to_the_digit(parts: list[Decimal]) -> None:
    gas = fuel_ratio(unit("t"), quantity("43.33 GJ/t"), quantity("0.02020 tC/GJ"), quantity("98 %"))
    assert summed((part, gas) for part in parts) == gas.tonnes(sum(parts, Decimal(0)))


def test_a_ratio_is_written_and_read_exactly() -> None:
    ratio = direct_ratio(unit("kWh"), quantity("0.5306 tCO2/MWh"))
    assert Ratio.parse(str(ratio)) == ratio


def test_independent_inputs_combine_in_quadrature() -> None:
    assert of_product([Decimal(3), Decimal(4)]) == 5
    assert of_sum([(Decimal(100), Decimal(3)), (Decimal(100), Decimal(4))]) == Decimal("2.5")


def test_inputs_of_one_instrument_add_linearly() -> None:
    assert of_correlated_sum([(Decimal(100), Decimal(3)), (Decimal(100), Decimal(4))]) == Decimal("3.5")


def test_the_uncertainty_of_nothing_is_unknown() -> None:
    assert of_sum([]) is None
    assert of_correlated_sum([(Decimal(1), Decimal(3)), (Decimal(-1), Decimal(3))]) is None
