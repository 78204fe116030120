"""The page: what it says, and that a browser shows it whole, live, in both languages, from this machine alone."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import nicegui
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import Browser, Page, async_playwright

import ingester.page
from ingester.live import Snapshot
from ingester.page import words
from ingester.page.chart import chart
from ingester.page.feed import Feed, Site
from ingester.page.figures import figures, source_rows, total
from ingester.page.meters import gap_rows, meter_rows, reading_rows
from ingester.page.models import Models
from ingester.page.web import ASSETS
from metering.text import Lang, Text

Serving = Callable[..., AbstractAsyncContextManager[str]]
SHANGHAI = ZoneInfo("Asia/Shanghai")
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"]  # fmt: skip
NASTY = "<img src=x onerror=alert(1)>{{7*7}}`${alert(2)}`</script>"


def cells(row: Any) -> list[str]:
    return [cell.text for cell in row.cells]


def test_a_source_shows_tonnes_share_rate_activity_and_what_is_missing(snapshot: Snapshot) -> None:
    boiler, burner, grid, part = source_rows(snapshot, SHANGHAI, "en")
    assert cells(boiler) == ["Gas boiler 1", "10.462", "24.7 %", "830.3", "4,838 m³ (20 °C)", "0.0 %", ""]
    assert burner.cells[5].tone == "warn"
    assert grid.cells[6].text == "measured by an instrument out of its calibration period"
    assert part.cells[6].note == "part of Grid electricity, not counted twice"


def test_what_is_unknown_is_a_dash_with_its_reason(snapshot: Snapshot) -> None:
    unknown = replace(snapshot.sources[0], tonnes_today=None, activity_today=None, kg_per_hour=None)
    dark = replace(snapshot, sources=[unknown], total_tonnes_today=None, products=[])
    (row,) = source_rows(dark, SHANGHAI, "en")
    assert cells(row)[1:5] == ["–", "–", "–", "–"]
    assert (row.cells[1].note, row.cells[3].note) == ("nothing measured today yet", "no readings in the last minutes")
    assert total(dark, SHANGHAI, "en").value == "–"
    assert figures(dark, "en")[0].note == "no readings in the last minutes"


def test_the_total_says_which_sources_are_incomplete(snapshot: Snapshot) -> None:
    assert "Oil burner" in total(snapshot, SHANGHAI, "en").note
    whole = replace(snapshot, sources=[replace(one, missing_share=0.001) for one in snapshot.sources])
    open_gap = replace(whole, gaps=[whole.gaps[0]])
    assert total(open_gap, SHANGHAI, "en").note == "no source has time missing; gaps in today's readings: 1"
    yesterdays = replace(whole.gaps[0], start_ms=0, end_ms=1)
    assert total(replace(whole, gaps=[yesterdays]), SHANGHAI, "en").note == "complete for all sources"


def test_a_lost_connection_looks_lost_without_the_server() -> None:
    style = (ASSETS / "page.css").read_text()
    template = (Path(nicegui.__file__).parent / "templates" / "index.html").read_text()
    assert 'id="popup" class="nicegui-error-popup" aria-hidden="true"' in template
    assert '#popup[aria-hidden="false"]' in style


def test_exports_are_deducted_from_the_rate(snapshot: Snapshot) -> None:
    grid = snapshot.sources[2]
    sold = replace(grid, id="sold", category="exported_electricity", kg_per_hour=Decimal(10))
    rate, *_ = figures(replace(snapshot, sources=[grid, sold]), "en")
    assert rate.value == "2,000.4"


def test_no_production_gives_no_intensity(snapshot: Snapshot) -> None:
    idle = replace(snapshot, products=[replace(snapshot.products[0], activity_today=Decimal(0), intensity=None)])
    assert (figures(idle, "zh")[1].value, figures(idle, "zh")[1].note) == ("–", "今天还没有产量")


def test_a_dead_meter_says_since_when_and_why(snapshot: Snapshot) -> None:
    rows = {row.key: row for row in meter_rows(snapshot, SHANGHAI, "zh")}
    dead = rows["line-b/line2-power"]
    assert cells(dead) == ["line2-power", "无应答", "60 次中 2 次", "1,260 次中 1,199 次", "12 分钟前"]
    assert dead.cells[1].note == "没有应答，自 12:24:00"
    assert cells(rows["line-a/gas-main"])[2:4] == ["36 次中 35 次", "756 次中 755 次"]
    assert [cell.note for cell in rows["line-b/oil-main"].cells[2:4]] == [
        "迟到 6", "迟到 200、补录 84、采集端断电 250、报文错误 2"
    ]  # fmt: skip
    assert rows["line-b/output"].cells[3].note == "采集端启动以来"


def test_an_agent_of_another_version_may_say_less(snapshot: Snapshot) -> None:
    agent = replace_meters(snapshot.agents[0], {"gas-main": {"state": "resting"}})
    (row,) = meter_rows(replace(snapshot, agents=[agent], slots={}), SHANGHAI, "en")
    assert cells(row) == ["gas-main", "–", "–", "–", "–"]


def replace_meters(agent: Any, meters: dict[str, Any]) -> Any:

    return msgspec.structs.replace(agent, meters=meters)


def test_a_refused_reading_shows_no_value_and_its_quality(snapshot: Snapshot) -> None:
    rows = {row.key: row for row in reading_rows(snapshot, "en")}
    assert cells(rows["line2-power/energy"]) == ["line2-power/energy", "–", "timeout", "12 min ago"]


def test_a_gap_that_lasts_says_so(snapshot: Snapshot) -> None:
    first, second = gap_rows(snapshot.gaps, snapshot.at_ms, SHANGHAI, "en")
    assert (cells(first), first.cells[2].note) == (
        ["line2-power", "12:24:00", "12 min", "58", "no reply"],
        "still lasts",
    )
    assert cells(second)[1:3] == ["01:36:00", "42 min"]


def test_the_chart_leaves_an_unknown_interval_empty_and_marks_it(snapshot: Snapshot) -> None:
    options, note = chart(snapshot, SHANGHAI, "en")
    burner = options["series"][1]["data"]
    assert note == "kg CO₂ every 15 min"
    assert (burner[9], burner[10], burner[11] > 0) == (None, None, True)
    assert [place for place, mark in enumerate(options["series"][-1]["data"]) if mark is not None] == [9, 10, 11]


def test_the_chart_adds_up_to_the_results_and_counts_no_part_twice(snapshot: Snapshot) -> None:
    options, _ = chart(snapshot, SHANGHAI, "en")
    assert [series["name"] for series in options["series"]][:3] == ["Gas boiler 1", "Oil burner", "Grid electricity"]
    drawn = sum(options["series"][0]["data"])
    stored = sum(float(r.activity or 0) * 2.162188809 for r in snapshot.today if r.account == "boiler-1")
    assert drawn == pytest.approx(stored, abs=0.05)


@pytest.mark.parametrize(("minutes", "note"), [(20, "every 1 min"), (200, "every 5 min"), (1439, "every 30 min")])
def test_bars_grow_with_the_day(snapshot: Snapshot, minutes: int, note: str) -> None:
    one, since = snapshot.today[0], snapshot.at_ms - minutes * 60_000
    starts = range(since, snapshot.at_ms, 60_000)
    today = [replace(one, start_ms=start, end_ms=start + 60_000) for start in starts]
    options, said = chart(replace(snapshot, today=today), SHANGHAI, "en")
    assert note in said
    assert len(options["xAxis"]["data"]) <= 73


def test_the_page_says_that_its_figures_are_old(snapshot: Snapshot, source: Any, world: Any, site: Site) -> None:
    source.fixed = snapshot
    model = Models(Feed(source, world), site).of("en")
    assert model.fresh.startswith("the figures are from")
    assert model.fresh_tone == "bad"


def test_a_model_is_made_once_however_many_browsers_look(
    snapshot: Snapshot, world: Any, source: Any, site: Site
) -> None:
    source.fixed = snapshot
    feed = Feed(source, Stopped(world))
    models = Models(feed, site)
    assert models.of("zh") is models.of("zh")
    assert source.taken == 1


@dataclass
class Stopped:
    """A world in which the clock stands."""

    world: Any

    def now_ms(self) -> int:
        return 1_795_149_360_500

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)


@given(st.floats(0, 1e12), st.sampled_from([0, 1, 3]))
def test_numbers_are_grouped_and_keep_their_decimals(value: float, digits: int) -> None:
    text = words.number(value, digits)
    assert abs(float(text.replace(",", "")) - value) <= 10**-digits / 2 + value * 1e-15
    assert len(text.partition(".")[2]) == digits


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0 %"), (0.0002, "<0.1 %"), (0.5, "50.0 %"), (0.9999, ">99.9 %"), (1, "100.0 %")]
)
def test_a_share_never_looks_like_nothing_or_all_when_it_is_not(share: float, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("ms", "text"), [(-5, "0 s"), (119_000, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (200_000_000, "2 d")]
)
def test_spans_are_written_in_their_largest_fitting_unit(ms: int, text: str) -> None:
    assert words.span(ms, "en") == text


def page_modules() -> list[str]:
    return [module.name for module in iter_modules(ingester.page.__path__, "ingester.page.")]


def texts_in(value: object) -> Iterator[Text]:
    if isinstance(value, Text):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts_in(one)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from texts_in(one)
    elif type(value).__name__ == "Column":
        yield value.label  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", [*page_modules(), "ingester.api", "ingester.problems"])
def test_every_text_stands_in_both_languages_with_the_same_values(module: str) -> None:
    for text in texts_in([*vars(import_module(module)).values()]):
        named = [{name for _, name, _, _ in Formatter().parse(sentence) if name} for sentence in (text.zh, text.en)]
        assert text.zh
        assert text.en
        assert named[0] == named[1]


@dataclass
class Watched:
    """A browser page whose every request and complaint is noted."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    async def open(self, address: str) -> None:
        await self.page.goto(address)
        await self.page.wait_for_selector(".total .figure-value")

    async def text(self, selector: str) -> str:
        return (await self.page.inner_text(selector)).strip()


in_browser = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is missing: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        yield browser
        await browser.close()


@in_browser
@pytest.mark.external
@pytest.mark.parametrize(
    ("lang", "width", "scheme"),
    [("zh", 1440, "light"), ("en", 1440, "dark"), ("zh", 1024, "dark"), ("en", 1024, "light"), ("zh", 390, "light"),
     ("en", 390, "dark")],
)  # fmt: skip
async def test_the_page_is_whole_at_every_width(
    serving: Serving, browser: Browser, tmp_path: Path, lang: Lang, width: int, scheme: Any
) -> None:
    context = await browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    watched = Watched(await context.new_page())
    async with serving() as address:
        await watched.open(f"{address}/{lang}/")
        await watched.page.wait_for_selector(".chart canvas")
        assert await watched.text(".total .figure-value") == "42.343"
        assert await watched.page.evaluate("document.documentElement.scrollWidth") == width
        assert await watched.page.get_attribute("html", "lang") == {"zh": "zh-CN", "en": "en-US"}[lang]
        picture = await watched.page.screenshot(path=tmp_path / f"{lang}-{width}-{scheme}.png", full_page=True)
        await context.close()
    assert len(picture) > 50_000
    assert watched.complaints == []
    here = address.removeprefix("http://")
    assert {url.split("/")[2] for url in watched.requests if not url.startswith("data:")} == {here}


@in_browser
@pytest.mark.external
async def test_figures_change_in_place_and_the_language_switches(serving: Serving, browser: Browser) -> None:
    watched = Watched(await browser.new_page())
    async with serving() as address:
        await watched.open(f"{address}/zh/")
        mark = "document.querySelector('.panel-readings tr:nth-child(5)').dataset.seen = 'yes'"
        await watched.page.evaluate(mark)
        cell = ".panel-readings tr[data-seen=yes] td:nth-child(2)"
        before = await watched.text(cell)
        await watched.page.wait_for_function(f"document.querySelector('{cell}').innerText.trim() != {before!r}")
        await watched.page.click("text=English")
        await watched.page.wait_for_selector("text=Emitted today")
        await watched.page.close()
    assert watched.complaints == []


@in_browser
@pytest.mark.external
async def test_names_from_outside_are_shown_and_never_run(
    serving: Serving, source: Any, snapshot: Snapshot, browser: Browser
) -> None:
    named = [replace(one, name=Text(NASTY, NASTY)) for one in snapshot.sources]
    readings = [replace(one, point=f"{NASTY}/{place}", unit=NASTY) for place, one in enumerate(snapshot.readings)]
    source.fixed = replace(snapshot, name=Text(NASTY, NASTY), sources=named, readings=readings)
    watched = Watched(await browser.new_page())
    async with serving() as address:
        await watched.open(f"{address}/en/")
        await watched.page.wait_for_selector(".chart canvas")
        await watched.page.hover(".chart canvas")
        await watched.page.wait_for_timeout(300)
        assert await watched.text(".site") == NASTY
        assert await watched.page.locator("img[src=x]").count() == 0
        assert NASTY in await watched.page.title()
    assert watched.complaints == []


@in_browser
@pytest.mark.external
async def test_what_comes_and_goes_is_followed(
    serving: Serving, source: Any, snapshot: Snapshot, browser: Browser
) -> None:
    source.starting = True
    watched = Watched(await browser.new_page())
    async with serving() as address:
        await watched.open(f"{address}/en/")
        assert await watched.text(".total .figure-value") == "–"
        source.starting, source.fixed = False, snapshot
        await watched.page.wait_for_selector(".alarm")
        await watched.page.wait_for_selector(".chart canvas")
        source.fixed = replace(snapshot, alerts=[], today=[], agents=snapshot.agents[:1])
        await watched.page.wait_for_selector(".alarm", state="detached")
        await watched.page.wait_for_selector("text=nothing to draw yet today")
        assert await watched.page.locator(".panel-meters tbody tr").count() == 2
        assert await watched.text(".panel-history .empty") == "no alerts"
    assert watched.complaints == []


@in_browser
@pytest.mark.external
async def test_it_stops_within_a_second_under_open_browsers(serving: Serving, browser: Browser) -> None:
    pages = [await browser.new_page() for _ in range(2)]
    loop = asyncio.get_running_loop()
    async with serving() as address:
        for page in pages:
            await Watched(page).open(f"{address}/zh/")
        leaving = loop.time()
    assert loop.time() - leaving < 1.2


def test_the_model_holds_everything_the_page_shows(snapshot: Snapshot, source: Any, world: Any, site: Site) -> None:
    source.fixed = snapshot
    model = Models(Feed(source, world), site).of("zh")
    assert all(getattr(model, part.name) for part in fields(model))
    assert all(model.tables.values())
