"""The API over a real socket: shapes, times, refusals, the stream and the metrics."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from ingester.live import Snapshot
from ingester.page.languages import preferred
from ingester.page.serve import bind
from metering.errors import LineBusy

Serving = Callable[..., AbstractAsyncContextManager[str]]
LISTS = (
    "agents",
    "meters",
    "sources",
    "gaps",
    "completeness",
    "readings",
    "instruments",
    "calibration/due",
    "alerts",
    "activity",
    "emissions",
)


@pytest.fixture
async def client(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address) as client:
        yield client


@pytest.mark.parametrize("path", LISTS)
async def test_lists_have_rows_and_a_next(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/api/v1/{path}")
    assert answer.status_code == 200
    assert answer.json()["rows"]
    assert answer.json()["next"] is None


async def test_every_path_is_in_the_openapi_document(client: httpx.AsyncClient) -> None:
    document = (await client.get("/api/openapi.json")).json()
    served = {f"{document['servers'][0]['url']}{path}" for path in document["paths"]}
    assert served >= {f"/api/v1/{path}" for path in LISTS}
    assert all(list(operations) == ["get"] for operations in document["paths"].values())


async def test_the_ledger_of_slots_adds_up_and_names_the_causes(client: httpx.AsyncClient) -> None:
    asked = {"from": "2026-11-19T00:00:00+08:00", "to": "2026-11-21T00:00:00+08:00", "meter": "oil-main"}
    rows = {row["meter"]: row for row in (await client.get("/api/v1/completeness", params=asked)).json()["rows"]}
    oil = rows["oil-main"]
    assert oil.pop("share") == 0.944444
    assert oil == {
        "meter": "oil-main", "agent": "line-a", "interval": 10.0, "expected": 4536, "read": 4000, "late": 200,
        "backfilled": 84, "missed": {"power_loss": 250, "bad_frame": 2},
        "start": "2026-11-19T00:00:00.000+08:00", "end": "2026-11-21T00:00:00.000+08:00",
    }  # fmt: skip
    assert oil["expected"] == oil["read"] + oil["late"] + oil["backfilled"] + sum(oil["missed"].values())
    too_much = await client.get("/api/v1/completeness", params={"from": "2001-01-01T00:00:00Z"})
    assert (too_much.status_code, "20000" in too_much.text) == (422, True)


async def test_times_carry_the_sites_offset_and_decimals_are_strings(client: httpx.AsyncClient) -> None:
    reading = (await client.get("/api/v1/readings")).json()["rows"][0]
    grid = (await client.get("/api/v1/sources")).json()["rows"][2]
    assert reading["time"].endswith("+08:00")
    assert grid["emission_today"] == {"value": "25.3309896", "unit": "tCO2"}


async def test_what_is_unknown_is_null(client: httpx.AsyncClient) -> None:
    part = (await client.get("/api/v1/sources")).json()["rows"][3]
    assert part["rate"]["value"] is None


async def test_meters_show_their_slots_and_why_one_is_silent(client: httpx.AsyncClient) -> None:
    rows = {row["meter"]: row for row in (await client.get("/api/v1/meters")).json()["rows"]}
    assert rows["gas-main"]["slots"] == {"expected": 60, "read": 59, "missed": {"timeout": 1}}
    assert (rows["line2-power"]["state"], rows["line2-power"]["cause"]) == ("silent", "timeout")
    assert len(rows["gas-main"]["points"]) == 3


async def test_a_question_without_times_is_about_today(client: httpx.AsyncClient, source: Any) -> None:
    await client.get("/api/v1/emissions")
    start_ms, end_ms, by, of, as_of, include_open = source.asked[0]
    assert (end_ms - start_ms, by, of, as_of, include_open) == (86_400_000, "interval", None, None, True)
    assert start_ms <= source.now_ms() < end_ms


async def test_a_plus_that_was_not_escaped_is_understood(client: httpx.AsyncClient, source: Any) -> None:
    await client.get("/api/v1/emissions?from=2026-11-23T08:00:00+08:00&to=2026-11-23T01:00:00Z&by=hour&source=grid")
    assert source.asked == [(1_795_392_000_000, 1_795_395_600_000, "hour", "grid", None, True)]


async def test_activity_rows_leave_the_emission_out(client: httpx.AsyncClient) -> None:
    row = (await client.get("/api/v1/activity")).json()["rows"][0]
    assert row == {"source": "grid", "activity": {"value": "1", "unit": "kWh"}}


async def test_a_long_series_goes_on_where_next_says(client: httpx.AsyncClient) -> None:
    first = (await client.get("/api/v1/readings", params={"point": "long/series"})).json()
    assert len(first["rows"]) == 5000
    second = (await client.get("/api/v1/readings", params={"point": "long/series", "from": first["next"]})).json()
    assert second["rows"][0]["time"] == first["next"] > first["rows"][-1]["time"]


async def test_alerts_are_worded_in_both_languages(client: httpx.AsyncClient) -> None:
    (row,) = (await client.get("/api/v1/alerts?state=active")).json()["rows"]
    assert row["text"]["en"] == "Gas flow: gas-main/volume is at 612 m3/h, above the limit of 450 m3/h (36 % more)"
    assert "超过上限" in row["text"]["zh"]
    assert (await client.get("/api/v1/alerts/a-2")).json()["id"] == "a-2"


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/api/v1/nothing", 404, "there is no /api/v1/nothing"),
        ("/api/other", 404, "there is no /api/other"),
        ("/api/v1/alerts/a-9", 404, "there is no alert a-9"),
        ("/api/v1/alerts?state=loud", 400, "parameter state cannot be used: loud"),
        ("/api/v1/emissions?from=yesterday", 400, "from: yesterday is no ISO 8601 time"),
        ("/api/v1/emissions?from=2026-11-23T08:00:00", 400, "is no ISO 8601 time with offset"),
        ("/api/v1/emissions?from=2026-11-23T08:00:00Z&to=2026-11-23T08:00:00Z", 400, "earlier than to"),
        ("/api/v1/trace", 400, "boiler-1, burner, grid"),
        ("/api/v1/trace?source=nobody", 404, "nobody"),
        ("/api/v1/trace?source=broken", 500, "see the log"),
    ],
)
async def test_a_refusal_is_a_problem_document(client: httpx.AsyncClient, path: str, status: int, detail: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]
    assert "secret" not in answer.text


async def test_a_problem_is_worded_in_the_language_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/nothing", headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"})
    assert answer.json()["detail"].startswith("没有 /api/v1/nothing")


async def test_nothing_can_be_written(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/alerts")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["detail"] == "/api/v1/alerts does not take POST"


@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/nothing", "/api/openapi.json", "/metrics"])
async def test_answers_for_programs_may_do_nothing_in_a_browser(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"


async def test_a_foreign_name_for_this_machine_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/health", headers={"host": "attacker.example"})
    assert answer.status_code == 400


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_this_machine_may_be_called_by_its_own_names(client: httpx.AsyncClient, host: str) -> None:
    answer = await client.get("/api/v1/health", headers={"host": f"{host}:8080"})
    assert answer.status_code == 200


async def test_health_says_when_there_are_no_live_figures(serving: Serving, source: Any, snapshot: Snapshot) -> None:
    source.fixed = snapshot
    async with serving() as address, httpx.AsyncClient(base_url=address) as client:
        answer = await client.get("/api/v1/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "stale")


async def test_before_the_first_snapshot_the_api_says_starting(serving: Serving, source: Any) -> None:
    source.starting = True
    async with serving() as address, httpx.AsyncClient(base_url=address) as client:
        health, sources, metrics = [
            await client.get(path) for path in ("/api/v1/health", "/api/v1/sources", "/metrics")
        ]
    assert (health.status_code, health.json()["status"]) == (503, "starting")
    assert sources.status_code == 503
    assert metrics.text.startswith("# HELP tanbiao_info")


async def test_the_stream_tells_what_is_new_each_second(client: httpx.AsyncClient) -> None:
    seen = []
    async with client.stream("GET", "/api/v1/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
            if line.startswith("data: "):
                json.loads(line.removeprefix("data: "))
            if len(seen) == 5:
                break
    assert seen == ["readings", "emissions", "alerts", "readings", "emissions"]


async def test_metrics_leave_out_what_is_unknown(client: httpx.AsyncClient) -> None:
    lines = (await client.get("/metrics")).text.splitlines()
    assert 'tanbiao_source_emission_today_tonnes{source="grid"} 25.3309896' in lines
    assert 'tanbiao_meter_slots_total{agent="line-b",meter="line2-power",missed="timeout"} 58.0' in lines
    assert 'tanbiao_line_utilisation{agent="line-a",line="rs485-1"} 0.25' in lines
    assert 'tanbiao_line_events_total{agent="line-a",line="rs485-1",event="overruns"} 3.0' in lines
    assert not any("stale_frames" in line or "quantile" in line for line in lines)
    assert not any(line.startswith('tanbiao_source_emission_rate_kg_per_hour{source="line-2"}') for line in lines)


async def test_it_stops_within_a_second_while_clients_listen(
    serving: Serving,
) -> None:
    async with httpx.AsyncClient(timeout=5) as client, asyncio.TaskGroup() as tasks:
        async with serving() as address:
            tasks.create_task(_listen(client, f"{address}/api/v1/stream"))
            await asyncio.sleep(0.3)
            leaving = time.monotonic()
        assert time.monotonic() - leaving < 1.2


async def _listen(client: httpx.AsyncClient, url: str) -> None:
    async with client.stream("GET", url) as answer:
        async for _ in answer.aiter_lines():
            pass


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LineBusy) as refused:
            bind("127.0.0.1", port)
    assert f"ss -ltnp 'sport = :{port}'" in refused.value.say("en")
    assert "换一个端口" in refused.value.say("zh")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "plant.example"])
def test_only_addresses_of_this_machine_are_served(host: str) -> None:
    with pytest.raises(LineBusy, match="ssh -L 8080"):
        bind(host, 8080)


async def test_an_error_beside_it_ends_it_and_passes_on(
    serving: Serving,
) -> None:
    with pytest.raises(ExceptionGroup) as passed:
        async with serving() as address:
            raise ZeroDivisionError
    assert passed.group_contains(ZeroDivisionError)
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as client:
            await client.get(address)


@pytest.mark.parametrize(
    ("wish", "lang"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de,zh;q=0.5,en;q=0.3", "zh"),
        ("en;q=0.2, zh;q=0.7", "zh"),
        ("de-DE", "en"),
        ("", "en"),
        ("zh;q=nonsense, en;q=0.1", "en"),
    ],
)
def test_the_clients_first_language_of_ours_is_taken(wish: str, lang: str) -> None:
    assert preferred(wish) == lang


async def test_the_front_door_leads_to_the_page_of_ones_language(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", headers={"accept-language": "zh"})
    assert (answer.status_code, answer.headers["location"]) == (307, "/zh/")


async def test_a_page_that_is_not_there_says_so_in_both_languages(client: httpx.AsyncClient) -> None:
    answer = await client.get("/zh/nothing")
    assert answer.status_code == 404
    assert "没有这个页面" in answer.text
    assert "there is no such page" in answer.text


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("from=2001-01-01T00:00:00Z&to=2099-01-01T00:00:00Z", 422, "by=hour"),
        ("from=0001-01-01T00:00:00%2B08:00", 400, "2000 to 2100"),
        ("to=9999-12-31T23:59:59-12:00", 400, "2000 to 2100"),
    ],
)
async def test_a_report_is_bounded_in_rows_and_years(
    client: httpx.AsyncClient, query: str, status: int, said: str
) -> None:
    answer = await client.get(f"/api/v1/emissions?{query}", headers={"accept-language": "en"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
