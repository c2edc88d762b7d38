"""``kd report RUN``: write the figures and the report.html of anything that has come to its end."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

from kdcli.commands.flags import Flags
from kdcli.commands.screen import escape_controls
from kdcli.commands.words import take_apart
from kdcli.errors import UsageError
from kdcli.rundir import RunDir, resolve_run
from kdcli.rundir.find import TRAININGS
from kdcli.rundir.listing import SEARCHES, STUDIES, SWEEPS
from kdcli.rundir.run import REPORT

KEYS = ("output_dir",)


def run(args: list[str], flags: Flags) -> int:
    """Write reports and print their paths.

    Raises:
        UsageError: No RUN, none that is there, or one that has no result yet.
    """
    words = take_apart(args, "report", KEYS)
    if not words.names:
        raise UsageError("kd report needs a RUN", where="report", fix="kd report latest; kd runs lists them")
    root = Path(words.settings.get("output_dir", "outputs"))
    runs = [resolve_run(name, root=root, purpose="run", smoke=flags.smoke) for name in words.names]
    if flags.dry_run:
        return _planned(runs)
    pages = [(each, page) for each in runs for page in _write(each)]
    if flags.json:
        content = [{"run": str(each.path), "report": str(page)} for each, page in pages]
        sys.stdout.write(json.dumps({"schema": 1, "reports": content}, indent=2) + "\n")
    else:
        sys.stdout.write("".join(escape_controls(str(page)).replace("\n", " ") + "\n" for _, page in pages))
    return 0


def _planned(runs: Sequence[RunDir]) -> int:
    lines = [escape_controls(f"{run.path} is {run.status}; nothing was written").replace("\n", " ") for run in runs]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _write(run: RunDir) -> Sequence[Path]:
    """Write what a run has of reports: one, or of a search one for each of its sweeps."""
    kind = run.record.command
    if kind in TRAININGS:
        return [_of_training(run)]
    if kind == SWEEPS:
        return [_of_sweep(run)]
    if kind == SEARCHES:
        from kdcli.commands.search_trials import batch_paths

        return [_of_sweep(RunDir.open(path)) for path in batch_paths(run)]
    if kind == STUDIES:
        return [_of_study(run)]
    what = f"kd report draws nothing again of a run of {kind!a}"
    raise UsageError(what, where=str(run.path), fix="name a training, sweep or study")


def _check_finished(run: RunDir) -> None:
    if run.status != "finished":
        other = {"running": "wait for its end", "diverged": "train again with a lower optimizer.lr"}
        fix = other.get(run.status, f"kd resume {shlex.quote(str(run.path))}")
        raise UsageError(f"it is {run.status}, and has no result to report yet", where=str(run.path), fix=fix)


def _of_training(run: RunDir) -> Path:
    from kdcli.commands.reporting import write_report

    _check_finished(run)
    page = write_report(run)
    if page is None:
        what = "an ensemble has no epochs of its own to draw: its members have"
        raise UsageError(what, where=str(run.path), fix=f"kd report {shlex.quote(str(run.path / 'members' / '00'))}")
    return page


def _of_sweep(run: RunDir) -> Path:
    """Of a sweep with failed jobs as well: it has ended, and they are part of what came out."""
    from kdcli.commands.sweep_results import write_sweep_report

    if run.status != "failed":
        _check_finished(run)
    return write_sweep_report(run)


def _of_study(run: RunDir) -> Path:
    """A finished study started again runs nothing, and writes all that it ends with."""
    from kdcli.commands.study_course import resume_study

    _check_finished(run)
    with redirect_stdout(StringIO()):
        resume_study(run, replace(Flags(), quiet=True, smoke=run.record.smoke), trust_code=False)
    page = run.path / REPORT
    return page if page.exists() else run.path / "table.md"
