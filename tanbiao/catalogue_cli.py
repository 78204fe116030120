"""`tanbiao factors …`: what is known of emission factors; and how the command line prints a table."""

from pathlib import Path
from typing import Any

import typer

from tanbiao.speech import LANG, print_json, say

factors = typer.Typer(no_args_is_help=True, help=say("排放因子集", "Emission factor sets."))
PIPED_WIDTH = 100
JSON = typer.Option(False, "--json", help=say("输出 JSON", "Print JSON."))


def attach(app: typer.Typer) -> None:
    app.add_typer(factors, name="factors")


def table(columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table that fits the terminal. A column named `name>` is flushed right, one named `name~` may wrap."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right, wraps = column.endswith(">"), column.endswith("~")
        shown.add_column(column.rstrip(">~"), justify="right" if right else "left", no_wrap=not wraps, overflow="fold")
    for row in rows:
        shown.add_row(*("–" if cell is None else str(cell) for cell in row))
    console = Console(highlight=False, markup=False)
    console.width = console.width if console.is_terminal else PIPED_WIDTH
    console.print(shown)


@factors.command("list", help=say("列出因子集", "List the factor sets."))
def factor_list(json: bool = JSON) -> None:
    from settings.factors import list_factor_sets, load_factor_set

    sets = [load_factor_set(name) for name in list_factor_sets()]
    if json:
        print_json(
            [{"id": s.id, "version": s.version, "rows": len(list(s.rows())), "verified": s.verified} for s in sets]
        )
        return
    columns = [
        say("因子集", "set"),
        say("版本", "version"),
        say("行>", "rows>"),
        say("已核对", "verified"),
        say("名称~", "title~"),
    ]
    rows = [
        [
            s.id,
            s.version,
            len(list(s.rows())),
            say("是", "yes") if s.verified else say("否", "no"),
            s.title.text.say(LANG),
        ]
        for s in sets
    ]
    table(columns, rows)


@factors.command("show", help=say("显示一个因子集及每行的出处", "Show a set, each row with where it comes from."))
def factor_show(name: str, json: bool = JSON) -> None:
    from settings.factors import load_factor_set

    chosen = load_factor_set(name)
    if json:
        print_json(chosen.model_dump(mode="json"))
        return
    print(f"{chosen.id} {chosen.version}  {chosen.title.text.say(LANG)}")
    for note in chosen.notes:
        print(f"  {note.text.say(LANG)}")
    columns = [say("行", "row"), say("值", "value"), say("可信", "trust"), say("出处~", "source~")]
    table(columns, [[row.id, _value(row), row.provenance.trust, row.provenance.source] for row in chosen.rows()])


def _value(row: Any) -> str:
    if not hasattr(row, "ncv"):
        return str(row.value)
    share = row.of if not isinstance(row.of, dict) else ", ".join(f"{key} {value}" for key, value in row.of.items())
    return f"{row.ncv}, {row.cc}, {share}"


@factors.command("check", help=say("检查一个因子集文件", "Check a factor set file for what cannot be true."))
def factor_check(file: Path) -> None:
    from settings.factors import load_factor_set

    chosen = load_factor_set(file)
    print(
        say(
            "{file}：{rows} 行，没有不可信的",
            "{file}: {rows} rows, none implausible",
            file=file,
            rows=len(list(chosen.rows())),
        )
    )
