"""Waiting for the programs of a sweep that a launcher runs in other processes: signals, killed workers, progress."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hydra.plugins.launcher import Launcher

from kdcli.errors import Interrupted, MachineError, UsageError, first_line
from kdcli.program.signals import StopRequest, stop_request, undisturbed
from kdcli.program.sweep import close, runs_of
from kdcli.rundir import RunDir, RunLock

_LOOK_SECONDS = 0.2
_PROGRESS_SECONDS = 5.0
_OVER = {"finished", "failed", "diverged"}


@dataclass(frozen=True)
class Launching:
    """Programs on their way through a launcher.

    Args:
        launcher: Of Hydra.
        home: The sweep.
        lines: The overrides of each program's job, by its file.
        say: Shows one line.
    """

    launcher: Launcher
    home: RunDir
    lines: Mapping[Path, Sequence[str]]
    say: Callable[[str], None]

    def run(self) -> None:
        """Run all programs.

        A first Ctrl-C or SIGTERM lets each save and end, which it learns from the sweep's record; a second Ctrl-C waits
        for nobody.

        Raises:
            Interrupted: It was asked to stop.
            MachineError: The launcher could not launch anything.
        """
        try:
            with stop_request() as stop, self._watched(stop):
                self._run_all(stop)
        except MachineError as error:
            self.home.set_status("failed", error)
            raise
        with undisturbed():
            self._close(stop)
        if stop():
            raise self._stopped(stop)

    def _run_all(self, stop: StopRequest) -> None:
        """Launch; where a killed worker tore others along, what they had begun is run once more, each by itself."""
        torn: list[Path] = []
        waiting = list(self.lines)
        while waiting and not stop():
            before = {path: self._standing(path) for path in waiting}
            problem = self._attempt(waiting)
            if problem is None:
                break
            fresh = [path for path in waiting if self._standing(path) == before[path]]
            if fresh == waiting and not stop():
                raise self._gave_up(problem)
            torn += [path for path in waiting if path not in fresh and "running" in self._statuses(path)]
            waiting = fresh
            self.say(f"{first_line(problem)}: {len(torn)} programs go on later, each by itself")
        for path in torn:
            if not stop():
                self._attempt([path])

    def _attempt(self, programs: Sequence[Path]) -> Exception | None:
        """Launch these programs; what the launcher says if it cannot bring them to their end."""
        try:
            self.launcher.launch([self.lines[path] for path in programs], initial_job_idx=0)
        except Exception as problem:
            return problem
        return None

    def _statuses(self, path: Path) -> set[str]:
        return {run.record.status for run in runs_of(self.home, path)}

    def _standing(self, path: Path) -> list[tuple[str, int]]:
        """What changes when a process begins with a program, even with one that was stopped before."""
        return [(run.record.status, run.record.pid) for run in runs_of(self.home, path)]

    @contextmanager
    def _watched(self, stop: StopRequest) -> Iterator[None]:
        """Tell the workers when to stop, and the user how far they are."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, stop: StopRequest, over: threading.Event) -> None:
        left, said = set(self.lines), time.monotonic()
        while not over.wait(_LOOK_SECONDS):
            if stop():
                self.home.set_status("interrupted", self._stopped(stop))
                return
            if time.monotonic() - said > _PROGRESS_SECONDS:
                said, before = time.monotonic(), len(left)
                left = {path for path in left if not self._statuses(path) <= _OVER}
                if len(left) < before:
                    self.say(f"{len(self.lines) - len(left)} of {len(self.lines)} programs are over")

    def _stopped(self, stop: StopRequest) -> Interrupted:
        return stop.error(str(self.home.path), f"kd resume {shlex.quote(str(self.home.path))}")

    def _close(self, stop: StopRequest) -> None:
        """Of the runs that seem to go on, whose processes are over, write down how they ended."""
        for path in self.lines:
            runs = runs_of(self.home, path)
            with suppress(UsageError), RunLock(runs[0].path):  # a process that is not ours may still be at work
                if stop():
                    close(runs, "running", "interrupted", self._stopped(stop))
                else:
                    close(runs, "running", "failed", self._killed())

    def _gave_up(self, problem: Exception) -> MachineError:
        what = f"the launcher could not start anything: {first_line(problem)}"
        again = f"kd resume {shlex.quote(str(self.home.path))} hydra/launcher=... with other settings"
        error = MachineError(what, where="hydra.launcher", fix=again)
        error.__cause__ = problem
        return error

    def _killed(self) -> MachineError:
        logs = self.home.path / "logs"
        again = f"kd resume {shlex.quote(str(self.home.path))}"
        return MachineError(
            "the process that trained it was killed, perhaps for want of memory",
            where=str(logs if logs.is_dir() else self.home.path),
            fix=f"{again}; sweep.members_max=N makes a sweep's programs smaller",
        )
