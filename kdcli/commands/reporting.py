"""The figures and the report of a run that was started by itself."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.disk import remove_leftovers, write_atomic
from kdcli.errors import CheckpointError
from kdcli.json_io import read_json
from kdcli.rundir import RunDir, read_metrics
from kdcli.rundir.run import ENVIRONMENT, FINDINGS, METRICS, REPORT, SUMMARY
from kdcli.schema import convert
from kdcli.schema.results import Evaluation, Summary

if TYPE_CHECKING:
    from kdcli.schema.findings import Findings


NOT_NOW = "KD_NO_REPORT"


def end_report(run: RunDir) -> None:
    """Write the report of a training that has just ended, unless the environment leaves it to ``kd report``.

    Raises:
        MachineError: It cannot be written.
    """
    if not os.environ.get(NOT_NOW):
        write_report(run)


def write_report(run: RunDir) -> Path:
    """Draw a finished training's figures and write its report.html.

    Returns:
        The report.

    Raises:
        CheckpointError: Its files are damaged, or lead elsewhere.
        MachineError: It cannot be written.
    """
    from kdcli.report.findings import finding_sections
    from kdcli.report.html import run_report

    summary = convert(Summary, run.summary(), error=CheckpointError, where=str(run.path / SUMMARY))
    found = read_findings(run)
    metrics, baseline = _metrics(run.metrics), _metrics(run.path / "baseline" / METRICS)
    figures = run.path / "figures"
    if figures.is_symlink():
        raise CheckpointError("a symbolic link where figures are kept", where=str(figures), fix="remove it")
    for folder in (run.path, figures):
        remove_leftovers(folder)
    text = run_report(
        summary,
        metrics,
        baseline,
        run.config(),
        read_json(run.path / ENVIRONMENT),
        _curves(summary, metrics, baseline, found, figures),
        _command(run),
        [] if found is None else finding_sections(found, figures),
    )
    path = run.path / REPORT
    write_atomic(path, text.encode())
    return path


def write_evaluation_report(run: RunDir, evaluation: Evaluation) -> Path:
    """Draw what an evaluation measured, and write its report.html.

    Raises:
        MachineError: It cannot be written.
    """
    from kdcli.report.evaluation_page import evaluation_page

    path = run.path / REPORT
    write_atomic(path, evaluation_page(evaluation, run.path / "figures", _command(run)).encode())
    return path


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; none where there is no such file: an ensemble's members have theirs."""
    return read_metrics(path) if path.exists() else []


def read_findings(run: RunDir) -> Findings | None:
    """What was found of a run's answers on test; None where it left no findings.

    Raises:
        CheckpointError: They are damaged.
    """
    from kdcli.schema.findings import Findings

    path = run.path / FINDINGS
    return convert(Findings, read_json(path), error=CheckpointError, where=str(path)) if path.exists() else None


def _curves(
    summary: Summary,
    metrics: Sequence[Mapping[str, Any]],
    baseline: Sequence[Mapping[str, Any]],
    found: Findings | None,
    figures: Path,
) -> dict[str, Path]:
    if not metrics:
        return {}
    from kdcli.report.curves import curves

    known = {} if found is None else {each.name: each.val_top1 for each in found.networks}
    best = summary.selected.epoch if summary.selected is not None else None
    drawn = curves(metrics, figures / "curves", baseline=baseline, teacher_top1=known.get("teacher"), best_epoch=best)
    return {"Curves": drawn.svg}


def _command(run: RunDir) -> str:
    """The command line that runs it again, in the program's own name."""
    return shlex.join(["kd", *run.record.argv[1:]])
