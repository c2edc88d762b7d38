"""Looking through a whole store for damage, for `kd verify`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kdcli.checkpoint.layout import POINTERS, PointerName, has_commits, refuse_link, step_directories
from kdcli.checkpoint.read import read_manifest, read_pointer, read_verified
from kdcli.errors import CheckpointError


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file or directory of a run."""

    path: Path
    what: str


def verify(store: Path) -> list[Problem]:
    """Everything that is wrong with the pointers and step-directories of a store; empty where all is whole."""
    try:
        refuse_link(store)
        if not has_commits(store):
            return [Problem(store, "no checkpoint was committed here")]
        directories = step_directories(store)
    except CheckpointError as problem:
        return [Problem(store, problem.what)]
    found = [_check_pointer(store, name) for name in POINTERS] + [_check_directory(path) for path in directories]
    return [problem for problem in found if problem is not None]


def _check_pointer(store: Path, name: PointerName) -> Problem | None:
    path = store / f"{name}.json"
    if name != "last" and not os.path.lexists(path):
        return None
    try:
        pointer = read_pointer(store, name)
        read_manifest(store / pointer.dir, pointer.manifest_sha256)
    except CheckpointError as problem:
        return Problem(path, problem.what)
    return None


def _check_directory(directory: Path) -> Problem | None:
    try:
        read_verified(directory)
    except CheckpointError as problem:
        return Problem(directory, problem.what)
    return None
