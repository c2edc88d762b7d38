"""Which runs there are under an output directory.

    outputs/<command>/<run>/              a run started by itself
    outputs/sweeps/<sweep>/<00, 01, ...>/ a job of a sweep, beside the sweep's own record
    outputs/studies/<name>/<hash>/        a study; its runs belong to it and are not listed; a name may be a/b
    outputs/search/<search>/              a search; its sweeps belong to it and are not listed

Baselines and members are inside the run they belong to, and are not listed either.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kdcli.errors import CheckpointError
from kdcli.rundir.run import RECORD, RunDir

SWEEPS = "sweeps"
STUDIES = "studies"
SEARCHES = "search"


def list_runs(root: Path) -> tuple[list[RunDir], dict[Path, CheckpointError]]:
    """All runs, sweeps, their jobs, and studies, newest first; and those that cannot be read, with the reason.

    Args:
        root: The output directory; one that does not exist holds no runs.
    """
    runs: list[RunDir] = []
    damaged: dict[Path, CheckpointError] = {}
    for path in _directories(root):
        if not os.path.lexists(path / RECORD):
            continue
        try:
            runs.append(RunDir.open(path))
        except CheckpointError as problem:
            damaged[path] = problem
    runs.sort(key=lambda run: (run.record.started, run.path.name), reverse=True)
    return runs, damaged


def name_of(path: Path, root: Path) -> str:
    """What a listed run is called: its directory's name, behind that of its sweep or study where it has one."""
    return "/".join(path.relative_to(root).parts[1:])


def is_job(run: RunDir, root: Path) -> bool:
    """Whether a listed run is a job of a sweep."""
    parts = run.path.relative_to(root).parts
    return parts[0] == SWEEPS and len(parts) > 2


def _directories(root: Path) -> Iterator[Path]:
    for folder in _subdirectories(root):
        for path in _subdirectories(folder):
            yield path
            if folder.name in (SWEEPS, STUDIES):
                inner = _subdirectories(path)
                yield from inner
                if folder.name == STUDIES and not os.path.lexists(path / RECORD):
                    yield from (deeper for part in inner for deeper in _subdirectories(part))


def _subdirectories(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    except OSError:
        return []
