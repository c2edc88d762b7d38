"""What came of a sweep's jobs: its ledger, its summary, and the ranked table."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kdcli.commands.flags import Flags
from kdcli.errors import CheckpointError, SweepError
from kdcli.json_io import encode_json, read_json, write_json_atomic
from kdcli.rundir import RunDir
from kdcli.rundir.metrics import MetricsFile, read_metrics
from kdcli.schema import convert
from kdcli.schema.sweep import LedgerEntry, job_name

if TYPE_CHECKING:
    from kdcli.report.sweep import SweepRow

LEDGER = "ledger.jsonl"

Result = Mapping[str, Any]


def read_ledger(sweep: RunDir) -> list[LedgerEntry]:
    """The jobs of a sweep, as they were planned."""
    where = str(sweep.path / LEDGER)
    lines = read_metrics(sweep.path / LEDGER)
    entries = [convert(LedgerEntry, line, error=CheckpointError, where=where) for line in lines]
    return [entry for entry in entries if entry.status == "created"]


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
    with MetricsFile(sweep.path / LEDGER) as file:
        for entry, result in zip(entries, results, strict=True):
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
    return SweepError(
        f"{len(failed)} of {len(results)} jobs did not finish: {', '.join(result['label'] for result in failed[:8])}",
        where=str(sweep.path),
        fix="lower optimizer.lr for them; the others are whole" if diverged else f"kd resume {sweep.path}",
    )


def show_results(sweep: RunDir, entries: Sequence[LedgerEntry], results: Sequence[Result], flags: Flags) -> None:
    """Print the ranked table, or the summary as JSON, and the command that reruns the best job."""
    if flags.json:
        sys.stdout.write(encode_json(read_json(sweep.path / "summary.json")).decode())
        return
    from kdcli.report.sweep import rank, sweep_table
    from kdcli.report.text import encodable

    rows = [_row(entries, result) for result in results]
    width = shutil.get_terminal_size((100, 24)).columns
    text = sweep_table(rows, width=width) + f"\n\nsweep {sweep.path}\n"
    groups = rank(rows)
    if groups and groups[0].rank is not None:
        best = next(entry for entry in entries if entry.label == groups[0].rows[0].label)
        command = next(result["summary"]["command"] for result in results if result["summary"])
        text += f"best  kd {command} {' '.join(map(shlex.quote, best.overrides))}\n"
    sys.stdout.write(encodable(text, sys.stdout.encoding))


def _row(entries: Sequence[LedgerEntry], result: Result) -> SweepRow:
    from kdcli.report.sweep import SweepRow

    shared = set.intersection(*(set(entry.overrides) for entry in entries)) if len(entries) > 1 else set()
    swept = [text.partition("=") for text in result["overrides"] if text not in shared]
    summary = result["summary"] or {}
    val, test = summary.get("val") or {}, summary.get("test") or {}
    return SweepRow(
        label=result["label"],
        overrides={key: value for key, _, value in swept},
        status=result["status"],
        val_top1=val.get("top1"),
        val_nll=val.get("nll"),
        test_errors=test.get("errors"),
        test_top1=test.get("top1"),
        agreement=test.get("agreement"),
        reason=result["error"] or "",
    )
