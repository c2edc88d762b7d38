"""Sweeps on a real SLURM, which scripts/test-slurm installs for the while."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.clusters.cluster import JOBS, LONG, SHORT, Sweeping, finished, resumed
from tests.program import reference

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("sbatch") is None, reason="there is no SLURM here; see scripts/test-slurm"),
    pytest.mark.xdist_group("slurm"),
    pytest.mark.timeout(900),
]

SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2")


def ask(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def queue() -> list[str]:
    """This user's jobs that wait or run."""
    return ask("squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}").split()


def job_of(sweeping: Sweeping, name: str) -> str:
    """SLURM's number for the job that trains this one."""
    variables = json.loads((sweeping.home / name / "environment.json").read_text())["variables"]
    return f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"


def restarts(job: str) -> int:
    shown = ask("scontrol", "show", "job", job)
    return int(shown.partition("Restarts=")[2].split()[0])


def same_jobs(first: Sweeping, second: Sweeping) -> None:
    for name in JOBS:
        reference.same_training(first.home / name, second.home / name)


@pytest.fixture
def stopping(tmp_path: Path) -> Sweeping:
    """A sweep of which two jobs train."""
    sweeping = Sweeping(tmp_path / "slurm", *LONG, *SLURM)
    sweeping.under_way(2)
    return sweeping


def test_a_sweep_of_slurm_s_jobs_comes_to_the_same_as_one_in_one_process(tmp_path: Path, undisturbed: Sweeping) -> None:
    sweeping = finished(tmp_path / "slurm", *LONG, *SLURM)
    same_jobs(sweeping, undisturbed)
    assert sweeping.record()["status"] == "finished"
    assert len({job_of(sweeping, name) for name in JOBS}) == 3
    assert "3 programs" in sweeping.err
    assert "jobs of SLURM: " in sweeping.err
    logs = [path.name for path in (sweeping.home / "logs").rglob("*") if path.is_file()]
    assert len(logs) == 3, logs
    assert all(name.endswith(".out") for name in logs), "and no pickles"
    assert queue() == []


def test_a_cohort_is_split_among_the_jobs_that_run_at_a_time(tmp_path: Path) -> None:
    words = [word for word in SHORT if not word.startswith("sweep.")]
    sweeping = finished(tmp_path / "slurm", *words, *SLURM, "hydra.launcher.array_parallelism=2")
    programs = [json.loads(path.read_text())["jobs"] for path in sorted((sweeping.home / "programs").glob("*.json"))]
    assert programs == [[0], [1, 2]]
    assert job_of(sweeping, "01") == job_of(sweeping, "02") != job_of(sweeping, "00")


def test_ctrl_c_ends_slurm_s_jobs_and_a_resume_finishes_them(stopping: Sweeping, undisturbed: Sweeping) -> None:
    stopping.interrupt()
    assert stopping.wait() == 130
    assert f"do: kd resume {stopping.home.relative_to(stopping.root)}" in stopping.err
    assert queue() == []
    assert stopping.statuses() == ["interrupted", "interrupted", "created"]
    assert stopping.record()["status"] == "interrupted"
    assert resumed(stopping) == 0
    same_jobs(stopping, undisturbed)


def test_a_killed_job_is_reported_and_the_others_finish(stopping: Sweeping, undisturbed: Sweeping) -> None:
    os.kill(stopping.record("01")["pid"], signal.SIGKILL)
    assert stopping.wait() == 7
    assert stopping.statuses() == ["finished", "failed", "finished"]
    error = stopping.record("01")["error"]
    assert "was killed" in error["what"]
    assert error["where"] == f"{stopping.home.relative_to(stopping.root)}/logs"
    assert resumed(stopping) == 0
    same_jobs(stopping, undisturbed)


def test_a_job_that_its_user_cancels_is_saved_and_not_started_again(stopping: Sweeping) -> None:
    job = job_of(stopping, "00")
    ask("scancel", job)
    assert stopping.wait() == 7
    assert stopping.statuses() == ["interrupted", "finished", "finished"]
    assert restarts(job) == 0
    assert resumed(stopping) == 0


def test_a_job_whose_time_is_up_is_queued_again_and_goes_on(stopping: Sweeping, undisturbed: Sweeping) -> None:
    job, before = job_of(stopping, "00"), stopping.epochs("00")
    ask("scancel", "--signal=USR1", job)  # as SLURM does signal_delay_s before the end of timeout_min
    stopping.wait_for(lambda: restarts(job) == 1)
    assert stopping.epochs("00") >= before
    assert stopping.wait() == 0, stopping.err
    same_jobs(stopping, undisturbed)
    assert "queued again" in "".join(path.read_text() for path in stopping.home.glob("logs/*/*"))


def test_a_job_that_makes_room_for_an_urgent_one_goes_on_after_it(stopping: Sweeping, undisturbed: Sweeping) -> None:
    jobs = [job_of(stopping, name) for name in JOBS[:2]]
    urgent = ask("sbatch", "--parsable", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    stopping.wait_for(lambda: urgent.strip() not in queue())
    assert [restarts(job) for job in jobs] == [1, 1]
    assert stopping.wait() == 0, stopping.err
    same_jobs(stopping, undisturbed)


def test_jobs_live_on_without_the_process_that_submitted_them(stopping: Sweeping, undisturbed: Sweeping) -> None:
    stopping.process.kill()
    stopping.process.wait()
    until = time.monotonic() + 180
    while queue() and time.monotonic() < until:
        time.sleep(0.5)
    assert stopping.statuses() == ["finished"] * 3
    assert resumed(stopping) == 0
    same_jobs(stopping, undisturbed)
    assert stopping.record()["status"] == "finished"
