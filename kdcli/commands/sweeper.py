"""kd's sweeper for Hydra: all jobs are composed and checked, then launched in groups that train as one program."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from kdcli.commands import composed, launchers
from kdcli.commands.composer import Composer
from kdcli.commands.jobs import Job
from kdcli.commands.manner import make_manner
from kdcli.commands.override_errors import explain
from kdcli.commands.request import Request
from kdcli.commands.screen import show_error
from kdcli.commands.task import PROGRAM_KEY, Task
from kdcli.errors import Interrupted, Stopped, UsageError
from kdcli.program.signals import divisible, undivided
from kdcli.rundir import RunDir

# Hydra instantiates no plugin that is not named as if it were in this package.
_TARGET = "hydra_plugins.kd.KdSweeper"
_MOST_SHOWN = 12


class KdSweeper(Sweeper):
    """Expands ``-m`` into jobs, and hands the launcher one job for each group that trains as one program.

    Args:
        params: ``hydra.sweeper.params`` of the user's YAML: values to sweep over, by key.
    """

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        self._params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives before the sweep."""
        assert isinstance(task_function, Task)
        self._context = hydra_context
        self._task = task_function
        self._config = config
        launchers.check(config)

    @cached_property
    def _launcher(self) -> Launcher:
        """Made when all jobs have been checked: Ray takes seconds to start."""
        return launchers.make_launcher(self._context, self._task, self._config)

    @divisible()
    def sweep(self, arguments: list[str]) -> None:
        """What Hydra calls: everything about the sweep."""
        self.carry_out(arguments)

    def carry_out(self, arguments: list[str]) -> None:
        """Run the sweep; the task then holds its exit code.

        Raises:
            UsageError: Jobs that are wrong, all of them in one error, before any work starts.
            Interrupted: The sweep was asked to stop.
        """
        composer = Composer(self._context.config_loader, self._config)
        jobs = compose_jobs(composer, self._expand(arguments), self._task.request)
        self._task.started = True
        workers = launchers.workers_of(self._launcher)
        from kdcli.commands import sweep  # torch comes with it, after every job has been checked

        if self._task.flags.dry_run:
            self._task.exit_code = sweep.rehearse(self._task.request.command, jobs, self._task.flags, workers)
            return
        started = sweep.begin(self._task.request.command, jobs, self._task.flags, workers=workers)
        with started.held:
            self._launch(jobs[0].overrides, started.programs)
            self._task.exit_code = sweep.finish(started, self._task.flags)

    @undivided()
    def _expand(self, arguments: list[str]) -> list[list[str]]:
        """The overrides of each job."""
        parser = OverridesParser.create(self._context.config_loader)
        (batch,) = BasicSweeper.split_arguments(parser.parse_overrides(self._words(arguments)), None)
        if not batch:
            raise UsageError("the sweep has no job: a list or glob of values is empty", where="-m", fix="name values")
        return batch

    def _words(self, arguments: list[str]) -> list[str]:
        """The overrides of the user's YAML, then those of the command line."""
        return [*(f"{key}={'null' if values is None else values}" for key, values in self._params.items()), *arguments]

    def _launch(self, overrides: list[str], programs: list[Path]) -> None:
        """Launch the programs; each line composes like the first job, which is known to, and names its program."""
        home = programs[0].parent.parent
        self._config.hydra.sweep.dir = str(home)  # where a launcher keeps files of its own
        here = launchers.runs_here(self._launcher)  # where the jobs' summaries name them as the user does
        named = {path: str(path if here else path.resolve()) for path in programs}
        texts = {path: QuotedString(name, Quote.single).with_quotes() for path, name in named.items()}
        lines = {path: [*overrides, f"+{PROGRAM_KEY}={text}"] for path, text in texts.items()}
        if here:
            self._launch_here(list(lines.values()))
        else:
            from kdcli.commands.launching import Launching

            say = make_manner([], self._task.flags).say
            Launching(self._launcher, RunDir.open(home), lines, say).run()

    def _launch_here(self, lines: list[list[str]]) -> None:
        try:
            with undivided():
                ended = self._launcher.launch(lines, initial_job_idx=0)
            for job in ended:
                if job.status == JobStatus.FAILED:
                    raise job._return_value
        except Stopped as stopped:
            raise stopped.reason from stopped
        except Interrupted:
            raise
        except Exception as error:  # the launcher's own; what is not done is for the sweep's end to say
            show_error(error, color=self._task.flags.color, debug=self._task.flags.debug)


def install() -> None:
    """Make the sweeper known to Hydra, in this process; a second call changes nothing."""
    launchers.install()
    Plugins.instance().class_name_to_class[_TARGET] = KdSweeper
    node = {"_target_": _TARGET, "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name="kd", node=node, provider="kd")


def compose_jobs(composer: Composer, lines: list[list[str]], request: Request) -> list[Job]:
    """Compose and check every job.

    Raises:
        UsageError: Naming each job that is wrong, by the overrides in which jobs differ.
    """
    jobs: list[Job] = []
    wrong: dict[int, UsageError] = {}
    for index, overrides in enumerate(lines):
        try:
            jobs.append(compose_job(composer, index, overrides, request))
        except UsageError as error:
            wrong[index] = error
    if wrong:
        raise _refusal(wrong, lines)
    return jobs


@undivided()
def compose_job(composer: Composer, index: int, overrides: list[str], request: Request) -> Job:
    """Compose and check one job.

    Raises:
        UsageError: It is wrong.
    """
    alone = Request(request.command, tuple(overrides), request.hydra_flags)
    try:
        composition = composer.compose(index, overrides)
    except UsageError:
        raise
    except Exception as error:
        raise explain(error, alone) from error
    return Job(index, overrides, composed.typed(composition.data, alone), composition.choices)


def _refusal(wrong: dict[int, UsageError], lines: list[list[str]]) -> UsageError:
    """One error for all wrong jobs: what they share is said once."""
    shared = set.intersection(*(set(line) for line in lines)) if len(lines) > 1 else set()
    by_reason: dict[str, list[int]] = {}
    for index, error in wrong.items():
        for reason in error.what.split("\n"):
            by_reason.setdefault(reason, []).append(index)
    listed = [_group(reason, indices, lines, shared) for reason, indices in by_reason.items()]
    if len(listed) > _MOST_SHOWN:
        listed = [*listed[:_MOST_SHOWN], f"and {len(listed) - _MOST_SHOWN} more"]
    first = next(iter(wrong.values()))
    places = [error.where for error in wrong.values() if error.where]
    where = ", ".join(dict.fromkeys(key for keys in places for key in keys.split(", ")))
    are = "is" if len(wrong) == 1 else "are"
    head = f"{len(wrong)} of {len(lines)} jobs {are} wrong, none was started" if len(lines) > 1 else "the job is wrong"
    return UsageError("\n".join([f"{head}:", *listed]), where=where, fix=first.fix)


def _group(reason: str, indices: list[int], lines: list[list[str]], shared: set[str]) -> str:
    index = indices[0]
    label = " ".join(text for text in lines[index] if text not in shared) or " ".join(lines[index])
    others = f" and {len(indices) - 1} more" if len(indices) > 1 else ""
    return f"job {index} ({label}){others}: {reason}"
