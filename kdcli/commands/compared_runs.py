"""The trainings that ``kd compare`` is about, read from their directories."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdcli.commands.conf_files import NOT_COMPARED
from kdcli.errors import CheckpointError, KDError, UsageError
from kdcli.report.comparison import ComparedRun, Setting
from kdcli.rundir import RunDir, list_runs, name_of, read_metrics, resolve_run
from kdcli.rundir.find import TRAININGS
from kdcli.rundir.listing import is_job
from kdcli.rundir.run import CHECKPOINTS, RECORD
from kdcli.schema import convert
from kdcli.schema.results import MetricsLine, Summary

_INSIDE = ("baseline", "baselines", "members", CHECKPOINTS, "cohort", "cohorts")
_SCHEDULES = ("temperature", "alpha")
_DEPTH = 4


def named_runs(names: Sequence[str], root: Path, *, smoke: bool) -> list[RunDir]:
    """The trainings that RUNs mean: themselves, or all those inside a sweep, search or study.

    Raises:
        UsageError: There is no such run, or none inside.
    """
    found: list[RunDir] = []
    for name in names:
        run = resolve_run(name, root=root, purpose="run", smoke=smoke)
        inside = [run] if run.record.command in TRAININGS else _trainings_in(run.path, _DEPTH)
        if not inside:
            what = f"a {run.record.command} holds no training to compare"
            raise UsageError(what, where=str(run.path), fix="name trainings, a sweep, a search or a study")
        found += [each for each in inside if each.path not in [known.path for known in found]]
    return found


def _trainings_in(path: Path, depth: int) -> list[RunDir]:
    found: list[RunDir] = []
    with os.scandir(path) as entries:
        folders = sorted((each.path for each in entries if each.is_dir(follow_symlinks=False)), key=_numbered)
    for folder in map(Path, folders):
        if folder.name in _INSIDE or folder.name.startswith("."):
            continue
        run = RunDir.open(folder) if os.path.lexists(folder / RECORD) else None
        if run is not None and run.record.command in TRAININGS:
            found.append(run)
        elif depth:
            found += _trainings_in(folder, depth - 1)
    return found


def _numbered(path: str) -> tuple[int, str]:
    """Sorts job 99 before job 100."""
    name = Path(path).name
    return (len(name) if name.isdigit() else 0, name)


def last_runs(count: int, root: Path, *, smoke: bool) -> list[RunDir]:
    """The newest finished trainings that were started by themselves, the oldest of them first.

    Raises:
        UsageError: There is none.
    """
    runs = [run for run in list_runs(root)[0] if run.record.command in TRAININGS and not is_job(run, root)]
    kept = [run for run in runs if run.status == "finished" and (smoke or not run.record.smoke)]
    if not kept:
        what = f"there is no finished training under {str(root)!r}"
        raise UsageError(what, where="--last", fix="train one first: kd train-teacher")
    return kept[:count][::-1]


def read_run(run: RunDir, root: Path) -> ComparedRun:
    """What is compared of a finished training.

    Raises:
        CheckpointError: Its files are damaged.
    """
    summary = convert(Summary, run.summary(), error=CheckpointError, where=str(run.path / "summary.json"))
    inside = run.path.is_relative_to(root)
    config = {key: value for key, value in run.config().items() if key not in NOT_COMPARED}
    return ComparedRun(
        id=name_of(run.path, root) if inside else str(run.path),
        path=str(run.path),
        settings={"command": run.record.command} | _settings(config),
        measures=_of_summary(summary) | _of_epochs(run),
    )


def _settings(config: Mapping[str, Any]) -> dict[str, Setting]:
    """The configuration with dots in its keys; a schedule is its name, a constant one its number, as it is typed."""
    flat: dict[str, Setting] = {}
    for key, value in config.items():
        if key in _SCHEDULES and isinstance(value, Mapping):
            schedule = dict(value)
            kind = schedule.pop("kind", None)
            flat[key] = schedule.pop("value", None) if kind == "constant" else kind
            flat |= {f"{key}.{name}": each for name, each in _settings(schedule).items()}
        elif isinstance(value, Mapping):
            flat |= {f"{key}.{name}": each for name, each in _settings(value).items()}
        else:
            flat[key] = value if isinstance(value, Setting) else json.dumps(value, ensure_ascii=False)
    return flat


def _of_summary(summary: Summary) -> dict[str, float | None]:
    test, val, teacher, baseline = summary.test, summary.val, summary.teacher, summary.baseline
    return {
        "val_top1": None if val is None else val.top1,
        "val_nll": None if val is None else val.nll,
        "test_errors": test.errors,
        "test_top1": test.top1,
        "test_nll": test.nll,
        "test_ece": test.ece,
        "agreement": test.agreement,
        "teacher_difference": None if teacher is None else test.top1 - teacher.test.top1,
        "baseline_difference": None if baseline is None else test.top1 - baseline.test.top1,
        "parameters": summary.parameters,
        "seconds": summary.wall_seconds,
    }


def _of_epochs(run: RunDir) -> dict[str, float | None]:
    """The best, its epoch, and the last of what each epoch measured; an ensemble has no epochs of its own."""
    raw = read_metrics(run.metrics) if run.metrics.exists() else []
    lines = [convert(MetricsLine, line, error=CheckpointError, where=str(run.metrics)) for line in raw]
    found = {"train_loss_last": lines[-1].train_loss if lines else None}
    found |= _course("val_top1", [(line.epoch, line.val_top1) for line in lines], best=max)
    return found | _course("val_nll", [(line.epoch, line.val_nll) for line in lines], best=min)


def _course(
    name: str, values: Sequence[tuple[int, float | None]], best: Callable[[list[float]], float]
) -> dict[str, float | None]:
    known = [(epoch, value) for epoch, value in values if value is not None]
    if not known:
        return {}
    top = best([value for _, value in known])
    first = next(epoch for epoch, value in known if value == top)
    return {f"{name}_best": top, f"{name}_epoch": first, f"{name}_last": known[-1][1]}


def readable(runs: Sequence[RunDir], root: Path, say: Callable[[str], None]) -> list[ComparedRun]:
    """The finished ones of some runs; the others are named, with what is wrong with them."""
    found = []
    for run in runs:
        if run.status != "finished":
            say(f"left out: {run.path} is {run.status}")
            continue
        try:
            found.append(read_run(run, root))
        except KDError as problem:
            say(f"left out: {run.path} is broken: {problem.what}")
    return found
