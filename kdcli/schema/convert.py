"""From plain data to a typed configuration, or to one error that names every key that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kdcli.errors import KDError, UsageError
from kdcli.schema.base import IN_WORDS

S = TypeVar("S", bound=BaseModel)

_WANTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a group of keys",
    "model_type": "a group of keys",
    "model_attributes_type": "a group of keys",
    "finite_number": "a finite number",
}


def convert(
    section: type[S], data: object, *, error: type[KDError] = UsageError, where: str = "", command: str = ""
) -> S:
    """Turn plain data into ``section``, strictly.

    Args:
        section: The model to build.
        data: Mappings, lists, texts, numbers, booleans and nulls.
        error: What to raise; a configuration read from a run is a CheckpointError.
        where: Put before the keys in the message, such as the path of a file.
        command: Which command prints every key of the section, if any.

    Raises:
        KDError: Of the type ``error``, naming every wrong key with its value and what is allowed.
    """
    try:
        return section.model_validate(data)
    except ValidationError as failure:
        details = failure.errors(include_url=False)
    found: dict[str, list[str]] = {}
    for detail in details:
        found.setdefault(_key(detail, data), []).append(_explain(detail, data, section))
    keys = list(found)
    lines = ["; ".join(dict.fromkeys(messages)) for messages in found.values()]
    place = ", ".join(keys[:8]) + (" ..." if len(keys) > 8 else "")
    raise error("\n".join(lines[:8]), where=f"{where}: {place}" if where else place, fix=_fix(keys[0], command))


def _fix(key: str, command: str) -> str:
    more = f"; 'kd {command} --cfg job' prints every key with its value" if command else ""
    return f"correct {key} and run again{more}"


def _steps(detail: ErrorDetails, data: object) -> Iterator[int | str]:
    """Follow an error's location through the data, leaving out the tags that pydantic adds for unions."""
    missing = len(detail["loc"]) - 1 if detail["type"] == "missing" else None
    for position, step in enumerate(detail["loc"]):
        if isinstance(data, Mapping) and (step in data or position == missing):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            continue
        yield step


def _key(detail: ErrorDetails, data: object) -> str:
    return ".".join(map(str, _steps(detail, data))) or "(top level)"


def _explain(detail: ErrorDetails, data: object, section: type[BaseModel]) -> str:
    key, value, context = _key(detail, data), detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}{_nearest(detail['loc'], data, section)}"
        case "missing":
            return f"{key} is missing"
        case "interval":
            return f"{key} = {_shown(value)} is out of range; allowed: {context['interval']}"
        case "not_a_number":
            return f"{key} = {_shown(value)} is not {_WANTED[context['wrong']]}; allowed: {context['interval']}"
        case "union_tag_invalid":
            return f"{key}.kind = {_chosen(context['tag'], context['expected_tags'])}"
        case "union_tag_not_found":
            return f"{key}.kind is missing"
        case "literal_error":
            return f"{key} = {_chosen(value, context['expected'])}"
        case "string_pattern_mismatch":
            return f"{key} = {_shown(value)}; allowed: {IN_WORDS.get(context['pattern'], context['pattern'])}"
        case "too_short":
            return f"{key} = {_shown(value)} is too short; allowed: {context['min_length']} values or more"
        case "too_long":
            return f"{key} = {_shown(value)} is too long; allowed: {context['max_length']} values or fewer"
        case "value_error":
            return f"{key}: {context['error']}"
        case "list_type" if key.endswith(str(detail["loc"][-1])) and isinstance(value, int | str):
            return f"{key} = {_shown(value)} is not a list; write {key}=[{value}]"
        case kind if kind in _WANTED:
            return f"{key} = {_shown(value)} is not {_WANTED[kind]}"
    return f"{key} = {_shown(value)}: {detail['msg']}"


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _chosen(value: object, allowed: str) -> str:
    names = re.findall("'([^']*)'", allowed)
    return f"{_shown(value)}; allowed: {allowed}{_did_you_mean(value, names)}"


def _nearest(loc: tuple[int | str, ...], data: object, section: type[BaseModel]) -> str:
    known = _known_keys(section, [str(step) for step in loc[:-1]])
    listed = f"; known here: {', '.join(known)}" if known else ""
    return _did_you_mean(loc[-1], known) or listed


def _did_you_mean(value: object, known: Iterable[str]) -> str:
    close = get_close_matches(str(value), known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _known_keys(section: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that are known where an unknown one stood, looked up in the section's JSON schema."""
    schema: dict[str, Any] = section.model_json_schema()
    node = schema
    for step in path:
        node = _resolve(node.get("properties", {}).get(step, node), schema)
        mapping = node.get("discriminator", {}).get("mapping", {})
        if step in mapping:
            node = _resolve({"$ref": mapping[step]}, schema)
    return list(node.get("properties", {}))


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        resolved: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return resolved
    return node
