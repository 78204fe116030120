"""The meter that is polled: 10 registers, five 32-bit floats, as an agent is wired to it."""

from agent.wiring import Line, Meter
from drivers.catalogue import driver
from drivers.contract import MeterPlan
from metering.profile import Profile

NAMES = ("voltage", "voltage_2", "frequency", "power", "energy")
UNITS = ("V", "V", "Hz", "kW", "kWh")
POINTS = tuple((f"main/{name}", unit) for name, unit in zip(NAMES, UNITS, strict=True))


def line(**where: str | int) -> Line:
    """Return a line with one meter; `tcp`, or `serial` and `baud`, say where."""
    modbus = driver("modbus")
    settings = modbus.line_model.model_validate({"driver": "modbus", **where})
    points = {
        name: {"address": 2 * at, "unit": unit, "role": "counter" if name == "energy" else "gauge"}
        for at, (name, unit) in enumerate(zip(NAMES, UNITS, strict=True))
    }
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "modbus", "points": points,
         "defaults": {"fc": 3, "type": "f32"}, "source": {"title": "made up"}, "status": "unverified"}
    )  # fmt: skip
    plan = MeterPlan("main", {"unit": 1}, profile, profile.points)
    indices = {name: at for at, name in enumerate(NAMES)}
    return Line(
        "a", modbus, settings, (Meter("main", "a", plan, profile.points, 1000, 0, indices, frozenset({"energy"})),)
    )
