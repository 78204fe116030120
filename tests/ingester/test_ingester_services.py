"""What the centre answers, with and without a running service, and what is seeded."""

from decimal import Decimal

import pytest

from ingester.csv_files import parse_csv
from ingester.seed import register_of
from ingester.services import Services, asking, import_file
from ingester.store.contract import AlertRow
from metering.errors import MeteringError, SettingsFaults, StoreFailed
from settings.ingester import load_ingester

START = 1_795_363_200_000
"""2026-11-23T00:00:00+08:00."""
MINUTE, HOUR = 60_000, 3_600_000
READINGS = (
    "meter,point,time,value,quality\n"
    "gas-main,volume,2026-11-23T00:00:00+08:00,1000,good\n"
    "gas-main,volume,2026-11-23T00:10:00+08:00,999999,out of range\n"
    "gas-main,volume,2026-11-23T01:00:00+08:00,1.1e4,good\n"
    "gas-main,volume,2026-11-23T02:00:00+08:00,11000,good\n"
)


def opened(site, now_ms: int = START + 4 * HOUR):
    settings, document = load_ingester(site, {})
    return Services.open(settings, document, lambda: now_ms)


def imported(ask, site, text=READINGS):
    points = {"gas-main/volume", "oil-store/bought"}
    return import_file(ask, parse_csv("history.csv", text.encode(), points))


def test_an_import_is_derived_and_reported_to_every_digit(site):
    settings, document = load_ingester(site, {})
    with asking(settings, document, lambda: START + 4 * HOUR) as ask:
        assert imported(ask, site) == {
            "file": "history.csv", "rows": 4, "new": 4, "known": 0, "marked": {"out of range": 1}
        }  # fmt: skip
        report = ask("report", {"from": START, "to": START + 2 * HOUR, "by": "hour"})
    first = report["rows"][0]
    assert (first["source"], first["activity"]["value"]) == ("boiler-1", "10000")
    assert first["emission"] == {"value": "21.62188809", "unit": "tCO2"}


def test_importing_twice_changes_nothing(site):
    settings, document = load_ingester(site, {})
    question = {"from": START, "to": START + 2 * HOUR, "by": "hour"}
    with asking(settings, document, lambda: START + 4 * HOUR) as ask:
        imported(ask, site)
        before = ask("report", question)
    with asking(settings, document, lambda: START + 4 * HOUR) as ask:
        assert imported(ask, site)["new"] == 0
        assert ask("report", question) == before
        assert ask("recompute", {"from": START, "to": START + 2 * HOUR}) == {"results": 0}


def test_a_figure_is_traced_and_an_unknown_source_refused(site):
    services = opened(site)
    try:
        imported(lambda call, args: services.calls()[call](args), site)
        assert services.trace({"source": "boiler-1", "at": START + 5 * MINUTE})["factors"]
        with pytest.raises(MeteringError, match="boiler-1"):
            services.report({"from": START, "to": START + HOUR, "source": "boiler-9"})
    finally:
        services.close()


def test_what_is_added_to_the_seed_is_put_at_the_next_start_and_nothing_else_changes(site):
    opened(site).close()
    text = site.read_text().replace("model: LWQ-100", "model: LWQ-200")
    added = text[text.index("    - id: gas-meter-1") : text.index("  certificates:")]
    added = (
        added.replace("gas-meter-1", "gas-meter-2")
        .replace("TQ1", "TQ2")
        .replace("from: 2020-01-01", "from: 2020-01-01, part: spare")
    )
    site.write_text(text.replace("  certificates:", added + "  certificates:"))
    services = opened(site)
    rows = {row["id"]: row["model"] for row in services.records.documents("instrument")}
    assert rows == {"gas-meter-1": "LWQ-100", "gas-meter-2": "LWQ-200"}
    assert len(services.records.history("instrument", "gas-meter-1")) == 1
    services.close()


def test_a_store_folder_that_cannot_be_made_is_named_with_the_remedy(site):
    (site.parent / "data").write_text("a file in the way")
    with pytest.raises(StoreFailed, match=r"data failed: the folder cannot be made .*change the section store"):
        opened(site)


def test_the_seed_is_put_once_and_the_due_list_says_what_is_late(site):
    services = opened(site)
    (row,) = services.calibration_due()["rows"]
    assert (row["instrument"], row["state"], row["meters"]) == ("gas-meter-1", "overdue", ["gas-main"])
    assert row["text"]["en"].startswith("overdue by")
    services.records.put(
        "instrument", "gas-meter-1", {**services.records.documents("instrument")[0], "place": "B"}, 5, "li"
    )
    services.close()

    again = opened(site)
    assert [entry.by for entry in again.records.history("instrument", "gas-meter-1")] == ["seed", "li"]
    assert again.records.documents("instrument")[0]["place"] == "B"
    assert len(register_of(again.records).due(again.grid.local(START).date())) == 1
    again.close()


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("rule: turbine", "rule: turbines", "no rule turbines in the interval table (turbine?)"),
        ('serial_number: "TQ1"  # certificate', 'serial_number: "TQ9"', "serial number TQ9 is not TQ1"),
        ("instrument: gas-meter-1", "instrument: gas-meter-7", "there is no instrument gas-meter-7"),
        ("meter: gas-main, from", "meter: gas-mian, from", "meter gas-mian is not configured. The nearest is gas-main"),
        ("result: passed", "results: passed", "result"),
    ],
)
def test_a_wrong_seed_stops_the_start_with_its_place(site, wrong, right, said):
    site.write_text(site.read_text().replace(wrong, right))
    with pytest.raises(SettingsFaults) as raised:
        opened(site)
    assert said in raised.value.say("en")
    assert f"{site}:" in raised.value.say("zh")


def test_a_share_that_is_no_number_is_a_fault_with_its_place(site):
    site.write_text(site.read_text().replace("fuel: natural_gas", "fuel: natural_gas, biogenic_share: x %"))
    with pytest.raises(SettingsFaults, match=r"ingester.yaml:.*biogenic_share"):
        opened(site)


def test_new_records_are_taken_into_the_figures(site):
    services = opened(site)
    services.derive()
    before = services.instruments
    services.derive()
    assert services.instruments is before
    services.records.put(
        "instrument", "gas-meter-1", services.records.documents("instrument")[0] | {"place": "B"}, 5, "li"
    )
    services.derive()
    assert services.deriver.instruments is services.instruments is not before
    services.close()


def test_alerts_are_told_worded(site):
    services = opened(site)
    values = {
        "name": {"zh": "燃气", "en": "Gas"}, "point": "gas-main/volume", "rate": "312.3", "expected": "100", "unit": "m3/h",
        "percent": "212", "days": 5, "until_ms": 5, "excess": "3", "kg_co2": "7.5",
    }  # fmt: skip
    services.records.save_alert(
        AlertRow("a-1", "gas-high", "gas-main", START, START, None, None, None, "rate_above_same_hour", values)
    )
    (row,) = services.alerts({"active": True})["rows"]
    assert row["text"]["en"].startswith("Gas: gas-main/volume is at 312.3 m3/h")
    assert row["values"]["kg_co2"] == "7.5"
    assert services.alerts({"active": False})["rows"] == []
    services.close()


def test_an_amount_keeps_every_digit(site):
    services = opened(site)
    text = "meter,point,from,to,value\noil-store,bought,2026-11-23T00:00:00+08:00,2026-11-23T01:00:00+08:00,0.123456789012345678\n"
    imported(lambda call, args: services.calls()[call](args), site, text)
    assert services.series.amounts("oil-store/bought", START, START + HOUR)[0].value == Decimal("0.123456789012345678")
    services.close()
