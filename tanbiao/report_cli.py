"""`tanbiao report`, `trace`, `calibration …`: what the energy manager and the auditor ask."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from tanbiao.catalogue_cli import table
from tanbiao.ingester_cli import CONFIG, JSON, centre, moment, now_ms
from tanbiao.speech import LANG, print_json, say, tell

if TYPE_CHECKING:
    from ingester.grid import Grid

calibration = typer.Typer(no_args_is_help=True, help=say("计量器具与证书", "Instruments and certificates."))
FORMAT = typer.Option("text", "--format", help=say("text、json 或 csv", "text, json or csv."))
BY = typer.Option("day", "--by", help=say("interval、hour、day 或 month", "interval, hour, day or month."))


def attach(app: typer.Typer) -> None:
    app.command("report", help=say("活动数据、排放量与排放强度", "Activity, emissions and intensity."))(report)
    app.command(
        "trace",
        help=say(
            "一个数字的来历：直到读数、仪表和证书", "Why this number: down to readings, instrument and certificate."
        ),
    )(trace)
    app.add_typer(calibration, name="calibration")


def report(
    config: Path = CONFIG,
    start: str = typer.Option(
        "", "--from", help=say("起始日期或时间，默认今天", "From, a date or a time with offset; default today.")
    ),
    end: str = typer.Option(
        "",
        "--to",
        help=say("结束（不含），默认到最近结束的间隔", "To, exclusive; default: the end of the last whole interval."),
    ),
    by: Literal["interval", "hour", "day", "month"] = BY,
    source: str = typer.Option("", "--source", help=say("只看一个排放源", "One source only.")),
    as_of: str = typer.Option("", "--as-of", help=say("按当时所知", "As it was known then.")),
    include_open: bool = typer.Option(
        False, "--include-open", help=say("包括进行中的间隔", "Include the interval still running.")
    ),
    format_: Literal["text", "json", "csv"] = FORMAT,
) -> None:
    now = now_ms()
    with centre(config) as asked:
        grid = asked.grid
        begin = moment(grid, start, "--from") if start else grid.midnight(now)
        until = moment(grid, end, "--to") if end else _latest_end(grid, begin, now, include_open)
        question = {
            "from": begin,
            "to": until,
            "by": by,
            "source": source or None,
            "as_of": moment(grid, as_of, "--as-of") if as_of else None,
            "include_open": include_open,
        }
        if until <= begin:
            raise typer.BadParameter(say("应晚于 --from", "it should be later than --from"), param_hint="--to")
        found = asked.ask("report", question)
    if format_ == "json":
        print_json(found)
    elif format_ == "csv":
        print(_csv(found), end="")
    else:
        _print_report(found, bool(as_of), source)


def _latest_end(grid: "Grid", begin: int, now: int, include_open: bool) -> int:
    """Return the end of the last whole interval; of the one that runs now where that is asked for, or there is no other."""
    closed = grid.floor(now)
    return grid.ceil(now) if include_open or closed <= begin else closed


COLUMNS = (
    *("source", "category", "start", "end", "activity", "unit", "emission_tco2"),
    *("measured", "apportioned", "substituted", "missing", "flags", "revision"),
)


def _csv(found: dict[str, Any]) -> str:
    target = io.StringIO()
    rows = csv.writer(target, lineterminator="\n")
    rows.writerow(COLUMNS)
    for row in found["rows"]:
        shares = [row["quality"][name] for name in ("measured", "apportioned", "substituted", "missing")]
        rows.writerow(
            [row["source"], row["category"], row["start"], row["end"], row["activity"]["value"], row["activity"]["unit"],
             row["emission"]["value"], *shares, " ".join(row["flags"]), row["revision"]]
        )  # fmt: skip
    return target.getvalue()


def _print_report(found: dict[str, Any], as_of: bool, source: str) -> None:
    known = say("，按 {time} 所知", ", as known at {time}", time=found["as_of"]) if as_of else ""
    print(f"{found['site']}  {found['from']} … {found['to']}{known}")
    revised = any(row["revision"] > 1 for row in found["rows"])
    columns = [
        say("排放源", "source"),
        say("开始", "from"),
        say("活动数据>", "activity>"),
        "tCO2>",
        say("实测>", "measured>"),
        say("分摊>", "apportioned>"),
        say("缺失>", "missing>"),
        *([say("版本>", "revision>")] if revised else []),
    ]
    rows = [
        [row["source"], row["start"][:16].replace("T", " "), _activity(row), _rounded(row["emission"]["value"], 6),
         *(_percent(row["quality"][share]) for share in ("measured", "apportioned", "missing")),
         *([row["revision"]] if revised else [])]
        for row in found["rows"]
    ]  # fmt: skip
    table(columns, rows)
    if source:
        print(say("以下合计只含排放源 {source}：", "The totals below are of the source {source} only:", source=source))
    for name in TOTALS:
        if name in found["totals"]:
            amount = found["totals"][name]
            print(f"{TOTALS[name][LANG]}: {_rounded(amount['value'], 6)} {amount['unit']}")
    for name, amount in found["totals"]["intensity"].items():
        print(f"{say('强度', 'intensity')} {name}: {_rounded(amount['value'], 6)} {amount['unit']}")
    _print_completeness(found["totals"].get("completeness") or {})
    _print_flags(found)


def _print_completeness(missing: dict[str, float]) -> None:
    """Say which source or product has time missing, so that no total of it looks whole."""
    lacking = ", ".join(f"{name} {_percent(share)}" for name, share in missing.items() if share)
    if lacking:
        print(
            say(
                "! 不完整：{lacking} 的时间缺失，缺失不计为零", "! incomplete: time is missing of {lacking}; it is not counted as zero",
                lacking=lacking,
            )
        )  # fmt: skip


def _percent(share: float) -> str:
    """Return a share in percent; what is not quite nothing, or not quite all, never looks so."""
    return "<0.1%" if 0 < share < 0.001 else ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def _print_flags(found: dict[str, Any]) -> None:
    from ingester.flags import flag_text

    raised: dict[str, list[str]] = {}
    for row in found["rows"]:
        for flag in row["flags"]:
            raised.setdefault(flag, [])
            if row["source"] not in raised[flag]:
                raised[flag].append(row["source"])
    for flag, sources in sorted(raised.items()):
        print(f"! {tell(flag_text(flag))} ({', '.join(sources)})")
    print(
        say(
            "表中数值四舍五入到 6 位小数；--format json 给出全部数字",
            "Rounded to 6 decimals here; --format json gives every digit",
        )
    )


TOTALS = {
    "fuel_combustion": {"zh": "化石燃料燃烧", "en": "fuel combustion"},
    "process": {"zh": "工业生产过程", "en": "process"},
    "purchased_electricity": {"zh": "购入电力", "en": "purchased electricity"},
    "exported_electricity": {"zh": "输出电力", "en": "exported electricity"},
    "purchased_heat": {"zh": "购入热力", "en": "purchased heat"},
    "exported_heat": {"zh": "输出热力", "en": "exported heat"},
    "recovered_co2": {"zh": "回收利用的二氧化碳", "en": "recovered CO2"},
    "net_purchased_electricity": {"zh": "净购入电力", "en": "net purchased electricity"},
    "total": {"zh": "合计", "en": "total"},
    "biogenic": {"zh": "生物质（不计入合计）", "en": "biogenic (outside the total)"},
}


def _activity(row: dict[str, Any]) -> str:
    return f"{_rounded(row['activity']['value'], 3)} {row['activity']['unit']}"


def _rounded(value: str | None, places: int) -> str:
    from decimal import ROUND_HALF_UP, Decimal

    if value is None:
        return "–"
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,}"


def trace(
    source: str = typer.Option(..., "--source", help=say("排放源", "The source.")),
    at: str = typer.Option(
        "",
        "--at",
        help=say("间隔内的时间，默认最近结算的间隔", "A time in the interval; default: the last closed one."),
    ),
    config: Path = CONFIG,
    json: bool = JSON,
) -> None:
    with centre(config) as asked:
        grid = asked.grid
        default = grid.floor(now_ms()) - grid.interval_ms
        found = asked.ask("trace", {"source": source, "at": moment(grid, at, "--at") if at else default})
    if json:
        print_json(found)
        return
    from ingester.trace import trace_text

    print(trace_text(found, LANG))


@calibration.command("due", help=say("到期清单：最紧急的在前", "What is due: the most urgent first."))
def due(config: Path = CONFIG, json: bool = JSON) -> None:
    with centre(config) as asked:
        found = asked.ask("calibration_due", {})
    if json:
        print_json(found)
    else:
        _print_instruments(found["rows"])
    raise typer.Exit(1 if any(row["state"] not in ("valid", "due_soon") for row in found["rows"]) else 0)


@calibration.command("list", help=say("全部计量器具及其状态", "All instruments and their state."))
def list_(config: Path = CONFIG, json: bool = JSON) -> None:
    with centre(config) as asked:
        found = asked.ask("calibration_due", {})
    if json:
        print_json(found)
    else:
        _print_instruments(sorted(found["rows"], key=lambda row: str(row["instrument"])))


def _print_instruments(rows: list[dict[str, Any]]) -> None:
    from calibration.due import State

    columns = [
        *(say("器具", "instrument"), say("名称~", "name~"), say("测量点", "meters"), say("证书", "certificate")),
        *(say("到期", "due"), say("剩余天数>", "days left>"), say("状态", "state")),
    ]
    shown = [
        [row["instrument"], row["name"][LANG], ", ".join(row["meters"]), row["certificate"], row["due"], row["days_left"],
         tell(State(row["state"]).text)]
        for row in rows
    ]  # fmt: skip
    table(columns, shown)
