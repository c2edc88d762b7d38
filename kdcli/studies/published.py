"""The published JSON schemas of studies: of the file that one writes, and of the results that kd writes."""

from __future__ import annotations

from typing import Any, Literal

from kdcli.studies.form import Study, StudyFile
from kdcli.studies.results import StudyResults

Published = Literal["study", "results"]
_REFERENCE = {"type": "string", "pattern": r"^\$\{[a-z_][a-z0-9_]*\}$"}
_PLAIN = ("integer", "number", "boolean", "array", "object")


def json_schema(of: Published) -> dict[str, Any]:
    """The JSON schema of a study's file or of its results."""
    if of == "results":
        return StudyResults.model_json_schema(by_alias=True)
    file, study = StudyFile.model_json_schema(), Study.model_json_schema()
    body = {name: _with_references(each) for name, each in study["properties"].items()}
    definitions = {name: _inner(each) for name, each in study["$defs"].items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of kd",
        "description": StudyFile.__doc__,
        "type": "object",
        "additionalProperties": False,
        "properties": file["properties"] | body,
        "required": study["required"],
        "$defs": file.get("$defs", {}) | definitions,
    }


def _inner(node: dict[str, Any]) -> dict[str, Any]:
    """A definition, whose own keys may be references and which itself is none."""
    properties = {name: _with_references(each) for name, each in node.get("properties", {}).items()}
    return node | ({"properties": properties} if properties else {})


def _with_references(node: Any) -> Any:
    """A part of a schema in whose place, and in the places of whose parts, ``${name}`` may stand."""
    if isinstance(node, list):
        return [_with_references(one) for one in node]
    if not isinstance(node, dict):
        return node
    parts = ("items", "anyOf", "additionalProperties", "patternProperties")
    changed = {key: _parts(value) if key in parts else value for key, value in node.items()}
    if node.get("type") in _PLAIN:
        kept = {key: changed.pop(key) for key in ("default", "title", "description") if key in changed}
        return {"anyOf": [changed, _REFERENCE], **kept}
    return changed


def _parts(value: Any) -> Any:
    if isinstance(value, dict) and "type" not in value and "$ref" not in value and "anyOf" not in value:
        return {key: _with_references(one) for key, one in value.items()}
    return _with_references(value)
