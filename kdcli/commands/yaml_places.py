"""Where in the user's own YAML something stands: file, line and column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from kdcli.errors import UsageError


def broken_yaml(error: Exception, files: Iterable[Path]) -> UsageError:
    """The refusal of a file that could not be read as YAML with keys, with its place.

    Args:
        error: What reading it raised.
        files: Where to look if the error does not name the file, the likeliest first.
    """
    problem = _problem(error) or next(_problems(files), None)
    what, where = problem or (str(error), None)
    return UsageError(f"broken YAML: {what}", where=where, fix="correct the file there")


def _problem(error: Exception) -> tuple[str, str] | None:
    """What is wrong and where, if the error says so itself."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark is None or not isinstance(error, yaml.MarkedYAMLError):
        return None
    return error.problem or "cannot be read", f"{mark.name}:{mark.line + 1}:{mark.column + 1}"


def _problems(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """What is wrong with each file."""
    for path in files:
        content = path.read_bytes()
        try:
            text = content.decode("utf-8")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            yield "not UTF-8 text", _place(path, content[: error.start].decode("utf-8"))
        except yaml.reader.ReaderError as error:
            yield f"character #x{error.character:04x} is not allowed", _place(path, text[: error.position])
        except yaml.MarkedYAMLError as error:
            _, where = _problem(error) or ("", ":1:1")
            yield error.problem or "cannot be read", f"{path}:{where.split(':', 1)[1]}"
        except RecursionError:
            yield "nested too deeply", f"{path}:1:1"
        else:
            if root is not None and not isinstance(root, yaml.MappingNode):
                yield "the file must hold keys, as in 'epochs: 5'", f"{path}:1:1"
            elif root is not None:
                yield from _unquoted_choices(path, root)


def _unquoted_choices(path: Path, root: yaml.MappingNode) -> Iterator[tuple[str, str]]:
    for key, value in root.value:
        if key.value == "defaults" and not isinstance(value, yaml.SequenceNode):
            yield "defaults must be a list: '- model: mlp'", _mark(path, value)
        elif key.value == "defaults":
            for node in (node for item in value.value if isinstance(item, yaml.MappingNode) for _, node in item.value):
                if node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:null"):
                    yield f'an option is a text: write "{node.value}" with quotes', _mark(path, node)


def place_of(key: str, files: Iterable[Path]) -> str | None:
    """``file:line:column`` of a dotted key in the user's YAML, None where no file sets it."""
    for path in files:
        group = path.parent.name
        for dotted, node in _keys(_root(path), ""):
            if key in (dotted, f"{group}.{dotted}"):
                return _mark(path, node)
    return None


def place_of_option(group: str, files: Iterable[Path]) -> str | None:
    """The first place of an option of the user's that holds something else than keys, None where there is none."""
    for path in files:
        if path.parent.name == group and (root := _root(path)) is not None and not isinstance(root, yaml.MappingNode):
            return _mark(path, root)
    return None


def _root(path: Path) -> yaml.Node | None:
    try:
        root: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return None
    return root


def _keys(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key
            yield from _keys(value, f"{prefix}{key.value}.")


def _mark(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _place(path: Path, before: str) -> str:
    return f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
