"""Deviations from the same hour of earlier days, or from a limit, and the alerts they become."""

import itertools
import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from ingester.accounts import Account, Accounts, FactorChoice, PointSpec
from ingester.alerts import changes, cloud_event, orphans, say, standing_of
from ingester.grid import Grid
from ingester.judge import Deviation, Judge, Rates, Standing, rules_of
from ingester.store.contract import ImportedReading
from metering.activity import Multiplier
from metering.emission import Ratio
from metering.quantity import unit
from metering.reading import Quality
from metering.text import Text
from settings.rules import RuleSection

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
MONDAY_10 = 1_795_399_200_000
"""2026-11-23T10:00:00+08:00, a Monday."""
GAS = PointSpec("gas-main/volume", unit("m3@20C"), "counter")
ALL_DAY = {"point": GAS.name, "compare": "same_hour", "window": "1 min", "for": "1 min", "by": "60 %"}
FILES = itertools.count()


def accounts(*terms, part_of=None, point=GAS) -> Accounts:
    def choose(ms: int) -> FactorChoice:
        return FactorChoice(Ratio(Fraction(2, 1000)), (), "")

    boiler = Account(
        "boiler", Text("锅炉", "Boiler"), terms or ((1, point),), point.unit, "fuel_combustion", choose=choose
    )
    part = replace(boiler, id="part", part_of="boiler")
    return Accounts([boiler, part])


def rule(section=ALL_DAY, point=GAS):
    return rules_of({"gas-high": RuleSection.model_validate(section)}, {point.name: point})[0]


def judge(series, point=GAS) -> Judge:
    return Judge(series, accounts(point=point), Grid(MINUTE, ZoneInfo("Asia/Shanghai")))


def counting(series, start: int, end: int, per_hour, step: int = 10 * SECOND, point: str = GAS.name) -> None:
    """Store what a register shows from `start` to `end` at a rate that is a function of time."""
    shown, readings = Decimal(0), []
    for ms in range(start, end + 1, step):
        readings.append(ImportedReading(point, ms, float(shown), Quality.GOOD))
        shown += Decimal(per_hour(ms)) * step / HOUR
    series.import_rows("history.csv", f"{next(FILES)}", readings, [])


def steady_days(series, days: int = 7, rate: int = 100) -> None:
    counting(series, MONDAY_10 - days * DAY, MONDAY_10 - DAY + 3 * HOUR, lambda ms: rate, MINUTE)


def bursting(start: int, end: int):
    return lambda ms: 300 if start <= ms < end else 100


def test_a_tripled_rate_is_raised_within_two_minutes_and_says_how_much(series):
    begin = MONDAY_10 + 20 * MINUTE
    steady_days(series)
    counting(series, MONDAY_10, begin + 10 * MINUTE, bursting(begin, begin + DAY))
    court = judge(series)
    assert court.judge(rule(), begin, None) == "fine"
    raised = next(now for now in range(begin, begin + HOUR, 5 * SECOND) if court.judge(rule(), now, None) != "fine")
    assert raised - begin <= 100 * SECOND
    found = court.judge(rule(), raised, None)
    assert isinstance(found, Deviation)
    assert found.expected == 100
    assert found.days == 5
    assert found.rate > 160
    assert found.since_ms == begin
    hours = Fraction(found.until_ms - begin, HOUR)
    assert found.excess == pytest.approx(Decimal(float(200 * hours)), abs=Decimal("0.001"))
    assert found.kg_co2 == pytest.approx(found.excess * 2)


def test_a_deviation_ends_when_half_of_the_permitted_excess_is_left(series):
    steady_days(series)
    counting(series, MONDAY_10, MONDAY_10 + 30 * MINUTE, lambda ms: 140 if ms < MONDAY_10 + 20 * MINUTE else 129)
    court, standing = judge(series), Standing(MONDAY_10, MONDAY_10 + MINUTE, Decimal(0))
    assert court.judge(rule(), MONDAY_10 + 10 * MINUTE, None) == "fine"
    assert isinstance(court.judge(rule(), MONDAY_10 + 10 * MINUTE, standing), Deviation)
    assert court.judge(rule(), MONDAY_10 + 30 * MINUTE, standing) == "fine"


def test_the_excess_is_the_same_however_often_it_was_judged(series):
    steady_days(series)
    counting(series, MONDAY_10, MONDAY_10 + HOUR, lambda ms: 250)
    court = judge(series)
    often = once = court.judge(rule(), MONDAY_10 + 5 * MINUTE, None)
    for now in range(MONDAY_10 + 5 * MINUTE, MONDAY_10 + 50 * MINUTE, 35 * SECOND):
        often = court.judge(rule(), now, Standing(often.since_ms, often.until_ms, often.excess))
    once = court.judge(rule(), often.until_ms, Standing(once.since_ms, once.until_ms, once.excess))
    assert often.excess == pytest.approx(once.excess, abs=Decimal("1e-6"))
    assert often.since_ms == once.since_ms


def test_a_short_burst_is_no_deviation(series):
    steady_days(series)
    begin = MONDAY_10 + 20 * MINUTE
    counting(series, MONDAY_10, begin + 10 * MINUTE, bursting(begin, begin + 30 * SECOND))
    court = judge(series)
    assert {court.judge(rule(), now, None) for now in range(begin, begin + 5 * MINUTE, 5 * SECOND)} == {"fine"}


def test_too_few_earlier_days_give_no_judgement(series):
    steady_days(series, days=2)
    counting(series, MONDAY_10, MONDAY_10 + 30 * MINUTE, lambda ms: 900)
    assert judge(series).judge(rule(), MONDAY_10 + 20 * MINUTE, None) is None


def test_a_silent_meter_is_not_judged(series):
    steady_days(series)
    counting(series, MONDAY_10, MONDAY_10 + 10 * MINUTE, lambda ms: 900)
    standing = Standing(MONDAY_10, MONDAY_10 + 10 * MINUTE, Decimal(5))
    assert judge(series).judge(rule(), MONDAY_10 + 20 * MINUTE, None) is None
    assert judge(series).judge(rule(), MONDAY_10 + 20 * MINUTE, standing) is None


def test_the_same_hour_is_of_days_of_the_same_kind(series):
    def weekday(ms: int) -> int:
        weekend = (ms + 8 * HOUR) // DAY % 7 in (2, 3)
        return 10 if weekend else 100

    counting(series, MONDAY_10 - 14 * DAY, MONDAY_10 - DAY + HOUR, weekday, 10 * MINUTE)
    counting(series, MONDAY_10, MONDAY_10 + 10 * MINUTE, lambda ms: 300)
    found = judge(series).judge(rule(), MONDAY_10 + 10 * MINUTE, None)
    assert (found.expected, found.days) == (100, 10)


def test_across_the_hour_the_expectation_changes_by_time(series):
    def shifts(ms: int) -> int:
        return 400 if (ms - MONDAY_10) % DAY < HOUR else 100

    counting(series, MONDAY_10 - 7 * DAY, MONDAY_10 + HOUR + 10 * MINUTE, shifts, MINUTE)
    court = judge(series)
    edge = MONDAY_10 + HOUR
    assert {court.judge(rule(), now, None) for now in range(edge, edge + 5 * MINUTE, 5 * SECOND)} == {"fine"}
    assert {court.judge(rule(), now, None) for now in range(MONDAY_10, MONDAY_10 + 5 * MINUTE, 5 * SECOND)} == {"fine"}


def test_a_limit_is_in_the_points_unit_after_the_multiplier(series):
    power = PointSpec("main/energy", unit("kWh"), "counter", multipliers=(Multiplier(0, Decimal(80)),))
    limit = rule({"point": power.name, "compare": "limit", "limit": "2 MW", "window": "5 min"}, power)
    counting(series, MONDAY_10, MONDAY_10 + HOUR, lambda ms: 26, point=power.name)
    found = judge(series, power).judge(limit, MONDAY_10 + HOUR, None)
    assert (found.rate, found.expected) == (pytest.approx(2080), 2000)
    assert judge(series, power).judge(rule({**LIMIT, "limit": "2100 kW"}, power), MONDAY_10 + HOUR, None) == "fine"


LIMIT = {"point": "main/energy", "compare": "limit", "window": "5 min"}


def test_a_gauge_is_judged_by_its_mean(series):
    gauge = PointSpec("main/power", unit("kW"), "gauge")
    values = [ImportedReading(gauge.name, MONDAY_10 + i * SECOND, 100.0 + i % 2, Quality.GOOD) for i in range(60)]
    series.import_rows("g.csv", "g", values, [])
    section = {"point": gauge.name, "compare": "limit", "limit": "100 kW", "window": "30 s"}
    found = judge(series, gauge).judge(rule(section, gauge), MONDAY_10 + MINUTE, None)
    assert (found.rate, found.expected, found.kg_co2) == (Decimal("100.5"), 100, None)


def test_a_window_that_is_hardly_covered_has_no_rate(series):
    counting(series, MONDAY_10, MONDAY_10 + 10 * MINUTE, lambda ms: 60)
    rates = Rates(series, GAS, MONDAY_10, MONDAY_10 + HOUR)
    assert rates.mean(MONDAY_10, MONDAY_10 + HOUR) is None
    assert rates.mean(MONDAY_10, MONDAY_10 + 20 * MINUTE) == pytest.approx(60)


def deviation(until: int = MONDAY_10, rate: str = "312.34", expected: str = "100") -> Deviation:
    return Deviation(
        rule(), Decimal(rate), Decimal(expected), 5, MONDAY_10 - MINUTE, until, Decimal("3.5"), Decimal("7.56789")
    )


def test_one_alert_lives_from_raised_over_updated_to_cleared():
    (raised,) = changes({}, [(rule(), deviation())], MONDAY_10, lambda: "a-1")
    alert = raised.alert
    assert (raised.kind, alert.id, alert.rule, alert.meter) == ("raised", "a-1", "gas-high", "gas-main")
    assert standing_of(alert) == Standing(MONDAY_10 - MINUTE, MONDAY_10, Decimal("3.5"))

    active = {("gas-high", "gas-main"): alert}
    assert changes(active, [(rule(), deviation(MONDAY_10 + 5 * SECOND))], MONDAY_10, lambda: "a-2") == []
    (updated,) = changes(active, [(rule(), deviation(MONDAY_10 + 15 * SECOND, "200"))], MONDAY_10, lambda: "a-2")
    assert (updated.kind, updated.alert.id, updated.alert.values["rate"]) == ("updated", "a-1", "200")
    assert changes(active, [(rule(), None)], MONDAY_10, lambda: "a-2") == []
    (cleared,) = changes(active, [(rule(), "fine")], MONDAY_10 + HOUR, lambda: "a-2")
    assert (cleared.kind, cleared.alert.cleared_ms) == ("cleared", MONDAY_10 + HOUR)
    assert changes({}, [(rule(), "fine")], MONDAY_10, lambda: "a-2") == []


def test_an_alert_whose_rule_is_gone_is_cleared():
    (raised,) = changes({}, [(rule(), deviation())], MONDAY_10, lambda: "a-1")
    active = {("gas-high", "gas-main"): raised.alert}
    assert orphans(active, [rule()], MONDAY_10) == []
    (cleared,) = orphans(active, [], MONDAY_10 + 5)
    assert cleared.alert.cleared_ms == MONDAY_10 + 5


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", "gas-high: gas-main/volume is at 312.3 m3/h; the same hour of 5 earlier days had 100 m3/h (212.3 % more)"),
        ("zh", "gas-high：gas-main/volume 为 312.3 m3/h，前 5 天同一时段为 100 m3/h（高 212.3 %）"),
    ],
)  # fmt: skip
def test_an_alert_is_worded_when_it_is_read(lang, said):
    (raised,) = changes({}, [(rule(), deviation())], MONDAY_10, lambda: "a-1")
    assert say(raised.alert, lang) == said
    assert raised.alert.values["kg_co2"] == "7.568"
    assert say(replace(raised.alert, code="of a later version"), lang).endswith("gas-main/volume")


def test_nothing_expected_has_no_percentage():
    (raised,) = changes({}, [(rule(), deviation(expected="0"))], MONDAY_10, lambda: "a-1")
    assert "(∞ % more)" in say(raised.alert, "en")


def test_a_change_is_a_cloud_event():
    (raised,) = changes({}, [(rule(), deviation())], MONDAY_10, lambda: "a-1")
    event = json.loads(cloud_event(raised, "demo", "e-1", MONDAY_10))
    assert event["specversion"] == "1.0"
    assert (event["type"], event["source"], event["subject"]) == ("tanbiao.alert.raised", "/tanbiao/demo", "gas-main")
    assert event["time"] == "2026-11-23T02:00:00.000Z"
    assert event["data"]["values"]["kg_co2"] == "7.568"
    assert event["data"]["text"]["zh"].startswith("gas-high")
