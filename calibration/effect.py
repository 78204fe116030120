"""What the state of the instruments means for a figure: on the day of each reading, for each meter.

Promises
    * A figure is kept and flagged, never dropped: an overdue instrument usually measured right.
    * A meter without an instrument on record has no certificate, and says so.
    * A meter is as good as the worst instrument its figure rests on.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Literal, NamedTuple

from calibration.certificate import Certificate
from calibration.due import WARNING_DAYS, DueState, State, certificates_of, due, last_valid_day
from calibration.instrument import Installation, Instrument
from metering.text import Text

Flag = Literal["failed_instrument", "out_of_service_instrument", "overdue_instrument", "no_certificate"]

FLAGS: dict[State, Flag] = {
    State.FAILED: "failed_instrument",
    State.OUT_OF_SERVICE: "out_of_service_instrument",
    State.OVERDUE: "overdue_instrument",
    State.LIFE_EXPIRED: "overdue_instrument",
    State.NO_CERTIFICATE: "no_certificate",
}
"""The flag of an interval measured in this state. Due soon is no defect and has none."""

FLAG_TEXTS: dict[Flag, Text] = {
    "failed_instrument": Text("计量器具检定/校准不合格", "measured by an instrument that failed its calibration"),
    "out_of_service_instrument": Text("计量器具已停用", "measured by an instrument out of service"),
    "overdue_instrument": Text("计量器具超期", "measured by an instrument out of its calibration period"),
    "no_certificate": Text("计量器具无有效证书", "measured by an instrument without a certificate"),
}

_WORST_FIRST = (
    State.FAILED,
    State.OUT_OF_SERVICE,
    State.OVERDUE,
    State.LIFE_EXPIRED,
    State.NO_CERTIFICATE,
    State.DUE_SOON,
    State.VALID,
    State.REPLACED,
)


class Standing(NamedTuple):
    """What a meter's figures rest on, on one day."""

    instrument: str | None
    """Its id; None where none is on record as installed."""
    certificate: str | None
    """The number of the certificate that decides that day."""
    state: State

    @property
    def flag(self) -> Flag | None:
        return FLAGS.get(self.state)


NOTHING = Standing(None, None, State.NO_CERTIFICATE)


class Register:
    """All instruments and certificates, prepared once; a new record makes a new register.

    `on` costs two look-ups however long the history is: states are kept as spans, not asked day by day.
    """

    def __init__(self, instruments: Iterable[Instrument], certificates: Iterable[Certificate]) -> None:
        self._certificates: dict[str, list[Certificate]] = defaultdict(list)
        for certificate in certificates:
            self._certificates[certificate.instrument].append(certificate)
        self._instruments = list(instruments)
        self._installed: dict[str, list[tuple[Installation, Instrument]]] = defaultdict(list)
        for instrument in self._instruments:
            for installation in instrument.installations:
                self._installed[installation.meter].append((installation, instrument))
        self._spans = {meter: self._prepare(meter) for meter in self._installed}

    def on(self, meter: str, day: date) -> Standing:
        """Return what the figures of `meter` rest on, on the plant's `day`."""
        starts, standings = self._spans.get(meter, ([], []))
        place = bisect_right(starts, day)
        return standings[place - 1] if place else NOTHING

    def history(self, meter: str) -> tuple[tuple[date, Standing], ...]:
        """Return all that is on record of `meter`: the days its standing changes, and to what."""
        starts, standings = self._spans.get(meter, ([], []))
        return tuple(zip(starts, standings, strict=True))

    def due(self, on: date) -> list[tuple[Instrument, DueState]]:
        """Return every instrument not replaced and its state, the worst and earliest due first."""
        found = [
            (instrument, due(instrument, self._certificates.get(instrument.id, []), on))
            for instrument in self._instruments
        ]
        kept = [(instrument, state) for instrument, state in found if state.state is not State.REPLACED]
        return sorted(kept, key=lambda pair: (_WORST_FIRST.index(pair[1].state), pair[1].due or date.min, pair[0].id))

    def _prepare(self, meter: str) -> tuple[list[date], list[Standing]]:
        """Return the days on which the standing of `meter` may change, and the standing from each on."""
        days = {
            day for installation, instrument in self._installed[meter] for day in self._turns(installation, instrument)
        }
        starts = sorted(days)
        return starts, [self._standing(meter, day) for day in starts]

    def _turns(self, installation: Installation, instrument: Instrument) -> Iterator[date]:
        for period in (installation, *instrument.out_of_service):
            yield period.start
            if period.end is not None:
                yield period.end
        history = certificates_of(instrument, self._certificates.get(instrument.id, []))
        for certificate in history:
            yield certificate.calibrated
            last = last_valid_day(instrument, history, certificate)
            if last is not None:
                yield last - timedelta(days=WARNING_DAYS[0])
                yield last + timedelta(days=1)

    def _standing(self, meter: str, day: date) -> Standing:
        serving = [pair for pair in self._installed[meter] if pair[0].covers(day)]
        found = [self._of(instrument, day) for _, instrument in serving]
        if not any(installation.part == "meter" for installation, _ in serving):
            found.append(NOTHING)
        return min(found, key=lambda standing: _WORST_FIRST.index(standing.state))

    def _of(self, instrument: Instrument, day: date) -> Standing:
        state = due(instrument, self._certificates.get(instrument.id, []), day)
        return Standing(instrument.id, state.certificate.number if state.certificate else None, state.state)
