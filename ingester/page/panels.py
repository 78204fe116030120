"""Elements that are built once and told what to show: only what changed travels to the browser.

Text from outside is set as text, never as markup.
"""

from collections.abc import Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from ingester.page.model import Alarm, Cell, Column, Figure, Row
from metering.text import Lang, Text


class Words(TextElement):
    """A tag with text, and a tone that may change."""

    def __init__(self, tag: str, text: str = "", classes: str = "") -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)
        self._tone = ""

    def show(self, text: str, tone: str = "") -> None:
        self.text = text
        if tone != self._tone:
            self.classes(remove=f"tone-{self._tone}", add=f"tone-{tone}" if tone else "")
            self._tone = tone


def box(tag: str, classes: str = "") -> Element:
    return Element(tag).classes(classes)


def card(title: Text, lang: Lang, classes: str = "") -> Element:
    """Return a panel with its heading; fill it as a context."""
    panel = box("section", f"card {classes}")
    with panel:
        Words("h2", title.say(lang))
    return panel


class FigureView:
    """A number to be seen from afar, with its unit and what there is to say about it."""

    def __init__(self, classes: str = "") -> None:
        with box("div", f"figure {classes}"):
            self._label = Words("div", classes="figure-label")
            with box("div", "figure-line"):
                self._value = Words("span", classes="figure-value")
                self._unit = Words("span", classes="figure-unit")
            self._note = Words("div", classes="note")

    def show(self, figure: Figure) -> None:
        self._label.show(figure.label)
        self._value.show(figure.value, "muted" if figure.tone == "muted" else "")
        self._unit.show(figure.unit)
        self._note.show(figure.note, figure.tone)


class Figures:
    """Several figures beside each other; rebuilt only when one comes or goes."""

    def __init__(self, classes: str) -> None:
        self._place = box("div", classes)
        self._views: dict[str, FigureView] = {}

    def show(self, figures: Sequence[Figure]) -> None:
        if [figure.key for figure in figures] != list(self._views):
            self._place.clear()
            with self._place:
                self._views = {figure.key: FigureView() for figure in figures}
        for figure in figures:
            self._views[figure.key].show(figure)


class Alarms:
    """The active alerts, above all else; nothing at all while there are none."""

    def __init__(self) -> None:
        self._place = box("div", "alarms").props('role="status" aria-live="polite"')
        self._views: dict[str, tuple[Words, ...]] = {}

    def show(self, alarms: Sequence[Alarm]) -> None:
        if [alarm.key for alarm in alarms] != list(self._views):
            self._place.clear()
            with self._place:
                self._views = {alarm.key: _alarm_view() for alarm in alarms}
        for alarm in alarms:
            for words, text in zip(self._views[alarm.key], (alarm.what, alarm.since, alarm.carbon), strict=True):
                words.show(text)


def _alarm_view() -> tuple[Words, ...]:
    with box("article", "alarm"):
        Words("span", "!", "alarm-mark").props('aria-hidden="true"')
        with box("div", "alarm-words"):
            what = Words("div", classes="alarm-what")
            since = Words("div", classes="note")
        carbon = Words("div", classes="alarm-carbon")
    return what, since, carbon


class Table:
    """Rows by key. While the keys stay, cells are changed in place; a row that comes or goes rebuilds the body."""

    def __init__(self, columns: Sequence[Column], empty: Text, lang: Lang) -> None:
        self._columns = columns
        self._labels = [column.label.say(lang) for column in columns]
        self._rows: dict[str, list[CellView]] = {}
        self._shown: dict[str, Row] = {}
        with box("div", "table-frame"):
            with box("table"):
                with box("thead"), box("tr"):
                    for column, label in zip(columns, self._labels, strict=True):
                        Words("th", label, f"is-{column.kind}").props('scope="col"')
                self._body = box("tbody")
            self._empty = Words("div", empty.say(lang), "empty")

    def show(self, rows: Sequence[Row]) -> None:
        if [row.key for row in rows] != list(self._rows):
            self._rebuild(rows)
        for row in rows:
            if self._shown.get(row.key) != row:
                for view, cell in zip(self._rows[row.key], row.cells, strict=True):
                    view.show(cell)
        self._shown = {row.key: row for row in rows}

    def _rebuild(self, rows: Sequence[Row]) -> None:
        self._body.clear()
        self._shown = {}
        with self._body:
            self._rows = {row.key: self._row() for row in rows}
        self._empty.set_visibility(not rows)

    def _row(self) -> list["CellView"]:
        with box("tr"):
            return [CellView(column, label) for column, label in zip(self._columns, self._labels, strict=True)]


class CellView:
    """One cell: text, a note below it, in a column of bars the bar."""

    def __init__(self, column: Column, label: str) -> None:
        self._bar: Element | None = None
        self._dot: Element | None = None
        self._colour, self._share = "", -1.0
        with box("td", f"is-{column.kind}") as place:
            place.props["data-label"] = label
            with box("div", "cell"):
                with box("div", "cell-line"):
                    self._dot = box("i", "dot") if column.kind == "words" else None
                    self._text = Words("span", classes="pill" if column.kind == "pill" else "")
                if column.kind == "bar":
                    with box("div", "bar"):
                        self._bar = box("i")
                self._note = Words("div", classes="note")

    def show(self, cell: Cell) -> None:
        self._text.show(cell.text, cell.tone)
        self._note.show(cell.note)
        if self._dot is not None and cell.colour != self._colour:
            self._dot.style(f"background:{cell.colour};display:inline-block")
        if self._bar is not None and (cell.share or 0.0) != self._share:
            self._share = cell.share or 0.0
            self._bar.style(f"width:{self._share * 100:.1f}%;background:{cell.colour}")
        self._colour = cell.colour


class Chart:
    """ECharts from the wheel; told again only when a bar changed."""

    def __init__(self, empty: Text, lang: Lang) -> None:
        self._note = Words("div", classes="note")
        self._place = box("div", "chart-place")
        self._empty = Words("div", empty.say(lang), "empty")
        self._chart: ui.echart | None = None
        self._shown: dict[str, Any] = {}

    def show(self, options: dict[str, Any], note: str) -> None:
        self._note.show(note)
        self._empty.set_visibility(not options)
        if options == self._shown:
            return
        self._shown = options
        if not options:
            self._place.clear()
            self._chart = None
        elif self._chart is None:
            with self._place:
                self._chart = ui.echart(dict(options)).classes("chart")
        else:
            self._chart.options.update(options)
            self._chart.update()
