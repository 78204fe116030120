from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from calibration.certificate import Certificate
from calibration.instrument import Instrument

MakeInstrument = Callable[..., Instrument]
MakeCertificate = Callable[..., Certificate]


@pytest.fixture(scope="session")
def instrument() -> MakeInstrument:
    """Make an instrument under a yearly verification, installed at `gas-main` for good, but for what is given."""

    def make(**given: Any) -> Instrument:
        usual = {
            "id": "gas-1",
            "name": {"zh": "涡轮流量计", "en": "Turbine meter"},
            "model": "TBQ",
            "serial_number": "T-0042",
            "level": "entering",
            "cycle": {"kind": "verification", "months": 12},
            "installations": [{"meter": "gas-main", "from": "2020-01-01"}],
        }
        return Instrument.model_validate(usual | given)

    return make


@pytest.fixture(scope="session")
def certificate() -> MakeCertificate:
    """Make a passed verification of `gas-1` done on `calibrated`, but for what is given."""

    def make(calibrated: str | date, **given: Any) -> Certificate:
        usual = {
            "number": f"V-{calibrated}",
            "instrument": "gas-1",
            "serial_number": "T-0042",
            "kind": "verification",
            "laboratory": "Institute of Metrology",
            "calibrated": calibrated,
            "result": "passed",
        }
        return Certificate.model_validate(usual | given)

    return make
