"""Looking through a run directory, and all runs inside it, for damage; nothing is changed, and no torch is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kdcli import checkpoint, schema
from kdcli.checkpoint.layout import step_directories
from kdcli.disk import is_temporary, read_bounded
from kdcli.errors import CheckpointError
from kdcli.json_io import read_json
from kdcli.rundir import RunDir, read_metrics
from kdcli.rundir.find import IMPORTS, SPECIALIST, TRAININGS
from kdcli.rundir.listing import SEARCHES, STUDIES, SWEEPS
from kdcli.rundir.run import CHECKPOINTS, CONFIG, ENVIRONMENT, FINDINGS, METRICS, OVERRIDES, RECORD, SUMMARY
from kdcli.schema import convert
from kdcli.schema.findings import Findings
from kdcli.schema.results import Evaluation, MetricsLine, Summary
from kdcli.schema.search import SearchFile
from kdcli.schema.sweep import LedgerEntry, ProgramFile, baseline_name, job_name
from kdcli.strict import check_schema
from kdcli.yaml_io import load_yaml_list

T = TypeVar("T")

LEDGER = "ledger.jsonl"
PROGRAMS = "programs"
COHORTS = ("cohort", "cohorts")
_DEPTH = 4
_MAX_METRICS = 256 * 2**20


@dataclass(frozen=True)
class Finding:
    """Something that is not as kd left it; ``harmless`` where `kd resume` sees to it."""

    where: str
    what: str
    harmless: bool = False


@dataclass
class Audit:
    """What was looked at, and what was found."""

    files: int = 0
    checkpoints: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged or missing."""
        return all(finding.harmless for finding in self.findings)


def audit_run(path: Path) -> Audit:
    """Check a run directory, and every run that is inside it.

    Args:
        path: A run, sweep or study; what is in it may be anything.
    """
    audit = Audit()
    _check_tree(audit, path)
    _check_run(audit, path)
    return audit


def _add(audit: Audit, where: Path | str, what: str, *, harmless: bool = False) -> None:
    audit.findings.append(Finding(str(where), what, harmless))


def _check_tree(audit: Audit, path: Path) -> None:
    """What kd never makes, symbolic links, and what it leaves only where it was killed."""
    for folder, directories, files in os.walk(path):
        for name in [*directories, *files]:
            if os.path.islink(Path(folder, name)):
                _add(audit, Path(folder, name), "a symbolic link, which kd never makes")
            elif is_temporary(name):
                _add(audit, Path(folder, name), "left by a process that was killed", harmless=True)
        directories[:] = sorted(name for name in directories if not is_temporary(name))


def _read(audit: Audit, path: Path, read: Callable[[Path], T], *, required: bool = True) -> T | None:
    """What ``read`` makes of a file; what is wrong with it becomes a finding."""
    if not os.path.lexists(path):
        if required:
            _add(audit, path, "is missing")
        return None
    audit.files += 1
    try:
        return read(path)
    except CheckpointError as problem:
        _add(audit, problem.where or path, problem.what)
        return None


def _check_run(audit: Audit, path: Path) -> None:
    run = _read(audit, path / RECORD, lambda _: RunDir.open(path))
    if run is None:
        return
    if run.status == "interrupted" and run.record.status == "running":
        _add(audit, path / RECORD, "its process is gone; go on with kd resume", harmless=True)
    _read(audit, path / CONFIG, lambda file: _config(run, file))
    _read(audit, path / OVERRIDES, load_yaml_list)
    _read(audit, path / ENVIRONMENT, _object)
    if run.record.command in (*TRAININGS, SPECIALIST):
        _check_training(audit, run)
    elif run.record.command == IMPORTS:
        _check_imported(audit, run)
    elif run.record.command == SWEEPS:
        _check_sweep(audit, run)
    elif run.record.command == SEARCHES:
        _read(audit, path / SUMMARY, _object, required=run.status == "finished")
    elif run.record.command == STUDIES:
        _read(audit, path / "results.json", _object, required=run.status == "finished")
    elif run.record.command == "evaluate":
        _read(audit, path / "evaluation.json", _evaluation, required=run.status == "finished")
    for inside in _runs_inside(path, _DEPTH):
        _check_run(audit, inside)


def _config(run: RunDir, file: Path) -> object:
    command, config = run.record.command, run.config()
    if command in schema.COMMANDS:
        return schema.parse_config(command, config, error=CheckpointError, where=str(file))
    if command == STUDIES:
        from kdcli.studies.form import Study

        return convert(Study, config, error=CheckpointError, where=str(file))
    if command == SEARCHES:
        return convert(SearchFile, config, error=CheckpointError, where=str(file))
    if command != SWEEPS:
        raise CheckpointError(f"{command[:80]!a} is no command of kd", where=f"{run.path / RECORD}: command")
    return config


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise CheckpointError("not a JSON object", where=str(path))
    return value


def _summary(path: Path) -> Summary:
    value = _object(path)
    check_schema(value, where=str(path))
    return convert(Summary, value, error=CheckpointError, where=str(path))


def _evaluation(path: Path) -> Evaluation:
    return convert(Evaluation, read_json(path), error=CheckpointError, where=str(path))


def _findings(path: Path) -> Findings:
    return convert(Findings, read_json(path), error=CheckpointError, where=str(path))


def _check_training(audit: Audit, run: RunDir) -> None:
    finished, ensemble = run.status == "finished", (run.path / "members").exists()
    summary = _read(audit, run.path / SUMMARY, _summary, required=finished)
    _read(audit, run.path / FINDINGS, _findings, required=False)
    trained = summary is None or summary.epochs > 0
    epochs = _read(audit, run.path / METRICS, _metrics, required=finished and trained and not ensemble)
    if finished and summary is not None and epochs is not None and len(epochs) != summary.epochs:
        _add(audit, run.path / METRICS, f"{len(epochs)} epochs, and {SUMMARY} says {summary.epochs}")
    _check_torn(audit, run, finished=finished)
    _check_store(audit, run.checkpoints, required=finished and not ensemble)
    _check_store(audit, run.path / COHORTS[0], required=False)
    if summary is not None and summary.selected is not None:
        _check_selected(audit, run, summary)
    if summary is not None:
        _check_parts(audit, run, summary)


def _check_imported(audit: Audit, run: RunDir) -> None:
    finished = run.status == "finished"
    _read(audit, run.path / SUMMARY, _summary, required=finished)
    _check_store(audit, run.checkpoints, required=finished)


def _metrics(path: Path) -> Sequence[MetricsLine]:
    lines = [
        convert(MetricsLine, line, error=CheckpointError, where=f"{path}:{number}")
        for number, line in enumerate(read_metrics(path), start=1)
    ]
    if [line.epoch for line in lines] != list(range(1, len(lines) + 1)):
        raise CheckpointError("its epochs are not 1, 2, 3, ...: each must stand there once", where=str(path))
    return lines


def _check_torn(audit: Audit, run: RunDir, *, finished: bool) -> None:
    try:
        data = read_bounded(run.metrics, _MAX_METRICS, error=CheckpointError)
    except CheckpointError:
        return  # found already, or not there
    if data and not data.endswith(b"\n"):
        _add(audit, run.metrics, "its last line is torn", harmless=not finished)


def _check_store(audit: Audit, store: Path, *, required: bool) -> None:
    if os.path.islink(store) or not (required or checkpoint.has_commits(store)):
        return
    for problem in checkpoint.verify(store, needs_last=required):
        what = f"{problem.what}; no pointer names it" if problem.spare else problem.what
        _add(audit, problem.path, what, harmless=problem.spare)
    audit.checkpoints += len(step_directories(store))
    audit.files += sum(len(files) for _, _, files in os.walk(store))


def _check_selected(audit: Audit, run: RunDir, summary: Summary) -> None:
    """The checkpoint that the numbers are of must be the one that its pointer names."""
    assert summary.selected is not None
    pointer = run.checkpoints / f"{summary.selected.by}.json"
    if summary.selected.by != "last" and not os.path.lexists(pointer):
        _add(audit, pointer, f"is missing: {SUMMARY} is of the checkpoint that it named")
    try:
        named = checkpoint.read_pointer(run.checkpoints, summary.selected.by).dir
    except CheckpointError:
        return  # found already
    if named != summary.selected.checkpoint:
        what = f"says {summary.selected.checkpoint!a} was selected, and {summary.selected.by}.json names {named}"
        _add(audit, run.path / SUMMARY, what)


def _check_parts(audit: Audit, run: RunDir, summary: Summary) -> None:
    """The baseline and the members that a run has inside it; a job of a sweep shares a baseline beside it."""
    baseline = [] if summary.baseline is None else [summary.baseline.run]
    for name in [*baseline, *(member.run for member in summary.members or [])]:
        _, own, inside = name.rpartition(f"/{run.path.name}/")
        if own and not (run.path / inside / RECORD).exists():
            _add(audit, run.path / inside, f"is missing: {SUMMARY} names it")


def _check_sweep(audit: Audit, run: RunDir) -> None:
    _read(audit, run.path / SUMMARY, _object, required=run.status == "finished")
    named: dict[str, int] = {}
    for entry in _read(audit, run.path / LEDGER, _ledger) or []:
        named[job_name(entry.job)] = entry.job
        if entry.baseline is not None:
            named.setdefault(baseline_name(entry.baseline), entry.job)
    for name, job in named.items():
        if not (run.path / name).is_dir():
            _add(audit, run.path / name, f"is missing: {LEDGER} has it for job {job}")
    for path in sorted((run.path / PROGRAMS).glob("*.json")):
        _read(audit, path, lambda file: convert(ProgramFile, read_json(file), error=CheckpointError, where=str(file)))
    for store in sorted((run.path / COHORTS[1]).glob("*")):
        _check_store(audit, store, required=False)


def _ledger(path: Path) -> list[LedgerEntry]:
    return [
        convert(LedgerEntry, line, error=CheckpointError, where=f"{path}:{number}")
        for number, line in enumerate(read_metrics(path), start=1)
    ]


def _runs_inside(path: Path, depth: int) -> list[Path]:
    """The runs in a directory, however deep a study keeps them; not those inside these runs."""
    found: list[Path] = []
    with os.scandir(path) as entries:
        folders = sorted(Path(each.path) for each in entries if each.is_dir(follow_symlinks=False))
    for folder in folders:
        if folder.name in (CHECKPOINTS, *COHORTS) or folder.name.startswith("."):
            continue
        if os.path.lexists(folder / RECORD):
            found.append(folder)
        elif depth:
            found += _runs_inside(folder, depth - 1)
    return found
