"""Sweeps: what ``-m`` does, between the sweeper that composes its jobs and the program that trains them."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.commands.distill import with_teachers
from kdcli.commands.flags import Flags
from kdcli.commands.jobs import Job
from kdcli.commands.manner import make_manner
from kdcli.errors import CheckpointError, SweepError, UsageError
from kdcli.json_io import read_json, write_json_atomic
from kdcli.rundir import RunDir, create_child, create_run
from kdcli.rundir.metrics import MetricsFile, read_metrics
from kdcli.schema import DistillStudent, Training, convert
from kdcli.schema.base import Section

if TYPE_CHECKING:
    from kdcli.report.sweep import SweepRow


LEDGER = "ledger.jsonl"


class Entry(Section):
    """A line of ledger.jsonl: a job, and the baseline it is compared with; later lines tell how the job ended."""

    job: int
    label: str
    overrides: list[str]
    baseline: int | None
    status: str = "created"


@dataclass(frozen=True)
class Sweep:
    """A sweep that has begun: its directory, and the files that each describe jobs that train as one program."""

    run: RunDir
    programs: list[Path]


def begin(command: str, jobs: Sequence[Job], flags: Flags) -> Sweep:
    """Make the sweep's directory with a run for each job and each baseline, and group the jobs."""
    if command == "evaluate":
        raise UsageError("kd evaluate takes several runs at once", where="-m", fix="use run=[RUN,RUN] without -m")
    configs = [_training(job, flags) for job in jobs]
    labels = _labels(jobs)
    from kdcli.program.sweep import baseline_name, job_name, plan_sweep, write_programs

    plan = plan_sweep(configs)
    manner = make_manner([], flags)
    contents: dict[str, Any] = manner.contents(configs[0]) | {"config": {"command": command, "jobs": len(jobs)}}
    sweep = create_run(Path(configs[0].output_dir), "sweeps", **contents)
    for job, config, label in zip(jobs, configs, labels, strict=True):
        own: dict[str, Any] = manner.contents(config) | {"label": label, "overrides": job.overrides}
        create_child(sweep, job_name(job.index), command=command, **own)
    for number, baseline in enumerate(plan.baselines):
        own = manner.contents(baseline) | {"label": f"baseline {number}"}
        create_child(sweep, baseline_name(number), command=command, **own)
    ledger = [
        Entry(job=job.index, label=label, overrides=job.overrides, baseline=plan.baseline_of.get(job.index))
        for job, label in zip(jobs, labels, strict=True)
    ]
    with MetricsFile(sweep.path / LEDGER) as file:
        for entry in ledger:
            file.append(entry.model_dump())
    sweep.set_status("running")
    manner.say(f"sweep of {len(jobs)} jobs in {len(plan.groups)} programs: {sweep.path}")
    return Sweep(sweep, write_programs(sweep, plan))


def _training(job: Job, flags: Flags) -> Training:
    assert isinstance(job.config, Training)
    if isinstance(job.config, DistillStudent):
        return with_teachers(job.config, smoke=flags.smoke)[0]
    return job.config


def _labels(jobs: Sequence[Job]) -> list[str]:
    """A job's label: the overrides that not all jobs share."""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(text for text in job.overrides if text not in shared) or f"job {job.index}" for job in jobs]


def run_program(path: Path, flags: Flags) -> int:
    """Train the jobs of one program."""
    from kdcli.program.sweep import run_program as train_program

    sweep = RunDir.open(path.parent.parent)
    train_program(sweep, path, make_manner([], flags))
    return 0


def is_done(sweep: RunDir, path: Path) -> bool:
    """Whether every job of a program has finished."""
    from kdcli.program.sweep import ProgramFile, job_name

    program = convert(ProgramFile, read_json(path), error=CheckpointError, where=str(path))
    return all(RunDir.open(sweep.path / job_name(job)).record.status == "finished" for job in program.jobs)


def finish(started: Sweep, flags: Flags) -> int:
    """Compare, rank and record the jobs of a sweep whose programs have all been run; the exit code says if any failed.

    Raises:
        SweepError: Some jobs did not finish.
    """
    sweep = RunDir.open(started.run.path)
    entries = read_ledger(sweep)
    _compare(sweep, entries, flags)
    results = [_result(sweep, entry) for entry in entries]
    with MetricsFile(sweep.path / LEDGER) as file:
        for entry, result in zip(entries, results, strict=True):
            file.append(entry.model_copy(update={"status": result["status"]}).model_dump())
    write_json_atomic(sweep.path / "summary.json", {"schema": 1, "command": "sweeps", "run": str(sweep.path), "jobs": results})
    show(sweep, entries, results, flags)
    failed = [result["label"] for result in results if result["status"] != "finished"]
    if failed:
        error = SweepError(
            f"{len(failed)} of {len(results)} jobs did not finish: {', '.join(failed[:8])}",
            where=str(sweep.path),
            fix=f"kd resume {sweep.path}",
        )
        sweep.set_status("failed", error)
        raise error
    sweep.set_status("finished")
    return 0


def read_ledger(sweep: RunDir) -> list[Entry]:
    """The jobs of a sweep, as they were planned."""
    where = str(sweep.path / LEDGER)
    lines = read_metrics(sweep.path / LEDGER)
    entries = [convert(Entry, line, error=CheckpointError, where=where) for line in lines]
    return [entry for entry in entries if entry.status == "created"]


def _compare(sweep: RunDir, entries: Sequence[Entry], flags: Flags) -> None:
    from kdcli.program.sweep import compare_later

    for entry in entries:
        if entry.baseline is not None:
            compare_later(sweep, entry.job, entry.baseline, make_manner([], flags))


def _result(sweep: RunDir, entry: Entry) -> dict[str, Any]:
    """What the sweep's summary says of a job."""
    from kdcli.program.sweep import job_name

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


def show(sweep: RunDir, entries: Sequence[Entry], results: Sequence[Mapping[str, Any]], flags: Flags) -> None:
    """Print the ranked table, or the summary as JSON, and the command that reruns the best job."""
    if flags.json:
        sys.stdout.write(json.dumps(read_json(sweep.path / "summary.json"), indent=2) + "\n")
        return
    from kdcli.report.sweep import rank, sweep_table

    rows = [_row(entries, result) for result in results]
    width = shutil.get_terminal_size((100, 24)).columns
    sys.stdout.write(sweep_table(rows, width=width) + f"\n\n{sweep.path}\n")
    groups = rank(rows)
    if groups and groups[0].rank is not None:
        best = next(entry for entry in entries if entry.label == groups[0].rows[0].label)
        command = next(result["summary"]["command"] for result in results if result["summary"])
        sys.stdout.write(f"the best again: kd {command} {' '.join(map(shlex.quote, best.overrides))}\n")


def _row(entries: Sequence[Entry], result: Mapping[str, Any]) -> SweepRow:
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
