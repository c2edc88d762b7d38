"""``-m`` from the command line to its exit code: jobs in programs, and one that fails beside one that does not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import kdcli.commands.sweep as sweeping
from kdcli.__main__ import main
from kdcli.commands.flags import Flags
from kdcli.commands.request import Request
from kdcli.commands.task import Task
from kdcli.rundir import RunDir, resolve_run

pytestmark = pytest.mark.xdist_group("sweeps")

TINY = ["transfer.fraction=0.02", "epochs=1", "batch_size=32", "device=cpu", "--progress=none"]


_BREAKING = """
import torch

class Net(torch.nn.Linear):
    def __init__(self, *_, **__):
        super().__init__(784, 10)
        self.calls = 0

    def forward(self, images):
        self.calls += self.training
        if self.calls > 5:
            raise RuntimeError("it breaks here")
        return super().forward(images.flatten(1))
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, kd_lines: Callable[..., list[Any]]) -> tuple[Path, list[Any]]:
    """A sweep that goes well, one whose first job breaks in the middle of its training, and one of jobs twice."""
    root = tmp_path_factory.mktemp("swept")
    (root / "mine" / "model").mkdir(parents=True)
    (root / "mine" / "model" / "breaking.yaml").write_text("kind: custom\ntarget: breaking:Net\narguments: {}\n")
    (root / "breaking.py").write_text(_BREAKING)
    lines = [
        ["train-teacher", "-m", "model=mlp_30,mlp_100", "seed=0,1", "output_dir='a b,c'", *TINY, "--json"],
        ["train-teacher", "-m", "model=breaking,mlp_30", "--config-dir=mine", "output_dir=second", *TINY],
        ["train-teacher", "-m", "model=mlp_30,mlp_30", "seed=0,1", "output_dir=third", *TINY, "--json"],
    ]
    return root, kd_lines(lines, cwd=root)


def test_a_sweep_ends_with_its_summary_alone_on_stdout(swept: tuple[Path, list[Any]]) -> None:
    root, (first, *_) = swept
    assert first.code == 0, first.err
    summary = json.loads(first.out)
    assert [job["status"] for job in summary["jobs"]] == ["finished"] * 4
    assert [job["overrides"][:2] for job in summary["jobs"]] == [
        ["model=mlp_30", "seed=0"],
        ["model=mlp_30", "seed=1"],
        ["model=mlp_100", "seed=0"],
        ["model=mlp_100", "seed=1"],
    ]
    (sweep,) = (root / "a b,c" / "sweeps").iterdir()
    told = json.loads((sweep / "02" / "summary.json").read_text())["run"]
    assert told == f"a b,c/sweeps/{sweep.name}/02", "as the user named the place, not as this machine does"


def test_a_job_that_fails_does_not_stop_the_others_and_the_exit_code_says_so(swept: tuple[Path, list[Any]]) -> None:
    root, (_, second, _) = swept
    assert second.code == 7, second.err
    assert "it breaks here" in second.err
    (sweep,) = (root / "second" / "sweeps").iterdir()
    status = [json.loads((sweep / job / "run.json").read_text())["status"] for job in ("00", "01")]
    assert status[1] == "finished"
    assert status[0] != "finished"


def test_jobs_that_are_asked_for_twice_are_told_apart(swept: tuple[Path, list[Any]]) -> None:
    third = swept[1][2]
    assert third.code == 0, third.err
    labels = [job["label"] for job in json.loads(third.out)["jobs"]]
    assert labels == ["seed=0 (job 0)", "seed=1 (job 1)", "seed=0 (job 2)", "seed=1 (job 3)"]


def test_a_teacher_that_all_jobs_name_is_looked_up_once(
    tmp_path: Path, tiny_teacher: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(text: str, **how: Any) -> RunDir:
        asked.append(text)
        return resolve_run(text, **how)

    monkeypatch.setattr(sweeping, "resolve_run", counted)
    both = ["model=mlp_30,mlp_100", "baseline=false", f"output_dir={tmp_path}", *TINY, "--quiet"]
    assert main(["distill-student", "-m", f"teacher={tiny_teacher.path}", *both]) == 0
    assert asked == [str(tiny_teacher.path)]


def test_nothing_is_written_beside_the_outputs(swept: tuple[Path, list[Any]]) -> None:
    root, _ = swept
    written = {"a b,c", "second", "third"}
    assert {path.name for path in root.iterdir()} - {"__pycache__"} == {"mine", "breaking.py"} | written


def test_a_program_that_cannot_be_read_is_shown_and_returns_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(Request.of("train-teacher", []), Flags())
    code = task(OmegaConf.create({"kd_program": str(tmp_path / "programs" / "00.json")}))
    assert code in (4, 6)
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_ctrl_c_stops_the_whole_sweep(tmp_path: Path) -> None:
    line = ["train-teacher", "-m", "model=mlp_30,mlp_100", "epochs=1000", "device=cpu", "--progress=plain"]
    with subprocess.Popen(
        [sys.executable, "-m", "kdcli", *line], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for printed in process.stderr:
            if printed.startswith("epoch 1"):
                break
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "error: " in rest
