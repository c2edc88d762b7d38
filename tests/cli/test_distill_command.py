"""``kd distill-student`` as it is typed, here in this process: its last lines, its refusals, its exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdcli.__main__ import main
from kdcli.rundir import RunDir

TINY = ("transfer.fraction=0.01", "batch_size=32", "device=cpu", "epochs=1", "--progress=none")
STUDENT = ("model=mlp", "model.hidden=[20]")
# Of any two that are built the second breaks: the student comes first, its baseline second.
FRAGILE = """
import torch

class Fragile(torch.nn.Linear):
    built = 0

    def __init__(self, *_, **__):
        super().__init__(784, 10)
        Fragile.built += 1
        self.breaks, self.calls = Fragile.built % 2 == 0, 0

    def forward(self, images):
        self.calls += self.training
        logits = super().forward(images.flatten(1))
        return logits * float("nan") if self.breaks and self.calls > 3 else logits
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[str]:
    """A module of the user's own in the current directory."""
    (tmp_path / "fragile_nets.py").write_text(FRAGILE)
    yield "fragile_nets:Fragile"
    sys.modules.pop("fragile_nets", None)


def only_run() -> RunDir:
    (path,) = Path("outputs/distill-student").iterdir()
    return RunDir.open(path)


def test_the_last_lines_compare_teacher_baseline_and_student(
    tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, *STUDENT, f"teacher={tiny_teacher.path}", "temperature=3.3", "alpha=0.9"]
    assert main(["distill-student", *words]) == 0
    said, run = capsys.readouterr().out, only_run()
    found = json.loads((run.path / "summary.json").read_text())
    rows = {line.split()[0]: line.split()[1] for line in said.splitlines()[1:4]}
    assert rows == {
        "teacher": f"{found['teacher']['test']['errors']:,}",
        "baseline": f"{found['baseline']['test']['errors']:,}",
        "student": f"{found['test']['errors']:,}",
    }
    for part in ("McNemar's test", "times smaller than its teacher", "= 0.1 * hard + 0.9 * soft", "temperature 3.3"):
        assert part in " ".join(said.split())
    assert f"run   {run.path}" in said
    assert "next  kd evaluate " in said


def test_a_baseline_that_diverges_leaves_the_student_whole_and_exit_code_7(
    tiny_teacher: RunDir, fragile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("model=custom", f"model.target={fragile}", f"teacher={tiny_teacher.path}")
    assert main(["distill-student", *TINY, *own]) == 7
    said, run = capsys.readouterr(), only_run()
    assert f"run   {run.path}" in said.out
    assert "nothing to compare it with: the training of baseline diverged in epoch 1, step 3" in said.err
    assert (run.record.status, RunDir.open(run.path / "baseline").record.status) == ("finished", "diverged")
    found = json.loads((run.path / "summary.json").read_text())
    assert (found["baseline"], found["status"]) == (None, "finished")
    assert not (run.path / "cohort").exists()


def test_several_teachers_are_an_ensemble(tiny_teacher: RunDir, tiny_student: RunDir) -> None:
    names = f"teacher=[{tiny_teacher.path},{tiny_student.path}]"
    assert main(["distill-student", *TINY, *STUDENT, names, "ensemble=geometric", "baseline=false", "--quiet"]) == 0
    assert json.loads((only_run().path / "summary.json").read_text())["teacher"]["members"] == 2


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("teacher=latest",), "there is no finished train-teacher"),
        (("teacher=[]",), "names no run"),
        (("teacher=nobody",), "there is no run 'nobody'"),
        (("teacher=x", "transfer.labels=false"), "alpha must be 1"),
        (("teacher=x", "alpha=1.5"), "alpha"),
    ],
)
def test_refusals_are_exit_code_2_and_write_nothing(
    words: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill-student", *TINY, *words]) == 2
    assert what in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_a_dry_run_writes_nothing(tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill-student", *TINY, *STUDENT, f"teacher={tiny_teacher.path}", "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert f"teacher   mlp_30, 24,790 parameters, from {tiny_teacher.path}" in plan
    assert "run      outputs/distill-student/..." in plan
    assert list(Path().iterdir()) == []
