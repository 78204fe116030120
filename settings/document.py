"""A settings file: its data, the place of each key, and the models it is checked against.

Promises
    * Whatever stands in the file, reading it gives a Document or SettingsFaults, never another error.
    * Each fault names its place (`agent.yaml:12:5`, the path as the user gave it; the variable, for a value out of the
      environment), the offending value (never a secret), and what to do.
    * Numbers arrive as written (see settings/syntax.py).
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from metering.errors import SettingsError, SettingsFaults
from metering.text import Text
from settings.faults import Fault, faults_of
from settings.schema import known_keys
from settings.syntax import Keys, Spot, Tree, parse

M = TypeVar("M", bound=BaseModel)
MAX_BYTES = 8_000_000
"""A larger file is no settings file."""


class Document:
    """The data of one settings file, with `overrides` from outside laid over it."""

    def __init__(self, path: Path, tree: Tree, overrides: Mapping[Keys, tuple[Any, str]] | None = None) -> None:
        self.path = path
        self._tree = tree
        self._overrides = dict(overrides or {})
        self._root: type[BaseModel] | None = None
        self.data: Any = copy.deepcopy(tree.data)
        for keys, (value, _) in self._overrides.items():
            _lay(self.data, keys, value)

    def overlaid(self, overrides: Mapping[Keys, tuple[Any, str]]) -> "Document":
        """Return the same file with values laid over it: path -> (value, name of where it comes from)."""
        return Document(self.path, self._tree, {**self._overrides, **overrides})

    def place(self, keys: Sequence[str | int] = (), *, at_key: bool = False) -> str:
        """Return `agent.yaml:12:5`: where a value stands; of a section, or with `at_key`, where its key stands.

        What is not in the file is at the nearest section above it, or at the variable that gives it.
        """
        path = tuple(keys)
        named = self._override(path)
        if named is not None:
            return named
        line, column = self._spot(path, at_key)
        return f"{self.path}:{line}:{column}"

    def given(self, keys: Sequence[str | int]) -> str | None:
        """Return where a setting is given (its place), or None where its default holds."""
        path = tuple(keys)
        return self.place(path) if path in self._tree.keys or self._override(path) else None

    def value(self, keys: Sequence[str | int]) -> Any:
        """Return what a setting is given as, before any model reads it; None where it is not given."""
        return _find(self.data, tuple(keys))

    def check(self, model: type[M], keys: Sequence[str | int] = (), data: Any = None) -> M:
        """Return the section at `keys` as a `model`. `data` replaces what stands there (a part of the section).

        Raises:
            SettingsFaults: one fault per wrong setting, in the order of the file.
        """
        path = tuple(keys)
        section = self.value(path) if data is None else data
        try:
            checked = model.model_validate(section)
        except ValidationError as error:
            also = known_keys(self._root, path) if self._root and path else []
            found = faults_of(error, model, section, path, also)
            raise self.faults([self._said(fault) for fault in found]) from error
        if not path and data is None:
            self._root = model
        return checked

    def fault(
        self, keys: Sequence[str | int], problem: Text, remedy: Text | None = None, /, **values: object
    ) -> SettingsError:
        """Return (not raise) a fault at a setting, for checks across sections."""
        return SettingsError(self.place(keys), problem, remedy, **values)

    def faults(self, faults: list[SettingsError]) -> SettingsFaults:
        """Return them as one error, in the order of the file; what stands in another file comes last."""
        return SettingsFaults(sorted(faults, key=lambda fault: self._order(fault.place)))

    def _order(self, place: str) -> tuple[str, int, int]:
        file, *spot = place.rsplit(":", 2)
        if len(spot) != 2 or not all(number.isdigit() for number in spot):
            return "", 0, 0
        return "" if file == str(self.path) else file, int(spot[0]), int(spot[1])

    def _said(self, fault: Fault) -> SettingsError:
        return SettingsError(self.place(fault.keys, at_key=fault.at_key), fault.problem, fault.remedy, **fault.values)

    def _spot(self, path: Keys, at_key: bool) -> Spot:
        while path and path not in self._tree.keys:
            path = path[:-1]
        if not path:
            return 1, 1
        section = _find(self._tree.data, path) is None or isinstance(_find(self._tree.data, path), dict | list)
        return self._tree.keys[path] if section or at_key else self._tree.values[path]

    def _override(self, path: Keys) -> str | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self._overrides:
                return self._overrides[path[:length]][1]
        below = (name for keys, (_, name) in self._overrides.items() if path and keys[: len(path)] == path)
        return None if path in self._tree.keys else next(below, None)


def read(path: Path) -> Document:
    """Return the document in a file.

    Raises:
        SettingsFaults: it cannot be read, or is no mapping in YAML.
    """
    text = _text(path)
    tree = parse(text)
    if tree.faults:
        raise SettingsFaults(
            [
                SettingsError(f"{path}:{f.spot[0]}:{f.spot[1]}", f.problem, f.remedy, **dict(f.values))
                for f in tree.faults
            ]
        )
    if tree.data is None:
        raise _unreadable(path, _EMPTY_FILE, _SEE_SAMPLE)
    if not isinstance(tree.data, dict):
        raise _unreadable(f"{path}:1:1", _NO_MAPPING, _SEE_SAMPLE)
    return Document(path, tree)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise _unreadable(path, _TOO_LARGE, size=MAX_BYTES)
        return raw.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise _unreadable(path, _NO_FILE, _CHECK_PATH) from error
    except IsADirectoryError as error:
        raise _unreadable(path, _DIRECTORY, _CHECK_PATH) from error
    except PermissionError as error:
        raise _unreadable(path, _NOT_PERMITTED, _PERMIT) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        raise _unreadable(f"{path}:{line}:{column}", _NOT_UTF8, _SAVE_AS_UTF8) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, _CANNOT_READ, said=error) from error


def _unreadable(place: Path | str, problem: Text, remedy: Text | None = None, **values: object) -> SettingsFaults:
    return SettingsFaults([SettingsError(str(place), problem, remedy, **values)])


def _lay(data: Any, keys: Keys, value: Any) -> None:
    """Put a value into nested mappings, making the sections that are not there."""
    for step in keys[:-1]:
        if not isinstance(data.get(step), dict):
            data[step] = {}
        data = data[step]
    data[keys[-1]] = value


def _find(data: Any, path: Keys) -> Any:
    for step in path:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


_EMPTY_FILE = Text("文件是空的", "the file is empty")
_NO_MAPPING = Text("文件应当由“键: 值”组成", "the file should consist of `key: value`")
_SEE_SAMPLE = Text("可参照 config/ 中的样例", "See the samples in config/")
_NO_FILE = Text("没有这个文件", "there is no such file")
_DIRECTORY = Text("这是目录，不是文件", "this is a directory, not a file")
_CHECK_PATH = Text("请检查路径", "Check the path")
_NOT_PERMITTED = Text("没有读取权限", "not permitted to read it")
_PERMIT = Text(
    "请给运行本程序的用户读权限，例如 chgrp tanbiao 后 chmod 640",
    "Let the user who runs this read it, such as by chgrp tanbiao and chmod 640",
)
_NOT_UTF8 = Text("文件不是 UTF-8 编码", "the file is not UTF-8")
_SAVE_AS_UTF8 = Text("请另存为 UTF-8（Windows 记事本默认可能是 GBK）", "Save it as UTF-8 (an editor may have used GBK)")
_TOO_LARGE = Text("文件超过 {size} 字节", "the file is larger than {size} bytes")
_CANNOT_READ = Text("无法读取：{said}", "cannot be read: {said}")
