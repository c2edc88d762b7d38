"""YAML files: plain data only, strict and bounded; every error says the line and the column."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kdcli.disk import read_bounded
from kdcli.errors import CheckpointError, KDError

MAX_BYTES = 2**18
MAX_DEPTH = 64
_MAX_DIGITS = 40

_BOOL = re.compile(r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_INT = re.compile(r"[-+]?[0-9][0-9_]*", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_NULL = re.compile(r"~|null|Null|NULL|")


def load_yaml(path: Path, *, error: type[KDError] = CheckpointError, follow: bool = False) -> dict[str, Any]:
    """The mapping in a YAML file.

    Plain data: mappings with text as keys, lists, texts, numbers, booleans and null. Refused are aliases and anchors,
    tags, repeated keys, other keys than texts, numbers that start with 0 (YAML reads 010 as 8), several documents, deep
    nesting, a byte-order mark, and any other root than a mapping. Nothing is interpolated: `${...}` stays text.

    Args:
        path: The file.
        error: What is raised: UsageError for a file of the user's, CheckpointError for one of a run.
        follow: Accept a symbolic link: for what the user names, never for what a run directory holds.
    """
    value = _load(path, error, follow)
    if not isinstance(value, dict):
        what = f"expected `key: value` lines, got {_kind(value)}"
        raise error(what, where=f"{path}:1:1", fix="write one key and its value a line")
    return value


def load_yaml_list(path: Path, *, error: type[KDError] = CheckpointError) -> list[Any]:
    """The list in a YAML file; see `load_yaml` for what is refused."""
    value = _load(path, error, follow=False)
    if not isinstance(value, list):
        raise error(f"expected `- value` lines, got {_kind(value)}", where=f"{path}:1:1")
    return value


def _load(path: Path, error: type[KDError], follow: bool) -> Any:
    data = read_bounded(path, MAX_BYTES, error=error, follow=follow)
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("a byte-order mark")
        _check_events(text)
        return yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise _located(problem, path, error) from problem


def dump_yaml(value: object) -> str:
    """YAML text that `load_yaml` (and any other reader of YAML 1.1 or 1.2) reads back as the same plain data."""
    text: str = yaml.dump(
        value, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )
    return text


def check_plain(value: object, *, error: type[KDError], file: Path | None = None) -> None:
    """Raise an `error` naming the key where `value` is not plain data, nests too deep, or holds an interpolation.

    What a run keeps is resolved: `${...}` there would be resolved by whoever reads it, with what is on that machine.

    Args:
        value: A configuration.
        error: What to raise.
        file: Where it was read.
    """
    for key, what in _faults(value, key="", depth=0):
        where = key[:200] if file is None else f"{file}: {key[:200]}"
        raise error(what, where=where, fix="write the value itself, in plain text, numbers and lists")


def _faults(value: object, key: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH:
        yield key, f"nested deeper than {MAX_DEPTH} levels"
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _text_faults(name, key)
            yield from _faults(item, f"{key}.{name}" if key else str(name), depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _faults(item, f"{key}[{index}]", depth + 1)
    elif value is not None and not isinstance(value, bool | int | float):
        yield from _text_faults(value, key)


def _text_faults(value: object, key: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, str):
        yield key, f"plain data expected, got {_kind(value)}: {ascii(value)[:80]}"
    elif "${" in value:
        yield key, f"an interpolation that is not resolved: {value[:80]!a}"
    elif any("\ud800" <= character <= "\udfff" for character in value):
        yield key, f"a text that is not valid Unicode: {value[:80]!a}"


def _check_events(text: str) -> None:
    depth = 0
    documents = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > MAX_DEPTH:
            raise _problem(f"nested deeper than {MAX_DEPTH} levels", event)
        if documents > 1:
            raise _problem("a second document: expected one", event)
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise _problem("an anchor or alias (& or *): write the value out, or put the text in quotes", event)
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise _problem(f"a tag: {ascii(event.tag)[:80]}; only plain values are read", event)


class _PlainLoader(yaml.CSafeLoader):
    """Constructs plain data from events that were checked."""

    yaml_implicit_resolvers = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse repeated keys and keys that are not texts."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise _problem("a key that is not a text: put it in quotes", key)
            if key.value in seen:
                raise _problem(f"key {key.value[:80]!a} appears twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Decimal digits, with underscores between them if need be."""
        digits = node.value.replace("_", "")
        if digits.lstrip("+-").startswith("0") and digits.lstrip("+-") != "0":
            raise _problem(f"{node.value[:80]}: a number that starts with 0; drop the 0, or quote it as text", node)
        if len(digits) > _MAX_DIGITS:
            raise _problem(f"a whole number of {len(digits)} digits is too large", node)
        return int(digits)


class _PlainDumper(yaml.CSafeDumper):
    """Writes no aliases, and quotes every text that a reader of either YAML would take for something else."""

    def ignore_aliases(self, data: object) -> bool:
        """Write the same list twice where it occurs twice."""
        return True


for _tag, _pattern, _first in (
    ("null", _NULL, [*"~nN", ""]),
    ("bool", _BOOL, [*"yYnNtTfFoO"]),
    ("int", _INT, [*"-+0123456789"]),
    ("float", _FLOAT, [*"-+.0123456789"]),
):
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, _first)
    _PlainDumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, _first)
_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_int)
_PlainDumper.add_representer(tuple, yaml.representer.SafeRepresenter.represent_list)


def _problem(text: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=at.start_mark)


def _located(problem: Exception, path: Path, error: type[KDError]) -> KDError:
    mark = getattr(problem, "problem_mark", None)
    where = str(path) if mark is None else f"{path}:{mark.line + 1}:{mark.column + 1}"
    what = getattr(problem, "problem", None) or str(problem)
    fix = "correct the file; tabs cannot indent, and texts may be quoted"
    return error(f"not valid YAML: {what}", where=where, fix=fix)


def _kind(value: object) -> str:
    return {dict: "a mapping", list: "a list", type(None): "nothing"}.get(type(value), f"a {type(value).__name__}")
