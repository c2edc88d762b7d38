"""A program of a sweep in a process that a launcher started, here or on another machine."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TextIO

from hydra.core.hydra_config import HydraConfig

from kdcli.commands import slurm, sweep
from kdcli.commands.flags import Flags
from kdcli.commands.screen import show_error
from kdcli.errors import CheckpointError, Interrupted, MachineError, Terminated
from kdcli.processes import host, is_alive
from kdcli.program.signals import terminable
from kdcli.rundir import RunDir

LOOK_SECONDS = 1.0
"""How often a worker looks whether its sweep still wants it."""


@dataclass(frozen=True)
class Origin:
    """The process of the command line, as its workers know it.

    Args:
        pid: Its number.
        host: The machine it runs on.
        since: A time at which it ran, in seconds since the epoch.
        directory: The directory it works in.
    """

    pid: int
    host: str
    since: float
    directory: str

    @classmethod
    @cache
    def here(cls) -> Origin:
        """This process."""
        return cls(os.getpid(), host(), time.time(), os.getcwd())

    def is_gone(self) -> bool:
        """Whether it is known to have ended; jobs of SLURM live on without it."""
        return self.host == host() and not slurm.is_job() and not is_alive(self.pid, since=self.since)


def run(path: Path, flags: Flags, origin: Origin) -> int:
    """Train one program of a sweep, unless the sweep was stopped meanwhile; what goes wrong is shown and recorded."""
    with redirect_stderr(_Labelled(sys.stderr, f"[{path.stem}] ")), terminable():
        try:
            _enter(origin.directory)
            home = RunDir.open(path.parent.parent)
            return _train(home, path, flags, origin) if is_wanted(home.path) else Interrupted.exit_code
        except (Exception, KeyboardInterrupt) as error:
            return show_error(error, color=False, debug=flags.debug)


def is_wanted(home: Path) -> bool:
    """Whether nobody has stopped a sweep; one that cannot be read now is asked again later."""
    try:
        return RunDir.open(home).record.status == "running"
    except CheckpointError:
        return True


def _enter(directory: str) -> None:
    """Work where the command line does: configurations name data and code from there."""
    try:
        os.chdir(directory)
    except OSError as problem:
        raise MachineError(
            f"the directory of the command line cannot be entered here, on {host()}: {problem.strerror}",
            where=directory,
            fix="start the sweep in a directory that all machines share",
        ) from problem


def _train(home: RunDir, path: Path, flags: Flags, origin: Origin) -> int:
    os.environ |= slurm.threads()  # before torch is imported, which reads it then
    from kdcli.program.sweep import is_done

    if is_done(home, path):
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command line decides; a training listens nevertheless
    with _watch(origin).over(home.path):
        try:
            return sweep.run_program(path, flags, moved=True)
        except (Interrupted, KeyboardInterrupt):
            if is_wanted(home.path):
                slurm.start_again(HydraConfig.get().launcher.get("max_num_timeout", 0))
            raise


class _Watch(threading.Thread):
    """Asks this process to leave when its sweep is stopped, or when nobody waits for its result any more."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(daemon=True)
        self._origin = origin
        self._home: Path | None = None

    @contextmanager
    def over(self, home: Path) -> Iterator[None]:
        """Ask by SIGTERM while a program of this sweep trains."""
        self._home = home
        try:
            yield
        finally:
            self._home = None

    def run(self) -> None:
        """Look once a second."""
        asked = False
        while True:
            time.sleep(LOOK_SECONDS)
            home, gone = self._home, self._origin.is_gone()
            if home is None and gone:
                os._exit(Terminated.exit_code)
            if home is not None and not asked and (gone or not is_wanted(home)):
                asked = True
                os.kill(os.getpid(), signal.SIGTERM)


@cache
def _watch(origin: Origin) -> _Watch:
    """The one watch of this process."""
    watch = _Watch(origin)
    watch.start()
    return watch


class _Labelled(io.TextIOBase):
    """Begins each line with a label: several programs may write to one terminal."""

    def __init__(self, stream: TextIO, label: str) -> None:
        super().__init__()
        self._stream = stream
        self._label = label
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write the lines that are complete, each at once."""
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._label}{line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        """Flush what is complete."""
        self._stream.flush()
