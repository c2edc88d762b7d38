"""Two finished trainings on the same test examples."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kdcli.metrics import mcnemar
from kdcli.program.evaluation import ask
from kdcli.program.subjects import load_exams, load_subjects
from kdcli.rundir import RunDir
from kdcli.schema import Evaluate


class Contest:
    """Compares trainings by the test examples that each gets right; what was asked once is remembered.

    Args:
        smoke: Ask about the few examples of smoke runs only.
        trust_code: The code of custom models may be imported.
    """

    def __init__(self, *, smoke: bool, trust_code: bool) -> None:
        self._smoke = smoke
        self._trust_code = trust_code
        self._right: dict[str, Tensor] = {}

    def p_value(self, first: str, second: str) -> float:
        """The p of McNemar's exact test between two run directories.

        Raises:
            KDError: One of them cannot be read, or they know different data.
        """
        return mcnemar(self._answers(first), self._answers(second)).p_value

    def _answers(self, run: str) -> Tensor:
        if run not in self._right:
            device = torch.device("cpu")
            config = Evaluate(
                run=run,
                ensemble="arithmetic",
                latency=False,
                trust_code=self._trust_code,
                device="cpu",
                output_dir="outputs",
            )
            subjects = load_subjects(config, [RunDir.open(Path(run))], device, lambda _: None)
            (exam,) = load_exams(subjects, device, smoke=self._smoke)
            said = ask(subjects[0].logits, exam.test, "test", subjects[0].place)
            self._right[run] = said.argmax(1) == exam.test.labels
        return self._right[run]
