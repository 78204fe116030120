"""Factor sets: the shipped ones by name, a plant's own by file."""

from pathlib import Path

from metering.errors import SettingsError, SettingsFaults
from metering.factor import FactorSet, FuelRow, GridRow, Row, plausibility_faults
from metering.text import Text
from settings.document import Document, read
from settings.faults import nearest
from settings.places import config_dir
from settings.syntax import Keys


def load_factor_set(name: str | Path) -> FactorSet:
    """Return the set `name` of `config/factors`, or that of a file (`*.yaml`).

    Raises:
        SettingsFaults: no such set (the nearest is named), the file is wrong, or a row cannot be true.
    """
    document = read(factor_path(name))
    factors = document.check(FactorSet)
    faults = [_implausible(document, factors, row, text, values) for row, text, values in plausibility_faults(factors)]
    if faults:
        raise document.faults(faults)
    return factors


def factor_path(name: str | Path) -> Path:
    """Return the file of a factor set.

    Raises:
        SettingsFaults: there is none; the nearest name is the remedy.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = list_factor_sets()
    if str(name) not in known:
        near = nearest(str(name), known)
        remedy = _DID_YOU_MEAN if near else _KNOWN
        raise SettingsFaults([SettingsError(str(name), _UNKNOWN, remedy, near=near, known=", ".join(known))])
    return config_dir() / "factors" / f"{name}.yaml"


def list_factor_sets() -> list[str]:
    """Return the names of the shipped sets, in order."""
    return sorted(file.stem for file in (config_dir() / "factors").glob("*.yaml"))


def _implausible(
    document: Document, factors: FactorSet, row: Row, text: Text, values: dict[str, object]
) -> SettingsError:
    problem = Text("行 {row_id}：" + text.zh, "row {row_id}: " + text.en)
    return document.fault(_keys(factors, row), problem, _JUDGE, **{"row_id": row.id, **values})


def _keys(factors: FactorSet, row: Row) -> Keys:
    if isinstance(row, FuelRow):
        return "fuels", factors.fuels.index(row)
    if isinstance(row, GridRow):
        return "grid", factors.grid.index(row)
    return "heat", [held.id for held in factors.heat].index(row.id)


_UNKNOWN = Text("没有这个因子集", "there is no such factor set")
_DID_YOU_MEAN = Text("是不是 {near}？", "Did you mean {near}?")
_KNOWN = Text(
    "已有：{known}；也可以写自己的文件（*.yaml）的路径",
    "There are: {known}; or give the path of a file of your own (*.yaml)",
)
_JUDGE = Text(
    "请与原文核对；确属原文，在该行写 doubt 说明理由",
    "Compare it with the original; if it stands there, say in the row's `doubt` why it is kept",
)
