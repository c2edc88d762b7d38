"""What a search sees to before its first batch: that its trials can be compared, its teacher, its directory."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdcli.commands.composer import Composer
from kdcli.commands.distill import with_teachers
from kdcli.commands.flags import Flags
from kdcli.commands.jobs import Job
from kdcli.commands.manner import make_manner
from kdcli.commands.request import Request
from kdcli.commands.search_space import Point, Space
from kdcli.commands.sweeper import compose_job, compose_jobs
from kdcli.errors import UsageError
from kdcli.program.slots import teacher_names
from kdcli.report.units import plural
from kdcli.rundir import RunDir, create_run
from kdcli.rundir.listing import SEARCHES
from kdcli.schema import DistillStudent, Training, TrainTeacher
from kdcli.schema.search import SearchFile, SearchSettings

_SMOKE = 2


@dataclass(frozen=True)
class Trials:
    """Makes points of a space jobs.

    Args:
        composer: Hydra's part.
        request: The command line.
        fixed: What all of them share.
        space: What they differ in.
    """

    composer: Composer
    request: Request
    fixed: list[str]
    space: Space

    def jobs(self, points: Sequence[Point]) -> list[Job]:
        """Compose and check some.

        Raises:
            UsageError: Naming each that is wrong.
        """
        return compose_jobs(self.composer, [self._line(point) for point in points], self.request)

    def job(self, point: Point) -> Job:
        """Compose and check one."""
        return replace(compose_job(self.composer, 0, self._line(point), self.request), label=self.space.label(point))

    def _line(self, point: Point) -> list[str]:
        """What would be typed for a point; no baseline, for what the best gains is seen when it is trained again."""
        alone = self.request.command == "distill-student" and self.request.given("baseline") is None
        return [*["baseline=false"] * alone, *self.fixed, *self.space.words(point)]


def check_configs(configs: Sequence[Training]) -> None:
    """Refuse what has no measure on validation to search for.

    Raises:
        UsageError: There is no validation part, or what is trained is an ensemble.
    """
    for config in configs:
        if config.dataset.val_fraction == 0:
            raise UsageError(
                "a search chooses by validation, and dataset.val_fraction is 0",
                where="dataset.val_fraction",
                fix="keep it above 0; the test set is not for choosing",
            )
        if isinstance(config, TrainTeacher) and config.members > 1:
            raise UsageError(
                f"an ensemble (members={config.members}) has no measure on validation of its own",
                where="members",
                fix="search with members=1, then train the ensemble with what was found",
            )


def resolved_teacher(config: DistillStudent, home: RunDir | None, *, smoke: bool) -> str:
    """``teacher=`` with the paths of the RUNs, so that ``latest`` means the same in every batch.

    Args:
        config: Of a trial.
        home: The search that goes on, beside which its teacher is looked for too; None for a new one.
        smoke: Smoke runs count.

    Raises:
        UsageError: There is no such run.
    """
    from kdcli.report.paste import override

    if home is None:
        paths = teacher_names(with_teachers(config, smoke=smoke)[0])
    else:
        from kdcli.program.teaching import recorded_run

        paths = [str(recorded_run(name, home).path) for name in teacher_names(config)]
    return shlex.split(override("teacher", paths if len(paths) > 1 else paths[0]))[0]


def for_smoke(settings: SearchSettings) -> SearchSettings:
    """Two batches of two trials."""
    batch = min(settings.batch, _SMOKE)
    return settings.model_copy(update={"batch": batch, "trials": min(settings.trials, _SMOKE * batch)})


def show_plan(file: SearchFile, space: Space) -> int:
    """Say what would be searched."""
    wanted, size = file.search.trials, space.size
    trials = wanted if size is None else min(wanted, size)
    batches = math.ceil(trials / file.search.batch)
    sys.stdout.write(
        f"{shlex.join(['kd', file.command, *file.fixed])}\n"
        f"searched: {shlex.join(file.searched)}\n"
        f"{plural(trials, 'trial')} in {batches} batch{'es' * (batches > 1)}, "
        f"the best by {file.search.objective} on validation\n"
        "nothing was written\n"
    )
    return 0


def create_search(file: SearchFile, config: Training, flags: Flags) -> RunDir:
    """Make the directory of a search, once its data are there and its network can be built.

    Args:
        file: What it was asked for.
        config: Of a trial.
        flags: How.
    """
    from kdcli.program.sweep import plan_sweep

    plan_sweep([config])
    contents = make_manner([*file.fixed, *file.searched], flags).contents(config)
    return create_run(Path(config.output_dir), SEARCHES, **contents | {"config": file.model_dump()})
