"""Finding the run that a user means."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Literal

from kdcli.errors import UsageError
from kdcli.rundir.listing import SEARCHES, STUDIES, SWEEPS, is_job, list_runs, name_of
from kdcli.rundir.run import RECORD, RunDir

Purpose = Literal["teacher", "run", "resume"]

TEACHERS = ("train-teacher", "distill-student")
"""Trainings of one network, or of an ensemble."""

TRAININGS = (*TEACHERS, "train-specialists")
SPECIALIST = "specialist"
"""What a network inside a run of ``train-specialists`` is recorded as."""

IMPORTS = "import"
NETWORKS = (*TRAININGS, SPECIALIST, IMPORTS)
"""What the runs that hold networks are recorded as."""

TEACHING = (*TEACHERS, IMPORTS)
"""What the runs that can teach a student are recorded as."""

RESUMABLE = (*TRAININGS, SPECIALIST, SWEEPS, SEARCHES, STUDIES)
"""What the runs that can go on are recorded as."""

_LATEST = {"teacher": "finished train-teacher", "run": "finished training", "resume": "run that can go on"}
_TRAIN = "train one first: kd train-teacher"
_SEE = "see which there are: kd runs"
_SHOWN = 5


def resolve_run(text: str, *, root: Path, purpose: Purpose, smoke: bool) -> RunDir:
    """The run that `text` means: a path, a name or the start of one, a label, or `latest`.

    A path is tried first and may lead to any run, also to a baseline, a member or a smoke run. Names and labels are
    those of the runs under `root`, jobs of sweeps as `<sweep>/<job>`.

    Args:
        text: What the user wrote.
        root: The output directory.
        purpose: What it is wanted for: `latest` is the newest finished train-teacher for "teacher", the newest finished
            training for "run", and for "resume" the newest run, sweep or study that is neither finished nor running.
        smoke: Whether smoke runs count; a path always does.

    Raises:
        UsageError: There is no such run, or several, or it is of a kind that cannot serve the purpose.
        CheckpointError: Its record is damaged.
    """
    if text == "latest":
        return _latest(root, purpose, smoke=smoke)
    run = _at_path(text, purpose, smoke=smoke) or _named(text, root, purpose, smoke=smoke)
    if purpose != "run" and run.record.command not in (TEACHING if purpose == "teacher" else RESUMABLE):
        raise UsageError(
            f"a run of {run.record.command!a} cannot be used here",
            where=f"{purpose}={text}",
            fix=_first_step(purpose, smoke),
        )
    return run


def _at_path(text: str, purpose: Purpose, *, smoke: bool) -> RunDir | None:
    path = Path(text)
    if text and os.path.isdir(path):
        if os.path.lexists(path / RECORD):
            return RunDir.open(path)
        if "/" in text:
            what = f"{text!r} is no run directory: it has no {RECORD}"
            fix = "name a run in it, or say latest" if any(path.glob(f"*/{RECORD}")) else _first_step(purpose, smoke)
            raise UsageError(what, where=f"{purpose}={text}", fix=fix)
    return None


def _latest(root: Path, purpose: Purpose, *, smoke: bool) -> RunDir:
    runs, _ = list_runs(root)
    fitting = [run for run in runs if _is_latest(run, root, purpose)]
    counting = [run for run in fitting if smoke or not run.record.smoke]
    if counting:
        return counting[0]
    what = f"there is no {_LATEST[purpose]} under {str(root)!r}"
    fix = _first_step(purpose, smoke) if purpose == "teacher" or runs else _TRAIN + " --smoke" * smoke
    if fitting:
        what += f" but for smoke runs ({len(fitting)}), which count only with --smoke"
        fix = "add --smoke"
    raise UsageError(what, where=f"{purpose}=latest", fix=fix)


def _is_latest(run: RunDir, root: Path, purpose: Purpose) -> bool:
    command = run.record.command
    if purpose == "resume":
        idle = run.status not in ("finished", "running") and not (run.status == "created" and run.has_process())
        return command in RESUMABLE and idle and not is_job(run, root) and _leads_on(run)
    wanted = TEACHERS[:1] if purpose == "teacher" else TRAININGS
    return command in wanted and run.status == "finished"


def _leads_on(run: RunDir) -> bool:
    """Whether resuming changes anything: what has diverged would again."""
    if run.status == "diverged" or run.record.command != SWEEPS or run.status != "failed":
        return run.status != "diverged"
    parts = [*run.path.glob(f"[0-9]*/{RECORD}"), *run.path.glob(f"baselines/[0-9]*/{RECORD}")]
    return any(RunDir.open(part.parent).record.status not in ("finished", "diverged") for part in parts)


def _named(text: str, root: Path, purpose: Purpose, *, smoke: bool) -> RunDir:
    runs, damaged = list_runs(root)
    for path, problem in damaged.items():
        if name_of(path, root) == text:
            raise problem
    found = _matches(text, runs, root)
    if not found:
        raise _not_found(text, runs, root, purpose, smoke=smoke)
    counting = [run for run in found if smoke or not run.record.smoke]
    if not counting:
        fix = "add --smoke, or give its path"
        raise UsageError(f"{text!r} is a smoke run, which counts only with --smoke", where=str(found[0].path), fix=fix)
    if len(counting) > 1:
        names = ", ".join(name_of(run.path, root) for run in counting[:_SHOWN])
        fix = f"write more of the name: {names}{', ...' if len(counting) > _SHOWN else ''}"
        raise UsageError(f"{text!r} means {len(counting)} runs", where=f"{purpose}={text}", fix=fix)
    return counting[0]


def _matches(text: str, runs: list[RunDir], root: Path) -> list[RunDir]:
    names = {name_of(run.path, root): run for run in runs}
    if text in names:
        return [names[text]]
    # The start of a sweep's name is not meant to be that of its jobs.
    heads = {name: run for name, run in names.items() if "/" in text or not is_job(run, root)}
    started = [run for name, run in heads.items() if text and name.startswith(text)]
    return started or [run for run in runs if run.record.label == text]


def _not_found(text: str, runs: list[RunDir], root: Path, purpose: Purpose, *, smoke: bool) -> UsageError:
    labels = [run.record.label for run in runs if run.record.label]
    known = ["latest", *(name_of(run.path, root) for run in runs), *labels]
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
    fix = f"did you mean {', '.join(near)}? " if near else ""
    return UsageError(
        f"there is no run {text!r} under {str(root)!r}",
        where=f"{purpose}={text}",
        fix=fix + (_SEE if runs else _TRAIN + " --smoke" * smoke),
    )


def _first_step(purpose: Purpose, smoke: bool) -> str:
    return _TRAIN + " --smoke" * smoke if purpose == "teacher" else _SEE
