"""Files that survive a crash: bounded reading, durable writing, and errors that say what the disk lacked."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kdcli.errors import KDError, MachineError
from kdcli.failpoints import reach
from kdcli.processes import host, is_alive

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
_LEFTOVER = re.compile(r"\.(?:tmp|trash)-(?P<pid>[0-9]{1,9})-(?P<host>[0-9a-f]{4})[0-9a-f]{4}")
_DAY = 86400.0


def read_bounded(path: Path, max_bytes: int, *, error: type[KDError], follow: bool = False) -> bytes:
    """The content of a regular file; everything that hinders reading it is an `error`.

    Args:
        path: The file.
        max_bytes: A longer file is refused before it is read.
        error: The error to raise.
        follow: Accept a symbolic link: for what the user names, never for what a run directory holds.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    fix = "name a file that is there and can be read" if follow else None
    try:
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{path.name!r} is not a regular file", where=str(path), fix=fix)
            if status.st_size > max_bytes:
                raise error(f"{path.name!r} has {status.st_size:,} bytes, over {max_bytes:,}", where=str(path), fix=fix)
            return file.read(status.st_size)
    except (OSError, ValueError, MemoryError) as problem:
        raise error(f"{path.name!r} {_reason(problem)}", where=str(path), fix=fix) from problem


def _reason(problem: Exception) -> str:
    if not isinstance(problem, OSError):
        return f"cannot be read: {problem}"
    known = {errno.ENOENT: "is missing", errno.ELOOP: "is a symbolic link", errno.EISDIR: "is a directory"}
    return known.get(problem.errno or 0, f"cannot be read: {problem.strerror}")


@contextmanager
def translated(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an OSError inside into a MachineError about `path`.

    Args:
        path: What was being written.
        needed: The bytes that had to go there: shown where the disk is full.
    """
    try:
        yield
    except OSError as problem:
        raise _machine_error(problem, path, needed) from problem


def _machine_error(problem: OSError, path: Path, needed: int) -> MachineError:
    what = f"cannot write {path.name!r}: {problem.strerror}"
    fix = "check the path and its permissions, or choose another place with output_dir="
    if problem.errno in _FULL:
        with suppress(OSError):
            what += f" ({needed:,} bytes needed, {free_bytes(path.parent):,} free)"
        fix = "free some space or raise the quota, then go on with: kd resume"
    elif problem.errno in _IN_THE_WAY:
        fix = "something else is in the way there: move it, or choose another place with output_dir="
    return MachineError(what, where=str(path), fix=fix)


def cache_dir() -> Path:
    """Where datasets that no folder is named for are kept: ``$XDG_CACHE_HOME`` or ``~/.cache``, then ``kd``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kd"


def free_bytes(directory: Path) -> int:
    """How many bytes this user can still write to the disk of a directory."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def write_all(descriptor: int, data: bytes, name: str) -> None:
    """Write all of `data`, however little the system takes at a time; `name` is for the failpoints."""
    view = memoryview(data)
    for quarter in range(4):
        rest = view[len(view) * quarter // 4 : len(view) * (quarter + 1) // 4]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if quarter < 3:
            reach(f"{name}.{25 * (quarter + 1)}")


def write_file(path: Path, data: bytes, *, name: str | None = None) -> None:
    """Create a file that must not exist yet; its bytes are on the disk when this returns."""
    name = name or path.name
    with translated(path.with_name(name), len(data)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            write_all(descriptor, data, name)
            reach(f"{name}.fsync")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Create or replace a file: a reader, and the disk after a crash, has the old content or the new one."""
    temporary = path.with_name(temporary_name())
    with translated(path, len(data)):
        try:
            write_file(temporary, data, name=path.name)
            reach(f"{path.name}.replace")
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        reach(f"{path.name}.replaced")
        fsync_directory(path.parent)


def fsync_directory(directory: Path) -> None:
    """Put the names in a directory on the disk: a file whose name is not there is lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # what a file system without this operation answers
            raise
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory and its parents where they are missing, durably."""
    missing = [directory for directory in (path, *path.parents) if not os.path.isdir(directory)]
    for directory in reversed(missing):
        with translated(directory):
            with suppress(FileExistsError):
                os.mkdir(directory)
            if not os.path.isdir(directory):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            fsync_directory(directory.parent)


def temporary_name(kind: str = "tmp") -> str:
    """A name for what is being written (`tmp`) or deleted (`trash`): it tells the process and the machine."""
    return f".{kind}-{os.getpid()}-{_host_digits()}{secrets.token_hex(2)}"


def is_temporary(name: str) -> bool:
    """Whether `temporary_name` may have given this name."""
    return _LEFTOVER.fullmatch(name) is not None


def _host_digits() -> str:
    return f"{zlib.crc32(host().encode()) & 0xFFFF:04x}"


def remove_leftovers(directory: Path) -> None:
    """Delete the temporaries of processes that ended before they could rename them.

    Of another machine's processes nothing is known: what they left is deleted when it is a day old. A leftover that
    cannot be deleted stays: it hinders nobody.
    """
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            match = _LEFTOVER.fullmatch(entry.name)
            if match is not None:
                changed = entry.stat(follow_symlinks=False).st_mtime
                if _is_over(int(match["pid"]), match["host"], changed):
                    remove_tree(Path(entry.path))


def _is_over(pid: int, host_digits: str, changed: float) -> bool:
    if host_digits == _host_digits():
        return not is_alive(pid, since=changed)
    return time.time() - changed > _DAY


def remove_tree(path: Path) -> None:
    """Delete a file or a directory with all it holds, following no symbolic link; what resists stays."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)
