"""What is accounted for: each source of emissions and each product, with its points and its factor in force at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ingester.store.contract import FactorUse
from metering.activity import Multiplier
from metering.emission import Ratio
from metering.profile import Role
from metering.quantity import Unit
from metering.register import RegisterSpec
from metering.text import Text


@dataclass(frozen=True)
class PointSpec:
    """One point of a meter, as derivation needs it."""

    name: str
    """`meter/point`."""
    unit: Unit
    role: Role
    register: RegisterSpec = field(default_factory=RegisterSpec)
    multipliers: tuple[Multiplier, ...] = ()
    uncertainty_percent: Decimal | None = None

    @property
    def meter(self) -> str:
        return self.name.split("/")[0]


@dataclass(frozen=True)
class FactorChoice:
    """The factor in force for an account at a time."""

    ratio: Ratio
    """tCO2 per unit of activity, fossil and biogenic together."""
    uses: tuple[FactorUse, ...]
    formula: str
    """With its numbers, for the trace."""
    provenance: tuple[dict[str, str], ...] = ()
    """Per row behind it: set, version, row, value, source, table, notice, trust."""
    flags: tuple[str, ...] = ()
    uncertainty_percent: Decimal | None = None


@dataclass(frozen=True)
class Account:
    """One source or product: a signed sum of points, in one unit."""

    id: str
    """A source's id, or `product:<id>`."""
    name: Text
    terms: tuple[tuple[int, PointSpec], ...]
    """(+1 or -1, point)."""
    unit: Unit
    category: str | None = None
    """None for a product."""
    part_of: str | None = None
    biogenic_share: Decimal = Decimal(0)
    choose: Callable[[int], FactorChoice | None] | None = None
    """The factor for an interval that starts at a time, None where there is none for it; no choice for a product."""
    basis: str = ""
    """Digest of the settings and factors this account rests on."""

    @property
    def points(self) -> tuple[str, ...]:
        return tuple(point.name for _, point in self.terms)


@dataclass(frozen=True)
class Accounts:
    """All accounts of a site, by id and by point."""

    all: Sequence[Account]
    by_id: Mapping[str, Account] = field(init=False)
    _by_point: Mapping[str, list[Account]] = field(init=False)

    def __post_init__(self) -> None:
        by_point: dict[str, list[Account]] = {}
        for account in self.all:
            for point in account.points:
                by_point.setdefault(point, []).append(account)
        object.__setattr__(self, "by_id", {account.id: account for account in self.all})
        object.__setattr__(self, "_by_point", by_point)

    def for_point(self, point: str) -> Sequence[Account]:
        return self._by_point.get(point, ())

    @property
    def sources(self) -> list[Account]:
        return [account for account in self.all if account.category is not None]

    @property
    def products(self) -> list[Account]:
        return [account for account in self.all if account.category is None]
