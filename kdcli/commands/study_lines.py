"""The command lines of a study's runs: one for each point, composed and checked, and carried out as one sweep."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from kdcli.commands.composer import Composer
from kdcli.commands.flags import Flags
from kdcli.commands.hydra_app import run_hydra, run_task
from kdcli.commands.jobs import Job
from kdcli.commands.request import Request
from kdcli.commands.sweeper import KdSweeper, compose_jobs
from kdcli.commands.task import Task
from kdcli.studies.address import written
from kdcli.studies.form import StudyRun
from kdcli.studies.listed import LISTED
from kdcli.studies.points import Axes, Point

# Hydra instantiates no plugin that is not named as if it were in this package.
_TARGET = "hydra_plugins.kd.LineSweeper"


def line_of(part: StudyRun, axes: Axes, point: Point, earlier: Sequence[str], output_dir: str, store: str) -> list[str]:
    """What would be typed for a point.

    Args:
        part: The run as the study has it.
        axes: What its points differ in.
        point: One of them.
        earlier: The paths of the runs that it builds on.
        output_dir: Where its outputs go.
        store: Where a teacher's answers are kept, unless the study says where: all studies share them.
    """
    kept = [override("targets.store", store)] * LISTED[part.command].keeps
    own = [f"{axis}={written(point.values[axis])}" for axis in axes.own]
    several = LISTED[part.command].trains and (axes.seeds > 1 or part.first_seed > 0)
    seed = [f"seed={part.first_seed + point.seed}"] * several
    return [*kept, *part.overrides, *own, *seed, *_earlier(part.command, earlier), override("output_dir", output_dir)]


def _earlier(command: str, paths: Sequence[str]) -> list[str]:
    key = LISTED[command].earlier
    if key is None:
        return []
    return [override(key, paths[0] if len(paths) == 1 else paths)]


def override(key: str, value: str | Sequence[str]) -> str:
    """``key=value`` as Hydra reads it whole, whatever the paths are called."""
    from kdcli.report.paste import override as quoted

    return shlex.split(quoted(key, value))[0]


class LinesTask(Task):
    """The task of a sweep whose jobs are given line by line.

    Args:
        request: The command.
        flags: How it behaves.
        lines: The overrides of each job.
        only_compose: Compose and check the jobs, and run none.
    """

    sweeper = "kd_lines"

    def __init__(self, request: Request, flags: Flags, lines: Sequence[list[str]], *, only_compose: bool) -> None:
        super().__init__(request, flags)
        self.lines = list(lines)
        self.only_compose = only_compose
        self.jobs: list[Job] = []


class LineSweeper(KdSweeper):
    """Takes its jobs from the task."""

    def carry_out(self, arguments: list[str]) -> None:
        """Compose the jobs, and run them where that is wanted.

        Raises:
            UsageError: Jobs that are wrong, all of them in one error.
        """
        task = self._task
        assert isinstance(task, LinesTask)
        if task.only_compose:
            task.jobs = compose_jobs(Composer(self._context.config_loader, self._config), task.lines, task.request)
        else:
            super().carry_out(arguments)

    def _expand(self, arguments: list[str]) -> list[list[str]]:
        assert isinstance(self._task, LinesTask)
        return self._task.lines


def compose(command: str, lines: Sequence[list[str]], flags: Flags) -> list[Job]:
    """Compose and check some lines of a command.

    Raises:
        UsageError: What the schema refuses, of all of them.
    """
    return _run(command, lines, flags, only_compose=True).jobs


def carry_out_lines(command: str, lines: Sequence[list[str]], flags: Flags) -> None:
    """Run some lines of a command: one as a run of its own, several as one sweep.

    Raises:
        KDError: As the command or the sweep does.
    """
    if len(lines) == 1:
        run_hydra(command, lines[0], flags)
    else:
        _run(command, lines, flags, only_compose=False)


def _run(command: str, lines: Sequence[list[str]], flags: Flags, *, only_compose: bool) -> LinesTask:
    _install()
    task = LinesTask(Request.of(command, ["--multirun"]), flags, lines, only_compose=only_compose)
    run_task(task.request, task)
    return task


def _install() -> None:
    """Make it known to Hydra, in this process; a second call changes nothing."""
    Plugins.instance().class_name_to_class[_TARGET] = LineSweeper
    node = {"_target_": _TARGET, "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name=LinesTask.sweeper, node=node, provider="kd")
