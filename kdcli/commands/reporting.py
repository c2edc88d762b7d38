"""The figures and the report of a run that was started by itself."""

from __future__ import annotations

import shlex
from pathlib import Path

from kdcli.disk import remove_leftovers, write_atomic
from kdcli.errors import CheckpointError
from kdcli.json_io import read_json
from kdcli.rundir import RunDir, read_metrics
from kdcli.rundir.run import ENVIRONMENT
from kdcli.schema.results import Summary


def write_report(run: RunDir) -> Path | None:
    """Draw a finished run's curves and write its report.html, where the run has metrics of its own.

    Returns:
        The report, or None for an ensemble, whose members have the metrics.

    Raises:
        CheckpointError: Its files are damaged, or lead elsewhere.
        MachineError: It cannot be written.
    """
    if not run.metrics.exists():
        return None
    from kdcli.report.curves import curves
    from kdcli.report.html import run_report

    summary = Summary.model_validate(run.summary())
    metrics = read_metrics(run.metrics)
    beside = run.path / "baseline" / "metrics.jsonl"
    baseline = read_metrics(beside) if beside.exists() else []
    best = summary.selected.epoch if summary.selected is not None else None
    stem = run.path / "figures" / "curves"
    if stem.parent.is_symlink():
        raise CheckpointError("a symbolic link where figures are kept", where=str(stem.parent), fix="remove it")
    for folder in (run.path, stem.parent):
        remove_leftovers(folder)
    curves(metrics, stem, baseline=baseline, best_epoch=best)
    text = run_report(
        summary,
        metrics,
        baseline,
        run.config(),
        read_json(run.path / ENVIRONMENT),
        {"Curves": stem.with_suffix(".svg")},
        _command(run),
    )
    path = run.path / "report.html"
    write_atomic(path, text.encode())
    return path


def _command(run: RunDir) -> str:
    """The command line that runs it again, in the program's own name."""
    return shlex.join(["kd", *run.record.argv[1:]])
