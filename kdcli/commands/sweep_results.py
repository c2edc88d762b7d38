"""What came of a sweep's jobs: its ledger, its summary, and its last lines."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdcli.commands.flags import Flags
from kdcli.errors import CheckpointError, SweepError
from kdcli.json_io import encode_json, read_json, write_json_atomic
from kdcli.rundir import RunDir
from kdcli.rundir.metrics import MetricsFile, read_metrics
from kdcli.schema import convert
from kdcli.schema.sweep import LedgerEntry, job_name

LEDGER = "ledger.jsonl"

Result = Mapping[str, Any]


def read_ledger(sweep: RunDir) -> list[LedgerEntry]:
    """The jobs of a sweep, as they were planned."""
    return [entry for entry in _lines(sweep) if entry.status == "created"]


def _lines(sweep: RunDir) -> list[LedgerEntry]:
    where = str(sweep.path / LEDGER)
    lines = read_metrics(sweep.path / LEDGER)
    return [convert(LedgerEntry, line, error=CheckpointError, where=where) for line in lines]


def _result(sweep: RunDir, entry: LedgerEntry) -> Result:
    """What the sweep's summary says of a job."""
    run = RunDir.open(sweep.path / job_name(entry.job))
    finished = run.record.status == "finished"
    error = run.record.error
    return {
        "job": entry.job,
        "label": entry.label,
        "overrides": entry.overrides,
        "status": run.status,
        "run": str(run.path),
        "error": None if error is None else error.what,
        "summary": run.summary() if finished else None,
    }


def write_results(sweep: RunDir, entries: Sequence[LedgerEntry]) -> list[Result]:
    """Write how the jobs ended into the ledger and into summary.json, and remove what only the training needed."""
    from kdcli.program.sweep import COHORTS

    results = [_result(sweep, entry) for entry in entries]
    known = {entry.job: entry.status for entry in _lines(sweep)}  # it may have been stopped after it had written them
    with MetricsFile(sweep.path / LEDGER) as file:
        for entry, result in zip(entries, results, strict=True):
            if known[entry.job] != result["status"]:
                file.append(entry.model_copy(update={"status": result["status"]}).model_dump())
    content = {"schema": 1, "command": "sweeps", "run": str(sweep.path), "jobs": results}
    write_json_atomic(sweep.path / "summary.json", content)
    with suppress(OSError):  # it stays where a program that did not end has its checkpoints in it
        (sweep.path / COHORTS).rmdir()
    return results


def failure(sweep: RunDir, results: Sequence[Result]) -> SweepError | None:
    """The error that a sweep ends with, if any of its jobs did not finish."""
    failed = [result for result in results if result["status"] != "finished"]
    if not failed:
        return None
    diverged = all(result["status"] == "diverged" for result in failed)
    lower = "lower optimizer.lr for them" + "; the others are whole" * (len(failed) < len(results))
    return SweepError(
        f"{len(failed)} of {len(results)} jobs did not finish: {', '.join(result['label'] for result in failed[:8])}",
        where=str(sweep.path),
        fix=lower if diverged else f"kd resume {shlex.quote(str(sweep.path))}",
    )


def show_results(sweep: RunDir, entries: Sequence[LedgerEntry], results: Sequence[Result], flags: Flags) -> None:
    """Print the ranked table and the grid, or the summary as JSON; write the report, and print what to do next."""
    from kdcli.commands.sweep_report import last_lines, read_rows, write_page
    from kdcli.report.text import encodable

    rows = read_rows(sweep, entries, results)
    if flags.json:
        write_page(sweep, entries, rows)
        sys.stdout.write(encode_json(read_json(sweep.path / "summary.json")).decode())
        return
    from kdcli.report.sweep_screen import sweep_screen

    width = shutil.get_terminal_size((100, 24)).columns
    color = flags.color and sys.stdout.isatty()
    text = sweep_screen(rows, smoke=sweep.record.smoke, color=color, width=width)
    sys.stdout.write(encodable(text + "\n\n", sys.stdout.encoding))
    sys.stdout.flush()
    page = write_page(sweep, entries, rows)
    sys.stdout.write(encodable(last_lines(sweep, entries, rows, page), sys.stdout.encoding))


def write_sweep_report(sweep: RunDir) -> Path:
    """Draw a sweep that has ended, and write its report.html.

    Raises:
        CheckpointError: Its files are damaged, or lead elsewhere.
        MachineError: It cannot be written.
    """
    from kdcli.commands.sweep_report import read_rows, write_page

    entries = read_ledger(sweep)
    return write_page(sweep, entries, read_rows(sweep, entries, [_result(sweep, entry) for entry in entries]))
