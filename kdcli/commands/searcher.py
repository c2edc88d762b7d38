"""Where a search meets Hydra: its sweeper takes the command line apart, and composes and launches the trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

from kdcli.commands import launchers
from kdcli.commands.composer import Composer
from kdcli.commands.flags import Flags
from kdcli.commands.jobs import Job
from kdcli.commands.request import Request
from kdcli.commands.resume import check_trust
from kdcli.commands.search_next import Compose
from kdcli.commands.search_space import Point, Space, split
from kdcli.commands.search_start import Trials, check_configs, create_search, resolved_teacher, show_plan
from kdcli.commands.sweeper import KdSweeper
from kdcli.commands.task import Task
from kdcli.program.search import require_optuna
from kdcli.rundir import RunDir
from kdcli.schema import Config, DistillStudent, Training, convert
from kdcli.schema.search import SearchFile, SearchSettings

# Hydra instantiates no plugin that is not named as if it were in this package.
_TARGET = "hydra_plugins.kd.KdSearcher"


@dataclass(frozen=True)
class Resumed:
    """A search that goes on, and whether the user trusts the code that its files name."""

    home: RunDir
    trust_code: bool

    def check(self, configs: Sequence[Config]) -> None:
        """Raise UsageError if one of them names code that the user does not trust."""
        for config in configs:
            check_trust(config, str(self.home.path / "config.yaml"), trust_code=self.trust_code)

    def trusted(self, compose: Compose) -> Compose:
        """Make points jobs as ``compose`` does, but none that names such code."""

        def checked(point: Point) -> Job:
            job = compose(point)
            self.check([job.config])
            return job

        return checked


class SearchTask(Task):
    """The task of a search; a launcher that pickles it takes an ordinary task along, which is all a program needs.

    Args:
        request: The command whose keys are searched, with its overrides.
        flags: How the command behaves.
        settings: Of the search.
        resumed: What goes on; None for a new search.
    """

    sweeper = "kd_search"

    def __init__(
        self, request: Request, flags: Flags, settings: SearchSettings, resumed: Resumed | None = None
    ) -> None:
        super().__init__(request, flags)
        self.settings = settings
        self.resumed = resumed


class KdSearcher(KdSweeper):
    """Chooses jobs batch by batch, each from what came of those before it."""

    def carry_out(self, arguments: list[str]) -> None:
        """Run the search, or go on with it; the task then holds its exit code.

        Raises:
            UsageError: Before any work starts: a key or value that cannot be searched, or that the schema refuses.
            SweepError: Some trials did not finish.
            Interrupted: It was asked to stop.
        """
        task = self._task
        assert isinstance(task, SearchTask)
        words = arguments if task.resumed else self._words(arguments)
        fixed, searched, space = split(OverridesParser.create(self._context.config_loader).parse_overrides(words))
        trials = Trials(Composer(self._context.config_loader, self._config), task.request, fixed, space)
        configs = [job.config for job in trials.jobs(space.probes()) if isinstance(job.config, Training)]
        check_configs(configs)
        if task.resumed is not None:
            task.resumed.check(configs)
        trials = replace(trials, fixed=_with_teacher(fixed, configs[0], space, task))
        file = _file(task, trials, searched, configs[0].seed)
        if task.flags.dry_run:
            task.exit_code = show_plan(file, space)
            return
        require_optuna()
        task.started = True
        task.exit_code = self._carry_out(task, file, trials)

    def _carry_out(self, task: SearchTask, file: SearchFile, trials: Trials) -> int:
        workers = launchers.workers_of(self._launcher)
        from kdcli.commands.search_course import Course, carry_out  # torch comes with it

        resumed = task.resumed
        if resumed is None:
            config = trials.job(trials.space.probes()[0]).config
            assert isinstance(config, Training)
            home = create_search(file, config, task.flags)
        else:
            home = resumed.home
        compose = trials.job if resumed is None else resumed.trusted(trials.job)
        return carry_out(Course(home, file, trials.space, compose, self._launch, workers, task.flags))


def _with_teacher(fixed: list[str], config: Training, space: Space, task: SearchTask) -> list[str]:
    """What all trials share, the teacher by its path; a teacher that is searched for stays as it is."""
    if not isinstance(config, DistillStudent) or "teacher" in space.dimensions:
        return fixed
    home = None if task.resumed is None else task.resumed.home
    teacher = resolved_teacher(config, home, smoke=task.flags.smoke)
    return [teacher, *(word for word in fixed if word.partition("=")[0] != "teacher")]


def _file(task: SearchTask, trials: Trials, searched: list[str], seed: int) -> SearchFile:
    request = task.request
    data = {
        "command": request.command,
        "fixed": trials.fixed,
        "searched": searched,
        "config_dir": next((str(path.resolve()) for path in request.config_dirs), None),
        "config_name": request.flag("--config-name"),
        "seed": seed,
        "search": task.settings.model_dump(),
    }
    return convert(SearchFile, data)


def install() -> None:
    """Make it known to Hydra, in this process; a second call changes nothing."""
    Plugins.instance().class_name_to_class[_TARGET] = KdSearcher
    node = {"_target_": _TARGET, "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name=SearchTask.sweeper, node=node, provider="kd")
