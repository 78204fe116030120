"""What pydantic found wrong, said as this house says it: the setting, the value, the remedy, in both languages."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from metering.errors import UnknownUnit
from metering.fields import FieldError
from metering.text import Text
from settings.schema import annotation_at, field_at, known_keys
from settings.syntax import Keys

SECRET = ("password", "token", "secret")
"""A key with one of these words in it never shows its value."""
SHOWN = 80
"""Characters of a wrong value that a message repeats."""
_USER_AND_PASSWORD = re.compile(r"(://[^/@\s:]*):[^/\s]*@")


@dataclass(frozen=True)
class Fault:
    """One wrong setting; `keys` is its path in the data."""

    keys: Keys
    problem: Text
    remedy: Text | None
    values: Mapping[str, object]
    at_key: bool = False
    """The key itself is meant, not its value."""


def faults_of(
    error: ValidationError, model: type[BaseModel], data: Any, at: Keys = (), also: Iterable[str] = ()
) -> list[Fault]:
    """Return one fault per wrong setting below `at`: a key misspelt is not missing, too.

    `also` are keys that are known there to another model.
    """
    found: dict[Keys, tuple[bool, Fault]] = {}
    for item in error.errors(include_url=False):
        path, tagged = _path(item["loc"], model, data)
        fault = _fault(item, _at(data, path, item["input"]), path, model, at, also)
        if path not in found:
            found[path] = (tagged, fault)
        elif item["type"] == "literal_error" and found[path][1].remedy is None:
            found[path] = (tagged, _or_word(found[path][1], item["ctx"]["expected"]))
    faults = [fault for path, (tagged, fault) in found.items() if not (tagged and _deeper(path, found))]
    faults = [*faults, *_misspelt(faults, model, data, at)]
    meant = {(*fault.keys[:-1], fault.values["near"]) for fault in faults if fault.problem is _UNKNOWN_KEY}
    return [fault for fault in faults if fault.keys not in meant]


def _misspelt(faults: list[Fault], model: type[BaseModel], data: Any, at: Keys) -> list[Fault]:
    """Return the keys that must be the misspelt ones, in a section that takes unknown keys and lacks a required one."""
    found: list[Fault] = []
    for fault in faults:
        section, lacking = fault.keys[len(at) : -1], str(fault.keys[-1]) if fault.keys else ""
        here = _at(data, section, None)
        if fault.problem not in (_MISSING, _MISSING_AT_TOP) or not isinstance(here, dict):
            continue
        strange = [key for key in here if key not in known_keys(model, section)]
        written = next((key for key in strange if nearest(key, [lacking])), None)
        if written is not None and not any(other.keys == (*fault.keys[:-1], written) for other in faults):
            keys = (*fault.keys[:-1], written)
            values = {"setting": dotted(keys), "key": written, "near": lacking}
            found.append(Fault(keys, _UNKNOWN_KEY, _DID_YOU_MEAN, values, at_key=True))
    return found


def _or_word(fault: Fault, words: str) -> Fault:
    return replace(fault, remedy=_OR_WORD, values={**fault.values, "words": words})


def _deeper(path: Keys, found: Iterable[Keys]) -> bool:
    """Whether another branch of the same union got further into the data."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in found)


def _path(loc: tuple[int | str, ...], model: type[BaseModel], data: Any) -> tuple[Keys, bool]:
    """Return the path that pydantic's `loc` means, without its union branches, and whether there were any.

    A step is a key of the data, or one that the model knows and the data lacks.
    """
    path: Keys = ()
    tagged = False
    for step in loc:
        if _has(data, step):
            data = data[step]
        elif step not in known_keys(model, path):
            tagged = tagged or step != "[key]"
            continue
        else:
            data = None
        path = (*path, step)
    return path, tagged


def _has(data: Any, step: int | str) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, dict) and step in data


def _at(data: Any, path: Keys, otherwise: Any) -> Any:
    """Return the value at `path` as it was written, where the data has one."""
    for step in path:
        if not _has(data, step):
            return otherwise
        data = data[step]
    return data


def _fault(item: Any, given: Any, path: Keys, model: type[BaseModel], at: Keys, also: Iterable[str]) -> Fault:
    kind = item["type"]
    values: dict[str, object] = {"setting": dotted((*at, *path)), "given": shown(given, path)}
    values |= {f"ctx_{name}": value for name, value in (item.get("ctx") or {}).items()}
    problem: Text
    remedy: Text | None
    if kind == "extra_forbidden":
        problem, remedy = _unknown_key(path, model, also, values)
    elif kind == "missing":
        problem, remedy = _missing(path, model, at, values)
    elif given is None:
        problem, remedy = _EMPTY, _example(path, model, values)
    elif kind == "value_error":
        problem, remedy = _refused(item["ctx"]["error"], path, values)
    elif kind in ("literal_error", "enum"):
        problem, remedy = _CHOICE, _nearest_choice(given, path, model, values)
    else:
        problem, remedy = _KINDS.get(kind, (_OTHER, None))
        remedy = _example(path, model, values) or remedy
        values["said"] = item["msg"]
    at_key = kind == "extra_forbidden" or item["loc"][-1:] == ("[key]",)
    return Fault((*at, *path), problem, remedy, values, at_key)


def _unknown_key(
    path: Keys, model: type[BaseModel], also: Iterable[str], values: dict[str, object]
) -> tuple[Text, Text]:
    known = [*known_keys(model, path[:-1]), *(also if len(path) == 1 else ())]
    values["key"] = path[-1]
    values["near"] = nearest(str(path[-1]), known)
    values["known"] = ", ".join(known)
    return _UNKNOWN_KEY, _DID_YOU_MEAN if values["near"] else _KNOWN_KEYS


def _missing(path: Keys, model: type[BaseModel], at: Keys, values: dict[str, object]) -> tuple[Text, Text]:
    values["key"] = path[-1]
    values["section"] = dotted((*at, *path[:-1]))
    example = _example(path, model, values)
    problem = _MISSING if values["section"] else _MISSING_AT_TOP
    return problem, _ADD_SUCH_AS if example else _ADD


def _refused(error: object, path: Keys, values: dict[str, object]) -> tuple[Text, Text | None]:
    if not isinstance(error, FieldError):
        values["said"] = str(error)
        return _OTHER, None
    values |= {name: _harmless(value, path) for name, value in error.values.items()}
    remedy: Text | None = None
    if error.text is UnknownUnit.text:
        normal = str(error.values.get("unit", "")).lower().lstrip("k").startswith(("nm", "sm", "标", "nm³"))
        remedy = _NORMAL_VOLUME if normal else _UNITS
    return _prefixed(error.text), remedy


def _prefixed(text: Text) -> Text:
    return Text("{setting}：" + text.zh, "{setting}: " + text.en)


def _nearest_choice(given: Any, path: Keys, model: type[BaseModel], values: dict[str, object]) -> Text | None:
    choices = _choices(annotation_at(model, path))
    values["choices"] = ", ".join(choices) or values.get("ctx_expected", "")
    values["near"] = nearest(str(given), choices)
    return _DID_YOU_MEAN if values["near"] else None


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is None and isinstance(annotation, type):
        return [str(item.value) for item in getattr(annotation, "__members__", {}).values()]
    return [choice for arm in get_args(annotation) for choice in ([arm] if isinstance(arm, str) else _choices(arm))]


def _example(path: Keys, model: type[BaseModel], values: dict[str, object]) -> Text | None:
    info = field_at(model, path)
    if info is None or not info.examples:
        return None
    values["example"] = info.examples[0]
    return _SUCH_AS


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word most like `word`, or the empty string; one of the same letters (`E81`, `8E1`) before all."""
    folded = {name.lower().replace("_", "-"): name for name in known}
    given = word.lower().replace("_", "-")
    same = [name for name in folded if sorted(name) == sorted(given)]
    close = difflib.get_close_matches(given, same or folded, n=1, cutoff=0.6 if not same else 0)
    return folded[close[0]] if close else ""


def dotted(keys: Iterable[str | int]) -> str:
    """Return `meters.gas-main.points[0]`."""
    said = ""
    for key in keys:
        said += f"[{key}]" if isinstance(key, int) else f".{key}" if said else str(key)
    return said


def shown(value: object, keys: Keys = ()) -> str:
    """Return a value as a message may repeat it: short, and no secret."""
    if secret(keys):
        return "***"
    if isinstance(value, dict | list):
        return "{…}" if isinstance(value, dict) else "[…]"
    text = repr(without_password(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _harmless(value: object, keys: Keys) -> object:
    if secret(keys):
        return "***"
    return without_password(value) if isinstance(value, str) else value


def secret(keys: Keys) -> bool:
    """Whether a setting's value must not be shown."""
    return any(word in str(key).lower() for key in keys for word in SECRET)


def without_password(address: str) -> str:
    """Return `postgresql://user:***@host/db`."""
    return _USER_AND_PASSWORD.sub(r"\1:***@", address)


_UNKNOWN_KEY = Text("未知的键 {setting}", "unknown key {setting}")
_DID_YOU_MEAN = Text("是不是 {near}？", "Did you mean {near}?")
_KNOWN_KEYS = Text("这里可以写：{known}", "Known here: {known}")
_MISSING = Text("{section} 缺少 {key}", "{section} lacks {key}")
_MISSING_AT_TOP = Text("缺少 {key}", "{key} is missing")
_ADD = Text("请补上", "Add it")
_ADD_SUCH_AS = Text("请补上，例如 {key}: {example}", "Add it, such as {key}: {example}")
_SUCH_AS = Text("例如 {example}", "For example {example}")
_OR_WORD = Text("也可以写 {words}", "It may also be {words}")
_EMPTY = Text("{setting} 是空的", "{setting} is empty")
_CHOICE = Text("{setting}：{given} 不在可选值中：{choices}", "{setting}: {given} is none of {choices}")
_OTHER = Text("{setting}：{given} 不合格（{said}）", "{setting}: {given} will not do ({said})")
_UNITS = Text(
    "常用单位：kWh、MWh、m3、L、t、kg、GJ；比值写成 kWh/h、kg/L",
    "Common units: kWh, MWh, m3, L, t, kg, GJ; ratios as kWh/h, kg/L",
)
_NORMAL_VOLUME = Text(
    "“标方”含义不一：写 unit: m3，并用 reference: 20 C、15 C 或 0 C 说明其参比状态",
    "A normal cubic metre is ambiguous: write unit: m3 and its reference state, reference: 20 C, 15 C or 0 C",
)

_SECTION = (
    Text("{setting}：{given} 应当是一节（键: 值）", "{setting}: {given} should be a section (key: value)"),
    None,
)
_LIST = (Text("{setting}：{given} 应当是列表", "{setting}: {given} should be a list"), None)
_TEXT = (
    Text("{setting}：{given} 应当是文字", "{setting}: {given} should be text"),
    Text("数字作文字时请加引号", "Quote a number that is meant as text"),
)
_INT = (Text("{setting}：{given} 不是整数", "{setting}: {given} is not a whole number"), None)
_NUMBER = (Text("{setting}：{given} 不是数", "{setting}: {given} is not a number"), None)
_BOOL = (Text("{setting}：{given} 应当是 true 或 false", "{setting}: {given} should be true or false"), None)
_DATE = (
    Text("{setting}：{given} 不是日期", "{setting}: {given} is not a date"),
    Text("写成 2026-01-31", "Write it as 2026-01-31"),
)
_TIME = (
    Text("{setting}：{given} 不是时刻", "{setting}: {given} is not a time"),
    Text("写成 2026-01-31T08:00:00+08:00", "Write it as 2026-01-31T08:00:00+08:00"),
)
_OFFSET = (
    Text("{setting}：{given} 没有时区偏移", "{setting}: {given} has no offset from UTC"),
    Text("写成 2026-01-31T08:00:00+08:00", "Write it as 2026-01-31T08:00:00+08:00"),
)
_KINDS: dict[str, tuple[Text, Text | None]] = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "mapping_type"), _SECTION),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), _LIST),
    **dict.fromkeys(("string_type", "string_sub_type"), _TEXT),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _INT),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing", "finite_number"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _BOOL),
    **dict.fromkeys(("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"), _DATE),
    **dict.fromkeys(("datetime_type", "datetime_parsing", "datetime_from_date_parsing"), _TIME),
    "timezone_aware": _OFFSET,
    "greater_than_equal": (
        Text("{setting}：{given} 小于 {ctx_ge}", "{setting}: {given} is below {ctx_ge}"),
        Text("至少 {ctx_ge}", "At least {ctx_ge}"),
    ),
    "less_than_equal": (
        Text("{setting}：{given} 大于 {ctx_le}", "{setting}: {given} is above {ctx_le}"),
        Text("至多 {ctx_le}", "At most {ctx_le}"),
    ),
    "greater_than": (Text("{setting}：{given} 必须大于 {ctx_gt}", "{setting}: {given} must be above {ctx_gt}"), None),
    "less_than": (Text("{setting}：{given} 必须小于 {ctx_lt}", "{setting}: {given} must be below {ctx_lt}"), None),
    "too_short": (Text("{setting} 至少要有 {ctx_min_length} 项", "{setting} needs at least {ctx_min_length}"), None),
    "too_long": (Text("{setting} 至多 {ctx_max_length} 项", "{setting} takes at most {ctx_max_length}"), None),
    "string_too_short": (
        Text("{setting}：{given} 至少 {ctx_min_length} 个字符", "{setting}: {given} needs {ctx_min_length} characters"),
        None,
    ),
    "string_pattern_mismatch": (
        Text("{setting}：{given} 的写法不对", "{setting}: {given} is not written as it should be"),
        Text("应符合 {ctx_pattern}", "It must match {ctx_pattern}"),
    ),
}
