"""The course of a search: batches of trials, each a sweep, until enough was tried; what was begun goes on first."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.commands import sweep
from kdcli.commands.flags import Flags
from kdcli.commands.jobs import Job
from kdcli.commands.manner import make_manner
from kdcli.commands.search_next import Compose, Proposals
from kdcli.commands.search_results import conclude
from kdcli.commands.search_space import Space
from kdcli.commands.search_trials import Trial, batch_paths, new_batch, read_trials
from kdcli.errors import Interrupted, SweepError
from kdcli.program.signals import terminable
from kdcli.report.units import plural
from kdcli.rundir import RunDir
from kdcli.schema.search import SearchFile

if TYPE_CHECKING:
    from kdcli.program.search import Memory

Launch = Callable[[list[str], list[Path]], None]


@dataclass(frozen=True)
class Course:
    """What a search needs on its way.

    Args:
        home: Its directory.
        file: What it was asked for.
        space: What it searches.
        compose: Makes a point a job; raises UsageError where the schema refuses it.
        launch: Runs programs of a sweep, whose lines compose as the given one does.
        workers: Who runs them.
        flags: How.
    """

    home: RunDir
    file: SearchFile
    space: Space
    compose: Compose
    launch: Launch
    workers: sweep.Workers
    flags: Flags

    @property
    def enough(self) -> int:
        """How many trials there will be: no more than there are points."""
        wanted, size = self.file.search.trials, self.space.size
        return wanted if size is None else min(wanted, size)

    def say(self, line: str) -> None:
        """Show one line."""
        make_manner([], self.flags).say(line)

    def trials(self) -> list[Trial]:
        """All trials, as they stand."""
        return read_trials(self.home, self.space)

    def value(self, trial: Trial) -> float | None:
        """What a trial reached of what is searched for."""
        return trial.value(self.file.search.objective)


def carry_out(course: Course) -> int:
    """Go on from what the directory holds until enough was tried, then compare and show the trials.

    Raises:
        SweepError: Some trials did not finish.
        Interrupted: It was asked to stop, and goes on with ``kd resume``.
    """
    from kdcli.program.run import recorded

    try:
        with terminable(), recorded([course.home]):
            for number, path in enumerate(batch_paths(course.home)):
                _finish_batch(course, number, path)
            memory = _remembered(course)
            _try_all(course, memory)
            conclude(course.home, course.file, course.space, course.trials(), memory.importance(), course.flags)
            course.home.set_status("finished")
    except Interrupted as stopped:
        again = f"kd resume {shlex.quote(str(course.home.path))}"
        raise type(stopped)(stopped.what, where=str(course.home.path), fix=again) from stopped
    return 0


def _finish_batch(course: Course, number: int, path: Path) -> None:
    """Run the programs of a batch that are not done.

    Raises:
        SweepError: As for a new batch.
    """
    from kdcli.program.sweep import is_done

    run = RunDir.open(path)
    if run.status == "finished":
        return
    started = sweep.open_sweep(run)
    with started.held:
        programs = [program for program in started.programs if not is_done(run, program)]
        if programs:
            course.say(f"going on with batch {number + 1}: {path}")
            course.launch(course.compose(course.space.probes()[0]).overrides, programs)
        _settle(run, course.flags)
    _check_batch(course, path)


def _settle(run: RunDir, flags: Flags) -> None:
    _, results = sweep.settle(run, flags)
    with suppress(SweepError):  # its record says it; the search goes on
        sweep.conclude(run, results)


def _remembered(course: Course) -> Memory:
    """The memory of what was tried so far."""
    from kdcli.program.search import Memory

    maximize = course.file.search.objective == "top1"
    memory = Memory(course.home.path, course.space.dimensions, maximize=maximize, seed=course.file.seed)
    for trial in course.trials():
        memory.remember(trial.point, course.value(trial))
    return memory


def _try_all(course: Course, memory: Memory) -> None:
    """Try batch after batch.

    Raises:
        SweepError: A whole batch failed, and not by diverging: the next would fail as well.
    """
    trials = course.trials()
    proposals = Proposals(course.space, course.compose, memory, [trial.point for trial in trials], course.say)
    while len(trials) < course.enough:
        number = len(batch_paths(course.home))
        memory.begin_batch(number)
        jobs = _next_jobs(proposals, min(course.file.search.batch, course.enough - len(trials)))
        if not jobs:
            break
        course.say(f"trials {len(trials) + 1} to {len(trials) + len(jobs)} of {course.enough}{_so_far(course, trials)}")
        _run_batch(course, number, jobs)
        before = len(trials)
        trials = course.trials()
        memory.tell([course.value(trial) for trial in trials[before:]])
        _check_batch(course, batch_paths(course.home)[number])


def _next_jobs(proposals: Proposals, count: int) -> list[Job]:
    jobs: list[Job] = []
    while len(jobs) < count and (job := proposals.next_job()) is not None:
        jobs.append(replace(job, index=len(jobs)))
    return jobs


def _so_far(course: Course, trials: Sequence[Trial]) -> str:
    objective = course.file.search.objective
    values = [value for trial in trials if (value := course.value(trial)) is not None]
    best = max if objective == "top1" else min
    return f"; the best so far has {objective} {best(values):.4f} on validation" if values else ""


def _run_batch(course: Course, number: int, jobs: Sequence[Job]) -> None:
    batch = new_batch(course.home, number)
    started = sweep.begin(course.file.command, jobs, course.flags, batch, workers=course.workers)
    with started.held:
        course.launch(jobs[0].overrides, started.programs)
        _settle(RunDir.open(started.run.path), course.flags)


def _check_batch(course: Course, path: Path) -> None:
    trials = [trial for trial in course.trials() if trial.run.parent == path]
    if any(trial.status in ("finished", "diverged") for trial in trials):
        return
    reason = next((trial.reason for trial in trials if trial.reason), "no reason is known")
    raise SweepError(
        f"none of {plural(len(trials), 'trial')} came to its end: {reason}",
        where=str(path),
        fix=f"see to that, then: kd resume {shlex.quote(str(course.home.path))}",
    )
