"""`make bench`: what is here against its limits, in one run, as a table.

run.py [--only NAME]... [--json FILE] [--full | --smallest]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Literal

from rich.console import Console
from rich.table import Table

from bench import broker, codec, derive, ingest, libmodbus, living, machine, outbox, poll, rtu
from bench.alternate import FULL, QUICK, SMALLEST, Missing, Row, Size, quartiles

MEASUREMENTS: dict[str, Callable[[Size, Path], Iterator[Row | Missing]]] = {
    "poll": poll.measure,
    "libmodbus": libmodbus.measure,
    "rtu": rtu.measure,
    "living": living.measure,
    "codec": codec.measure,
    "outbox": outbox.measure,
    "broker": broker.measure,
    "ingest": ingest.measure,
    "derive": derive.measure,
}
WIDTH = 100
COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("Measured\n测量", "left"),
    ("Ours\n本系统", "right"),
    ("Limit\n极限", "right"),
    ("Of limit\n占极限", "right"),
    ("What the limit is\n极限是什么", "left"),
)


def main() -> None:
    given = _arguments()
    size = FULL if given.full else SMALLEST if given.smallest else QUICK
    with tempfile.TemporaryDirectory(prefix="tanbiao-bench-", dir=machine.folder()) as folder:
        described = machine.describe(Path(folder))
        rows = list(_measured(given.only or list(MEASUREMENTS), size, Path(folder)))
    console = Console(width=WIDTH, highlight=False)
    for name, value in described.items():
        console.print(f"{name}: {value}")
    console.print(_table(rows, size))
    if given.json:
        given.json.write_text(json.dumps({"machine": described, "rows": [_document(row) for row in rows]}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What is here against its limits, in the same run.")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="this measurement only; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round to a file too")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--full", action="store_true", help="31 rounds, three times as long each")
    sizes.add_argument("--smallest", action="store_true", help="one short round: shows that it runs, not how fast")
    return parser.parse_args()


def _measured(names: list[str], size: Size, folder: Path) -> Iterator[Row | Missing]:
    for name in names:
        start = time.monotonic()
        (folder / name).mkdir()
        yield from MEASUREMENTS[name](size, folder / name)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)


def _table(rows: list[Row | Missing], size: Size) -> Table:
    caption = f"Median of {size.rounds} rounds, ours and limit in turns; ± is half the distance of the quartiles.\n"
    caption += "Of limit: median and quartiles of the rounds' shares; 1 is all of it."
    table = Table(width=WIDTH, caption=caption, caption_justify="left")
    for name, side in COLUMNS:
        table.add_column(name, justify=side)
    for row in rows:
        if isinstance(row, Missing):
            table.add_row(row.name, "-", "-", "-", row.remedy)
        else:
            table.add_row(row.name, f"{_figure(row.ours)}\n{row.unit}", _figure(row.limit), _share(row), row.limit_is)
    return table


def _share(row: Row) -> str:
    low, high = quartiles(row.shares)
    return f"{median(row.shares):.2f}" + (f"\n{low:.2f}–{high:.2f}" if high > low else "")


def _figure(figures: Sequence[float]) -> str:
    middle = median(figures)
    low, high = quartiles(figures)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2 if middle >= 1 else 3
    return f"{middle:,.{digits}f} ±{50 * (high - low) / middle:.0f}%"


def _document(row: Row | Missing) -> dict[str, object]:
    if isinstance(row, Missing):
        return {"name": row.name, "missing": row.remedy}
    return {
        "name": row.name, "unit": row.unit, "ours": list(row.ours), "limit": list(row.limit),
        "of_limit": median(row.shares), "limit_is": row.limit_is,
    }  # fmt: skip


if __name__ == "__main__":
    main()
