"""What several drivers refuse, in the same words: a point that cannot be read, a number without its quotes, a missing value."""

from collections.abc import Callable
from typing import Any

from pydantic import BeforeValidator

from drivers.contract import MeterPlan
from metering.errors import MeteringError
from metering.fields import FieldError
from metering.profile import Place, Profile
from metering.text import Text


class NoNumber(Exception):
    """Why what a meter sent gives no number; becomes the `why` of a value."""


def refuse_point(meter: MeterPlan, point: str, wrong: Text | None) -> None:
    """Refuse a point of a meter if anything is wrong with it.

    Raises:
        MeteringError: `wrong` is not None; it names meter and point.
    """
    if wrong is not None:
        raise MeteringError(Text("{meter}/{point}：{wrong}", "{meter}/{point}: {wrong}"),
                            meter=meter.meter, point=point, wrong=wrong)  # fmt: skip


def refuse_points(meter: MeterPlan, fault: Callable[[Place, Profile], Text | None]) -> None:
    """Refuse the points of a meter if any has a fault.

    Raises:
        MeteringError: as `refuse_point`, of the first.
    """
    for name, place in meter.points.items():
        refuse_point(meter, name, fault(place, meter.profile))


def quoted(key: str, digits: int = 1) -> BeforeValidator:
    """Return the validator of a number that is a text: without quotes YAML drops its leading zeros. `digits` is its length."""

    def check(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            raise FieldError(Text('{key} 要加引号，否则前导零会丢失：{key}: "{value:0{digits}d}"',
                                  'quote the number, or leading zeros are lost: {key}: "{value:0{digits}d}"'),
                             key=key, value=value, digits=digits)  # fmt: skip
        return value

    return BeforeValidator(check)
