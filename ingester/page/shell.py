"""The page itself: where each panel stands, in Chinese under /zh/ and in English under /en/."""

from collections.abc import Callable

from nicegui import ui

from ingester.page.attention import DUE_COLUMNS, HISTORY_COLUMNS
from ingester.page.figures import SOURCE_COLUMNS
from ingester.page.meters import AGENT_COLUMNS, GAP_COLUMNS, METER_COLUMNS, READING_COLUMNS
from ingester.page.model import PageModel
from ingester.page.panels import Alarms, Chart, Figures, FigureView, Table, Words, box, card
from metering.text import Lang, Text

LANGUAGES: dict[Lang, str] = {"zh": "中文", "en": "English"}
LOGO = "碳表 Tanbiao"

DEMO = Text(
    "演示：工厂是模拟的；页面不设登录，只在本机 127.0.0.1 开放。",
    "Demo: the plant is simulated; the page is open without a login, on 127.0.0.1 of this machine only.",
)
TREND = Text("今日排放曲线", "Emissions over the day")
SOURCES = Text("排放源", "Sources")
READINGS = Text("最新读数", "Last readings")
AGENTS = Text("采集端", "Agents")
METERS = Text("仪表", "Meters")
GAPS = Text("最近 24 小时的数据缺口", "Gaps of the last 24 hours")
DUE = Text("检定与校准", "Verification and calibration")
HISTORY = Text("报警记录", "Alerts so far")
NO_CHART = Text("今天还没有可画的数据", "nothing to draw yet today")
NO_SOURCES = Text("尚未配置排放源", "no sources are configured")
NO_READINGS = Text("尚未收到读数", "no reading has arrived yet")
NO_AGENTS = Text("尚无采集端报到", "no agent has reported yet")
NO_METERS = Text("尚无仪表状态", "no meter has been reported yet")
NO_GAPS = Text("没有缺口", "no gaps")
NO_DUE = Text("尚未登记计量器具", "no instruments on record")
NO_HISTORY = Text("没有报警", "no alerts")
VERSION = Text("版本 {version}", "version {version}")
API = Text("数据接口", "API")

SIDES = (
    (
        ("readings", READINGS, READING_COLUMNS, NO_READINGS),
        ("due", DUE, DUE_COLUMNS, NO_DUE),
        ("history", HISTORY, HISTORY_COLUMNS, NO_HISTORY),
    ),
    (
        ("meters", METERS, METER_COLUMNS, NO_METERS),
        ("agents", AGENTS, AGENT_COLUMNS, NO_AGENTS),
        ("gaps", GAPS, GAP_COLUMNS, NO_GAPS),
    ),
)
"""Left and right on a wide screen; on a narrow one the style sheet sets their order."""


class PageView:
    """The page in one browser: built once, then told each new model."""

    def __init__(self, lang: Lang, version: str, *, demo: bool) -> None:
        ui.context.client.content.classes("page")
        if demo:
            Words("div", DEMO.say(lang), "banner")
        self._header(lang)
        with box("div", "board"):
            self._alarms = Alarms()
            self._tables: dict[str, Table] = {}
            self._today(lang)
            for side in SIDES:
                with box("div", "side"):
                    for key, title, columns, empty in side:
                        with card(title, lang, f"panel-{key}"):
                            self._tables[key] = Table(columns, empty, lang)
        with box("footer", "foot"):
            Words("span", f"{LOGO} · {VERSION.say(lang, version=version)}")
            Words("a", API.say(lang)).props('href="/api/openapi.json"')

    def _header(self, lang: Lang) -> None:
        with box("header", "top"):
            with box("div", "brand"):
                box("img").props('src="/assets/favicon.svg" alt="" width="28" height="28"')
                Words("span", LOGO, "logo")
                self._name = Words("span", classes="site")
            with box("div", "moment"):
                self._fresh = Words("span", classes="fresh")
                self._now = Words("span", classes="now")
            with box("nav", "languages").props('aria-label="language 语言"'):
                for other, name in LANGUAGES.items():
                    Words("a", name, "here" if other == lang else "").props(f'href="/{other}/" lang="{other}"')

    def _today(self, lang: Lang) -> None:
        with box("section", "card today"):
            self._total = FigureView("total")
            self._figures = Figures("figures")
        with card(TREND, lang, "trend"):
            self._chart = Chart(NO_CHART, lang)
        with card(SOURCES, lang, "wide"):
            self._tables["sources"] = Table(SOURCE_COLUMNS, NO_SOURCES, lang)

    def show(self, model: PageModel) -> None:
        self._name.show(model.name)
        self._now.show(model.now)
        self._fresh.show(model.fresh, model.fresh_tone)
        self._alarms.show(model.alarms)
        self._total.show(model.total)
        self._figures.show(model.figures)
        self._chart.show(model.chart, model.chart_note)
        for key, table in self._tables.items():
            table.show(model.tables.get(key, ()))


def add_pages(model: Callable[[Lang], PageModel], version: str, *, demo: bool) -> None:
    """Put the page under /zh/ and /en/; `model` gives the newest model of a language."""

    def open_page(lang: Lang) -> None:
        ui.add_head_html('<link rel="stylesheet" href="/assets/page.css">')
        shown = model(lang)
        ui.page_title(f"{shown.name} · {LOGO}" if shown.name else LOGO)
        view = PageView(lang, version, demo=demo)
        view.show(shown)
        ui.timer(1.0, lambda: view.show(model(lang)), immediate=False)

    ui.page("/zh/", language="zh-CN", dark=None)(lambda: open_page("zh"))
    ui.page("/en/", language="en-US", dark=None)(lambda: open_page("en"))
