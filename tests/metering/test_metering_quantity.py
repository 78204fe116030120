"""Units: conversion exact, reference states apart, unknown ones refused by name."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.errors import QuantityError, UnknownUnit, UnlikeUnits
from metering.quantity import Quantity, convert, exact, plain, quantity, total, unit


@pytest.mark.parametrize(
    ("given_", "wanted", "value"),
    [
        ("3600 MJ", "kWh", "1000"),
        ("1 10^4 m3", "m3", "10000"),
        ("0.845 kg/L", "t/m3", "0.845"),
        ("20 C", "K", "293.15"),
        ("101.325 kPa", "bar", "1.01325"),
        ("5000 kWh/h", "MW", "5"),
        ("1 GJ/10^4 m3@20C", "MJ/m3@20C", "0.1"),
    ],
)
def test_a_quantity_converts_exactly(given_: str, wanted: str, value: str) -> None:
    assert plain(quantity(given_).to(wanted).value) == value


def test_volumes_at_different_reference_states_do_not_add() -> None:
    with pytest.raises(UnlikeUnits, match="m3@20C and m3@0C"):
        quantity("1 m3@0C") + quantity("1 m3@20C")
    with pytest.raises(UnlikeUnits):
        quantity("1 m3@20C").to("m3")


@pytest.mark.parametrize("symbol", ["h/" * 5000, "GJ/t/h", "k" * 41])
def test_a_unit_has_one_slash_and_forty_characters_at_most(symbol: str) -> None:
    with pytest.raises(UnknownUnit):
        unit(symbol)


@pytest.mark.parametrize("text", ["1e9999999 kg", "1e31 kg", "1e-31 kg", "1e99999999999999999999 kg"])
def test_a_number_out_of_all_proportion_is_refused(text: str) -> None:
    with pytest.raises(QuantityError, match="check the exponent"):
        quantity(text)


def test_an_unknown_unit_names_the_nearest() -> None:
    with pytest.raises(UnknownUnit, match=r"unknown unit kWhh \(kWh\?\)"):
        unit("kWhh")
    with pytest.raises(UnknownUnit):
        unit("kWh@20C")
    with pytest.raises(UnknownUnit):
        unit("m3@21C")


def test_a_number_is_needed_in_front() -> None:
    with pytest.raises(QuantityError, match="such as 5000 kWh/h"):
        quantity("kWh")


def test_a_unit_knows_its_ucum_code_and_reference() -> None:
    assert unit("kWh").ucum == "kW.h"
    assert unit("m³@20C").reference == "20C"
    assert unit("m3").at("20C") == unit("m3@20C")
    assert unit("m3@20C").at(None) == unit("m3")


def test_decimals_are_written_without_exponent_or_trailing_zeros() -> None:
    assert [plain(Decimal(text)) for text in ("1E+4", "21.6200", "-0.0", "1e-9")] == [
        "10000",
        "21.62",
        "0",
        "0.000000001",
    ]


def test_a_float_enters_as_its_shortest_text() -> None:
    assert exact(0.1) == Decimal("0.1")
    assert exact("1.50") == Decimal("1.50")


def test_quantities_print_with_their_unit() -> None:
    assert str(quantity("1.50 GJ/t")) == "1.5 GJ/t"
    assert total([Decimal(1), Decimal(2)]) == 3


@given(st.decimals(-(10**12), 10**12, places=6), st.sampled_from(["kWh", "MWh", "GJ", "J"]))
def test_there_and_back_is_the_same(value: Decimal, symbol: str) -> None:
    there = Quantity(value, unit(symbol)).to("MJ")
    assert convert(there.value, there.unit, unit(symbol)) == value
