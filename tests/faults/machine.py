"""Starting kd, signalling it and waiting for it: forked from this warm process, or from nothing."""

from __future__ import annotations

import gc
import io
import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from faults import traps

LIMIT_S = 120.0
LINE_LIMIT_S = 30
WARM = (
    "rich.progress",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "safetensors.torch",
    "PIL.PngImagePlugin",
)
_POLL_S = 0.002


@dataclass(frozen=True)
class Ended:
    """How a command line ended.

    Args:
        code: Exit code; negative: the signal that ended it.
        out: Its stdout.
        err: Its stderr.
        seconds: How long it took.
        events: Forbidden things that it did, where they were watched.
        grown: Bytes by which the process's largest size grew, where it was watched.
    """

    code: int
    out: str
    err: str
    seconds: float
    events: tuple[str, ...] = ()
    grown: int = 0

    @property
    def shown(self) -> str:
        """The exit code and the first line of the error."""
        return f"exit {self.code}, {(self.err.splitlines() or ['nothing said'])[-1 if 'Traceback' in self.err else 0]}"


class Process:
    """A command line in a process group of its own."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid = pid
        self._folder = folder
        self._started = time.monotonic()
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it), None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, limit_s: float = LIMIT_S) -> Ended:
        """Wait for its end; one that takes too long is killed."""
        while self.poll() is None:
            if time.monotonic() - self._started > limit_s:
                self.signal(signal.SIGKILL)
            time.sleep(_POLL_S)
        seconds = time.monotonic() - self._started
        out, err = ((self._folder / name).read_text(errors="replace") for name in ("out", "err"))
        shutil.rmtree(self._folder)
        assert self._code is not None
        return Ended(self._code, out, err, seconds)

    def sleep(self, seconds: float) -> bool:
        """Let it run; whether it still does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.poll() is None:
            time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))
        return self.poll() is None

    def signal(self, number: int) -> None:
        """Signal the whole group, if it still runs."""
        if self.poll() is None:
            os.killpg(self.pid, number)

    def orphans(self) -> list[int]:
        """Processes of its group that are left a second after it: what was killed with it takes a moment to go."""
        end = time.monotonic() + 1.0
        while (found := self.group()) and time.monotonic() < end:
            time.sleep(_POLL_S)
        return found

    def group(self) -> list[int]:
        """Processes of its group that are there now."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (OSError, IndexError):
                continue
            if entry.name.isdigit() and int(fields[2]) == self.pid and fields[0] not in ("Z", "X"):
                found.append(int(entry.name))
        return found


class Machine:
    """Where command lines are run.

    Args:
        work: A directory for what they say.
        without: What is taken out of kd in all of them: a negative control.
    """

    def __init__(self, work: Path, without: str | None = None) -> None:
        self._work = work
        self._without = without
        _import_everything()
        traps.take_out(without)

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str | None] | None = None,
        trap: Mapping[str, Any] | None = None,
        real: bool = False,
        stdout: str = "file",
    ) -> Process:
        """Start a command line.

        Args:
            argv: What follows ``kd``.
            cwd: Where.
            env: Changes to the environment; None takes a variable away.
            trap: See ``traps.install``.
            real: As a new interpreter, instead of a fork of this one.
            stdout: ``closed``, or ``broken`` (a pipe that nobody reads), or a file, whose content is kept.
        """
        folder = Path(tempfile.mkdtemp(dir=self._work))
        sys.stdout.flush()
        gc.collect()
        pid = os.fork()
        if pid == 0:
            try:
                _redirect(folder, stdout)
                self._become(argv, cwd, env or {}, dict(trap or {}), real)
            finally:
                os._exit(99)
        return Process(pid, folder)

    def run(self, argv: Sequence[str], *, cwd: Path, limit_s: float = LIMIT_S, **how: Any) -> Ended:
        """Run a command line to its end; arguments as of ``start``."""
        return self.start(argv, cwd=cwd, **how).wait(limit_s)

    def lines(self, lines: Sequence[Sequence[str]], *, cwd: Path, trap: Mapping[str, Any] | None = None) -> list[Ended]:
        """Run command lines one after another in one process, which may be watched: see ``traps.install``."""
        answer = Path(tempfile.mkdtemp(dir=self._work)) / "answer.json"
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                os.chdir(cwd)
                events = traps.install(dict(trap or {}))
                ended = [_one_line(line, events) for line in lines]
                events.watching = False
                answer.write_text(json.dumps([vars(each) for each in ended]))
            finally:
                os._exit(0)
        Process(pid, answer.parent)
        os.waitpid(pid, 0)
        content = json.loads(answer.read_text())
        shutil.rmtree(answer.parent)
        return [Ended(**{**each, "events": tuple(each["events"])}) for each in content]

    def _become(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str | None],
        trap: dict[str, Any],
        real: bool,
    ) -> NoReturn:
        os.setsid()
        os.chdir(cwd)
        for name, value in env.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if real:
            _execute(argv, trap | ({"without": self._without} if self._without else {}))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["kd", *argv]
        traps.install(trap)
        from kdcli.__main__ import main

        code = main(list(argv))
        sys.stdout.flush()
        os._exit(code)


def _redirect(folder: Path, stdout: str) -> None:
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if stdout == "closed":
        os.close(1)
    elif stdout == "broken":
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(reader)
        os.close(writer)


def _execute(argv: Sequence[str], trap: dict[str, Any]) -> NoReturn:
    kd = Path(sys.executable).with_name("kd")
    if trap:
        os.environ["KDFAULTS"] = json.dumps(trap)
        os.execv(sys.executable, [sys.executable, "-m", "faults.traps", *argv])
    if kd.exists():
        os.execv(kd, ["kd", *argv])
    os.execv(sys.executable, [sys.executable, "-m", "kdcli", *argv])


def _one_line(line: Sequence[str], events: traps.Events) -> Ended:
    from kdcli.__main__ import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    sys.argv = ["kd", *line]
    started, size = time.monotonic(), _largest_size()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LINE_LIMIT_S)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(list(line))
        except BaseException as escaped:
            code = -1000
            err.write(f"escaped: {escaped!r}")
    signal.alarm(0)
    seconds = time.monotonic() - started
    said = [stream.buffer.getvalue().decode(errors="replace") for stream in (out, err)]  # type: ignore[attr-defined]
    return Ended(code, said[0], said[1], seconds, tuple(events.taken()), _largest_size() - size)


def _too_long(number: int, frame: object) -> NoReturn:
    raise _TooLongError(f"not done after {LINE_LIMIT_S} s")


class _TooLongError(BaseException):
    """No Exception, so that kd does not take it for one of its own."""


def _largest_size() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _import_everything() -> None:
    """Import now what every child would import again; torch has one thread, so that forks are safe."""
    import torch

    import kdcli

    torch.set_num_threads(1)
    tempfile.gettempdir()  # found once, by writing a file
    for module in pkgutil.walk_packages(kdcli.__path__, "kdcli."):
        if not module.name.endswith("__main__"):
            with suppress(ModuleNotFoundError):  # of an extra that is not installed
                import_module(module.name)
    for name in ("kdcli.__main__", *WARM):
        import_module(name)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        from kdcli.__main__ import main

        main(["train-teacher", "--cfg", "job"])
