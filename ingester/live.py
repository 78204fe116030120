"""What the page, the API and the alerts see of this moment: one snapshot a second, shared by all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from calibration.due import DueState
from calibration.instrument import Instrument
from ingester.completeness import SlotsNow
from ingester.store.contract import AlertRow, GapRow, Latest, Result
from metering.text import Text
from metering.wire import AgentStatus


@dataclass(frozen=True)
class SourceNow:
    """One source today."""

    id: str
    name: Text
    category: str
    activity_today: Decimal | None
    unit: str
    tonnes_today: Decimal | None
    """tCO2 since midnight of the site's time zone, open interval included."""
    kg_per_hour: Decimal | None
    """kg CO2 per hour over the last minutes; None while unknown."""
    missing_share: float
    """Share of today's closed intervals that is missing, 0 to 1."""
    flags: tuple[str, ...]
    part_of: str | None


@dataclass(frozen=True)
class ProductNow:
    """One product today and the site's intensity by it."""

    id: str
    name: Text
    activity_today: Decimal | None
    unit: str
    intensity: Decimal | None
    """tCO2 per unit of product today."""


@dataclass(frozen=True)
class Snapshot:
    at_ms: int
    site: str
    name: Text
    total_tonnes_today: Decimal | None
    """Fuel + process + purchased electricity and heat - exported - recovered; parts are not counted twice."""
    sources: Sequence[SourceNow]
    products: Sequence[ProductNow]
    readings: Sequence[Latest]
    agents: Sequence[AgentStatus]
    alerts: Sequence[AlertRow]
    gaps: Sequence[GapRow]
    """Of the last 24 hours, newest first."""
    due: Sequence[tuple[Instrument, DueState]]
    today: Sequence[Result]
    """Today's intervals of the sources, for the chart; the open one last."""
    slots: Mapping[str, SlotsNow] = field(default_factory=dict)
    """By meter: what became of its slots."""
    receiving: Mapping[str, int] = field(default_factory=dict)
    """What became of the batches that came since the ingester's start (`Receiver.counts`)."""
