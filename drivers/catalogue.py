"""Which drivers there are. A driver's folder is imported when it is first asked for, and with it its library."""

import difflib
from functools import cache
from importlib import import_module

from drivers.contract import Driver
from metering.errors import MeteringError
from metering.text import Text

_EXTRAS = {"cjt188": "", "dlt645": "", "iec62056": "", "mbus": "", "modbus": "", "opcua": "opcua"}
"""Each driver folder, and the extra of our distribution that its library needs."""


def drivers() -> tuple[str, ...]:
    """Return the names of all drivers; imports none."""
    return tuple(_EXTRAS)


@cache
def driver(name: str) -> Driver:
    """Return a driver: an `ExchangeDriver` or a `SessionDriver`.

    Raises:
        MeteringError: there is no such driver (the nearest is named), or its library is not installed.
    """
    if name not in _EXTRAS:
        raise _unknown(name)
    try:
        found: Driver = import_module(f"drivers.{name}").DRIVER
    except ModuleNotFoundError as error:
        if not _EXTRAS[name] or (error.name or "").startswith("drivers."):
            raise
        raise _missing(name, error.name or name) from error
    return found


def _unknown(name: str) -> MeteringError:
    near = difflib.get_close_matches(name, _EXTRAS, n=1)
    hint = Text(f"。是否指 {near[0]}？", f". Did you mean {near[0]}?") if near else Text("", "")
    return MeteringError(
        Text("没有驱动 {name!r}，现有：{known}{hint}", "no driver {name!r}; there are {known}{hint}"),
        name=name, known=", ".join(_EXTRAS), hint=hint,
    )  # fmt: skip


def _missing(name: str, module: str) -> MeteringError:
    return MeteringError(
        Text("驱动 {name} 需要 {module}，请运行：pip install 'tanbiao[{extra}]'",
             "driver {name} needs {module}: pip install 'tanbiao[{extra}]'"),
        name=name, module=module, extra=_EXTRAS[name],
    )  # fmt: skip
