"""The teacher of a distillation, found among the runs and put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.build import Data
from kdcli.metrics import measure
from kdcli.program.finish import as_result
from kdcli.rundir import RunDir
from kdcli.schema.results import TeacherSummary
from kdcli.teachers import Teacher
from kdcli.trained import Trained, check_same_classes, load_trained, member_runs


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher and the runs it comes from."""

    teacher: Teacher
    runs: Sequence[RunDir]
    members: Sequence[Trained]


def load_teacher(runs: Sequence[RunDir], device: torch.device, *, ensemble: str, trust_code: bool) -> LoadedTeacher:
    """Load the networks of one or several RUNs, each of them one network or an ensemble, as one teacher."""
    members = [
        load_trained(member, device, trust_code=trust_code, select=selection(run))
        for run in runs
        for member in member_runs(run)
    ]
    teacher = Teacher([m.network for m in members], [m.normalization for m in members], ensemble)
    return LoadedTeacher(teacher, runs, members)


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
