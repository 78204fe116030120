"""The JSON API under /api/v1: what the page shows and more, for programs (contracts.md section 6).

Promises
    * Lists are `{"rows": […], "next": …}`, times ISO 8601 with offset, decimals strings; errors are problem documents.
    * Nothing here changes anything.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from ingester import api_rows as rows
from ingester.live import Snapshot
from ingester.page.feed import Feed, LiveSource, Site
from ingester.page.words import DAY_MS, moment
from ingester.problems import Problem, add_problems
from metering.text import Text

MOST_READINGS = 5000
"""Readings in one answer; `next` is the time to go on from."""

NO_SNAPSHOT = Text("正在启动，尚无数据", "starting, no figures yet")
BAD_TIME = Text(
    "{name}：{value} 不是带时区的 ISO 8601 时间，例如 2026-11-23T08:00:00+08:00（在网址中 + 写作 %2B）",
    "{name}: {value} is no ISO 8601 time with offset, such as 2026-11-23T08:00:00+08:00 (in a URL write + as %2B)",
)
YEARS = range(2000, 2101)
MOST_ROWS = 20_000
"""Rows of one report."""
BAD_YEAR = Text("{name}：{value} 不在 2000 到 2100 年之间", "{name}: {value} is not within the years 2000 to 2100")
TOO_MANY_ROWS = Text(
    "报告会有约 {rows} 行，超过 {most}；请缩短 from 到 to，或用 by=hour、day、month，或用 source= 指明一个排放源",
    "the report would have about {rows} rows, above {most}; ask for less time, for by=hour, day or month, or for one source=",
)
TOO_MANY_DAYS = Text(
    "会有约 {rows} 行，超过 {most}；请缩短 from 到 to，或用 meter= 指明一块仪表",
    "there would be about {rows} rows, above {most}; ask for less time, or for one meter=",
)
BACKWARDS = Text("from 必须早于 to", "from must be earlier than to")
NO_ALERT = Text("没有报警 {id}", "there is no alert {id}")
WHICH_SOURCE = Text("请用 source= 指明排放源：{known}", "name a source with source=: {known}")

v1 = APIRouter()


@dataclass(frozen=True)
class Desk:
    """What answers are made from."""

    feed: Feed
    source: LiveSource
    site: Site

    @property
    def present(self) -> Snapshot:
        if self.feed.snapshot is None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, NO_SNAPSHOT)
        return self.feed.snapshot

    @property
    def now(self) -> datetime:
        return moment(self.feed.now_ms(), self.site.zone)


async def desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


@dataclass(frozen=True)
class Stretch:
    """[start, end) of a question, Unix milliseconds; today of the site where it names none."""

    start_ms: int
    end_ms: int


At = Annotated[Desk, Depends(desk)]
Source = Annotated[str | None, Query(alias="source")]


async def stretch(
    at: At,
    start: Annotated[str | None, Query(alias="from", examples=["2026-11-23T08:00:00+08:00"])] = None,
    end: Annotated[str | None, Query(alias="to", examples=["2026-11-24T00:00:00+08:00"])] = None,
) -> Stretch:
    midnight = at.now.replace(hour=0, minute=0, second=0, microsecond=0)
    start_ms = milliseconds("from", start, midnight)
    end_ms = milliseconds("to", end, midnight + timedelta(days=1))
    if start_ms >= end_ms:
        raise Problem(HTTPStatus.BAD_REQUEST, BACKWARDS)
    return Stretch(start_ms, end_ms)


async def report(
    at: At,
    time: Annotated[Stretch, Depends(stretch)],
    of: Source = None,
    by: Literal["interval", "hour", "day", "month"] = "interval",
    as_of: str | None = None,
    include_open: bool = True,
) -> dict[str, Any]:
    as_of_ms = milliseconds("as_of", as_of) if as_of else None
    sources = 1 if of else max(len(at.feed.snapshot.sources), 1) if at.feed.snapshot else 1
    most = (time.end_ms - time.start_ms) // at.site.row_ms(by) * sources
    if most > MOST_ROWS:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, TOO_MANY_ROWS, rows=most, most=MOST_ROWS)
    return await at.source.report(time.start_ms, time.end_ms, by, of, as_of_ms, include_open)


def api_app(feed: Feed, source: LiveSource, site: Site) -> FastAPI:
    """Return the application that is mounted at /api."""
    api = FastAPI(title="Tanbiao", version=site.version, openapi_url="/openapi.json", docs_url=None, redoc_url=None)
    api.state.desk = Desk(feed, source, site)
    api.include_router(v1, prefix="/v1")
    add_problems(api)
    return api


@v1.get("/health")
async def health(at: At) -> JSONResponse:
    """Whether the figures are live: 200, or 503 while there are none or they are old."""
    feed, zone = at.feed, at.site.zone
    at_ms = feed.snapshot.at_ms if feed.snapshot else None
    body = {
        "status": "starting" if at_ms is None else "stale" if feed.stale else "ok",
        "version": at.site.version,
        "time": rows.time(feed.now_ms(), zone),
        "clock": feed.clock_state,
        "snapshot_at": rows.time(at_ms, zone),
    }
    return JSONResponse(body, 503 if feed.stale else 200)


@v1.get("/agents")
async def agents(at: At) -> dict[str, Any]:
    return listed([rows.agent(status, at.site.zone) for status in at.present.agents])


@v1.get("/meters")
async def meters(at: At) -> dict[str, Any]:
    return listed(rows.meters(at.present, at.site.zone))


@v1.get("/sources")
async def sources(at: At) -> dict[str, Any]:
    """Each source today, its open interval included."""
    return listed([rows.source(now) for now in at.present.sources])


@v1.get("/gaps")
async def gaps(at: At) -> dict[str, Any]:
    """Gaps of the last 24 hours, the newest first."""
    return listed([rows.gap(gap, at.site.zone) for gap in at.present.gaps])


@v1.get("/completeness")
async def completeness(
    at: At, time: Annotated[Stretch, Depends(stretch)], meter: Annotated[str | None, Query()] = None
) -> dict[str, Any]:
    """What became of every slot of each meter, by day of the site: expected = read + late + backfilled + missed."""
    days = -(-(time.end_ms - time.start_ms) // DAY_MS) + 1
    most = days * (1 if meter else max(len(at.present.slots), 1))
    if most > MOST_ROWS:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, TOO_MANY_DAYS, rows=most, most=MOST_ROWS)
    found = await at.source.completeness(time.start_ms, time.end_ms, meter)
    return listed([rows.completeness(day, at.site.zone) for day in found])


@v1.get("/instruments")
async def instruments(at: At) -> dict[str, Any]:
    return listed([instrument.model_dump(mode="json") for instrument, _ in at.present.due])


@v1.get("/calibration/due")
async def calibration_due(at: At) -> dict[str, Any]:
    return listed([rows.due(instrument, state) for instrument, state in at.present.due])


@v1.get("/alerts")
async def alerts(at: At, state: Literal["active", "cleared"] | None = None) -> dict[str, Any]:
    found = await at.source.alerts(None if state is None else state == "active")
    return listed([rows.alert(alert, at.site.zone) for alert in found])


@v1.get("/alerts/{alert_id}")
async def alert(at: At, alert_id: str) -> dict[str, Any]:
    for row in await at.source.alerts(None):
        if row.id == alert_id:
            return rows.alert(row, at.site.zone)
    raise Problem(HTTPStatus.NOT_FOUND, NO_ALERT, id=alert_id)


@v1.get("/readings")
async def readings(at: At, time: Annotated[Stretch, Depends(stretch)], point: str | None = None) -> dict[str, Any]:
    """The readings of a point, whatever their quality; without a point, the last reading of each."""
    zone = at.site.zone
    if point is None:
        return listed([rows.reading(latest, zone) for latest in at.present.readings])
    found = list(await at.source.readings(point, time.start_ms, time.end_ms, MOST_READINGS + 1))
    if len(found) <= MOST_READINGS:
        return listed([rows.reading(reading, zone) for reading in found])
    next_ms = found[-1].measured_ms
    page = [rows.reading(reading, zone) for reading in found if reading.measured_ms < next_ms]
    return listed(page, rows.time(next_ms, zone))


@v1.get("/emissions")
async def emissions(found: Annotated[dict[str, Any], Depends(report)]) -> dict[str, Any]:
    """The rows of the report, and its totals."""
    return {**found, "next": None}


@v1.get("/activity")
async def activity(found: Annotated[dict[str, Any], Depends(report)]) -> dict[str, Any]:
    """The rows of the report without their emissions."""
    without = ("emission", "factors")
    return listed([{key: row[key] for key in row if key not in without} for row in found["rows"]])


@v1.get("/trace")
async def trace(at: At, of: Source = None, time: Annotated[str | None, Query(alias="at")] = None) -> dict[str, Any]:
    """Why the number of a source is what it is; without a time, of the interval that runs now."""
    if of is None:
        known = ", ".join(now.id for now in at.present.sources)
        raise Problem(HTTPStatus.BAD_REQUEST, WHICH_SOURCE, known=known)
    return await at.source.trace(of, milliseconds("at", time, at.now))


@v1.get("/stream", response_class=StreamingResponse)
async def stream(at: At) -> StreamingResponse:
    """Server-sent events, once a second: readings (the new ones), emissions, alerts (when one changed)."""
    headers = {"cache-control": "no-store"}
    return StreamingResponse(events(at, at.present), media_type="text/event-stream", headers=headers)


async def events(at: Desk, shown: Snapshot) -> AsyncIterator[str]:
    """Give `shown` whole, then what is new in each snapshot after it; end when the feed closes."""
    yield event("readings", [rows.reading(latest, at.site.zone) for latest in shown.readings])
    yield event("emissions", rows.total(shown, at.site.zone))
    yield event("alerts", [rows.alert(alert, at.site.zone) for alert in shown.alerts])
    while (snapshot := await at.feed.next()) is not None:
        fresh = rows.changed(shown.readings, snapshot.readings)
        if fresh:
            yield event("readings", [rows.reading(latest, at.site.zone) for latest in fresh])
        yield event("emissions", rows.total(snapshot, at.site.zone))
        if list(snapshot.alerts) != list(shown.alerts):
            yield event("alerts", [rows.alert(alert, at.site.zone) for alert in snapshot.alerts])
        shown = snapshot


def event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, default=str)}\n\n"


def listed(found: list[Any], following: str | None = None) -> dict[str, Any]:
    return {"rows": found, "next": following}


def milliseconds(name: str, text: str | None, otherwise: datetime | None = None) -> int:
    """Return the time a client wrote. A `+` that was not escaped arrives as a space, and is understood.

    Raises:
        Problem: it is no time, or has no offset.
    """
    if text is None and otherwise is not None:
        return round(otherwise.timestamp() * 1000)
    try:
        when = datetime.fromisoformat((text or "").strip().replace(" ", "+"))
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, BAD_TIME, name=name, value=text) from error
    if when.tzinfo is None:
        raise Problem(HTTPStatus.BAD_REQUEST, BAD_TIME, name=name, value=text)
    if when.year not in YEARS:
        raise Problem(HTTPStatus.BAD_REQUEST, BAD_YEAR, name=name, value=text)
    return round(when.timestamp() * 1000)
