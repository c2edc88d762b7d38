"""The values of keys that have few, read off the source of the schema: to import it takes longer than a TAB may."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent.parent / "schema"
_ROOT = "commands"
_ALTERNATIVE = re.compile(r"(?<=[(|])[a-z]+")

Definitions = Mapping[str, ast.AST]


def values_of(command: str, key: str) -> list[str]:
    """The names that a key takes, or true and false; nothing where it takes others than these.

    Args:
        command: The command, as it is typed.
        key: With its dots.
    """
    known = _definitions()
    nodes: list[ast.AST] = [ast.Name("".join(part.title() for part in command.split("-")))]
    for part in key.split("."):
        classes = [one for node in _spelled_out(nodes, known) if (one := _class(node, known))]
        nodes = [found for one in classes if (found := _annotation(one, part, known))]
    return list(dict.fromkeys(chain.from_iterable(map(_literals, _spelled_out(nodes, known)))))


@cache
def _definitions() -> Definitions:
    """The classes and the names of types of ``schema.commands``, and of what that imports of the schema."""
    trees = [ast.parse((_FOLDER / f"{_ROOT}.py").read_bytes())]
    named = [one.module or "" for one in trees[0].body if isinstance(one, ast.ImportFrom)]
    inside = [name.rpartition(".")[2] for name in named if name.startswith("kdcli.schema.")]
    trees += [ast.parse((_FOLDER / f"{name}.py").read_bytes()) for name in inside]
    return {name: node for tree in trees for one in tree.body for name, node in _defined(one)}


def _defined(statement: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(statement, ast.ClassDef):
        yield statement.name, statement
    elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        yield statement.targets[0].id, statement.value


def _spelled_out(nodes: Iterable[ast.AST], known: Definitions) -> Iterator[ast.AST]:
    """All that types are made of, with the names of other types followed."""
    for node in chain.from_iterable(map(ast.walk, nodes)):
        yield node
        named = known.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(named, ast.expr):
            yield from _spelled_out([named], known)


def _class(node: ast.AST, known: Definitions) -> ast.ClassDef | None:
    named = known.get(node.id) if isinstance(node, ast.Name) else None
    return named if isinstance(named, ast.ClassDef) else None


def _annotation(one: ast.ClassDef, field: str, known: Definitions) -> ast.expr | None:
    """The type of a field, which a base may have."""
    for line in one.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == field:
            return line.annotation
    bases = (base for node in one.bases if (base := _class(node, known)))
    return next((found for base in bases if (found := _annotation(base, field, known))), None)


def _literals(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id="bool"):
            return ["true", "false"]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inside):
            return [str(each.value) for each in ast.walk(inside) if isinstance(each, ast.Constant)]
        case ast.Constant(value=str(pattern)) if pattern.startswith("^("):
            return _ALTERNATIVE.findall(pattern)
    return []
