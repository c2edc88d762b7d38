"""A sweep on its way through a launcher, as a user has it: one process of kd, and the workers that it leads to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 180.0
JOBS = ("00", "01", "02")

# Three jobs of which each is a program; one takes some seconds. The same wherever it runs, as one thread computes it.
LONG = (
    "train-teacher", "-m", "model=mlp_30", "seed=0,1,2", "transfer.fraction=0.02", "batch_size=32", "epochs=120",
    "optimizer.lr=0.01", "device=cpu", "sweep.members_max=1", "--progress=plain",
)  # fmt: skip
SHORT = tuple("epochs=2" if word.startswith("epochs=") else word for word in LONG)


class Sweeping:
    """A sweep that a process of kd carries out in a directory.

    Args:
        root: The directory.
        words: What follows ``kd``.
    """

    def __init__(self, root: Path, *words: str) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self._err = root / "err.txt"
        with open(root / "out.txt", "w") as out, open(self._err, "w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kdcli", *words], cwd=root, env=_environment(), stdout=out, stderr=err
            )

    @property
    def home(self) -> Path:
        """The sweep's directory."""
        (found,) = (self.root / "outputs" / "sweeps").glob("2*")
        return found

    @property
    def err(self) -> str:
        """What was printed on stderr so far."""
        return self._err.read_text()

    def record(self, name: str = "") -> dict[str, Any]:
        """run.json of a job, or of the sweep."""
        content: dict[str, Any] = json.loads((self.home / name / "run.json").read_text())
        return content

    def statuses(self) -> list[str]:
        """Of the jobs, in order."""
        return [self.record(name)["status"] for name in JOBS]

    def epochs(self, name: str) -> int:
        """How many epochs of a job are written down."""
        metrics = self.home / name / "metrics.jsonl"
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    def under_way(self, count: int) -> list[int]:
        """Wait until so many jobs train; the numbers of their processes."""
        self.wait_for(lambda: sum(self.epochs(name) > 2 for name in JOBS) >= count)
        return [self.record(name)["pid"] for name in JOBS if self.epochs(name) > 2]

    def wait_for(self, happens: Callable[[], bool]) -> None:
        """Wait until something has happened, while the process runs."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                if happens():
                    return
            except (OSError, ValueError):  # not there yet
                pass
            assert self.process.poll() is None, f"kd ended with {self.process.returncode}:\n{self.err}"
            time.sleep(0.1)
        raise AssertionError(f"it did not happen:\n{self.err}")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send the process of kd, and no other, a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE)


def finished(root: Path, *words: str) -> Sweeping:
    """A sweep that came to its end."""
    sweeping = Sweeping(root, *words)
    assert sweeping.wait() == 0, sweeping.err
    return sweeping


def resumed(sweeping: Sweeping, *words: str) -> int:
    """Resume it; the exit code."""
    command = [sys.executable, "-m", "kdcli", "resume", str(sweeping.home), "--progress=none", *words]
    return subprocess.run(command, cwd=sweeping.root, env=_environment(), capture_output=True).returncode


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def all_gone(processes: list[int]) -> bool:
    """Whether these processes end soon."""
    until = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
