"""The usual interval of each kind of instrument, as data: `config/calibration-intervals.yaml`.

Each row names its rule and how far its months can be trusted; a row is a proposal that an instrument may override.
"""

import difflib
from typing import Literal

from pydantic import Field

from calibration.instrument import Cycle, Instrument, InstrumentEntry, LedgerRow
from metering.errors import CertificateError
from metering.fields import Day, Id, Strict
from metering.profile import Bilingual
from metering.text import Text

Trust = Literal["V", "V2", "M"]
"""V: seen in the rule itself; V2: second-hand; M: from memory, to be checked before it is relied on."""


class UsualInterval(Strict):
    """One row of the table."""

    name: Bilingual
    rule: str | None
    """Number of the verification regulation, such as `JJG 596-2012`; None where none is known."""
    cycle: Cycle
    trust: Trust
    """Of the months."""
    note: str = ""


class UsualIntervals(Strict):
    """The whole table, by row id."""

    collected: Day
    intervals: dict[Id, UsualInterval] = Field(min_length=1)

    def adopt(self, entry: InstrumentEntry) -> Instrument:
        """Return the instrument to store: with its own cycle, or else its rule's.

        Raises:
            CertificateError: the table has no such rule; the nearest one is named.
        """
        if entry.rule is not None and entry.rule not in self.intervals:
            near = difflib.get_close_matches(entry.rule, self.intervals, n=1)
            raise CertificateError(
                Text("器具 {id}：周期表中没有 {rule}{hint}", "instrument {id}: no rule {rule} in the interval table{hint}"),
                id=entry.id, rule=entry.rule, hint=f" ({near[0]}?)" if near else "",
            )  # fmt: skip
        cycle = entry.cycle or self.intervals[entry.rule or ""].cycle
        return Instrument(cycle=cycle, **{name: getattr(entry, name) for name in LedgerRow.model_fields})
