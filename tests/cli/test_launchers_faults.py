"""What becomes of a sweep when its launcher or its workers fail, told by a launcher that does as it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kdcli.commands import slurm, workers
from kdcli.commands.flags import Flags
from kdcli.commands.jobs import Job
from kdcli.commands.launching import Launching
from kdcli.commands.sweep import Workers, begin
from kdcli.errors import Interrupted, MachineError
from kdcli.program.sweep import even_parts, plan_sweep
from kdcli.rundir import RunDir, RunLock
from kdcli.rundir.run import write_record

pytestmark = pytest.mark.xdist_group("launchers")

Configure = Callable[..., Any]
TINY = ("model=mlp_30", "transfer.fraction=0.01", "epochs=1", "device=cpu")


@pytest.fixture(scope="module")
def config(configure: Configure) -> Any:
    return configure("train-teacher", *TINY)


@pytest.fixture
def home(config: Any, tmp_path: Path) -> Any:
    """A sweep of three programs, and the lines for the launcher."""
    own = {"output_dir": str(tmp_path)}
    jobs = [Job(seed, [f"seed={seed}"], config.model_copy(update={"seed": seed, **own}), {}) for seed in range(3)]
    started = begin("train-teacher", jobs, Flags(quiet=True), workers=Workers(3))
    with started.held:
        yield started.run


class Scripted:
    """A launcher whose workers do what a test says: ``work`` gets the names of the jobs of each launch."""

    def __init__(self, home: RunDir, work: Callable[[Sequence[str]], None]) -> None:
        self.home = home
        self.work = work
        self.launches: list[list[str]] = []
        self.said: list[str] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        self.launches.append([line[0] for line in job_overrides])
        self.work(self.launches[-1])
        return []

    def run(self) -> None:
        programs = sorted((self.home.path / "programs").glob("*.json"))
        lines = {path: [path.stem] for path in programs}
        Launching(self, RunDir.open(self.home.path), lines, self.said.append).run()  # type: ignore[arg-type]

    def set(self, name: str, status: Any) -> None:
        RunDir.open(self.home.path / name).set_status(status)

    def statuses(self) -> list[str]:
        return [RunDir.open(self.home.path / name).record.status for name in ("00", "01", "02")]


def test_what_a_killed_worker_tore_along_runs_once_more_each_by_itself(home: RunDir) -> None:
    def work(names: Sequence[str]) -> None:
        if len(names) == 3:
            launcher.set("00", "running")
            launcher.set("01", "running")
            raise RuntimeError("a worker was killed\nand so on")
        for name in names:
            launcher.set(name, "running" if name == "01" else "finished")
            if name == "01":
                raise RuntimeError("again")

    launcher = Scripted(home, work)
    launcher.run()
    assert launcher.launches == [["00", "01", "02"], ["02"], ["00"], ["01"]]
    assert launcher.statuses() == ["finished", "failed", "finished"]
    error = RunDir.open(home.path / "01").record.error
    assert error is not None
    assert (error.code, error.fix) == (
        6,
        f"kd resume {home.path}; sweep.members_max=N makes a sweep's programs smaller",
    )
    assert launcher.said == ["a worker was killed: 2 programs go on later, each by itself"]


def test_a_launcher_that_starts_nothing_is_an_error_of_the_machine(home: RunDir) -> None:
    def work(names: Sequence[str]) -> None:
        raise ValueError("no such partition\nTraceback")

    with pytest.raises(MachineError, match="could not start anything: no such partition$"):
        Scripted(home, work).run()


def test_what_began_before_and_is_begun_again_is_known_by_its_process(home: RunDir) -> None:
    def work(names: Sequence[str]) -> None:
        if len(names) == 3:
            launcher.set("01", "running")
            raise RuntimeError("a worker was killed")
        for name in names:
            launcher.set(name, "finished")

    launcher = Scripted(home, work)
    for name in ("00", "01"):
        run = RunDir.open(home.path / name)
        write_record(run.path, run.record.model_copy(update={"status": "running", "pid": 1}))
    launcher.run()
    assert launcher.launches == [["00", "01", "02"], ["00", "02"], ["01"]]
    assert launcher.statuses() == ["finished"] * 3


def test_a_run_that_another_process_still_holds_is_left_to_it(home: RunDir) -> None:
    with RunLock(home.path / "00"):
        launcher = Scripted(home, lambda names: [launcher.set(name, "running") for name in names] and None)
        launcher.run()
    assert launcher.statuses() == ["running", "failed", "failed"]


def test_a_run_that_seems_to_go_on_when_all_is_over_was_killed(home: RunDir) -> None:
    launcher = Scripted(home, lambda names: [launcher.set(name, "running") for name in names[:1]] and None)
    launcher.run()
    assert launcher.statuses() == ["failed", "created", "created"]


def test_a_signal_reaches_the_workers_through_the_sweep_s_record(home: RunDir) -> None:
    def work(names: Sequence[str]) -> None:
        launcher.set("00", "running")
        assert workers.is_wanted(home.path)
        os.kill(os.getpid(), signal.SIGINT)
        while workers.is_wanted(home.path):
            pass

    launcher = Scripted(home, work)
    with pytest.raises(Interrupted, match="stopped by SIGINT") as caught:
        launcher.run()
    assert caught.value.fix == f"kd resume {home.path}"
    assert launcher.statuses() == ["interrupted", "created", "created"]
    assert RunDir.open(home.path).record.status == "interrupted"


def test_a_worker_starts_nothing_for_a_sweep_that_was_stopped(home: RunDir) -> None:
    home.set_status("interrupted")
    origin = workers.Origin.here()
    assert workers.run(home.path / "programs" / "00.json", Flags(), origin) == 130
    assert RunDir.open(home.path / "00").record.status == "created"


def test_a_worker_says_so_where_the_directory_is_not_shared(home: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    origin = workers.Origin(1, "elsewhere", 0.0, "/no/such/directory")
    assert workers.run(home.path / "programs" / "00.json", Flags(), origin) == 6
    said = capsys.readouterr().err.splitlines()
    assert all(line.startswith("[00] ") for line in said)
    assert "/no/such/directory" in said[1]


def test_a_process_is_gone_when_it_has_ended_on_this_machine() -> None:
    here = workers.Origin.here()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not here.is_gone()
    assert workers.Origin(ended.pid, here.host, here.since, "/").is_gone()
    assert not workers.Origin(ended.pid, "elsewhere", here.since, "/").is_gone()


@pytest.mark.parametrize(
    ("count", "most", "sizes"), [(18, 18, [18]), (18, 5, [4, 5, 4, 5]), (3, 2, [1, 2]), (1, 4, [1]), (4, 1, [1] * 4)]
)
def test_parts_are_as_few_and_as_even_as_can_be(count: int, most: int, sizes: list[int]) -> None:
    parts = even_parts(range(count), most)
    assert [len(part) for part in parts] == sizes
    assert [job for part in parts for job in part] == list(range(count))


@pytest.mark.parametrize(
    ("at_once", "members_max", "sizes"),
    [(1, None, [6, 2]), (4, None, [2, 2, 2, 2]), (3, None, [3, 3, 2]), (8, 6, [6, 2])],
)
def test_with_enough_jobs_no_worker_is_idle(
    config: Any, at_once: int, members_max: int | None, sizes: list[int]
) -> None:
    sweep = config.sweep.model_copy(update={"members_max": members_max})
    alike = [config.model_copy(update={"seed": seed, "sweep": sweep}) for seed in range(6)]
    others = [each.model_copy(update={"epochs": 2}) for each in alike[:2]]
    plan = plan_sweep([*alike, *others], at_once=at_once)
    assert [len(group) for group in plan.groups] == sizes


SLURM = {"SUBMITIT_EXECUTOR": "slurm", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "15"}


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a program on the path that writes down how it is called, and prints a text."""

    def command(name: str, prints: str = "", code: int = 0) -> None:
        called = tmp_path / "called"
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} $* >>{called}\nprintf '{prints}'\nexit {code}\n")
        (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return command


def test_the_queue_is_read_element_by_element(commands: Callable[..., None]) -> None:
    commands("squeue", "12_0|RUNNING|None\\n12_3|PENDING|Resources\\n14|COMPLETING|None\\n")
    assert slurm.queued() == {"12_0": "running", "12_3": "pending (Resources)", "14": "completing"}


def test_a_queue_that_does_not_answer_is_not_an_empty_one(commands: Callable[..., None]) -> None:
    commands("squeue", code=1)
    assert slurm.queued() is None


@pytest.mark.parametrize(
    ("state", "restarts", "again"),
    [("RUNNING", "0", True), ("RUNNING", "1", True), ("RUNNING", "2", False), ("COMPLETING", "0", False)],
)
def test_a_job_is_queued_again_where_slurm_wants_its_place_and_not_where_it_was_cancelled(
    state: str, restarts: str, again: bool, commands: Callable[..., None], tmp_path: Path
) -> None:
    commands("squeue", state)
    commands("scontrol")
    environment = {**os.environ, **SLURM, "SLURM_RESTART_COUNT": restarts}
    asks = "from kdcli.commands import slurm; slurm.start_again(2)"
    code = subprocess.run([sys.executable, "-c", asks], env=environment, capture_output=True).returncode
    called = (tmp_path / "called").read_text() if (tmp_path / "called").exists() else ""
    assert (code, "scontrol requeue 12_3" in called) == ((143, True) if again else (0, False))


def test_a_job_computes_with_the_cpus_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert slurm.threads() == {}, "another's job, as of an interactive shell"
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    assert slurm.threads() == {"OMP_NUM_THREADS": "3"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert slurm.threads() == {}
