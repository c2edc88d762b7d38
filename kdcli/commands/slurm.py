"""What kd asks of SLURM, through its own commands: what is queued, an end, and a second start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from kdcli.errors import Terminated
from kdcli.program.signals import undisturbed

_SECONDS = 60.0


def is_job() -> bool:
    """Whether this process is a job that kd gave to SLURM."""
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"


def threads() -> dict[str, str]:
    """The environment variable that keeps torch to the CPUs of this job, where SLURM does not confine it."""
    cpus = os.environ.get("SLURM_CPUS_PER_TASK") if is_job() else None
    return {"OMP_NUM_THREADS": cpus} if cpus and "OMP_NUM_THREADS" not in os.environ else {}


def queued() -> dict[str, str] | None:
    """The user's jobs that wait, run or end, by number (``12``) or by array and place in it (``12_3``).

    Returns:
        The state of each, with the reason where it waits; None where SLURM does not answer.
    """
    listed = _ask("squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--user={os.getuid()}")
    if listed is None:
        return None
    jobs = (line.strip().split("|", 2) for line in listed.splitlines())
    return {job: state.lower() + f" ({reason})" * (reason != "None") for job, state, reason in jobs}


def cancel(jobs: Iterable[str]) -> None:
    """End jobs: those that wait leave the queue, those that run get SIGTERM."""
    _ask("scancel", *jobs)


def start_again(most: int) -> None:
    """Put this job back into the queue, where it was asked to leave while SLURM holds it for running, and end.

    That is so when its time is nearly up or another job needs its place, not when somebody cancelled it: then this
    returns. All that matters must be saved.

    Args:
        most: How often a job may be started again.
    """
    if not is_job() or int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= most:
        return
    array, place = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    job = f"{array}_{place}" if array else os.environ["SLURM_JOB_ID"]
    with undisturbed():
        state = _ask("squeue", "--noheader", "--format=%T", f"--jobs={job}")
        if state is not None and state.strip() == "RUNNING" and _ask("scontrol", "requeue", job) is not None:
            sys.stderr.write("SLURM needs the place: all is saved, and the program is queued again\n")
            sys.stderr.flush()
            os._exit(Terminated.exit_code)  # at once, and without a result: the job is not over


def _ask(*command: str) -> str | None:
    """What a command of SLURM prints; None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
