"""Sweeps: what ``-m`` does, between the sweeper that composes its jobs and the program that trains them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.commands import COMMANDS
from kdcli.commands.distill import with_teachers
from kdcli.commands.flags import Flags
from kdcli.commands.jobs import Job
from kdcli.commands.manner import make_manner
from kdcli.commands.screen import as_kd_error
from kdcli.commands.specialists import with_generalist
from kdcli.commands.sweep_results import LEDGER, Result, failure, read_ledger, show_results, write_results
from kdcli.commands.train import ignored_by_teachers
from kdcli.disk import fsync_directory, make_directory, remove_leftovers, remove_tree, temporary_name, translated
from kdcli.errors import Interrupted, Stopped, UsageError, going_on, why_stopped
from kdcli.program.signals import terminable, undisturbed
from kdcli.report.units import plural
from kdcli.rundir import MetricsFile, RunDir, RunLock, create_at, create_child, create_run, resolve_run
from kdcli.schema import Course, DistillStudent, TrainSpecialists
from kdcli.schema.sweep import LedgerEntry, baseline_name, job_name
from kdcli.trackers import check_installed

if TYPE_CHECKING:
    from kdcli.program.run import Manner
    from kdcli.program.sweep import Plan

PROGRAMS = "programs"

Contents = Callable[[Course], dict[str, Any]]


@dataclass(frozen=True)
class Sweep:
    """A sweep that is under way: its directory, and the files that each describe jobs that train as one program.

    ``held`` holds the directory for this process until the sweep ends.
    """

    run: RunDir
    programs: list[Path]
    held: ExitStack


@dataclass(frozen=True)
class Workers:
    """Who will run the programs of a sweep.

    Args:
        at_once: How many of them work side by side.
        elsewhere: They are on other machines, whose devices are not those of this one.
    """

    at_once: int = 1
    elsewhere: bool = False


HERE = Workers()


@dataclass(frozen=True)
class Batch:
    """A sweep that is part of something greater: where it will be, and what its record calls it."""

    path: Path
    id: str


def begin(
    command: str, jobs: Sequence[Job], flags: Flags, batch: Batch | None = None, *, workers: Workers = HERE
) -> Sweep:
    """Make the sweep's directory with a run for each job and each baseline, and group the jobs for the workers."""
    plan = _planned(command, jobs, flags, workers)
    manner = make_manner([], flags)
    pairs = zip(plan.configs, jobs, strict=True)
    ignored = sorted({text for config, job in pairs for text in ignored_by_teachers(config, job.overrides)})
    if ignored:
        manner.say(f"train-teacher has no teacher to listen to: {', '.join(ignored)} ignored")
    sweep = open_sweep(_laid_out(command, jobs, plan, partial(_contents, manner, workers), batch))
    manner.say(f"sweep of {plural(len(jobs), 'job')} in {plural(len(plan.groups), 'program')}: {sweep.run.path}")
    return sweep


def rehearse(command: str, jobs: Sequence[Job], flags: Flags, workers: Workers) -> int:
    """Say how the jobs would be carried out, and do the dry run of the first."""
    plan = _planned(command, jobs, flags, workers)
    baselines = f" with {plural(len(plan.baselines), 'baseline')}" if plan.baselines else ""
    programs = plural(len(plan.groups), "program")
    sys.stdout.write(f"sweep    {plural(len(jobs), 'job')}{baselines} in {programs}; the first job by itself:\n")
    module = import_module(f"kdcli.commands.{COMMANDS[command].module}")
    code: int = module.run(jobs[0].config, jobs[0].overrides, flags)
    return code


def _planned(command: str, jobs: Sequence[Job], flags: Flags, workers: Workers) -> Plan:
    _refuse(command)
    find = cache(resolve_run)  # a name that many jobs share is looked up once
    configs = [_training(job, flags, find) for job in jobs]
    from kdcli.program.sweep import plan_sweep

    return plan_sweep(configs, at_once=workers.at_once)


def _refuse(command: str) -> None:
    if command == "import":
        raise UsageError("kd import takes one file", where="-m", fix="leave -m out, and run it once for each file")
    if command == "evaluate":
        raise UsageError("kd evaluate takes several runs at once", where="-m", fix="use run=[RUN,RUN] without -m")


def _training(job: Job, flags: Flags, find: Callable[..., RunDir]) -> Course:
    """A job's configuration as it will be carried out."""
    from kdcli.program.slots import for_smoke

    config = job.config
    assert isinstance(config, Course)
    check_installed(config.tracker)
    if isinstance(config, DistillStudent):
        config = with_teachers(config, smoke=flags.smoke, find=find)[0]
    if isinstance(config, TrainSpecialists):
        config = with_generalist(config, smoke=flags.smoke, find=find)[0]
    return for_smoke(config) if flags.smoke else config


def _contents(manner: Manner, workers: Workers, config: Course) -> dict[str, Any]:
    """What a run holds from its first moment; workers elsewhere look for its device there, and write it down."""
    known = config.model_copy(update={"device": "cpu"}) if workers.elsewhere else config
    return manner.contents(known) | {"config": config.model_dump()}


def _laid_out(command: str, jobs: Sequence[Job], plan: Plan, contents: Contents, batch: Batch | None) -> RunDir:
    """Write the whole sweep under a temporary name and rename it into place: it is there with all its jobs, or not."""
    folder = batch.path.parent if batch else Path(plan.configs[0].output_dir) / "sweeps"
    make_directory(folder)
    remove_leftovers(folder)
    scratch = folder / temporary_name()
    try:
        own = contents(plan.configs[0]) | {"config": {"command": command, "jobs": len(jobs)}}
        if batch:
            sweep = create_at(scratch / batch.path.name, id=batch.id, command="sweeps", **own)
        else:
            sweep = create_run(scratch, "sweeps", **own)
        _write_jobs(sweep, command, jobs, plan, contents)
        place = folder / sweep.path.name
        with translated(place):
            os.rename(sweep.path, place)
            fsync_directory(folder)
    finally:
        remove_tree(scratch)
    return RunDir.open(place)


def _write_jobs(sweep: RunDir, command: str, jobs: Sequence[Job], plan: Plan, contents: Contents) -> None:
    from kdcli.program.sweep import write_programs

    labels = _labels(jobs)
    for job, config, label in zip(jobs, plan.configs, labels, strict=True):
        own = contents(config) | {"label": label, "overrides": job.overrides}
        create_child(sweep, job_name(job.index), command=command, **own)
    for number, baseline in enumerate(plan.baselines):
        own = contents(baseline) | {"label": f"baseline {number}"}
        create_child(sweep, baseline_name(number), command=command, **own)
    with MetricsFile(sweep.path / LEDGER) as file:
        for job, label in zip(jobs, labels, strict=True):
            baseline_number = plan.baseline_of.get(job.index)
            entry = LedgerEntry(job=job.index, label=label, overrides=job.overrides, baseline=baseline_number)
            file.append(entry.model_dump())
    write_programs(sweep, plan)


def _labels(jobs: Sequence[Job]) -> list[str]:
    """A job's label: its own, or the overrides that not all jobs share; no two are the same."""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    differing = [" ".join(text.lstrip("+") for text in job.overrides if text not in shared) for job in jobs]
    named = [(job.index, job.label or text or f"job {job.index}") for job, text in zip(jobs, differing, strict=True)]
    often = Counter(text for _, text in named)
    return [text if often[text] == 1 else f"{text} (job {index})" for index, text in named]


def open_sweep(run: RunDir) -> Sweep:
    """Take a sweep's directory for this process, which a signal ends from here on as Ctrl-C does.

    Raises:
        UsageError: Another process is working in it.
    """
    with ExitStack() as stack:
        stack.enter_context(RunLock(run.path))
        stack.enter_context(terminable())
        run.set_status("running")
        stack.enter_context(_marked(run))
        programs = sorted((run.path / PROGRAMS).glob("*.json"), key=lambda path: (len(path.name), path.name))
        return Sweep(run, programs, stack.pop_all())


def run_program(path: Path, flags: Flags, *, moved: bool = False) -> int:
    """Train the jobs of one program.

    Args:
        path: Its file.
        flags: How.
        moved: This is not the process that laid the sweep out: the runs shall tell of this one's environment.

    Raises:
        KDError: What went wrong; the records of its runs hold it as well.
    """
    from kdcli.program.sweep import close, record_environment, runs_of
    from kdcli.program.sweep import run_program as train_program

    sweep, manner = RunDir.open(path.parent.parent), make_manner([], flags)
    with terminable():
        try:
            if moved:
                record_environment(sweep, path, manner)
            train_program(sweep, path, manner)
        except Interrupted:
            raise
        except Exception as error:  # of runs that had begun, the records hold it already
            close(runs_of(sweep, path), "created", "failed", as_kd_error(error))
            raise
    return 0


@contextmanager
def _marked(sweep: RunDir) -> Iterator[None]:
    """Write an interruption of what happens inside down in the sweep's record."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        with undisturbed():
            if RunDir.open(sweep.path).record.status == "running":
                sweep.set_status("interrupted", why_stopped(stopped))
        reason = going_on(why_stopped(stopped), str(sweep.path))
        raise (reason if isinstance(stopped, Interrupted) else Stopped(reason)) from stopped


def finish(started: Sweep, flags: Flags) -> int:
    """Compare, rank and record the jobs of a sweep whose programs have all been run; the exit code says if any failed.

    Raises:
        SweepError: Some jobs did not finish.
    """
    sweep = RunDir.open(started.run.path)
    entries, results = settle(sweep, flags)
    show_results(sweep, entries, results, flags)
    conclude(sweep, results)
    return 0


def settle(sweep: RunDir, flags: Flags) -> tuple[list[LedgerEntry], list[Result]]:
    """Compare and record the jobs of a sweep whose programs have all been run."""
    entries = read_ledger(sweep)
    _compare(sweep, entries, flags)
    return entries, write_results(sweep, entries)


def conclude(sweep: RunDir, results: Sequence[Result]) -> None:
    """Write down how a sweep ended.

    Raises:
        SweepError: Some jobs did not finish.
    """
    error = failure(sweep, results)
    if error is not None:
        sweep.set_status("failed", error)
        raise error
    sweep.set_status("finished")


def _compare(sweep: RunDir, entries: Sequence[LedgerEntry], flags: Flags) -> None:
    from kdcli.program.sweep import compare_later

    pairs = [(entry.job, entry.baseline) for entry in entries if entry.baseline is not None]
    compare_later(sweep, pairs, make_manner([], flags))
