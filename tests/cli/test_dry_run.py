"""``--dry-run`` finds what would fail in the first step: none of these configurations passes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdcli.__main__ import main
from kdcli.data import memory
from kdcli.rundir import RunDir

TINY = ("transfer.fraction=0.01", "batch_size=32", "device=cpu", "epochs=1", "model=mlp_30", "--progress=none")
NETS = """
import torch

class Net(torch.nn.Linear):
    def __init__(self, input_shape, classes, fault="none"):
        super().__init__(784, 3 if fault == "classes" else classes)
        if fault == "build":
            raise ValueError("not today")
        self.fault = fault

    def forward(self, images):
        if self.fault == "raise":
            raise RuntimeError("in the forward pass")
        logits = super().forward(images.flatten(1))
        return logits * torch.nan if self.fault == "nan" else logits
"""
CUSTOM = ("model=custom", "model.target=dry_nets:Net")
BAD = {
    "a view of images on a table": ("dataset=letter", "dataset.views=shift"),
    "a convolution on a table": ("dataset=letter", "model=lenet"),
    "a class that is not there": ("transfer.omit=[10]",),
    "weights without bounds": ("model.hidden=[5000]", "model.init_std=1e30"),
    "another number of classes": (*CUSTOM, "+model.options={fault: classes}"),
    "a network that fails": (*CUSTOM, "+model.options={fault: raise}"),
    "a network of NaN": (*CUSTOM, "+model.options={fault: nan}"),
    "a network that cannot be built": (*CUSTOM, "+model.options={fault: build}"),
    "a module that is not there": ("model=custom", "model.target=not_there:Net"),
    "more parts than examples": ("members=900", "members_data=parts"),
    "no such table": ("dataset=csv", "dataset.path=none.csv", "dataset.target=y"),
    "no such column": ("dataset=csv", "dataset.path=small.csv", "dataset.target=z"),
    "no such folder": ("dataset=imagefolder", "dataset.root=nowhere"),
    "outputs under a file": ("output_dir=small.csv/outputs",),
    "best without validation": ("dataset.val_fraction=0",),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dry_nets.py").write_text(NETS)
    (tmp_path / "small.csv").write_text("x,y\n" + "".join(f"{k},{k % 2}\n" for k in range(40)))
    yield
    sys.modules.pop("dry_nets", None)


@pytest.mark.parametrize("overrides", BAD.values(), ids=BAD.keys())
def test_what_would_fail_in_the_first_step_fails_in_a_dry_run(overrides: tuple[str, ...]) -> None:
    assert main(["train-teacher", *TINY, *overrides, "--dry-run"]) != 0
    assert not Path("outputs").exists()


@pytest.mark.parametrize("overrides", [("dataset=letter",), ("targets.store=small.csv/targets",)])
def test_a_student_that_cannot_learn_fails_in_a_dry_run(tiny_teacher: RunDir, overrides: tuple[str, ...]) -> None:
    assert main(["distill-student", *TINY, f"teacher={tiny_teacher.path}", *overrides, "--dry-run"]) != 0
    assert not Path("outputs").exists()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system tells no peak")
def test_a_batch_that_does_not_fit_is_refused_before_it_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable: 204800 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    assert main(["train-teacher", "model=cnn", "device=cpu", "batch_size=8000", "--dry-run"]) == 6
    said = capsys.readouterr()
    assert "batches of 8,000 examples need about " in said.err
    assert " GB more memory, and 209.7 MB are free\nwhere: batch_size\n" in said.err
    assert (said.out, Path("outputs").exists()) == ("", False)


def test_of_a_sweep_jobs_and_programs_are_counted_and_the_first_job_is_tried(
    tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", f"teacher={tiny_teacher.path}", "temperature=1,2", "transfer.fraction=0.01,0.02", "--dry-run"]
    assert main(["distill-student", *TINY[1:], *sweep]) == 0
    first, *plan = capsys.readouterr().out.splitlines()
    assert first == "sweep    4 jobs with 2 baselines in 2 programs; the first job by itself:"
    assert plan[-1] == "nothing was written; one batch went forward and backward"
    assert any("mnist: 540 of 54,000 training examples" in line for line in plan)
    assert main(["distill-student", *TINY[1:], *sweep, "alpha=0,2"]) == 2
    assert not Path("outputs").exists()


def test_what_passes_a_dry_run_says_what_it_needs_and_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", *TINY, *CUSTOM, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    for word in ("memory   ", "disk     at most ", "time     about "):
        assert word in plan
    assert not Path("outputs").exists()
    assert main(["train-teacher", *TINY, *CUSTOM, "--smoke"]) == 0
