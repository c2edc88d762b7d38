"""Launches programs with submitit: as jobs of SLURM, or as processes of this machine in the same form.

It differs from Hydra's own launcher, whose settings it takes, in how it waits: a job that was killed leaves no result,
and without SLURM's accounting Hydra's would wait for it for ever.
"""

from __future__ import annotations

import os
import signal
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from omegaconf import OmegaConf

from kdcli.commands import slurm
from kdcli.commands.manner import make_manner
from kdcli.commands.sweep import Workers
from kdcli.commands.workers import is_wanted
from kdcli.errors import UsageError

# SLURM's warning comes as the signal that a training listens to. What submitit itself does on its signal loses work.
submitit.JobEnvironment.USR_SIG = "USR1"

_POLL_SECONDS = 1.0
_QUEUE_SECONDS = 10.0
_SHARED = set(OmegaConf.structured(BaseQueueConf))

LOGS = "logs"
"""Where in a sweep the output of its programs is."""

Job = Any  # submitit.Job: submitit need not be installed where types are checked
Line = tuple[list[str], str, int, str, Any]


class _Submitit(BaseSubmititLauncher):  # type: ignore[misc]  # for the same reason
    """What both have in common.

    Args:
        params: The settings, as of Hydra's Submitit launcher plugin.

    Raises:
        UsageError: ``array_parallelism`` is not a number of programs.
    """

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        at_once = self.params["array_parallelism"]
        if not isinstance(at_once, int) or at_once < 1:
            key = "hydra.launcher.array_parallelism"
            raise UsageError(f"{key}={at_once} is no number of programs", where=key, fix="1 or more")
        self._executor(Path())  # which checks the others

    @property
    def workers(self) -> Workers:
        """Who runs the programs."""
        return Workers(self.params["array_parallelism"], elsewhere=self._EXECUTOR == "slurm")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs; those that were killed are over as well, and the programs' records tell what came of them."""
        home = Path(str(self.config.hydra.sweep.dir))
        folder = home / LOGS
        state = Singleton.get_state()
        lines: list[Line] = [
            (list(overrides), "hydra.sweep.dir", index, str(index), state)
            for index, overrides in enumerate(job_overrides, start=initial_job_idx)
        ]
        try:
            self._run(self._executor(folder / "%j"), lines, lambda: is_wanted(home))
        finally:
            _remove_pickles(folder)
        return []

    @abstractmethod
    def _run(self, executor: submitit.AutoExecutor, lines: list[Line], wanted: Callable[[], bool]) -> None:
        """Carry the lines out, and wait for them."""

    def _executor(self, folder: Path) -> submitit.AutoExecutor:
        own = {"submitit_folder", "max_num_timeout", "array_parallelism"}
        asked = {key: value for key, value in self.params.items() if key not in own} | self._special()
        executor = submitit.AutoExecutor(folder, cluster=self._EXECUTOR)
        executor.update_parameters(
            **{key if key in _SHARED else f"{self._EXECUTOR}_{key}": value for key, value in asked.items()}
        )
        return executor

    def _special(self) -> dict[str, Any]:
        return {}


class SubmititLocal(_Submitit):
    """Processes of this machine, ``array_parallelism`` at a time."""

    _EXECUTOR = "local"

    def _run(self, executor: submitit.AutoExecutor, lines: list[Line], wanted: Callable[[], bool]) -> None:
        running: list[Job] = []
        try:
            while running or (lines and wanted()):
                while lines and wanted() and len(running) < self.params["array_parallelism"]:
                    with self._surroundings():
                        running.append(executor.submit(self, *lines.pop(0)))
                time.sleep(_POLL_SECONDS)
                running = [job for job in running if not job.done()]
        except BaseException:
            for job in running:
                os.kill(int(job.job_id), signal.SIGTERM)  # the program saves and ends
            raise

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        """Start a process that Ctrl-C in this terminal does not reach, which this process answers for all."""
        share = max(1, len(os.sched_getaffinity(0)) // self.params["array_parallelism"])
        before = os.environ.get("OMP_NUM_THREADS")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        os.environ.setdefault("OMP_NUM_THREADS", str(share))
        try:
            yield
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class SubmititSlurm(_Submitit):
    """One array of SLURM jobs, ``array_parallelism`` of which run at a time."""

    _EXECUTOR = "slurm"

    def _special(self) -> dict[str, Any]:
        cpus = self.params["cpus_per_task"]
        # Since SLURM 22.05 a step does not inherit the CPUs of its job.
        srun_args = [] if cpus is None else [f"--cpus-per-task={cpus}"]
        return {"array_parallelism": self.params["array_parallelism"], "srun_args": srun_args}

    def _run(self, executor: submitit.AutoExecutor, lines: list[Line], wanted: Callable[[], bool]) -> None:
        left: list[Job] = executor.map_array(self, *zip(*lines, strict=True))
        asked, said, cancelled = time.monotonic(), "", False
        try:
            while left:
                time.sleep(_POLL_SECONDS)
                if not wanted() and not cancelled:
                    cancelled = True
                    slurm.cancel(job.job_id for job in left)
                due = cancelled or time.monotonic() - asked > _QUEUE_SECONDS or any(map(_has_result, left))
                if due and (queue := slurm.queued()) is not None:
                    asked = time.monotonic()
                    left = [job for job in left if _is_open(job, queue)]
                    said = self._say(Counter(queue[job.job_id] for job in left), said)
        except BaseException:
            slurm.cancel(job.job_id for job in left)
            raise

    def _say(self, states: Counter[str], before: str) -> str:
        """Show how many jobs are in each state, if that has changed."""
        now = ", ".join(f"{count} {state}" for state, count in states.items())
        if now not in ("", before):
            make_manner([], self.task_function.flags).say(f"jobs of SLURM: {now}")
        return now


def _has_result(job: Job) -> bool:
    return bool(job.paths.result_pickle.exists())


def _is_open(job: Job, queue: Mapping[str, str]) -> bool:
    """Whether SLURM still has a job; one that it has put back into the queue may have left a result before."""
    if queue.get(job.job_id, "").startswith("pending"):
        job.paths.result_pickle.unlink(missing_ok=True)
    return job.job_id in queue


def _remove_pickles(folder: Path) -> None:
    """Leave what the jobs printed, and nothing that could be loaded or run again."""
    for pattern in ("*/*.pkl", "*/*.sh", "*.sh", "*.pkl"):
        for path in folder.glob(pattern):
            with suppress(OSError):
                path.unlink()
    for path in folder.glob("*"):
        with suppress(OSError):  # it has something in it
            path.rmdir()
