"""The teacher of a distillation, found among the runs and put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kdcli.build import Data
from kdcli.errors import UsageError
from kdcli.metrics import measure
from kdcli.program.finish import as_result
from kdcli.rundir import RunDir
from kdcli.schema.commands import EnsembleMean
from kdcli.schema.results import TeacherSummary
from kdcli.teachers import Teacher
from kdcli.trained import Trained, check_same_classes, load_trained, member_runs


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher and the runs it comes from."""

    teacher: Teacher
    runs: Sequence[RunDir]
    members: Sequence[Trained]


def load_teacher(
    runs: Sequence[RunDir],
    device: torch.device,
    *,
    ensemble: EnsembleMean,
    trust_code: bool,
    say: Callable[[str], None],
) -> LoadedTeacher:
    """Load the networks of one or several RUNs, each of them one network or an ensemble, as one teacher.

    Args:
        runs: Trainings.
        device: Where the networks go.
        ensemble: How several are combined.
        trust_code: Whether a custom model's code may be imported.
        say: Told of a RUN that did not finish, or whose selected checkpoint is damaged so that another one serves.
    """
    for run in runs:
        if run.status != "finished":
            say(f"teacher {run.path} is {run.status}: what teaches is the checkpoint it left")
    members = [
        load_trained(member, device, trust_code=trust_code, select=selection(run), say=say)
        for run in runs
        for member in member_runs(run)
    ]
    for member in members:
        if member.note is not None:
            say(f"teacher {member.run}: {member.note}")
    teacher = Teacher([m.network for m in members], [m.normalization for m in members], ensemble)
    return LoadedTeacher(teacher, runs, members)


def recorded_run(path: str, beside: RunDir) -> RunDir:
    """A run by the path that another one recorded: seen from here, or from where that one's outputs are now.

    Raises:
        UsageError: It is not there any more.
        CheckpointError: Its record is damaged.
    """
    for folder in (Path(), *beside.path.resolve().parents):
        if (folder / path / "run.json").exists():
            return RunDir.open(folder / path)
    where = f"{beside.path}/config.yaml: teacher"
    raise UsageError(f"{path} is not there any more", where=where, fix="bring it back, or start again with another")


def selection(run: RunDir) -> str:
    """Which checkpoint of a run its own configuration selects."""
    return "last" if run.config().get("select") == "last" else "best"


def check_teacher(loaded: LoadedTeacher, data: Data) -> None:
    """Raise UsageError unless every member knows the data's classes and takes its examples."""
    for member in loaded.members:
        check_same_classes(member.card, data.dataset, member.run)


def answers_on_test(loaded: LoadedTeacher, data: Data) -> Tensor:
    """What the teacher says of the test set, ``(N, C)`` on the CPU."""
    return loaded.teacher.log_probs(data.test, torch.arange(len(data.test)))


def teacher_summary(loaded: LoadedTeacher, sha256: str, log_probs: Tensor, data: Data) -> TeacherSummary:
    """The teacher as a student's summary records it."""
    parameters = sum(p.numel() for network in loaded.teacher.networks for p in network.parameters())
    return TeacherSummary(
        run=[str(run.path) for run in loaded.runs],
        sha256=sha256,
        members=len(loaded.members),
        parameters=parameters,
        test=as_result(measure(log_probs, data.test_labels)),
    )
