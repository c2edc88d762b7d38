"""Deleting checkpoints that are not needed any more, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from kdcli.checkpoint.layout import POINTERS, refuse_link, step_directories, step_of
from kdcli.checkpoint.read import read_pointer
from kdcli.disk import remove_leftovers, remove_tree, temporary_name, translated
from kdcli.errors import CheckpointError
from kdcli.failpoints import reach


def prune(store: Path, *, spare: int = 0) -> None:
    """Delete the step-directories that no pointer names, and what dead processes left; call it after `point`.

    A store without last.json, or with a pointer that cannot be followed, is left as it is: its other checkpoints may be
    all that is whole. Symbolic links are removed, never followed.

    Args:
        store: The `checkpoints` directory.
        spare: How many of the newest that no pointer names to keep, to fall back to.
    """
    refuse_link(store)
    reach("prune.begin")
    remove_leftovers(store)
    named = _named(store)
    if named is None:
        return
    with translated(store):
        for directory in [path for path in step_directories(store) if path.name not in named][spare:]:
            _delete(directory)


def tidy(store: Path) -> None:
    """Delete what was committed after the checkpoint that last.json names, and what dead processes left.

    A training that goes on from there commits the same steps again, under the same names. What a pointer names stays.

    Args:
        store: The `checkpoints` directory, if it is there.
    """
    refuse_link(store)
    if not store.is_dir():
        return
    remove_leftovers(store)
    named = _named(store)
    if named is None:
        return
    last = step_of(read_pointer(store, "last").dir)
    with translated(store):
        for directory in step_directories(store):
            if directory.name not in named and step_of(directory.name) > last:
                _delete(directory)


def _named(store: Path) -> set[str] | None:
    """The names of the step-directories that pointers name; None where one cannot be followed."""
    names: set[str] = set()
    for pointer in POINTERS:
        if pointer == "last" or os.path.lexists(store / f"{pointer}.json"):
            try:
                names.add(read_pointer(store, pointer).dir)
            except CheckpointError:
                return None
    return names if all(os.path.isdir(store / name) for name in names) else None


def _delete(path: Path) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    trash = path.with_name(temporary_name("trash"))
    os.rename(path, trash)
    reach("prune.trashed")
    for entry in sorted(os.listdir(trash)):
        remove_tree(trash / entry)
        reach("prune.deleting")
    remove_tree(trash)
