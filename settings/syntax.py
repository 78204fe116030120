"""The text of a settings file as plain data, with the place of every key and value.

A number with a decimal point stays the text it was written as, so that `0.01` is a hundredth and `1.10` a version.
Whole numbers (`12`, `0x0C`) become ints; one with a leading zero (`007`, a meter's address) stays text. `true`, `false`
and `null` are what they say; dates and times stay text. Keys are always text. Anchors, merge keys and tags are refused:
every value stands at one place, so every fault can name it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from metering.text import Text

Keys = tuple[str | int, ...]
Spot = tuple[int, int]
"""Line and column, both from 1."""
MAX_DEPTH = 40
"""Sections within sections; no settings file of ours has ten."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})")
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}


@dataclass
class Tree:
    """What a text says, where it says it, and what is wrong with it (then `data` is not to be used)."""

    data: Any = None
    keys: dict[Keys, Spot] = field(default_factory=dict)
    """Where the key of each path stands (a list item: where the item stands)."""
    values: dict[Keys, Spot] = field(default_factory=dict)
    """Where the value of each path stands."""
    faults: list["SyntaxFault"] = field(default_factory=list)


@dataclass(frozen=True)
class SyntaxFault:
    """One thing that keeps a text from being read."""

    spot: Spot
    problem: Text
    remedy: Text | None = None
    values: tuple[tuple[str, object], ...] = ()


class _Stop(Exception):
    """The text cannot be read any further."""


def parse(text: str) -> Tree:
    """Return the data of a YAML text. Never raises: what is wrong stands in `faults`."""
    tree = Tree()
    try:
        _Builder(tree).build(YAML(typ="rt", pure=True).parse(text))
    except _Stop:
        pass
    except MarkedYAMLError as error:
        tree.faults.append(_syntax_fault(error))
    except (YAMLError, ValueError, RecursionError, AssertionError) as error:
        said = " ".join(str(error).split())
        tree.faults.append(SyntaxFault(_spot_in(text, error), _UNREADABLE, values=(("said", said),)))
    return tree


def scalar(text: str) -> Any:
    """Return what an unquoted word of a settings file means."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _HEX.fullmatch(text):
        return int(text, 16)
    return int(text) if _INTEGER.fullmatch(text) else text


class _Builder:
    """Builds a Tree out of the parser's events."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.documents = 0

    def build(self, events: Iterable[Event]) -> None:
        stream = iter(events)
        for event in stream:
            if isinstance(event, DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    self._refuse(event, _SECOND_DOCUMENT, _ONE_DOCUMENT)
            elif isinstance(event, NodeEvent):
                self.tree.data = self._node(event, stream, ())

    def _node(self, event: Event, stream: Iterator[Event], path: Keys) -> Any:
        self.tree.values[path] = _spot(event)
        if len(path) > MAX_DEPTH:
            self._refuse(event, _TOO_DEEP)
        anchor, tag = getattr(event, "anchor", None), getattr(event, "ctag", None)
        if anchor is not None:
            self._refuse(event, _ANCHOR, _WRITE_OUT, name=anchor)
        if tag is not None:
            self._refuse(event, _TAG, _NO_TAG, tag=tag)
        if isinstance(event, MappingStartEvent):
            return self._mapping(stream, path)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(stream, path)
        if not isinstance(event, ScalarEvent):
            self._refuse(event, _UNREADABLE, said=type(event).__name__)
        return event.value if event.style else scalar(event.value)

    def _sequence(self, stream: Iterator[Event], path: Keys) -> list[Any]:
        items: list[Any] = []
        for event in stream:
            if isinstance(event, SequenceEndEvent):
                break
            here = (*path, len(items))
            self.tree.keys[here] = _spot(event)
            items.append(self._node(event, stream, here))
        return items

    def _mapping(self, stream: Iterator[Event], path: Keys) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for event in stream:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event)
            here = (*path, key)
            if key in entries:
                first = self.tree.keys[here][0]
                self._fault(event, _DUPLICATE, _KEEP_ONE, name=key, line=first)
                self._node(next(stream), stream, (*path, key, "again"))
                continue
            self.tree.keys[here] = _spot(event)
            entries[key] = self._node(next(stream), stream, here)
        return entries

    def _key(self, event: Event) -> str:
        if not isinstance(event, ScalarEvent):
            self._refuse(event, _NO_KEY)
        if event.value == "<<" and not event.style:
            self._refuse(event, _ANCHOR, _WRITE_OUT, name="<<")
        return str(event.value)

    def _fault(self, event: Event, problem: Text, remedy: Text | None = None, **values: object) -> None:
        self.tree.faults.append(SyntaxFault(_spot(event), problem, remedy, tuple(values.items())))

    def _refuse(self, event: Event, problem: Text, remedy: Text | None = None, **values: object) -> NoReturn:
        self._fault(event, problem, remedy, **values)
        raise _Stop


def _spot(event: Event) -> Spot:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _spot_in(text: str, error: BaseException) -> Spot:
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return 1, 1
    before = text[:position]
    return before.count("\n") + 1, position - before.rfind("\n")


def _syntax_fault(error: MarkedYAMLError) -> SyntaxFault:
    mark = error.problem_mark or error.context_mark
    spot = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    said = ", ".join(" ".join(part.split()) for part in (error.context, error.problem) if part)
    for pattern, problem, remedy in _SYNTAX:
        if pattern in said:
            return SyntaxFault(spot, problem, remedy)
    return SyntaxFault(spot, _UNREADABLE, values=(("said", said),))


_UNREADABLE = Text("不是正确的 YAML：{said}", "is not correct YAML: {said}")
_SECOND_DOCUMENT = Text("文件里有第二份文档（---）", "a second document begins here (---)")
_ONE_DOCUMENT = Text("一个文件只写一份", "Keep one in each file")
_TOO_DEEP = Text("嵌套太深", "sections nested too deeply")
_ANCHOR = Text(
    "不支持 YAML 锚点、引用和合并键（{name}）", "YAML anchors, aliases and merge keys are not taken ({name})"
)
_WRITE_OUT = Text("请把内容写全", "Write the section out")
_TAG = Text("不支持 YAML 标签 {tag}", "YAML tags are not taken ({tag})")
_NO_TAG = Text("请删去标签", "Delete the tag")
_DUPLICATE = Text("键 {name!r} 重复，前一处在第 {line} 行", "the key {name!r} stands twice, first on line {line}")
_KEEP_ONE = Text("只保留一处", "Keep one of the two")
_NO_KEY = Text("这里应当是一个键", "a key was expected here")

_SYNTAX: list[tuple[str, Text, Text]] = [
    (
        "'\\t'",
        Text("这里用了制表符", "a tab stands here"),
        Text("YAML 缩进只能用空格", "Indent YAML with spaces"),
    ),
    (
        "mapping values are not allowed",
        Text("这里不应有冒号，或这一行的缩进不对", "a colon is not expected here, or the line is indented wrongly"),
        Text("请与同级的键对齐；值里有“: ”时加引号", 'Align it with the keys beside it; quote a value that holds ": "'),
    ),
    (
        "could not find expected ':'",
        Text("上一个键的后面缺少冒号", "the key before this lacks its colon"),
        Text("写成“键: 值”，冒号后有空格", "Write `key: value`, with a space after the colon"),
    ),
    (
        "flow sequence",
        Text("方括号 [ 没有配对，或缺少逗号", "a bracket [ is not closed, or a comma is missing"),
        Text("补上 ] 或逗号", "Add the ] or the comma"),
    ),
    (
        "flow mapping",
        Text("花括号没有配对，或缺少逗号", "a brace is not closed, or a comma is missing"),
        Text("补上花括号或逗号", "Add the brace or the comma"),
    ),
    (
        "unexpected end of stream",
        Text("引号没有配对", "a quotation mark is not closed"),
        Text("补上引号", "Add the closing mark"),
    ),
    (
        "found character",
        Text("值不能以这个字符开头", "a value cannot begin with this character"),
        Text("给整个值加上引号", "Quote the whole value"),
    ),
    (
        "expected <block end>",
        Text("缩进不对，或列表与键混在一起", "indented wrongly, or a list mixed with keys"),
        Text("请与同级的键对齐", "Align it with the keys beside it"),
    ),
]
