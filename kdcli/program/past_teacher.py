"""The teacher of a run that was distilled earlier, found again and asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.errors import CheckpointError, KDError
from kdcli.program.subjects import Exam, Subject
from kdcli.program.teaching import check_teacher, load_teacher, recorded_run
from kdcli.rundir import RunDir
from kdcli.schema import DistillStudent


@dataclass(frozen=True)
class Answers:
    """What a teacher says at temperature 1 of the parts of an exam: log-probabilities ``(N, C)`` on the CPU."""

    sha256: str
    test: Tensor
    train: Tensor


class PastTeachers:
    """Asks the teachers of runs that were distilled; runs of one teacher with one exam share its answers.

    Args:
        device: Where the teachers answer.
        trust_code: Whether a custom model's code may be imported.
        say: Told in one line of a teacher that cannot be asked any more.
    """

    def __init__(self, device: torch.device, *, trust_code: bool, say: Callable[[str], None]) -> None:
        self._device, self._trust_code, self._say = device, trust_code, say
        self._asked: dict[tuple[object, ...], Answers] = {}

    def answers(self, subject: Subject, exam: Exam) -> Answers | None:
        """What the teacher of a run says; None where it had none, or where that is not there as it was."""
        if not isinstance(subject.config, DistillStudent):
            return None
        try:
            runs = teacher_runs(subject, subject.config)
            key = (*(run.path for run in runs), subject.config.ensemble, exam)
            if key not in self._asked:
                self._asked[key] = self._ask(runs, subject.config, exam)
            _check_unchanged(subject, self._asked[key])
        except KDError as problem:
            self._say(f"{subject.run.path} is not compared with its teacher: {problem.what}")
            return None
        return self._asked[key]

    def _ask(self, runs: Sequence[RunDir], config: DistillStudent, exam: Exam) -> Answers:
        loaded = load_teacher(runs, self._device, ensemble=config.ensemble, trust_code=self._trust_code, say=self._say)
        check_teacher(loaded, exam.data)
        test, train = (loaded.teacher.log_probs(part.source, part.indices) for part in (exam.test, exam.train))
        return Answers(loaded.teacher.sha256(), test, train)


def teacher_runs(subject: Subject, config: DistillStudent) -> list[RunDir]:
    """The runs that taught a run: those that its summary names, or where it has none its configuration.

    Raises:
        UsageError: They are not there any more.
        CheckpointError: A damaged record.
    """
    taught = None if subject.summary is None else subject.summary.teacher
    if taught is not None:
        paths = taught.run
    else:
        paths = [config.teacher] if isinstance(config.teacher, str) else config.teacher
    return [recorded_run(path, subject.run) for path in paths]


def _check_unchanged(subject: Subject, answers: Answers) -> None:
    taught = None if subject.summary is None else subject.summary.teacher
    if taught is not None and answers.sha256 != taught.sha256:
        raise CheckpointError(f"the weights of {', '.join(taught.run)} are not those that taught it")
