"""Sweeps whose programs run in several processes of one machine: joblib's, submitit's and Ray's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.clusters.cluster import JOBS, LONG, Sweeping, all_gone, finished, resumed
from tests.program import reference

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workers"), pytest.mark.timeout(900)]

without_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
LAUNCHERS = {
    "joblib": ("hydra/launcher=joblib",),
    "submitit_local": ("hydra/launcher=submitit_local",),
    "ray": ("hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2", "hydra.launcher.ray.remote.num_cpus=1"),
}
every_launcher = pytest.mark.parametrize(
    "launcher", ["joblib", "submitit_local", pytest.param("ray", marks=without_ray)]
)


def start(tmp_path: Path, launcher: str, *words: str) -> Sweeping:
    return Sweeping(tmp_path / launcher, *LONG, *LAUNCHERS[launcher], *words)


def same_jobs(first: Sweeping, second: Sweeping) -> None:
    for name in JOBS:
        reference.same_training(first.home / name, second.home / name)


@every_launcher
def test_a_sweep_comes_to_the_same_as_in_one_process(tmp_path: Path, launcher: str, undisturbed: Sweeping) -> None:
    sweeping = finished(tmp_path / launcher, *LONG, *LAUNCHERS[launcher])
    same_jobs(sweeping, undisturbed)
    assert len({sweeping.record(name)["pid"] for name in JOBS} - {sweeping.process.pid}) >= 2
    assert sweeping.record()["pid"] == sweeping.process.pid
    assert not [path for path in sweeping.home.rglob("*") if path.suffix in (".pkl", ".sh") or path.is_symlink()]


@every_launcher
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_kd_lets_every_worker_save_and_end(
    tmp_path: Path, launcher: str, number: signal.Signals, code: int, undisturbed: Sweeping
) -> None:
    sweeping = start(tmp_path, launcher)
    workers = sweeping.under_way(2)
    sweeping.interrupt(number)
    assert sweeping.wait() == code
    assert all_gone(workers)
    assert sweeping.statuses() == ["interrupted", "interrupted", "created"]
    assert sweeping.record()["status"] == "interrupted"
    assert sweeping.record()["error"]["code"] == code
    assert resumed(sweeping) == 0
    same_jobs(sweeping, undisturbed)


@every_launcher
def test_workers_end_with_the_process_that_waits_for_them(tmp_path: Path, launcher: str) -> None:
    sweeping = start(tmp_path, launcher)
    workers = sweeping.under_way(2)
    sweeping.process.kill()
    sweeping.process.wait()
    assert all_gone(workers)
    assert resumed(sweeping) == 0
    assert sweeping.statuses() == ["finished"] * 3


@every_launcher
def test_a_killed_worker_does_not_keep_the_others_from_their_end(
    tmp_path: Path, launcher: str, undisturbed: Sweeping
) -> None:
    sweeping = start(tmp_path, launcher)
    sweeping.under_way(2)
    os.kill(sweeping.record("00")["pid"], signal.SIGKILL)
    code = sweeping.wait()
    if launcher == "joblib":  # it ends all its workers, and nobody knows whose fault it was: each gets another chance
        assert code == 0, sweeping.err
        assert "2 programs go on later" in sweeping.err
    else:
        assert code == 7
        assert sweeping.statuses() == ["failed", "finished", "finished"]
        assert "was killed" in sweeping.record("00")["error"]["what"]
        assert resumed(sweeping) == 0
    same_jobs(sweeping, undisturbed)


_DEADLY = """
import os, signal, torch

class Net(torch.nn.Linear):
    def __init__(self, *_, **__):
        super().__init__(784, 10)

    def forward(self, images):
        if self.training and images.shape[0] == 31:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images.flatten(1))
"""


@every_launcher
def test_a_program_that_always_kills_its_worker_fails_alone(tmp_path: Path, launcher: str) -> None:
    root = tmp_path / launcher
    root.mkdir()
    (root / "deadly.py").write_text(_DEADLY)
    words = [word for word in LONG if not word.startswith(("seed=", "model=", "batch_size="))]
    deadly = ("model=custom", "model.target=deadly:Net", "batch_size=31,32,33")
    sweeping = Sweeping(root, *words, *deadly, *LAUNCHERS[launcher])
    assert sweeping.wait() == 7
    assert sweeping.statuses() == ["failed", "finished", "finished"]
    assert "was killed" in sweeping.record("00")["error"]["what"]
    assert "1 of 3 jobs did not finish: batch_size=31" in sweeping.err


@every_launcher
def test_a_resume_may_name_a_launcher(tmp_path: Path, launcher: str, undisturbed: Sweeping) -> None:
    sweeping = start(tmp_path, launcher)
    sweeping.under_way(2)
    sweeping.interrupt()
    assert sweeping.wait() == 130
    assert resumed(sweeping, *LAUNCHERS[launcher]) == 0
    same_jobs(sweeping, undisturbed)
    environment = json.loads((sweeping.home / "02" / "environment.json").read_text())
    assert environment["variables"]["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_second_ctrl_c_waits_for_nobody(tmp_path: Path, launcher: str) -> None:
    sweeping = start(tmp_path, launcher, "epochs=100000")
    workers = sweeping.under_way(2)
    sweeping.interrupt()
    sweeping.wait_for(lambda: sweeping.record()["status"] == "interrupted")
    sweeping.interrupt()
    assert sweeping.wait() == 130
    assert all_gone(workers)
    assert subprocess.run([sys.executable, "-m", "kdcli", "verify", sweeping.home]).returncode == 0


def test_one_worker_asks_the_teacher_and_the_other_waits(tmp_path: Path, undisturbed: Sweeping) -> None:
    teacher = undisturbed.home / "00"
    shared = [word for word in LONG[3:] if not word.startswith(("seed", "epochs"))]
    words = ("distill-student", "-m", f"teacher={teacher}", "model=mlp_30", "temperature=1,4", "epochs=2", *shared)
    sweeping = finished(tmp_path / "two", *words, "hydra/launcher=joblib")
    assert len(list((sweeping.root / "outputs" / "targets").glob("[0-9a-f]*"))) == 1
    baselines = {reference.summary(sweeping.home / name)["baseline"]["run"] for name in ("00", "01")}
    assert baselines == {str(sweeping.home.resolve() / "baselines" / "00")}
