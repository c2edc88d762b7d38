"""One process at a time in a run directory."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from kdcli.disk import remove_leftovers, translated
from kdcli.errors import CheckpointError, UsageError


class RunLock:
    """A context manager that holds a run directory for this process.

    The kernel holds the lock and releases it when the process ends, however it ends.

    Args:
        path: The run directory.

    Raises:
        UsageError: Another process holds it.
        MachineError: The lock file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> RunLock:
        """Take the lock, and remove what processes that died here left behind."""
        file = self.path / ".lock"
        if os.path.islink(file):
            raise CheckpointError("a symbolic link where the lock is kept", where=str(file), fix="remove it")
        with translated(file):
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
            try:
                self._take(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        remove_leftovers(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        os.close(self._descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno != errno.EWOULDBLOCK:
                raise
            holder = os.pread(descriptor, 20, 0).strip()
            pid = f"process {int(holder)}" if holder.isdigit() else "another process"
            fix = "wait for it, or end it and then use: kd resume"
            raise UsageError(f"{pid} is working in this run directory", where=str(self.path), fix=fix) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
