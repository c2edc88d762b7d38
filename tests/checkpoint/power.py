"""A disk whose power fails: its changes are recorded and replayed up to a moment, with any part of what was not synced.

What is written other than by ``os.open`` and ``os.write`` is not seen, and so is not there after the cut.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Operation = tuple[str, ...]
"""mkdir/create/fsync/unlink/rmdir path, write path data, rename source target; data in latin-1."""


class Recorder:
    """Notes every call that changes the disk below `root`, and lets it happen."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.log: list[Operation] = []
        self._root = root
        self._open: dict[int, str] = {}
        real = {name: getattr(os, name) for name in ("open", "write", "fsync")}
        for name in ("mkdir", "unlink", "rmdir", "rename", "replace"):
            patch.setattr(os, name, self._noting(name.replace("replace", "rename"), getattr(os, name)))

        def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            exists = os.path.lexists(path) if dir_fd is None else True
            descriptor: int = real["open"](path, flags, mode, dir_fd=dir_fd)
            self._open[descriptor] = self._name(path, dir_fd)
            if flags & os.O_CREAT and not exists:
                self._note("create", self._open[descriptor])
            return descriptor

        def write(descriptor: int, data: bytes) -> int:
            count: int = real["write"](descriptor, data)
            if descriptor in self._open:
                self._note("write", self._open[descriptor], bytes(data[:count]).decode("latin-1"))
            return count

        def fsync(descriptor: int) -> None:
            real["fsync"](descriptor)
            self._note("fsync", self._open[descriptor])

        for call in (open_, write, fsync):
            patch.setattr(os, call.__name__.rstrip("_"), call)

    def _name(self, path: Any, dir_fd: int | None = None) -> str:
        """The path below the root; what lies elsewhere stays absolute."""
        whole = Path(self._open[dir_fd]) / path if dir_fd is not None else Path(path)
        return str(whole.relative_to(self._root)) if whole.is_relative_to(self._root) else str(whole)

    def _note(self, kind: str, path: str, *more: str) -> None:
        if not os.path.isabs(path):
            self.log.append((kind, path, *more))

    def _noting(self, name: str, real: Callable[..., Any]) -> Callable[..., None]:
        def call(*paths: Any, dir_fd: int | None = None, **options: Any) -> None:
            if dir_fd is not None:
                options["dir_fd"] = dir_fd
            real(*paths, **options)
            self._note(name, *(self._name(path, dir_fd) for path in paths if not isinstance(path, int)))

        return call


@dataclass
class _File:
    data: str = ""
    synced: str = ""


@dataclass
class _Directory:
    names: dict[str, _File | _Directory] = field(default_factory=dict)
    synced: dict[str, _File | _Directory] = field(default_factory=dict)
    pending: list[dict[str, _File | _Directory | None]] = field(default_factory=list)

    def change(self, change: dict[str, _File | _Directory | None]) -> None:
        """Names that change together: one call's."""
        self.pending.append(change)
        _apply(self.names, change)


def _apply(names: dict[str, Any], change: dict[str, Any]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def replayed(operations: list[Operation]) -> _Directory:
    """The disk after these operations, with what is synced and what is not."""
    root = _Directory()

    def at(path: str) -> tuple[_Directory, str]:
        node: Any = root
        *parents, name = Path(path).parts
        for part in parents:
            node = node.names[part]
        return node, name

    for kind, path, *more in operations:
        if path == ".":
            parent, name, node = root, "", root
        else:
            parent, name = at(path)
            node = parent.names.get(name)  # type: ignore[assignment]
        if kind in ("mkdir", "create"):
            parent.change({name: _Directory() if kind == "mkdir" else _File()})
        elif kind in ("unlink", "rmdir"):
            parent.change({name: None})
        elif kind == "rename":
            parent.change({name: None, at(more[0])[1]: node})
        elif kind == "write":
            node.data += more[0]  # type: ignore[attr-defined]
        else:
            _sync(node)
    return root


def _sync(node: _File | _Directory) -> None:
    if isinstance(node, _File):
        node.synced = node.data
    else:
        node.synced = dict(node.names)
        node.pending.clear()


def write_survivors(node: _Directory, target: Path, chance: random.Random) -> None:
    """Write one of the disks that the power cut may have left."""
    names = dict(node.synced)
    for change in node.pending:
        if chance.random() < 0.5:
            _apply(names, change)
    for name, inner in names.items():
        if isinstance(inner, _Directory):
            (target / name).mkdir()
            write_survivors(inner, target / name, chance)
        else:
            torn = inner.data[: chance.randint(len(inner.synced), len(inner.data))]
            (target / name).write_bytes(chance.choice([inner.synced, inner.data, torn]).encode("latin-1"))
