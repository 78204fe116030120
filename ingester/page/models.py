"""From the feed to the page's model: made once a snapshot and language, however many browsers look."""

from typing import Any

from ingester.live import Snapshot
from ingester.page.attention import alarms, due_rows, history_rows
from ingester.page.chart import chart
from ingester.page.feed import Feed, Site
from ingester.page.figures import TODAY, figures, source_rows, total
from ingester.page.meters import agent_rows, gap_rows, meter_rows, reading_rows
from ingester.page.model import Figure, PageModel, Tone
from ingester.page.words import DASH, ago, moment, offset
from metering.text import Lang, Text

CHART_EVERY_S = 5
"""The chart travels whole when a bar grows; the figures beside it are of this second."""

LIVE = Text("实时", "live")
OLD = Text("数据停在 {ago}", "the figures are from {ago}")
STARTING = Text("正在启动，尚无数据", "starting, no figures yet")
CLOCK = {
    "synced": Text("时钟已同步", "clock synchronised"),
    "unsynced": Text("时钟未同步", "clock not synchronised"),
    "holdover": Text("时钟守时中", "clock holding over"),
}


class Models:
    """The newest model of each language."""

    def __init__(self, feed: Feed, site: Site) -> None:
        self._feed = feed
        self._site = site
        self._made: dict[Lang, tuple[int, Snapshot | None, PageModel]] = {}
        self._drawn: dict[Lang, tuple[tuple[int, int], dict[str, Any], str]] = {}

    def of(self, lang: Lang) -> PageModel:
        snapshot, second = self._feed.snapshot, self._feed.now_ms() // 1000
        made = self._made.get(lang)
        if made is None or made[0] != second or made[1] is not snapshot:
            made = second, snapshot, self._make(snapshot, lang)
            self._made[lang] = made
        return made[2]

    def _make(self, snapshot: Snapshot | None, lang: Lang) -> PageModel:
        if snapshot is None:
            unknown = Figure("total", TODAY.say(lang), DASH, "tCO₂", STARTING.say(lang), "muted")
            return PageModel("", self._now(lang), STARTING.say(lang), "warn", unknown, (), (), {})
        zone = self._site.zone
        options, note = self._chart(snapshot, lang)
        fresh, tone = self._fresh(snapshot, lang)
        return PageModel(
            name=snapshot.name.say(lang),
            now=self._now(lang),
            fresh=fresh,
            fresh_tone=tone,
            total=total(snapshot, zone, lang),
            figures=figures(snapshot, lang),
            alarms=alarms(snapshot, zone, lang),
            tables={
                "sources": source_rows(snapshot, zone, lang),
                "readings": reading_rows(snapshot, lang),
                "meters": meter_rows(snapshot, zone, lang),
                "agents": agent_rows(snapshot, zone, lang),
                "gaps": gap_rows(snapshot.gaps, snapshot.at_ms, zone, lang),
                "due": due_rows(snapshot, lang),
                "history": history_rows(snapshot, zone, lang),
            },
            chart=options,
            chart_note=note,
        )

    def _chart(self, snapshot: Snapshot, lang: Lang) -> tuple[dict[str, Any], str]:
        turn = (snapshot.at_ms // 1000 // CHART_EVERY_S, len(snapshot.today))
        if lang not in self._drawn or self._drawn[lang][0] != turn:
            self._drawn[lang] = turn, *chart(snapshot, self._site.zone, lang)
        return self._drawn[lang][1:]

    def _now(self, lang: Lang) -> str:
        now_ms, zone = self._feed.now_ms(), self._site.zone
        clock = CLOCK[self._feed.clock_state].say(lang)
        return f"{moment(now_ms, zone):%Y-%m-%d %H:%M:%S} · {zone.key} {offset(now_ms, zone)} · {clock}"

    def _fresh(self, snapshot: Snapshot, lang: Lang) -> tuple[str, Tone]:
        if self._feed.stale:
            return OLD.say(lang, ago=ago(snapshot.at_ms, self._feed.now_ms(), lang)), "bad"
        return LIVE.say(lang), "good"
