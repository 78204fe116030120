"""Emission factors as rows with their provenance, in sets that may contradict each other.

Promises
    * A row says where it was seen and how far that can be trusted; what nobody has compared with the original is not verified.
    * A withheld row is kept with its reason and never used.
    * No row answers for a fuel, region or year it was not published for, save the one rule a grid factor has: where a data
      year has none yet, the newest earlier one holds, provisionally.
"""

import difflib
from collections.abc import Iterable
from datetime import date

from metering.errors import UnknownFactor
from metering.factor_set import (
    FactorSet,
    FuelRow,
    GridRow,
    HeatRow,
    Provenance,
    Reference,
    Row,
    Trust,
    Variant,
    Vintage,
    Withheld,
)
from metering.plausibility import plausibility_faults
from metering.region import NAMES, NATIONAL, NEIGHBOURS, region_key, region_title
from metering.text import Text

__all__ = [
    "FactorSet", "FuelRow", "GridRow", "HeatRow", "Provenance", "Reference", "Row", "Trust", "Variant", "Vintage",
    "Withheld", "fuel_row", "grid_row", "heat_row", "plausibility_faults", "region_rows",
]  # fmt: skip


def fuel_row(factors: FactorSet, fuel: str) -> FuelRow:
    """Return the row of a fuel.

    Raises:
        UnknownFactor: the set has none, or withholds it.
    """
    for row in factors.fuels:
        if row.fuel == fuel:
            return row
    for held in factors.withheld:
        if held.fuel == fuel:
            reason = held.reason
            raise UnknownFactor(_WITHHELD, set=factors.id, key=fuel, reason_zh=reason.zh, reason_en=reason.en)
    raise UnknownFactor(set=factors.id, key=fuel, hint=_near(fuel, (row.fuel for row in factors.fuels)))


def grid_row(
    factors: FactorSet,
    region: str | None,
    variant: Variant,
    data_year: int,
    vintage: Vintage = "data_year",
    as_of: date | None = None,
) -> tuple[GridRow, bool]:
    """Return the row of a region, variant and data year, and whether it only stands in for a year that has none yet.

    `data_year`: the row of that year, else the newest earlier one (provisional). `latest_at_reporting`: the newest row,
    whatever year it is for. `fixed`: `data_year` is the year the source names; it must be there. `as_of` leaves out rows
    that were not yet published on that day. Of two rows for one year the later published holds.

    Raises:
        UnknownFactor: unknown region, a region without a factor, or a year before the first.
    """
    rows = [row for row in region_rows(factors, region, variant) if as_of is None or row.published_by(as_of)]
    of_year = [row for row in rows if row.holds_for(data_year)]
    before = [row for row in rows if row.data_year < data_year]
    if vintage == "latest_at_reporting":
        chosen = rows
    elif vintage == "fixed" or of_year:
        chosen = of_year
    else:
        chosen = before
    if not chosen:
        where = region_title(region_key(region) or NATIONAL)
        first = min((row.data_year for row in rows), default=None)
        hint_zh, hint_en = (f"（最早 {first} 年）", f" (the first year is {first})") if first else ("", "")
        raise UnknownFactor(_NO_YEAR, set=factors.id, key=where, year=data_year, hint_zh=hint_zh, hint_en=hint_en)
    row = max(chosen, key=lambda row: (row.data_year, row.published or ""))
    return row, chosen is before


def region_rows(factors: FactorSet, region: str | None, variant: Variant) -> list[GridRow]:
    """Return the rows of a region and variant, of all years.

    Raises:
        UnknownFactor: unknown region, or one without a factor in this set.
    """
    key = region_key(region)
    rows = [row for row in factors.grid if row.region == key and row.variant == variant]
    if rows:
        return rows
    known = list(dict.fromkeys(row.region for row in factors.grid if row.variant == variant))
    if key is None:
        raise UnknownFactor(set=factors.id, key=region, hint=_near(str(region), _spellings(known)))
    near = [each for each in (*NEIGHBOURS.get(key, ()), NATIONAL) if each in known]
    hint = f" ({', '.join(region_title(each) for each in near)}?)" if near else ""
    wanted = region_title(key) if variant == "average" else f"{region_title(key)}, {variant}"
    raise UnknownFactor(set=factors.id, key=wanted, hint=hint)


def heat_row(factors: FactorSet) -> HeatRow:
    """Return the row of purchased heat.

    Raises:
        UnknownFactor: the set has none.
    """
    if not factors.heat:
        raise UnknownFactor(set=factors.id, key="heat", hint="")
    return factors.heat[0]


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f" ({near[0]}?)" if near else ""


def _spellings(regions: Iterable[str]) -> list[str]:
    return [spelling for key in regions for spelling in (key, NAMES[key].zh, NAMES[key].en.lower())]


_WITHHELD = Text("因子集 {set} 扣留了 {key}：{reason_zh}", "factor set {set} withholds {key}: {reason_en}")
_NO_YEAR = Text(
    "因子集 {set} 中没有 {key} {year} 年的因子{hint_zh}", "factor set {set} has no factor for {key}, {year}{hint_en}"
)
