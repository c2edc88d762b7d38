"""The trials of a search: where they lie, and what came of each."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from kdcli.commands.search_space import Point, Space
from kdcli.commands.sweep import Batch
from kdcli.commands.sweep_results import read_ledger
from kdcli.errors import CheckpointError
from kdcli.rundir import RunDir
from kdcli.schema.results import Summary
from kdcli.schema.search import Objective
from kdcli.schema.sweep import LedgerEntry, job_name

BATCHES = "batches"


@dataclass(frozen=True)
class Trial:
    """One set of values that was tried.

    Args:
        number: Its place in the search, from 0.
        point: The values.
        run: Where it was trained.
        status: Of that run.
        reason: Why it did not finish.
        summary: Its result.
    """

    number: int
    point: Point
    run: Path
    status: str
    reason: str | None
    summary: Summary | None

    def value(self, objective: Objective) -> float | None:
        """What it reached on validation; None where it reached nothing finite."""
        value = getattr(self.summary.val, objective) if self.summary is not None and self.summary.val else None
        return value if value is not None and math.isfinite(value) else None


def batch_paths(home: RunDir) -> list[Path]:
    """The sweeps of a search, in order.

    Raises:
        CheckpointError: Something else is where they are kept.
    """
    folder = home.path / BATCHES
    names = {path.name for path in folder.glob("[0-9]*")}
    paths = [folder / job_name(number) for number in range(len(names))]
    for path in (folder, *paths):
        if os.path.islink(path):
            raise CheckpointError("a symbolic link where sweeps are kept", where=str(path), fix="remove it")
    if names != {path.name for path in paths}:
        raise CheckpointError(f"{', '.join(sorted(names))} are not the numbers from 00 on", where=str(folder))
    return paths


def new_batch(home: RunDir, number: int) -> Batch:
    """The place of a sweep that is to come."""
    name = f"{BATCHES}/{job_name(number)}"
    return Batch(home.path / name, f"{home.record.id}/{name}")


def read_trials(home: RunDir, space: Space) -> list[Trial]:
    """All trials of a search, as they stand.

    Raises:
        CheckpointError: A file of theirs is damaged, or they are not of this space.
    """
    trials: list[Trial] = []
    for path in batch_paths(home):
        for entry in read_ledger(RunDir.open(path)):
            trials.append(_trial(len(trials), entry, RunDir.open(path / job_name(entry.job)), space))
    return trials


def _trial(number: int, entry: LedgerEntry, run: RunDir, space: Space) -> Trial:
    from kdcli.program.subjects import read_summary

    try:
        point = space.read(entry.overrides)
    except ValueError as problem:
        where = str(run.path.parent / "ledger.jsonl")
        raise CheckpointError(f"job {entry.job} is no trial of this search: {problem}", where=where) from problem
    summary = read_summary(run) if run.status == "finished" else None
    reason = None if run.record.error is None else run.record.error.what
    return Trial(number, point, run.path, run.status, reason, summary)
