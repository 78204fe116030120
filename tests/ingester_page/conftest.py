"""A plant to look at: the demo's, with one overdue instrument, one alert, gaps and one dead meter.

Run this file to open it in a browser: `python tests/ingester_page/conftest.py [port]`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from calibration.due import DueState, State
from calibration.instrument import Cycle, Instrument, Kind, Level
from ingester.completeness import MeterDay, SlotsNow
from ingester.live import ProductNow, Snapshot, SourceNow
from ingester.page.feed import Site
from ingester.page.serve import serve
from ingester.page.words import HOUR_MS, MINUTE_MS, moment
from ingester.store.contract import AlertRow, FactorUse, GapRow, Latest, Result
from link.real_world import RealWorld
from link.world import World
from metering.errors import UnknownFactor
from metering.reading import Quality
from metering.slots import Account
from metering.text import Text
from metering.wire import AgentStatus

SHANGHAI = ZoneInfo("Asia/Shanghai")
INTERVAL_MS = 15 * MINUTE_MS
SOURCES = (
    ("boiler-1", Text("1号燃气锅炉", "Gas boiler 1"), "fuel_combustion", "m3@20C", "0.002162188809", 96, None),
    ("burner", Text("重油燃烧器", "Oil burner"), "fuel_combustion", "kg", "0.00317", 41, None),
    ("grid", Text("外购电力", "Grid electricity"), "purchased_electricity", "kWh", "0.0005777", 870, None),
    ("line-2", Text("2号生产线", "Production line 2"), "purchased_electricity", "kWh", "0.0005777", 310, "grid"),
)
"""Id, name, category, unit, tCO2 per unit, units in an interval, part of."""


def source_now(key: str, name: Text, category: str, unit: str, ratio: str, each: int, part_of: str | None) -> SourceNow:
    intervals = Decimal("50.4")
    activity = each * intervals
    return SourceNow(
        id=key,
        name=name,
        category=category,
        activity_today=activity,
        unit=unit,
        tonnes_today=activity * Decimal(ratio),
        kg_per_hour=None if key == "line-2" else each * 4 * Decimal(ratio) * 1000,
        missing_share=0.0312 if key == "burner" else 0.0,
        flags=("overdue_instrument",) if key == "grid" else (),
        part_of=part_of,
    )


def results(now_ms: int) -> list[Result]:
    first = now_ms // INTERVAL_MS * INTERVAL_MS - 50 * INTERVAL_MS
    found = []
    for key, _, _, unit, ratio, each, _ in SOURCES:
        for n, start in enumerate(range(first, now_ms, INTERVAL_MS)):
            shift = Decimal(35 + 65 * (n > 24) + (n * 7 % 13) * 2) / 100
            lost = key == "burner" and n in (9, 10)
            found.append(
                Result(
                    account=key, start_ms=start, end_ms=start + INTERVAL_MS, revision=1, derived_ms=start, cause="closed",
                    basis="", activity=None if lost else each * shift, unit=unit, ratio=str(Fraction(ratio)),
                    factors=(FactorUse("cn-ndrc-other", "2015", key, "default"),), measured_ms=INTERVAL_MS,
                    apportioned_ms=0, substituted_ms=0, missing_ms=INTERVAL_MS if lost or n == 11 else 0, stretches=(),
                    flags=(), uncertainty_percent=None, evidence={},
                )
            )  # fmt: skip
    return found


def instrument(key: str, name: dict[str, str], kind: Kind) -> Instrument:
    return Instrument(
        id=key,
        name=name,
        model="DTS-1",
        serial_number=f"SN-{key}",
        level=Level.ENTERING,
        cycle=Cycle(kind=kind, months=12),
    )


def due_list(today: date) -> list[tuple[Instrument, DueState]]:
    def state(word: State, days: int) -> DueState:
        return DueState(word, None, today + timedelta(days=days), days)

    return [
        (instrument("main-power", {"zh": "进线电能表", "en": "Incoming electricity meter"}, Kind.VERIFICATION),
         state(State.OVERDUE, -17)),
        (instrument("gas-main", {"zh": "燃气流量计", "en": "Gas meter"}, Kind.CALIBRATION), state(State.DUE_SOON, 21)),
        (instrument("oil-main", {"zh": "科里奥利质量流量计", "en": "Coriolis flow meter"}, Kind.CALIBRATION),
         state(State.VALID, 203)),
        (instrument("old-scale", {"zh": "皮带秤", "en": "Belt scale"}, Kind.CALIBRATION), DueState(State.NO_CERTIFICATE)),
    ]  # fmt: skip


def readings(now_ms: int) -> list[Latest]:
    seconds = now_ms / 1000 % 100_000
    return [
        Latest(
            "gas-main/volume", "m3@20C", now_ms - 3000, round(184_203.117 + seconds * 0.11, 3), Quality.GOOD, "line-a"
        ),
        Latest("gas-main/temperature", "C", now_ms - 3000, 18.4, Quality.GOOD, "line-a"),
        Latest("gas-main/pressure", "kPa", now_ms - 3000, 104.52, Quality.UNCERTAIN, "line-a"),
        Latest("main-power/energy", "kWh", now_ms - 1000, round(5_120_344.25 + seconds, 2), Quality.GOOD, "line-a"),
        Latest("main-power/power", "kW", now_ms - 1000, 3480.5, Quality.GOOD, "line-a"),
        Latest("oil-main/mass", "kg", now_ms - 2000, 88_412.0625, Quality.UNSYNCED, "line-b"),
        Latest("output/tonnes", "t", now_ms - 2000, 12_004.0, Quality.GOOD, "line-b"),
        Latest("line2-power/energy", "kWh", now_ms - 12 * MINUTE_MS, None, Quality.TIMEOUT, "line-b"),
    ]


def agents(now_ms: int) -> list[AgentStatus]:
    def meter(last_ms: int, cause: str = "", missed: int = 0) -> dict[str, Any]:
        found = {"state": "silent" if cause else "ok", "last_good": now_ms - last_ms, "expected": 60,
                 "read": 60 - missed, "missed": {"timeout": missed} if missed else {}, "ok": 60, "failures": {}}  # fmt: skip
        return found | ({"since": now_ms - last_ms, "cause": cause, "detail": "no reply in 1 s"} if cause else {})

    return [
        AgentStatus(online=True, agent="line-a", version="0.1.0", at=now_ms - 4000, clock="synced", unreceipted=0,
                    meters={"gas-main": meter(3000, missed=1), "main-power": meter(1000)},
                    lines={"rs485-1": {"state": "open", "utilisation": 0.25, "cycle_s": 1.5, "opened": 2, "overruns": 3}}),
        AgentStatus(online=True, agent="line-b", version="0.1.0", at=now_ms - 9000, clock="unsynced", unreceipted=14,
                    outbox_bytes=48_210, silent_since=now_ms - 5 * MINUTE_MS,
                    meters={"oil-main": meter(2000), "output": meter(2000),
                            "line2-power": meter(12 * MINUTE_MS, "timeout", 58)}),
    ]  # fmt: skip


def alerts(now_ms: int) -> list[AlertRow]:
    now_ms = now_ms // MINUTE_MS * MINUTE_MS
    since = now_ms - 4 * MINUTE_MS
    names = {"zh": "燃气流量", "en": "Gas flow"}
    values = {"name": names, "point": "gas-main/volume", "rate": "612", "expected": "450", "unit": "m3/h",
              "percent": "36", "days": 0, "until_ms": now_ms, "excess": "10.8", "kg_co2": "38.4"}  # fmt: skip
    earlier = {**values, "name": {"zh": "用电负荷", "en": "Electric load"}, "point": "main-power/energy",
               "rate": "5210", "expected": "4100", "unit": "kWh/h", "percent": "27.1", "days": 5, "kg_co2": None}  # fmt: skip
    return [
        AlertRow("a-2", "rate-limit", "gas-main", since + 20_000, since, None, None, None, "rate_above_limit", values),
        AlertRow("a-1", "rate-limit", "main-power", now_ms - 5 * HOUR_MS, now_ms - 5 * HOUR_MS, now_ms - 4 * HOUR_MS,
                 None, None, "rate_above_same_hour", earlier),
    ]  # fmt: skip


def gaps(now_ms: int) -> list[GapRow]:
    now_ms = now_ms // MINUTE_MS * MINUTE_MS
    return [
        GapRow("line2-power", "line-b", now_ms - 12 * MINUTE_MS, None, "timeout", 58),
        GapRow("oil-main", "line-b", now_ms - 11 * HOUR_MS, now_ms - 11 * HOUR_MS + 42 * MINUTE_MS, "power_loss", 252),
    ]


def slots() -> dict[str, SlotsNow]:
    """All meters but `output`, whose agent announces no slots."""
    whole = SlotsNow(Account(36, 36), Account(756, 756))
    return {
        "main-power": whole,
        "gas-main": SlotsNow(Account(36, 35, missed={"timeout": 1}), Account(756, 755, missed={"timeout": 1})),
        "oil-main": SlotsNow(Account(36, 30, 6), Account(4536, 4000, 200, 84, {"power_loss": 250, "bad_frame": 2})),
        "line2-power": SlotsNow(Account(60, 2, missed={"timeout": 58}), Account(1260, 1199, missed={"timeout": 61})),
    }


def plant(now_ms: int) -> Snapshot:
    sources = [source_now(*row) for row in SOURCES]
    whole = sum((one.tonnes_today for one in sources if not one.part_of and one.tonnes_today), Decimal(0))
    return Snapshot(
        at_ms=now_ms,
        site="demo",
        name=Text("示范工厂", "Demo plant"),
        total_tonnes_today=whole,
        sources=sources,
        products=[ProductNow("tonnes", Text("成品", "tonnes"), Decimal("128.4"), "t", whole / Decimal("128.4"))],
        readings=readings(now_ms),
        agents=agents(now_ms),
        alerts=alerts(now_ms),
        gaps=gaps(now_ms),
        due=due_list(moment(now_ms, SHANGHAI).date()),
        today=results(now_ms),
        slots=slots(),
    )


@dataclass
class Plant:
    """A LiveSource whose figures move with the clock, unless a test puts a snapshot in its place."""

    now_ms: Callable[[], int]
    fixed: Snapshot | None = None
    starting: bool = False
    taken: int = 0
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def snapshot(self) -> Snapshot | None:
        self.taken += 1
        if self.starting:
            return None
        return self.fixed or plant(self.now_ms())

    async def report(
        self, start_ms: int, end_ms: int, by: str, source: str | None, as_of_ms: int | None, include_open: bool
    ) -> dict[str, Any]:
        self.asked.append((start_ms, end_ms, by, source, as_of_ms, include_open))
        row = {"source": "grid", "activity": {"value": "1", "unit": "kWh"}, "emission": {"value": "2", "unit": "tCO2"},
               "factors": []}  # fmt: skip
        return {"site": "demo", "rows": [row], "totals": {}}

    async def trace(self, source: str, at_ms: int) -> dict[str, Any]:
        if source == "broken":
            raise RuntimeError("secret detail")
        if source != "grid":
            raise UnknownFactor(set="x", key=source, hint="")
        return {"source": source, "at_ms": at_ms}

    async def readings(self, point: str, start_ms: int, end_ms: int, limit: int) -> Sequence[Latest]:
        many = [Latest(point, "kWh", start_ms + n * 1000, float(n), Quality.GOOD, "line-a") for n in range(limit)]
        return many if point == "long/series" else many[:3]

    async def completeness(self, start_ms: int, end_ms: int, meter: str | None) -> Sequence[MeterDay]:
        self.asked.append((start_ms, end_ms, meter))
        return [MeterDay(name, "line-a", start_ms, end_ms, 10_000, now.today) for name, now in slots().items()]

    async def alerts(self, active: bool | None) -> Sequence[AlertRow]:
        found = alerts(self.now_ms())
        return [alert for alert in found if active is None or (alert.cleared_ms is None) == active]


@pytest.fixture
def world() -> World:
    return RealWorld()


@pytest.fixture
def source(world: World) -> Plant:
    return Plant(world.now_ms)


@pytest.fixture
def site() -> Site:
    return Site(SHANGHAI, "0.1.0", demo=True, interval_ms=900_000)


@pytest.fixture
def snapshot() -> Snapshot:
    """The plant on 20 November 2026, 12:36 in Shanghai."""
    return plant(1_795_149_360_000)


@pytest.fixture
def serving(source: Plant, world: World, site: Site) -> Callable[..., AbstractAsyncContextManager[str]]:
    @asynccontextmanager
    async def start(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        async with asyncio.TaskGroup() as tasks, serve(host, port, source, world, site, tasks) as address:
            yield address

    return start


@pytest.fixture
async def address(serving: Callable[..., AbstractAsyncContextManager[str]]) -> AsyncIterator[str]:
    async with serving() as address:
        yield address


async def show(port: int) -> None:
    world = RealWorld()
    site = Site(SHANGHAI, "0.1.0", demo=True, interval_ms=900_000)
    async with (
        asyncio.TaskGroup() as tasks,
        serve("127.0.0.1", port, Plant(world.now_ms), world, site, tasks) as address,
    ):
        print(address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(show(int(sys.argv[1]) if len(sys.argv) > 1 else 8080))
