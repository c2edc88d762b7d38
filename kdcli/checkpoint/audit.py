"""Looking through a whole store for damage, for `kd verify`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kdcli.checkpoint.layout import POINTERS, STATE, PointerName, has_commits, refuse_link, step_directories
from kdcli.checkpoint.read import check_tensors, parse_state, read_manifest, read_pointer, read_verified
from kdcli.errors import CheckpointError


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file or directory of a run; ``spare`` where no pointer names it, as after a power cut."""

    path: Path
    what: str
    spare: bool = False


def verify(store: Path, *, needs_last: bool = True) -> list[Problem]:
    """Everything that is wrong with the pointers and step-directories of a store; empty where all is whole.

    Args:
        store: The `checkpoints` directory.
        needs_last: Whether last.json must be there: a training that diverged may have kept its best weights only.
    """
    try:
        refuse_link(store)
        if not has_commits(store):
            return [Problem(store, "no checkpoint was committed here")]
        directories = step_directories(store)
    except CheckpointError as problem:
        return [Problem(store, problem.what)]
    required = ["last"] if needs_last else []
    named = [name for name in POINTERS if name in required or os.path.lexists(store / f"{name}.json")]
    needed = {pointed for name in named if (pointed := _pointed(store, name)) is not None}
    found = [_check_pointer(store, name) for name in named]
    found += [_check_directory(path, spare=path.name not in needed) for path in directories]
    return [problem for problem in found if problem is not None]


def _pointed(store: Path, name: PointerName) -> str | None:
    try:
        return read_pointer(store, name).dir
    except CheckpointError:
        return None


def _check_pointer(store: Path, name: PointerName) -> Problem | None:
    path = store / f"{name}.json"
    try:
        pointer = read_pointer(store, name)
        read_manifest(store / pointer.dir, pointer.manifest_sha256)
    except CheckpointError as problem:
        return Problem(path, problem.what)
    return None


def _check_directory(directory: Path, *, spare: bool) -> Problem | None:
    try:
        manifest, files = read_verified(directory)
        parse_state(files.pop(STATE), manifest.step, str(directory / STATE))
        for name, data in files.items():
            check_tensors(data, str(directory / name))
    except CheckpointError as problem:
        return Problem(directory, problem.what, spare)
    return None
