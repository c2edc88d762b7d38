"""R4: the power fails during a save, and the disk kept any part of what was not synced, in any order."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kdcli.checkpoint import load
from kdcli.errors import CheckpointError

Operation = tuple[str, ...]
"""mkdir/create/fsync/unlink/rmdir path, write path data, rename source target; data in latin-1."""


class _Recorder:
    """Notes every call that changes the disk below `root`, and lets it happen."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.log: list[Operation] = []
        self._root = root
        self._open: dict[int, str] = {}
        real = {name: getattr(os, name) for name in ("open", "write", "fsync")}
        for name in ("mkdir", "unlink", "rmdir", "rename", "replace"):
            patch.setattr(os, name, self._noting(name.replace("replace", "rename"), getattr(os, name)))

        def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            descriptor: int = real["open"](path, flags, mode, dir_fd=dir_fd)
            self._open[descriptor] = self._name(path, dir_fd)
            if flags & os.O_CREAT:
                self.log.append(("create", self._open[descriptor]))
            return descriptor

        def write(descriptor: int, data: bytes) -> int:
            count: int = real["write"](descriptor, data)
            self.log.append(("write", self._open[descriptor], bytes(data[:count]).decode("latin-1")))
            return count

        def fsync(descriptor: int) -> None:
            real["fsync"](descriptor)
            self.log.append(("fsync", self._open[descriptor]))

        for call in (open_, write, fsync):
            patch.setattr(os, call.__name__.rstrip("_"), call)

    def _name(self, path: Any, dir_fd: int | None = None) -> str:
        whole = Path(self._open[dir_fd]) / path if dir_fd is not None else Path(path)
        return str(whole.relative_to(self._root)) if whole.is_absolute() else str(whole)

    def _noting(self, name: str, real: Callable[..., Any]) -> Callable[..., None]:
        def call(*paths: Any, dir_fd: int | None = None, **options: Any) -> None:
            if dir_fd is not None:
                options["dir_fd"] = dir_fd
            real(*paths, **options)
            self.log.append((name, *(self._name(path, dir_fd) for path in paths if not isinstance(path, int))))

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


def _run(operations: list[Operation]) -> _Directory:
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


def _write_survivors(node: _Directory, target: Path, chance: random.Random) -> None:
    """Write one of the disks that the power cut may have left."""
    names = dict(node.synced)
    for change in node.pending:
        if chance.random() < 0.5:
            _apply(names, change)
    for name, inner in names.items():
        if isinstance(inner, _Directory):
            (target / name).mkdir()
            _write_survivors(inner, target / name, chance)
        else:
            torn = inner.data[: chance.randint(len(inner.synced), len(inner.data))]
            (target / name).write_bytes(chance.choice([inner.synced, inner.data, torn]).encode("latin-1"))


def _survives(log: list[Operation], tmp_path: Path, saver: ModuleType, seed: int) -> bool:
    """Whether after a power cut at a random moment the last acknowledged checkpoint loads, or a newer one."""
    chance = random.Random(seed)
    moment = chance.randrange(1, len(log) + 1)
    acknowledged = sum(operation == ("acknowledged",) for operation in log[:moment])
    target = tmp_path / "after"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    done = [operation for operation in log[:moment] if operation != ("acknowledged",)]
    _write_survivors(_run(done), target, chance)
    try:
        loaded = load(target / "checkpoints", fallback=False)
    except CheckpointError:
        return acknowledged == 0
    return loaded.step >= acknowledged and bool(saver.is_same(loaded, loaded.step))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, saver: ModuleType) -> list[Operation]:
    """What three saves, each acknowledged at its end, do to the disk."""
    root: Path = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        recorder = _Recorder(patch, root)
        for step in (1, 2, 3):
            saver.save(root / "checkpoints", step)
            recorder.log.append(("acknowledged",))
    return recorder.log


def test_a_power_cut_at_any_moment_keeps_the_last_acknowledged_checkpoint(
    log: list[Operation], tmp_path: Path, saver: ModuleType
) -> None:
    assert [seed for seed in range(300) if not _survives(log, tmp_path, saver, seed)] == []


def _without_one_sync(log: list[Operation]) -> Iterator[tuple[str, list[Operation]]]:
    """The log without the sync that makes the store known, then without each of those of the second save."""
    first, second, _ = [number for number, operation in enumerate(log) if operation == ("acknowledged",)]
    for number in [log.index(("fsync", ".")), *range(first, second)]:
        if log[number][0] == "fsync":
            yield log[number][1], log[:number] + log[number + 1 :]


def test_leaving_out_any_one_sync_loses_a_checkpoint(log: list[Operation], tmp_path: Path, saver: ModuleType) -> None:
    without = list(_without_one_sync(log))
    assert len(without) == 9  # parent; four files; their directory; store; pointer; store
    for left_out, shorter in without:
        assert not all(_survives(shorter, tmp_path, saver, seed) for seed in range(3000)), left_out
