"""``kd resume``: real signals to real processes, and every kind of thing that can go on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from kdcli.__main__ import main
from kdcli.rundir import RunDir, RunLock
from tests.program import reference

pytestmark = pytest.mark.xdist_group("resume")

# 147 steps an epoch, each of which a process that is to be interrupted sleeps through.
SLEEPY = (
    "model=custom", "model.target=sleepy_nets:Net", "transfer.fraction=0.02", "dataset.val_fraction=0.02",
    "batch_size=8", "device=cpu", "epochs=4", "optimizer.lr=0.002",
)  # fmt: skip
SLEEPY_NETS = """
import os, time
import torch

class Net(torch.nn.Sequential):
    def __init__(self, input_shape, classes):
        first, last = torch.nn.Linear(784, 20), torch.nn.Linear(20, classes)
        super().__init__(torch.nn.Flatten(), first, torch.nn.Dropout(0.3), last)

    def forward(self, images):
        time.sleep(float(os.environ.get("SLEEPY_NETS_SECONDS", 0)) if self.training else 0)
        return super().forward(images)
"""
TINY = ("transfer.fraction=0.01", "batch_size=32", "device=cpu", "epochs=1", "model=mlp_30", "--progress=none")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def started(*words: str, **variables: str) -> subprocess.Popen[str]:
    """A real process of kd, in the current directory."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", **variables}
    command = [sys.executable, "-m", "kdcli", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def heard(stream: IO[str] | None, beginning: str) -> str:
    """The first line that begins so."""
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith(beginning):
            return line
    raise AssertionError(f"no line begins with {beginning!r} in {lines}")


def stopped_by(number: signal.Signals, beginning: str, *words: str) -> tuple[int, str]:
    """Run kd until it says something, send a signal a moment later; its exit code and the rest of what it says."""
    with started(*words, "--progress=plain", SLEEPY_NETS_SECONDS="0.008") as process:
        heard(process.stderr, beginning)
        time.sleep(random.uniform(0.02, 0.3))
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    return process.returncode, rest


def only(pattern: str) -> RunDir:
    (path,) = Path("outputs").glob(pattern)
    return RunDir.open(path)


def test_a_run_outlives_every_signal_and_ends_as_if_there_had_been_none() -> None:
    Path("sleepy_nets.py").write_text(SLEEPY_NETS)
    assert main(["train-teacher", *SLEEPY, "output_dir=whole", "--quiet"]) == 0
    (whole,) = Path("whole/train-teacher").iterdir()

    code, said = stopped_by(signal.SIGINT, "epoch 1/4", "train-teacher", *SLEEPY)
    run = only("train-teacher/*")
    assert (code, run.record.status) == (130, "interrupted")
    assert f"kd resume {run.path}" in said
    for number in (signal.SIGTERM, signal.SIGUSR1):
        code, _ = stopped_by(number, "going on from epoch", "resume", "latest", "trust_code=true")
        assert (code, RunDir.open(run.path).record.status) == (143, "interrupted")
    code, _ = stopped_by(signal.SIGKILL, "going on from epoch", "resume", "trust_code=true")
    assert code == -signal.SIGKILL
    assert (RunDir.open(run.path).record.status, RunDir.open(run.path).status) == ("running", "interrupted")

    assert main(["resume", "latest", "trust_code=true", "--quiet"]) == 0
    reference.same_training(whole, run.path)
    assert reference.files(whole) == reference.files(run.path)


def test_a_second_process_in_a_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", *TINY, "--quiet"]) == 0
    run = unfinished(only("train-teacher/*"))
    before = reference.fingerprints(run.path)
    with RunLock(run.path):
        assert main(["resume", str(run.path)]) == 2
    assert f"process {os.getpid()} is working in this run directory" in capsys.readouterr().err
    assert {**reference.fingerprints(run.path), ".lock": ""} == {**before, ".lock": ""}


def test_a_finished_run_says_so_and_is_left_alone(
    tiny_teacher: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_teacher.path, run)
    (run / "report.html").write_text("a report")
    before = reference.fingerprints(run)
    assert main(["resume", str(run)]) == 0
    assert capsys.readouterr().out == f"{run} is finished: nothing to resume\n"
    assert main(["resume", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == reference.summary(run)
    assert reference.fingerprints(run) == before


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "there is no run that can go on"),
        (("latest", "another"), "resume takes one RUN"),
        (("latest", "epochs=9"), "a run goes on as it began"),
        (("latest", "trust_code=yes"), "trust_code=yes cannot be given"),
    ],
)
def test_refusals(words: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", *words]) == 2
    assert what in capsys.readouterr().err


def unfinished(run: RunDir) -> RunDir:
    """A run as it would be had its process died before its end."""
    (run.path / "summary.json").unlink()
    run.set_status("failed")
    return RunDir.open(run.path)


def test_a_member_or_a_baseline_goes_on_as_part_of_its_run(
    tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-teacher", *TINY, "members=2", "--quiet"]) == 0
    ensemble = unfinished(only("train-teacher/*"))
    unfinished(RunDir.open(ensemble.path / "members" / "01"))
    assert main(["resume", str(ensemble.path / "members" / "01"), "--quiet"]) == 0
    assert RunDir.open(ensemble.path).record.status == "finished"
    assert len(reference.summary(ensemble.path)["members"]) == 2

    assert main(["distill-student", *TINY, f"teacher={tiny_teacher.path}", "--quiet"]) == 0
    student = unfinished(only("distill-student/*"))
    capsys.readouterr()
    assert main(["resume", str(student.path / "baseline")]) == 0
    assert RunDir.open(student.path).record.status == "finished"
    assert f"run   {student.path}" in capsys.readouterr().out


def test_a_dry_run_only_says_what_would_go_on(tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill-student", *TINY, f"teacher={tiny_teacher.path}", "baseline=false", "--quiet"]) == 0
    run = unfinished(only("distill-student/*"))
    before = reference.fingerprints(run.path)
    capsys.readouterr()
    assert main(["resume", "--dry-run"]) == 0
    assert f"{run.path} is failed" in capsys.readouterr().out
    assert reference.fingerprints(run.path) == before


def test_a_smoke_run_stays_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", *TINY, "epochs=30", "--smoke", "--quiet"]) == 0
    run = unfinished(only("train-teacher/*"))
    assert main(["resume", "latest"]) == 2
    assert "smoke runs (1), which count only with --smoke" in capsys.readouterr().err
    assert main(["resume", str(run.path)]) == 0
    found = reference.summary(run.path)
    assert (found["epochs"], found["steps"], found["test"]["n"]) == (1, 2, 512)
    assert "This was a smoke run" in capsys.readouterr().out


def test_a_run_goes_on_from_another_directory(
    tiny_teacher: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train-teacher", *TINY, "--quiet"]) == 0
    assert main(["distill-student", *TINY, "teacher=latest", "--quiet"]) == 0
    student = unfinished(only("distill-student/*"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["resume", f"../{student.path}", "--quiet"]) == 0
    assert RunDir.open(tmp_path / student.path).record.status == "finished"


NETS = """
from pathlib import Path
import torch

Path("imported").touch()

class Net(torch.nn.Linear):
    def __init__(self, *_, **__):
        super().__init__(784, 10)
        self.calls = 0

    def forward(self, images):
        self.calls += self.training
        if self.calls > 5 and Path("broken").exists():
            raise RuntimeError("it breaks here")
        return super().forward(images.flatten(1))
"""


@pytest.fixture
def nets(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A module of the user's own that leaves a trace when it is imported; the function forgets the import."""

    def forget() -> None:
        sys.modules.pop("breakable_nets", None)
        (tmp_path / "imported").unlink(missing_ok=True)

    (tmp_path / "breakable_nets.py").write_text(NETS)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text("kind: custom\ntarget: breakable_nets:Net\narguments: {}\n")
    (tmp_path / "broken").touch()
    yield forget
    forget()


def test_code_that_a_run_names_is_run_only_where_it_is_trusted(
    nets: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("model=own", "--config-dir=mine", "--progress=none", "device=cpu", "transfer.fraction=0.01", "epochs=1")
    assert main(["train-teacher", *own, "batch_size=32"]) == 1
    nets()
    Path("broken").unlink()
    capsys.readouterr()
    assert main(["resume", "latest"]) == 2
    said = capsys.readouterr().err
    assert "model.target=breakable_nets:Net" in said
    assert "trust_code=true" in said
    assert not Path("imported").exists()
    assert main(["resume", "latest", "trust_code=true"]) == 0
    assert Path("imported").exists()


def test_a_failed_job_of_a_sweep_is_run_again_and_no_other(
    nets: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train-teacher", "-m", "model=own,mlp_30", "--config-dir=mine", *TINY[:4], "--progress=none"]
    assert main(line) == 7
    sweep = only("sweeps/*")
    assert [reference.status(sweep.path / job) for job in ("00", "01")] == ["failed", "finished"]
    before = reference.fingerprints(sweep.path / "01")
    assert main(["resume", "latest"]) == 2, "the code that it names is not trusted"
    assert main(["resume", "latest", "trust_code=true"]) == 7
    Path("broken").unlink()
    capsys.readouterr()
    assert main(["resume", str(sweep.path / "00"), "trust_code=true"]) == 0
    assert [reference.status(sweep.path / job) for job in ("00", "01", "")] == ["finished"] * 3
    assert reference.fingerprints(sweep.path / "01") == before
    assert len(json.loads((sweep.path / "summary.json").read_text())["jobs"]) == 2
    assert f"sweep {sweep.path}" in capsys.readouterr().out


def test_a_sweep_whose_process_was_killed_goes_on_without_repeating_a_program(
    tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "distill-student", "-m", f"teacher={tiny_teacher.path}", "loss=kd,mse_logits", "alpha=0.9", "temperature=1,4",
        *TINY[:3], "model=mlp_30", "epochs=2",
    ]  # fmt: skip
    assert main([*line, "output_dir=whole", "--quiet"]) == 0
    (whole,) = Path("whole/sweeps").iterdir()
    # The first program writes three summaries; this is the first of the second.
    with started(*line, "--quiet", KD_FAILPOINT="summary.json.replace:4") as process:
        process.communicate(timeout=60)
    assert process.returncode == 137
    sweep = only("sweeps/*")
    assert [RunDir.open(sweep.path / job).status for job in ("00", "01", "02", "03")] == [
        "finished", "finished", "interrupted", "interrupted",
    ]  # fmt: skip
    assert sweep.status == "interrupted"
    done = [reference.fingerprints(sweep.path / name) for name in ("00", "01", "baselines/00")]
    capsys.readouterr()
    assert main(["resume", "latest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((sweep.path / "summary.json").read_text())
    assert [reference.fingerprints(sweep.path / name) for name in ("00", "01", "baselines/00")] == done
    for name in ("00", "01", "02", "03", "baselines/00"):
        reference.same_training(whole / name, sweep.path / name)
    assert reference.files(whole) == reference.files(sweep.path)


def test_a_finished_run_that_was_killed_before_its_report_gets_it(
    tiny_teacher: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KD_NO_REPORT")
    run = tmp_path / "run"
    shutil.copytree(tiny_teacher.path, run)
    shutil.rmtree(run / "figures", ignore_errors=True)
    (run / "report.html").unlink(missing_ok=True)
    before = (run / "run.json").read_bytes()
    assert main(["resume", str(run)]) == 0
    assert (run / "report.html").exists()
    assert (run / "run.json").read_bytes() == before
