"""What lies in wait inside a process: watched events, calls that fail, a clock that is wrong, parts of kd taken out.

kd itself knows nothing of this: forked processes install it, new ones are started as ``python -m faults.traps``, which
reads KDFAULTS.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MARK = "KDFAULT"
"""Stands in every piece of hostile code."""

_PROCESSES = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)
_CHANGES = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate",
    "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile", "shutil.make_archive", "shutil.unpack_archive",
)  # fmt: skip
_NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "ftplib.connect")


class Events:
    """Forbidden things that the process did.

    Args:
        allowed: Directories under which it may change files.
        hostile: A directory whose code must not be imported or run.
    """

    def __init__(self, allowed: list[str], hostile: str | None) -> None:
        self.watching = False
        self._allowed = (*(os.path.realpath(path) for path in allowed), "/dev/null", "/proc/self")
        self._hostile = None if hostile is None else os.path.realpath(hostile)
        self._found: list[str] = []

    def taken(self) -> list[str]:
        """What was found since the last call."""
        found, self._found = self._found, []
        return found

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if not self.watching:
            return
        self.watching = False
        try:
            if self._is_forbidden(event, arguments):
                self._found.append(f"{event} {str(arguments)[:200]}")
        finally:
            self.watching = True

    def _is_forbidden(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event in _PROCESSES:
            return not _is_question(arguments)
        if event in _NETWORK or event == "pickle.find_class":
            return True
        if event == "open":
            return self._is_foreign_write(*arguments[:3])
        if event == "os.mkdir" and os.path.isdir(arguments[0]):
            return False  # it is there: nothing will be made
        if event in _CHANGES:
            folder = _folder(arguments)
            return any(self._is_foreign(each, folder) for each in arguments)
        if event == "import":
            return self._hostile is not None and self._is_hostile_file(arguments[1])
        if event in ("compile", "exec"):
            return self._is_hostile_code(arguments)
        return False

    def _is_foreign_write(self, path: object, mode: object, flags: object) -> bool:
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return bool(writes) and self._is_foreign(path)

    def _is_foreign(self, path: object, folder: str = "") -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        real = os.path.realpath(os.path.join(folder, os.fsdecode(path)))
        return not any(real == root or real.startswith(root + os.sep) for root in self._allowed)

    def _is_hostile_file(self, path: object) -> bool:
        return isinstance(path, str) and os.path.isabs(path) and os.path.realpath(path).startswith(str(self._hostile))

    def _is_hostile_code(self, arguments: tuple[Any, ...]) -> bool:
        code = arguments[0]
        name = getattr(code, "co_filename", None) or (arguments[1] if len(arguments) > 1 else None)
        text = repr(getattr(code, "co_consts", code))
        return MARK in text or self._is_hostile_file(name)


def _folder(arguments: tuple[Any, ...]) -> str:
    """The directory that a call's paths are relative to, where it names one by a descriptor."""
    descriptor = arguments[-1] if len(arguments) > 1 else None
    if not isinstance(descriptor, int) or isinstance(descriptor, bool) or descriptor < 0:
        return ""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def _is_question(arguments: tuple[Any, ...]) -> bool:
    """Whether a process that is started is one of those that describe the environment."""
    command = arguments[1] if len(arguments) > 1 else None
    return isinstance(command, list | tuple) and bool(command) and os.path.basename(str(command[0])) in ("git", "uname")


def install(trap: Mapping[str, Any]) -> Events:
    """Set traps in this process, for good.

    Args:
        trap: ``watch`` (directories that may be written) and ``hostile`` (a directory of code); ``call`` (which call
            that changes files fails), ``errno``, ``lasting``, ``under`` (where), ``count`` (a file for how many there
            were); ``file_bytes`` (the most that a file may have), ``clock`` (seconds added to the time),
            ``visits`` (a file for the names of all failpoints that are reached), ``share`` (of the time that goes into
            saving), ``without`` (see ``take_out``).
    """
    events = Events(list(trap.get("watch", [])), trap.get("hostile"))
    if "watch" in trap:
        sys.addaudithook(events)
        events.watching = True
    if "call" in trap:
        _fail_calls(trap["call"], trap["errno"], trap.get("lasting", False), trap["under"], trap.get("count"))
    if "file_bytes" in trap:
        resource.setrlimit(resource.RLIMIT_FSIZE, (trap["file_bytes"], trap["file_bytes"]))
    if "clock" in trap:
        _set_clock(trap["clock"])
    if "visits" in trap:
        _note_failpoints(trap["visits"])
    if "share" in trap:
        from kdcli.program import commits

        commits.SAVE_SHARE = trap["share"]
    take_out(trap.get("without"))
    return events


def _fail_calls(number: int, code: int, lasting: bool, under: str, counted: str | None) -> None:
    """Let the Nth call that changes a file under a directory fail, or all from it on; ``counted`` keeps the count."""
    count = 0
    descriptor = None if counted is None else os.open(counted, os.O_WRONLY | os.O_CREAT)
    write = os.pwrite

    def failing(real: Callable[..., Any], concerns: Callable[..., bool]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal count
            if not concerns(*args, **options):
                return real(*args, **options)
            count += 1
            if descriptor is not None:
                write(descriptor, str(count).encode(), 0)
            if count == number or (lasting and count > number):
                raise OSError(code, os.strerror(code), str(args[0]))
            return real(*args, **options)

        return call

    def is_inside(path: object, *_: object, **__: object) -> bool:
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                return False
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(under)

    def writes(path: object, mode: object = "r", *_: object, **options: object) -> bool:
        wanted = str(options.get("mode", mode))
        return any(letter in wanted for letter in "wax+") and is_inside(path)

    def opens(path: object, flags: int, *_: object, **__: object) -> bool:
        return bool(flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)) and is_inside(path)

    for name in ("write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "ftruncate", "pwrite"):
        setattr(os, name, failing(getattr(os, name), is_inside))
    os.open = failing(os.open, opens)  # type: ignore[assignment]
    builtins.open = io.open = failing(builtins.open, writes)  # type: ignore[assignment, misc]


def _set_clock(offset: float) -> None:
    """Let the wall clock be wrong; what measures durations is not touched, as by the system."""
    import datetime as dt

    from kdcli.rundir import create, record

    real_time, real = time.time, dt.datetime

    class Wrong(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz) + dt.timedelta(seconds=offset)

    time.time = lambda: real_time() + offset
    create.datetime = record.datetime = Wrong  # type: ignore[attr-defined]


def _note_failpoints(path: str) -> None:
    from kdcli import disk, failpoints
    from kdcli.checkpoint import pruning, write

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(name: str) -> None:
        os.write(descriptor, f"{name}\n".encode())

    for module in (disk, failpoints, pruning, write):
        module.reach = note


def take_out(part: str | None) -> None:
    """Take a part of kd out: a negative control, under which rows must fail.

    Args:
        part: ``rng`` (the generators' states are not restored), ``rename`` (checkpoints are written to where they are
            read, and nothing is synced), ``verify`` (digests are not compared).
    """
    if part is not None:
        {"rng": _without_rng, "rename": _without_rename, "verify": _without_verify}[part]()


def _without_rng() -> None:
    from kdcli.engine.fit import Fit

    real = Fit.load

    def load(self: Any, *args: Any, **options: Any) -> None:
        states = [generator.get_state() for generator in self.bank.generators]
        real(self, *args, **options)
        for generator, state in zip(self.bank.generators, states, strict=True):
            generator.set_state(state)

    Fit.load = load  # type: ignore[method-assign]


def _without_rename() -> None:
    from kdcli import checkpoint, disk
    from kdcli.checkpoint import layout, write

    def commit(store: Path, step: int, tensors: Any, state: Any) -> Any:
        target = store / layout.step_name(step)
        disk.remove_tree(target)
        target.mkdir(parents=True)
        digest = write._write_files(target, step, tensors, state)
        return layout.Pointer(dir=target.name, manifest_sha256=digest)

    def write_atomic(path: Path, data: bytes) -> None:
        disk.remove_tree(path)
        disk.write_file(path, data)

    checkpoint.commit = commit
    for module in (disk, sys.modules["kdcli.json_io"]):
        module.write_atomic = write_atomic  # type: ignore[attr-defined]
    os.fsync = lambda descriptor: None


def _without_verify() -> None:
    from kdcli.checkpoint import read

    class Anything(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    read.sha256 = lambda data: Anything()  # type: ignore[assignment]


def _main() -> int:
    """What ``python -m faults.traps`` does: kd, with traps."""
    sys.argv = ["kd", *sys.argv[1:]]
    from kdcli.__main__ import main

    install(json.loads(os.environ.pop("KDFAULTS")))
    return main()


ERRNOS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EDQUOT": errno.EDQUOT}

if __name__ == "__main__":
    sys.exit(_main())
