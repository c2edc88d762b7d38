"""Evaluations of the tiny runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kdcli.program.evaluation import evaluate, plan_evaluation
from kdcli.program.run import Manner
from kdcli.rundir import RunDir
from kdcli.schema import Evaluate
from kdcli.schema.results import Evaluation

Configure = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Evaluates runs into a directory of its own, without latency, and keeps what was said on the way."""

    configure: Configure
    manner: Manner
    outputs: Path
    said: list[str]

    def __call__(self, runs: Sequence[RunDir], *overrides: str, smoke: bool = False) -> Evaluation:
        """Measure runs on the CPU."""
        outputs = f"output_dir={self.outputs}"
        config = self.configure("evaluate", "run=given", "device=cpu", "latency=false", outputs, *overrides)
        assert isinstance(config, Evaluate)
        manner = dataclasses.replace(self.manner, smoke=smoke, say=self.said.append)
        return evaluate(plan_evaluation(config, runs, manner), manner)

    def written(self) -> list[RunDir]:
        """The evaluations it wrote."""
        return [RunDir.open(path) for path in self.outputs.glob("evaluate/*")]


@pytest.fixture
def bench(configure: Configure, manner: Manner, tmp_path: Path) -> Bench:
    """A fresh one."""
    return Bench(configure, manner, tmp_path / "evaluations", [])


@pytest.fixture(scope="session")
def evaluation(
    configure: Configure,
    manner: Manner,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_teacher: RunDir,
    tiny_student: RunDir,
) -> Evaluation:
    """Teacher, baseline and student side by side."""
    baseline = RunDir.open(tiny_student.path / "baseline")
    bench = Bench(configure, manner, tmp_path_factory.mktemp("evaluations"), [])
    return bench([tiny_teacher, baseline, tiny_student])
