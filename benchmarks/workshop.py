"""A temporary directory in which commands run as a user's would, each in a process of its own, and are watched.

Neither torch nor anything else that is large is imported here: the peak memory of a process counts what its parent
held when it started it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kdcli.rundir import read_metrics

ROOT = Path(__file__).parents[1]
_EPOCH = re.compile(r"epoch \d+/\d+")


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Args:
        started: On the clock of ``time.perf_counter``.
        seconds: From its start to its end.
        peak_bytes: The most memory it held at once.
        stamps: When it wrote each line, in seconds since its start, and the line.
        metrics: The lines of each ``metrics.jsonl`` it left, by the run's path under the outputs.
    """

    started: float
    seconds: float
    peak_bytes: int
    stamps: Sequence[tuple[float, str]]
    metrics: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def epochs(self) -> list[float]:
        """When it wrote that an epoch was done."""
        return [when for when, line in self.stamps if _EPOCH.match(line)]

    @property
    def epoch_seconds(self) -> float:
        """Mean time of an epoch, with all that a command does between two of them; the first is the warm-up."""
        epochs = self.epochs
        return (epochs[-1] - epochs[0]) / (len(epochs) - 1)

    @property
    def training_seconds(self) -> float:
        """Time of all epochs of all runs by their own account; networks that train together count once."""
        together = {tuple(row["seconds"] for row in rows) for rows in self.metrics.values()}
        return sum(map(sum, together))


class Workshop:
    """Runs commands.

    Args:
        compiled: Keep compiled bytecode, as an installation has, where this process was told to write none.
    """

    def __init__(self, *, compiled: bool = False) -> None:
        self._compiled = compiled
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        """Make the directory."""
        self.root = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kd-benchmark-")))
        self.environment = _environment(self.root / "bytecode" if self._compiled else None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self._stack.close()

    def run(self, command: Sequence[str], *, until: str | None = None, code: int = 0) -> Done:
        """Run a command to its end, or until it writes a line that begins with ``until``.

        Raises:
            RuntimeError: It ends with another exit code than ``code``.
        """
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        stamps = []
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                stamps.append((time.perf_counter() - started, line.rstrip()))
                if until is not None and line.startswith(until):
                    process.kill()
                    break
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != code and not (until is not None and stamps[-1][1].startswith(until)):
            raise RuntimeError(f"{command} ended with {process.returncode}: {stamps[-20:]}")
        return Done(started, seconds, usage.ru_maxrss * 1024, stamps)

    def kd(self, *words: str, until: str | None = None) -> Done:
        """Run a training command of kd; what it leaves is read and removed."""
        outputs = self._outputs()
        command = [*kd_command(), *words, "--progress=plain", f"output_dir={outputs}"]
        done = self.run(command, until=until)
        found = sorted(outputs.rglob("metrics.jsonl"))
        metrics = {str(path.parent.relative_to(outputs)): read_metrics(path) for path in found}
        shutil.rmtree(outputs, ignore_errors=True)
        return Done(done.started, done.seconds, done.peak_bytes, done.stamps, metrics)

    def teacher(self, *words: str) -> Path:
        """Train a teacher and return its run."""
        outputs = self._outputs()
        self.run([*kd_command(), "train-teacher", *words, "--progress=plain", f"output_dir={outputs}"])
        (run,) = (outputs / "train-teacher").iterdir()
        return run

    def fresh(self, name: str) -> Path:
        """A path that nobody has used yet."""
        self._count += 1
        return self.root / f"{name}-{self._count:03d}"

    def _outputs(self) -> Path:
        return self.fresh("outputs")


def kd_command() -> list[str]:
    """What a user types for ``kd``: the installed script, or where there is none the module."""
    script = Path(sys.executable).with_name("kd")
    return [str(script)] if script.exists() else [sys.executable, "-m", "kdcli"]


def benchmark_command(module: str) -> list[str]:
    """How a program of this folder is started."""
    return [sys.executable, "-m", f"benchmarks.{module}"]


def _environment(bytecode: Path | None) -> dict[str, str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if bytecode is not None:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    return environment
