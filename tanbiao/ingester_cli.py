"""`tanbiao ingester …` and `tanbiao config …`: the centre."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from metering.errors import SettingsFaults
from tanbiao.speech import fail, print_json, say, tell

if TYPE_CHECKING:
    from ingester.grid import Grid
    from ingester.services import Ask
    from settings.ingester import IngesterSettings

ingester = typer.Typer(
    no_args_is_help=True, help=say("中心端", "The centre: stores readings, derives emissions, serves the page.")
)
config_app = typer.Typer(no_args_is_help=True, help=say("配置", "Settings."))
CONFIG = typer.Option(Path("ingester.yaml"), "--config", "-c", help=say("配置文件", "Settings file."))
FILES = typer.Argument(..., help=say("CSV 文件", "CSV files."))
SETTINGS = typer.Argument(None, metavar="FILE", help=say("agent.yaml 或 ingester.yaml", "agent.yaml or ingester.yaml."))
NAMED = typer.Option(None, "--config", "-c", help=say("同上，另一种写法", "The same file, named as elsewhere."))
JSON = typer.Option(False, "--json", help=say("输出 JSON", "Print JSON."))


def attach(app: typer.Typer) -> None:
    app.add_typer(ingester, name="ingester")
    app.add_typer(config_app, name="config")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Centre:
    """The centre a command asks: the running service, or the stores where none runs."""

    def __init__(self, settings: "IngesterSettings", ask: "Ask") -> None:
        from ingester.wiring import grid_of

        self.settings = settings
        self.ask = ask
        self.grid: Grid = grid_of(settings)


@contextmanager
def centre(config: Path) -> Iterator[Centre]:
    """Open the centre of a configuration.

    Raises:
        SettingsFaults: the settings are wrong.
        StoreBusy: a process that does not answer holds the store.
    """
    from ingester.services import asking
    from settings.ingester import load_ingester

    settings, document = load_ingester(config, os.environ)
    with asking(settings, document, now_ms) as ask:
        yield Centre(settings, ask)


def moment(grid: "Grid", text: str, option: str) -> int:
    """Return the Unix ms of a date (the site's midnight) or of an ISO 8601 time with its offset."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        given = None
    if given is not None and len(text) <= 10:
        given = given.replace(tzinfo=grid.zone)
    if given is None or given.tzinfo is None:
        raise typer.BadParameter(
            say(
                "{text} 应是日期（2025-01-31）或带时区的时间（2025-01-31T08:00:00+08:00）",
                "{text} should be a date (2025-01-31) or a time with its offset (2025-01-31T08:00:00+08:00)",
                text=text,
            ),
            param_hint=option,
        )
    return round(given.timestamp() * 1000)


@ingester.command(help=say("检查配置，不接触网络和数据", "Check the settings; touch neither network nor data."))
def check(config: Path = CONFIG, json: bool = JSON) -> None:
    from ingester.seed import checked
    from ingester.wiring import accounts_of, grid_of
    from settings.ingester import load_ingester

    settings, document = load_ingester(config, os.environ)
    instruments, certificates = checked(settings, document, grid_of(settings).local(now_ms()).date())
    accounts = accounts_of(settings, settings.factor_sets())
    found = {
        "site": settings.site.id, "meters": len(settings.meters), "sources": len(accounts.sources), "products": len(accounts.products),
        "instruments": len(instruments), "certificates": len(certificates),
    }  # fmt: skip
    if json:
        print_json(found)
        return
    print(
        say(
            "{path} 没有错误：{meters} 块仪表，{sources} 个排放源，{products} 种产品，{instruments} 台计量器具",
            "{path} is fine: {meters} meters, {sources} sources, {products} products, {instruments} instruments",
            path=config, **found,
        )
    )  # fmt: skip


@ingester.command(help=say("运行中心端，直到 Ctrl-C 或 SIGTERM", "Run the centre until Ctrl-C or SIGTERM."))
def run(config: Path = CONFIG, demo: bool = typer.Option(False, "--demo", hidden=True)) -> None:
    import asyncio

    from settings.ingester import load_ingester
    from tanbiao.centre import serve
    from tanbiao.service import until_told

    settings, document = load_ingester(config, os.environ)
    asyncio.run(until_told(lambda stop: serve(settings, document, stop, demo)))


QUALITIES = "good, uncertain, bad, timeout, protocol_error, out_of_range, frozen, unsynced, backfilled, substituted"
"""The names that a CSV file may use, as metering/reading.py has them."""
IMPORTING = say(
    "导入读数或数量的 CSV 文件；同一文件再次导入不会改变任何数据。\n\n读数的列：meter,point,time,value[,quality]；"
    "数量（发票、过磅单、产量）的列：meter,point,from,to,value。时间为带时区的 ISO 8601。\n\nquality：{qualities}；不写为 good。",
    "Import readings or amounts from CSV files; importing the same file again changes nothing.\n\nColumns of readings: "
    "meter,point,time,value[,quality]; of amounts (invoices, weighbridge tickets, production): meter,point,from,to,value. "
    "Times are ISO 8601 with offset.\n\nquality: {qualities}; good where there is none.",
    qualities=QUALITIES,
)


@ingester.command("import", help=IMPORTING)
def import_(
    files: list[Path] = FILES,
    config: Path = CONFIG,
    simulated: bool = typer.Option(False, "--simulated", help=say("标记为模拟数据", "Mark the data as simulated.")),
    json: bool = JSON,
) -> None:
    from ingester.csv_files import read_csv
    from ingester.services import import_file

    with centre(config) as asked:
        roles = {
            f"{meter}/{name}": str(point.role)
            for meter, section in asked.settings.meters.items()
            for name, point in section.points.items()
        }
        try:
            parsed = [read_csv(file, roles, simulated, now_ms()) for file in files]
        except SettingsFaults as error:  # of a file of data, so no wrong configuration
            for fault in error.faults:
                fail(tell(fault))
            raise typer.Exit(1) from None
        outcomes = [import_file(asked.ask, file) for file in parsed]
    if json:
        print_json(outcomes)
        return
    for outcome in outcomes:
        print(_imported(outcome))


def _imported(outcome: dict[str, Any]) -> str:
    text = say(
        "{file}：{rows} 行，新增 {new}，已有 {known}", "{file}: {rows} rows, {new} new, {known} known already",
        file=outcome["file"], rows=outcome["rows"], new=outcome["new"], known=outcome["known"],
    )  # fmt: skip
    marked = ", ".join(f"{name} {count}" for name, count in outcome["marked"].items())
    return text + (say("；带标记：{marked}", "; marked: {marked}", marked=marked) if marked else "")


@ingester.command(help=say("重新推算一段时间", "Derive a stretch of time again."))
def recompute(
    start: str = typer.Option(..., "--from", help=say("起始日期或时间", "From, a date or a time with offset.")),
    end: str = typer.Option(..., "--to", help=say("结束（不含）", "To, exclusive.")),
    config: Path = CONFIG,
    json: bool = JSON,
) -> None:
    with centre(config) as asked:
        period = {"from": moment(asked.grid, start, "--from"), "to": moment(asked.grid, end, "--to")}
        found = asked.ask("recompute", period)
    if json:
        print_json(found)
    else:
        print(say("{results} 个间隔有新版本", "{results} intervals have a new revision", results=found["results"]))


@config_app.command("show", help=say("显示每项设置及其来源", "Show each setting and where it came from."))
def show(
    file: Path | None = SETTINGS,
    named: Path | None = NAMED,
    origin: bool = typer.Option(False, "--origin", help=say("显示来源", "Show where each came from.")),
    json: bool = JSON,
) -> None:
    config = named or file
    if config is None or (file is not None and named is not None):
        raise typer.BadParameter(
            say("请给出一个文件：agent.yaml 或 ingester.yaml", "name one file: agent.yaml or ingester.yaml"),
            param_hint="--config",
        )
    from settings.agent import load_agent
    from settings.document import read
    from settings.ingester import load_ingester
    from settings.origin import origins

    is_agent = isinstance(read(config).data, dict) and "agent" in read(config).data
    settings, document = load_agent(config, os.environ) if is_agent else load_ingester(config, os.environ)
    found = origins(settings, document)
    if json:
        print_json([{"key": one.key, "value": one.value, "origin": one.place or "default"} for one in found])
        return
    for one in found:
        print(f"{one.key}: {one.value}" + (f"    # {one.place or say('默认值', 'default')}" if origin else ""))
    if not found:
        fail(say("没有设置", "no settings"))
