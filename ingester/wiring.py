"""Settings into accounts: what is counted, and with which factor at which time."""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

from ingester.accounts import Account, Accounts, FactorChoice, PointSpec
from ingester.grid import Grid
from ingester.store.contract import FactorUse
from metering.errors import UnknownFactor
from metering.expression import Expression
from metering.factor import FactorSet, Row
from metering.profile import Bilingual
from metering.quantity import Quantity, Unit
from metering.text import Text
from settings.accounting import Sets, SourceFactor, UsedValue, source_factor
from settings.ingester import IngesterSettings
from settings.meters import PointSection
from settings.sources import SourceSection


def grid_of(settings: IngesterSettings) -> Grid:
    """Return the site's intervals and time zone."""
    return Grid(int(settings.site.interval * 1000), ZoneInfo(settings.site.timezone))


def accounts_of(settings: IngesterSettings, sets: Sets) -> Accounts:
    """Return the accounts of a site: its sources, then its products, in the order of the file."""
    points = points_of(settings)
    grid = grid_of(settings)
    sources = [_source(name, source, points, settings, sets, grid) for name, source in settings.sources.items()]
    products = [
        Account(
            id=f"product:{name}",
            name=_name(product.name, name),
            terms=_terms(product.activity, points),
            unit=points[product.activity.points[0]].unit,
            basis=_digest(product, [settings.meters[p.split("/")[0]] for p in product.activity.points]),
        )
        for name, product in settings.products.items()
    ]
    return Accounts([*sources, *products])


def points_of(settings: IngesterSettings) -> dict[str, PointSpec]:
    """Return every configured point by its name."""
    return {
        f"{meter}/{name}": _point(f"{meter}/{name}", point)
        for meter, section in settings.meters.items()
        for name, point in section.points.items()
    }


def _point(name: str, section: PointSection) -> PointSpec:
    return PointSpec(
        name=name,
        unit=section.counted_unit,
        role=section.role,
        register=section.register(),
        multipliers=section.multipliers,
        uncertainty_percent=section.uncertainty_percent,
    )


def _source(
    name: str, source: SourceSection, points: dict[str, PointSpec], settings: IngesterSettings, sets: Sets, grid: Grid
) -> Account:
    meters = [settings.meters[point.split("/")[0]] for point in source.activity.points]
    used = sorted(
        {source.factor_set, source.parameters.ncv, source.parameters.cc, source.parameters.of} & set(sets), key=str
    )
    unit = points[source.activity.points[0]].unit
    return Account(
        id=name,
        name=_name(source.name, name),
        terms=_terms(source.activity, points),
        unit=unit,
        category=source.category,
        part_of=source.part_of,
        biogenic_share=Decimal(source.biogenic_share),
        choose=_chooser(source, unit, meters[0].density, sets, grid),
        basis=_digest(source, meters, [sets[str(each)] for each in used]),
    )


def _terms(activity: Expression, points: dict[str, PointSpec]) -> tuple[tuple[int, PointSpec], ...]:
    return tuple((term.sign, points[term.point]) for term in activity.terms)


def _name(name: Bilingual | None, key: str) -> Text:
    return name.text if name is not None else Text(key, key)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _chooser(
    source: SourceSection, unit: Unit, density: Quantity | None, sets: Sets, grid: Grid
) -> Callable[[int], FactorChoice | None]:
    """Return the factor in force at a time. A grid factor is chosen by the data year, the others have none."""

    @cache
    def of_year(year: int) -> FactorChoice | None:
        try:
            return _choice(source_factor(source, unit, density, sets, year), sets)
        except UnknownFactor:  # of a year before the set's first: the activity is known, its emission is not
            return None

    return lambda start_ms: of_year(grid.year(start_ms))


def _choice(factor: SourceFactor, sets: Sets) -> FactorChoice:
    flags = [
        flag
        for flag, raised in (("provisional_factor", factor.provisional), ("unverified_factor", not factor.verified))
        if raised
    ]
    uses = [FactorUse(v.set, v.version, v.row or v.parameter, _kind(v)) for v in factor.values]
    return FactorChoice(
        ratio=factor.ratio,
        uses=tuple(dict.fromkeys(uses)),
        formula=factor.formula,
        provenance=tuple(_provenance(value, sets) for value in factor.values),
        flags=tuple(flags),
        uncertainty_percent=factor.uncertainty_percent,
    )


def _kind(value: UsedValue) -> str:
    return value.kind


def _provenance(value: UsedValue, sets: Sets) -> dict[str, str]:
    """Return one number behind a factor with where it comes from, for the trace."""
    shown = {
        "parameter": value.parameter,
        "value": str(value.value),
        "set": value.set,
        "version": value.version,
        "row": value.row,
    }
    if not value.set:
        return {**shown, "source": "ingester.yaml", "trust": ""}
    origin = _row(sets[value.set], value.row).provenance
    details = {"source": origin.source, "table": origin.table, "notice": origin.notice, "trust": origin.trust}
    return {**shown, **{key: text for key, text in details.items() if text}}


def _row(factors: FactorSet, row_id: str) -> Row:
    return next(row for row in factors.rows() if row.id == row_id)
