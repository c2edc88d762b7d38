"""What trains together: the networks of a cohort, each with the run its results go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kdcli.rundir import RunDir
from kdcli.rundir.find import SPECIALIST, TRAININGS
from kdcli.schema import Course, DistillStudent, Training, TrainTeacher
from kdcli.schema.method import AlphaSchedule, Constant, Loss, TemperatureSchedule
from kdcli.schema.model import Selection

ENSEMBLE_SEED_STEP = 1000


@dataclass(frozen=True)
class Slot:
    """One network of a cohort: its name on the screen, its own configuration, and its run."""

    name: str
    config: Training
    run: RunDir


@dataclass(frozen=True)
class Program:
    """A cohort, and the directory for its checkpoints while it trains.

    ``epoch_examples`` makes an epoch as long as another training's, see ``engine.stream.Stream``.
    """

    slots: Sequence[Slot]
    cohort: Path
    epoch_examples: int | None = None

    @property
    def alone(self) -> bool:
        """Whether the one network's checkpoints are the program's."""
        return len(self.slots) == 1

    @property
    def store(self) -> Path:
        """Where its checkpoints are: of a network that trains alone, its run's own."""
        return self.slots[0].run.checkpoints if self.alone else self.cohort


T = TypeVar("T", bound=Course)


def for_smoke(config: T) -> T:
    """The configuration of a smoke run: one epoch, or a small library; its data are cut when they are loaded."""
    change: dict[str, object] = {"epochs": 1, "early_stopping": None}
    if isinstance(config, Training) and isinstance(config.model, Selection):
        change["model"] = config.model.model_copy(update={"library": "small"})
    return config.model_copy(update=change)


def member_configs(config: TrainTeacher) -> list[TrainTeacher]:
    """The configurations of an ensemble's members: member k has seed 1000 * seed + k."""
    if config.members == 1:
        return [config]
    seeds = [ENSEMBLE_SEED_STEP * config.seed + k for k in range(config.members)]
    return [config.model_copy(update={"seed": seed}) for seed in seeds]


def baseline_config(config: DistillStudent) -> DistillStudent:
    """The same student, seed, steps and batches without the teacher.

    Where the transfer set has no labels, the baseline learns from examples that have: the originals of synthetic cases,
    or the whole training set.
    """
    hard = Loss(kind="hard", label_smoothing=config.loss.label_smoothing)
    return config.model_copy(update={"loss": hard, "transfer": config.transfer.labelled(), "baseline": False})


def teacher_names(config: DistillStudent) -> list[str]:
    """The RUNs that ``teacher=`` names."""
    return [config.teacher] if isinstance(config.teacher, str) else config.teacher


def sees_the_same(first: Training, second: Training) -> bool:
    """Whether two trainings read the same examples, with or without labels, so that they can share a cohort."""
    return first.transfer.model_dump(exclude={"labels"}) == second.transfer.model_dump(exclude={"labels"})


def home_of(run: RunDir) -> Path:
    """The directory to resume a run by: a job's sweep, the run of a member or a baseline, or its own."""
    path, parts = run.path, run.record.id.split("/")
    while len(parts) > 1 and run.record.command in (*TRAININGS, SPECIALIST):
        depth = 2 if parts[-2] in ("members", "baselines") else 1
        path = (path if len(path.parents) >= depth else path.absolute()).parents[depth - 1]
        parts = parts[:-depth]
    return path


def schedule_value(schedule: TemperatureSchedule | AlphaSchedule) -> float | str:
    """How results name a temperature or alpha: the number, or the schedule's kind."""
    return float(schedule.value) if isinstance(schedule, Constant) else schedule.kind
