"""Where settings come from besides their file: the environment and systemd's credentials; and where each one came from.

Order: environment `TANBIAO_SECTION__KEY` > credential > file > default. In a variable's name `__` parts the keys, case
does not matter, and `_` also stands for the `-` of an id that the file has: `TANBIAO_METERS__GAS_MAIN__INTERVAL`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from metering.errors import SettingsError, SettingsFaults
from metering.fields import byte_size, seconds
from metering.text import Text
from settings.document import Document
from settings.faults import dotted, secret, without_password
from settings.syntax import Keys, parse

PREFIX = "TANBIAO_"
CREDENTIALS: dict[str, Keys] = {"mqtt-password": ("mqtt", "password")}
"""Credential files that systemd (`LoadCredential=`) may hand over, and the setting each one gives."""
SECTIONS = {
    "agent": ("agent", "mqtt", "outbox", "lines", "meters"),
    "ingester": (
        "site", "store", "mqtt", "factors", "meters", "sources", "products", "rules",
        "seed", "page",
    ),
}  # fmt: skip
"""The sections of both programs: a variable for the other one alone is passed over, an unknown one is a fault."""


def with_environment(document: Document, program: str, environ: Mapping[str, str]) -> Document:
    """Return the document with what the environment and the credentials give laid over it.

    Raises:
        SettingsFaults: a credential cannot be read, or a list or section in a variable is no YAML.
    """
    return document.overlaid({**_credentials(program, environ), **_variables(document, program, environ)})


def _credentials(program: str, environ: Mapping[str, str]) -> dict[Keys, tuple[Any, str]]:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return {}
    found: dict[Keys, tuple[Any, str]] = {}
    for name, keys in CREDENTIALS.items():
        file = Path(folder) / name
        if keys[0] in SECTIONS[program] and file.is_file():
            found[keys] = (_secret(file), f"credential {name}")
    return found


def _secret(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = Text("凭据无法读取：{said}", "the credential cannot be read: {said}")
        raise SettingsFaults([SettingsError(str(file), problem, said=error)]) from error


def _variables(document: Document, program: str, environ: Mapping[str, str]) -> dict[Keys, tuple[Any, str]]:
    others = {section for name, sections in SECTIONS.items() if name != program for section in sections}
    foreign = others - set(SECTIONS[program])
    found: dict[Keys, tuple[Any, str]] = {}
    for name, value in sorted(environ.items()):
        keys = _keys(name, document.data)
        if len(keys) > 1 and keys[0] not in foreign:
            found[keys] = (_value(name, value), name)
    return found


def _keys(name: str, data: Any) -> Keys:
    """Return the path a variable means, or nothing where it is none of ours."""
    if not name.upper().startswith(PREFIX) or "__" not in name:
        return ()
    path: list[str] = []
    for part in name[len(PREFIX) :].lower().split("__"):
        here = data if isinstance(data, dict) else {}
        key = next((key for key in here if key.lower().replace("-", "_") == part), part)
        path.append(key)
        data = here.get(key)
    return tuple(path)


def _value(name: str, text: str) -> Any:
    """Return what a variable says: a list or section in YAML's brackets, else the text as it is."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    tree = parse(text)
    if tree.faults:
        raise SettingsFaults([SettingsError(name, f.problem, f.remedy, **dict(f.values)) for f in tree.faults])
    return tree.data


@dataclass(frozen=True)
class Origin:
    """One setting as it holds, for `tanbiao config show --origin`."""

    key: str
    value: str
    """As text; `***` for a secret."""
    place: str | None
    """`agent.yaml:12:5`, the variable's name, `credential mqtt-password`; None: the default."""


def origins(settings: BaseModel, document: Document) -> list[Origin]:
    """Return every setting in force and where it comes from, in the order of the models."""
    return [_origin(keys, value, document) for keys, value in _leaves(settings, ())]


def _origin(keys: Keys, value: Any, document: Document) -> Origin:
    """Say what is given as it was written (`10 s`), but a path as it was understood."""
    place = document.given(keys)
    written = value if place is None or isinstance(value, Path) else document.value(keys)
    return Origin(dotted(keys), _masked(keys, written), place)


def _leaves(value: Any, path: Keys) -> Iterator[tuple[Keys, Any]]:
    if isinstance(value, BaseModel):
        names = {name: info.alias or name for name, info in type(value).model_fields.items()}
        fields = type(value).model_fields
        parts: list[tuple[str | int, Any]] = [
            (names[name], _as_written(fields[name], getattr(value, name))) for name in names
        ]
        parts += list((value.model_extra or {}).items())
    elif isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(item, BaseModel | dict) for item in value):
        parts = list(enumerate(value))
    else:
        parts = []
        yield path, value
    for key, part in parts:
        yield from _leaves(part, (*path, key))


DURATIONS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
SIZES = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def _as_written(info: FieldInfo, value: Any) -> Any:
    """Return a duration or a size as a file would say it: `15 min`, `1 GB`; anything else as it is."""
    readers = [getattr(item, "func", None) for item in info.metadata]
    units = DURATIONS if seconds in readers else SIZES if byte_size in readers else ()
    fitting = ((name, one) for name, one in units if value and value % one == 0)
    return next((f"{value / one:.0f} {name}" for name, one in fitting), value)


def _masked(keys: Keys, value: Any) -> str:
    if value is None:
        return ""
    if secret(keys):
        return "***"
    text = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
    return without_password(text)
