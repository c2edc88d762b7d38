"""What stands in ``conf/``, by listing files and scanning lines: for help and completion, without a YAML parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NUMERIC_GROUPS = ("temperature", "alpha")
# Where a run lies and how it was carried out, and not what it is.
NOT_COMPARED = ("output_dir", "label", "sweep", "targets", "tracker", "trust_code", "baseline")


@dataclass(frozen=True)
class Key:
    """One key of a YAML file: its dotted path, its value as written ('' for a group of keys), and its comment."""

    path: str
    value: str
    comment: str


@dataclass(frozen=True)
class Scan:
    """One YAML file: the comment on top, the choice of each group in its defaults list, its keys."""

    header: tuple[str, ...]
    choices: dict[str, str]
    keys: tuple[Key, ...]

    @property
    def is_global(self) -> bool:
        """The keys are not under the group's name but at the top."""
        return any(line.startswith("@package _global_") for line in self.header)


def conf_dir() -> Path:
    """The directory of kd's own YAML: inside the package in a wheel, at the top of the repository otherwise."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def options(group: str, *more: Path) -> list[str]:
    """The options of a config group, in kd's directory and in ``more`` directories; a study's name may be a/b."""
    folders, pattern = [root / group for root in (conf_dir(), *more)], "**/*.yaml" if group == "study" else "*.yaml"
    found = {str(path.relative_to(one).with_suffix("")) for one in folders for path in one.glob(pattern)}
    return sorted(found, key=_natural)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts ``mlp_30`` before ``mlp_100``."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


@cache
def scan(path: Path) -> Scan:
    """Scan a file of ours: block style, two-space steps, one key a line."""
    header: list[str] = []
    choices: dict[str, str] = {}
    keys: list[Key] = []
    parents: list[tuple[int, str]] = []
    for indent, text, comment in _lines(path):
        if not text:
            if not keys and not choices:
                header.append(comment)
        elif text.startswith("- "):
            group, _, choice = text[2:].partition(": ")
            if choice and not group.startswith("override "):
                choices[group] = choice
        elif text != "defaults:":
            name, _, value = text.partition(":")
            parents = [parent for parent in parents if parent[0] < indent]
            keys.append(Key(".".join([*(parent[1] for parent in parents), name]), value.strip(), comment))
            parents.append((indent, name))
    return Scan(tuple(header), choices, tuple(keys))


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    for raw in path.read_text(encoding="utf-8").splitlines():
        if raw.strip():
            text, _, comment = raw.partition("#") if raw.lstrip().startswith("#") else raw.partition(" #")
            yield len(text) - len(text.lstrip()), text.strip(), comment.strip()


def keys_of(config_name: str, chosen: dict[str, str]) -> list[str]:
    """All dotted keys of a command: those of its primary file, and those of the chosen option of each group.

    Args:
        config_name: The primary file.
        chosen: Options that differ from the defaults, by group.
    """
    primary = scan(conf_dir() / f"{config_name}.yaml")
    found = [key.path for key in primary.keys]
    for group, default in primary.choices.items():
        option = chosen.get(group, default)
        path = conf_dir() / group / f"{option}.yaml"
        if not path.is_file() and group in NUMERIC_GROUPS:
            path = conf_dir() / group / "constant.yaml"
        if path.is_file() and not scan(path).is_global:
            found += [f"{group}.{key.path}" for key in scan(path).keys]
    return found
