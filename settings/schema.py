"""What a model knows at a path of the data: its keys, its fields, its types. To name the key somebody meant."""

import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from settings.syntax import Keys


def known_keys(model: type[BaseModel], path: Keys) -> list[str]:
    """Return the keys that the section at `path` of `model` may have."""
    found = models_in(annotation_at(model, path))
    return [info.alias or name for section in found for name, info in section.model_fields.items()]


def annotation_at(model: type[BaseModel], path: Keys) -> Any:
    """Return the type of what stands at `path`; None where the model knows of nothing there."""
    annotation: Any = model
    for step in path:
        annotation = _step(annotation, step)
    return annotation


def _step(annotation: Any, step: str | int) -> Any:
    for section in models_in(annotation):
        info = _named(section, step)
        if info is not None:
            return info.annotation
    for arm in arms(annotation):
        arguments = get_args(arm)
        if get_origin(arm) is dict and isinstance(step, str):
            return arguments[1]
        if get_origin(arm) in (list, tuple) and isinstance(step, int) and arguments:
            return arguments[min(step, len(arguments) - 1)] if get_origin(arm) is tuple else arguments[0]
    return None


def arms(annotation: Any) -> list[Any]:
    """Return the plain types an annotation stands for: of `A | None`, `A`; of `Annotated[A, …]`, `A`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return arms(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [arm for each in get_args(annotation) for arm in arms(each)]
    return [annotation]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models among them."""
    return [arm for arm in arms(annotation) if isinstance(arm, type) and issubclass(arm, BaseModel)]


def _named(section: type[BaseModel], key: str | int) -> FieldInfo | None:
    for name, info in section.model_fields.items():
        if key in (name, info.alias):
            return info
    return None


def field_at(model: type[BaseModel], path: Keys) -> FieldInfo | None:
    """Return the field at `path`, where it is one of a model."""
    if not path:
        return None
    sections = models_in(annotation_at(model, path[:-1]))
    return next((info for section in sections if (info := _named(section, path[-1])) is not None), None)
