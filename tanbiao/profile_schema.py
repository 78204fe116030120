"""The JSON Schema of a meter profile, made from the model: for editors (`# yaml-language-server: $schema=…`) and other tools."""

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import metering.profile
import tanbiao.profile_check
from metering.profile import Profile
from tanbiao.profile_check import Vector


def profile_schema() -> dict[str, Any]:
    """Return the schema. What stands under a field in the code is its description; a text may be one string for both
    languages."""
    schema = Profile.model_json_schema()
    definitions = schema["$defs"]
    for name, fields in _said_under_fields(metering.profile).items():
        described = schema if name == Profile.__name__ else definitions.get(name, {})
        for field, said in fields.items():
            if field in described.get("properties", {}):
                described["properties"][field]["description"] = said
    vector = Vector.model_json_schema()
    for field, said in _said_under_fields(tanbiao.profile_check)[Vector.__name__].items():
        vector["properties"][field]["description"] = said
    definitions["Vector"] = vector
    schema["properties"]["vectors"]["items"] = {"$ref": "#/$defs/Vector"}
    both = definitions["Bilingual"]
    definitions["Bilingual"] = {"anyOf": [{"type": "string"}, both], "description": both.pop("description")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tanbiao meter profile",
        "description": schema.pop("description"),
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _said_under_fields(module: ModuleType) -> dict[str, dict[str, str]]:
    """Return class -> field -> the sentence under it."""
    tree = ast.parse(Path(inspect.getfile(module)).read_text("utf-8"))
    found: dict[str, dict[str, str]] = {}
    inherited: dict[str, list[str]] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        inherited[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
        own: dict[str, str] = {}
        for line, below in zip(node.body, node.body[1:], strict=False):
            match line, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=field)),
                    ast.Expr(value=ast.Constant(value=str(said))),
                ):
                    own[field] = " ".join(said.split())
        found[node.name] = {**{k: v for base in inherited[node.name] for k, v in found.get(base, {}).items()}, **own}
    return found
