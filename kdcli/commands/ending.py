"""The last lines of a training: what came out, where it is, and what to run next."""

from __future__ import annotations

import json
import shlex
import shutil
import sys

from kdcli.commands.flags import Flags
from kdcli.commands.reporting import end_report
from kdcli.errors import CheckpointError, SweepError, why_stopped
from kdcli.rundir import RunDir
from kdcli.rundir.run import REPORT
from kdcli.schema import convert
from kdcli.schema.results import Summary


def end_training(run: RunDir, flags: Flags) -> int:
    """Show a finished training's verdict on stdout, or its summary as JSON.

    Raises:
        SweepError: The training is whole, but its baseline diverged.
    """
    summary = convert(Summary, run.summary(), error=CheckpointError, where=str(run.path / "summary.json"))
    try:
        end_report(run)
    except KeyboardInterrupt as stopped:
        reason = why_stopped(stopped)
        what = f"{reason.what}; the run is finished, its report is not"
        raise type(reason)(what, where=str(run.path), fix=f"kd report {shlex.quote(str(run.path))}") from stopped
    if flags.json:
        sys.stdout.write(json.dumps(summary.model_dump(by_alias=True), indent=2) + "\n")
    else:
        from kdcli.report.specialists import specialists_verdict
        from kdcli.report.text import encodable
        from kdcli.report.verdict import training_verdict

        width = shutil.get_terminal_size((100, 24)).columns
        page = run.path / REPORT
        shown = str(page) if page.exists() else None
        if summary.specialists is None:
            verdict = training_verdict(summary, width=width, smoke=run.record.smoke, page=shown, data=data_words(run))
        else:
            verdict = specialists_verdict(summary, width=width, smoke=run.record.smoke, page=shown)
        sys.stdout.write(encodable(verdict + "\n", sys.stdout.encoding))
    _check_baseline(run)
    return 0


def data_words(run: RunDir) -> list[str]:
    """What a run's command line said of its data, and that its network is code, to be said again.

    Nothing where that cannot be read.
    """
    try:
        words = [word.lstrip("+") for word in run.overrides()]
    except CheckpointError:
        return []
    trusted = ["trust_code=true"] * ("model=custom" in words)
    return [shlex.quote(word) for word in words if word.startswith(("dataset=", "dataset."))] + trusted


def _check_baseline(run: RunDir) -> None:
    path = run.path / "baseline"
    record = RunDir.open(path).record if (path / "run.json").exists() else None
    if record is not None and record.status == "diverged" and record.error is not None:
        raise SweepError(
            f"the run is whole, but there is nothing to compare it with: {record.error.what}",
            where=str(path),
            fix="lower optimizer.lr, which the baseline shares",
        )


def show_plan(text: str) -> int:
    """Print what a dry run found."""
    sys.stdout.write(text)
    return 0
