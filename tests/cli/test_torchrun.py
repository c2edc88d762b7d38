"""Several processes as torchrun starts them: what they train, what they say, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcli.__main__ import main
from kdcli.rundir import RunDir
from tests.program import reference

pytestmark = pytest.mark.xdist_group("torchrun")

SECONDS = 120
TINY = ("transfer.fraction=0.01", "batch_size=33", "device=cpu", "model=mlp", "model.hidden=[20]", "optimizer.lr=0.01")
NOISY = ("model.dropout=0.2", "model.input_dropout=0.1", "dataset.views=shift", "dataset.view_pixels=1")
LONG = (*TINY, "model.dropout=0.2", "epochs=60", "--progress=plain")
NETS = """
import os
import torch

class Net(torch.nn.Sequential):
    def __init__(self, input_shape, classes):
        conv, norm = torch.nn.Conv2d(1, 3, 5, stride=3), torch.nn.BatchNorm2d(3)
        last = torch.nn.Linear(192, classes)
        super().__init__(conv, norm, torch.nn.ReLU(), torch.nn.Dropout2d(0.2), torch.nn.Flatten(), last)
        self.conduct, self.steps = os.environ.get("CONDUCT"), 0

    def forward(self, images):
        self.steps += self.training
        if self.steps == 5 and self.conduct == "fails in " + os.environ.get("RANK", ""):
            raise ValueError("an odd thing")
        if self.conduct == "draws":
            images = images + torch.rand_like(images)
        return super().forward(images)
"""
CUSTOM = (*TINY[:3], "model=custom", "model.target=parted_nets:Net", "optimizer=sgd", "optimizer.lr=0.1", "epochs=2")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parted_nets.py").write_text(NETS)


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def processes(words: Sequence[str], size: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes of one command line, with the variables that torchrun sets."""
    common = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", "WORLD_SIZE": str(size)}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    command = [sys.executable, "-m", "kdcli", *words]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=common | rank, **pipes) for rank in ranks]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def ended(started: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each process."""
    said = [process.communicate(timeout=SECONDS) for process in started]
    return [(process.returncode, out, err) for process, (out, err) in zip(started, said, strict=True)]


def run(*words: str, size: int = 2) -> list[tuple[int, str, str]]:
    """Run a command line in several processes, to its end."""
    with processes(words, size) as started:
        return ended(started)


def assert_same_within_rounding(first: Path, second: Path) -> None:
    """The weights, and all numbers but times, are the same within rounding."""
    found, expected = reference.weights(first), reference.weights(second)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-3, atol=1e-4, err_msg=name)
    for line, other in zip(reference.metrics(first), reference.metrics(second), strict=True):
        assert line.keys() == other.keys()
        for key in line.keys() - reference.TIMES:
            assert line[key] == (other[key] if other[key] is None else pytest.approx(other[key], rel=1e-3)), key


def only(pattern: str) -> Path:
    """The one path of this form."""
    (path,) = Path("outputs").glob(pattern)
    return path


def test_two_processes_distil_what_one_does(tiny_teacher: RunDir) -> None:
    line = ("distill-student", f"teacher={tiny_teacher.path}", *TINY, *NOISY, "epochs=2", "temperature=3", "alpha=0.7")
    assert main([*line, "--progress=none", "output_dir=alone"]) == 0
    first, second = run(*line, "--progress=none")
    together, (alone,) = only("distill-student/*"), Path("alone").glob("distill-student/*")
    assert (first[0], first[2], second) == (0, f"distill-student {together}\n", (0, "", ""))
    for run_of in (Path(), Path("baseline")):
        assert_same_within_rounding(together / run_of, alone / run_of)
    assert reference.files(together) == reference.files(alone)
    assert '"processes": 2' in (together / "environment.json").read_text()
    assert '"processes": 1' in (alone / "environment.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("words", [("train-teacher", "epochs=0"), ("nonsense",), ("train-teacher", "device=mps")])
def test_a_refusal_is_printed_once_and_ends_all(words: tuple[str, ...]) -> None:
    first, second = run(*words)
    assert first[0] == 2
    assert first[2].startswith("error: ")
    assert second == (2, "", "")
    assert not Path("outputs").exists()


@pytest.mark.slow
def test_a_network_of_the_users_with_batch_norm_and_dropout_trains_as_in_one_process(tmp_path: Path) -> None:
    assert main(["train-teacher", *CUSTOM, "output_dir=alone", "--progress=none"]) == 0
    outcomes = run("train-teacher", *CUSTOM, "--progress=none", size=3)
    assert [code for code, _, _ in outcomes] == [0, 0, 0]
    (alone,) = Path("alone").glob("train-teacher/*")
    assert_same_within_rounding(only("train-teacher/*"), alone)


@pytest.mark.slow
@pytest.mark.parametrize("members_data", ["parts", "all"])
def test_an_ensemble_trains_as_in_one_process(members_data: str) -> None:
    line = ("train-teacher", "members=2", f"members_data={members_data}", *TINY, *NOISY, "epochs=2", "--progress=none")
    assert main([*line, "output_dir=alone"]) == 0
    assert run(*line)[1] == (0, "", "")
    (alone,) = Path("alone").glob("train-teacher/*")
    for member in ("members/00", "members/01"):
        assert_same_within_rounding(only("train-teacher/*") / member, alone / member)


@pytest.mark.slow
@pytest.mark.parametrize("full", ["true", "false"])
def test_specialists_train_as_in_one_process(tiny_teacher: RunDir, full: str) -> None:
    # SGD: what a dustbin's rare class gets is so little that Adam would make steps of its rounding
    settings = ("optimizer=sgd", "optimizer.lr=0.05", "epochs=2", "alpha=0.5", "--progress=none")
    own = ("specialists.count=2", f"specialists.full_softmax={full}")
    line = ("train-specialists", f"teacher={tiny_teacher.path}", *TINY[:3], *NOISY[2:], *settings, *own)
    assert main([*line, "output_dir=alone"]) == 0
    assert run(*line)[1] == (0, "", "")
    (alone,) = Path("alone").glob("train-specialists/*")
    for place in ("members/00", "members/01", "baseline"):
        assert_same_within_rounding(only("train-specialists/*") / place, alone / place)


@pytest.mark.slow
def test_a_sweep_trains_as_in_one_process(tiny_teacher: RunDir) -> None:
    line = ("distill-student", f"teacher={tiny_teacher.path}", *TINY, *NOISY, "epochs=2", "--progress=none")
    sweep = (*line, "-m", "temperature=1,4", "batch_size=33,50")
    assert main([*sweep, "output_dir=alone"]) == 0
    assert run(*sweep)[1] == (0, "", "")
    (alone,) = Path("alone").glob("sweeps/*")
    for job in ("00", "01", "02", "03", "baselines/00", "baselines/01"):
        assert_same_within_rounding(only("sweeps/*") / job, alone / job)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conduct", "code", "says"),
    [
        ("fails in 0", 1, "an odd thing"),
        ("fails in 1", 1, "an odd thing"),
        ("draws", 2, "draws random numbers otherwise"),
    ],
)
def test_what_goes_wrong_in_any_process_is_said_once_and_ends_all(
    conduct: str, code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUCT", conduct)
    first, second = run("train-teacher", *CUSTOM, "--progress=none")
    assert (first[0], second) == (code, (code, "", ""))
    assert first[2].count(says) == 1
    assert reference.status(only("train-teacher/*")) == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_killed_does_not_leave_the_other_hanging(lost: int) -> None:
    with processes(("train-teacher", *LONG), 2) as started:
        _await(started[0], "epoch 3/")
        started[lost].kill()
        outcomes = ended(started)
    assert outcomes[lost][0] == -signal.SIGKILL
    assert outcomes[1 - lost][0] == 6
    if lost == 1:
        assert "another process of this training is gone" in outcomes[0][2]
    assert main(["resume", str(only("train-teacher/*")), "--progress=none"]) == 0


def _await(process: subprocess.Popen[str], beginning: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return
    raise AssertionError(f"no line begins with {beginning!r}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long training by two processes that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert run("train-teacher", *LONG, f"output_dir={folder}")[0][0] == 0
    (path,) = folder.glob("train-teacher/*")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "asked", "code"),
    [(signal.SIGTERM, (0, 1), 143), (signal.SIGINT, (0, 1), 130), (signal.SIGTERM, (1,), 143)],
)
@pytest.mark.parametrize("size", [1, 2])
def test_a_stopped_training_goes_on(
    whole: Path, number: signal.Signals, asked: tuple[int, ...], code: int, size: int
) -> None:
    with processes(("train-teacher", *LONG), 2) as started:
        _await(started[0], "epoch 3/")
        for rank in asked:
            started[rank].send_signal(number)
        first, second = ended(started)
    assert (first[0], second) == (code, (code, "", ""))
    assert first[2].count("error: stopped by") == 1
    path = only("train-teacher/*")
    assert reference.status(path) == "interrupted"
    said = run("resume", str(path), "--progress=none", size=size) if size > 1 else _resumed(path)
    assert ("processes 2 -> 1" in said[0][2]) == (size == 1)
    if size == 2:
        reference.same_training(path, whole)
    else:
        assert_same_within_rounding(path, whole)


def _resumed(path: Path) -> list[tuple[int, str, str]]:
    command = [sys.executable, "-m", "kdcli", "resume", str(path), "--progress=none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    return [(done.returncode, done.stdout, done.stderr)]


@pytest.mark.slow
def test_more_processes_go_on_with_what_one_began(whole: Path) -> None:
    shutil.copytree(whole.parents[1], "outputs")
    line = ("train-teacher", *LONG)
    command = [sys.executable, "-m", "kdcli", *line, "output_dir=begun"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        _await(process, "epoch 3/")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    (path,) = Path("begun").glob("train-teacher/*")
    assert run("resume", str(path), "--progress=none", size=3)[2] == (0, "", "")
    assert_same_within_rounding(path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_torchrun_itself_is_asked_to_stop(number: signal.Signals) -> None:
    command = ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "kdcli", "train-teacher", *LONG]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, *command], env=environment, **pipes) as agent:
        _await(agent, "epoch 3/")
        asked = time.monotonic()
        agent.send_signal(number)
        _, said = agent.communicate(timeout=SECONDS)
    assert time.monotonic() - asked < 20
    assert said.count("everything up to the last step is saved") == 1
    assert reference.status(only("train-teacher/*")) == "interrupted"
