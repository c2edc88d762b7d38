"""metrics.jsonl: one JSON object a line, appended while a run goes on."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kdcli.disk import fsync_directory, read_bounded, translated
from kdcli.errors import CheckpointError
from kdcli.json_io import encode_json, parse_json

_MAX_BYTES = 256 * 2**20
_MAX_LINE = 2**20


class MetricsFile:
    """The metrics of a run, open for writing; a line that a crash left torn is cut off when it is opened.

    Raises:
        CheckpointError: What is at `path` is no metrics file.
        MachineError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _refuse_other(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with translated(path):
            self._descriptor = os.open(path, flags, 0o666)
            fsync_directory(path.parent)
            self._repair()

    def __enter__(self) -> MetricsFile:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @property
    def offset(self) -> int:
        """How many bytes it has: what a checkpoint keeps, so that a resumed run goes on from there."""
        return os.fstat(self._descriptor).st_size

    def append(self, record: Mapping[str, object]) -> None:
        """Add one line, whole or not at all; numbers that are not finite become null."""
        line = encode_json(record, indent=None)
        start = self.offset
        with translated(self.path, len(line)):
            try:
                # A regular file takes less than it is given only where the disk is full: the next attempt says so.
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                os.ftruncate(self._descriptor, start)
                raise

    def sync(self) -> None:
        """Put what was appended on the disk: before a checkpoint records the offset."""
        with translated(self.path):
            os.fsync(self._descriptor)

    def truncate(self, offset: int) -> None:
        """Cut off what came after a checkpoint.

        Args:
            offset: The `offset` that the checkpoint recorded.

        Raises:
            CheckpointError: The file is shorter than that, or no line ends there: it is not that run's.
        """
        if not 0 <= offset <= self.offset:
            raise CheckpointError(
                f"the checkpoint was made when this file had {offset:,} bytes, and it has {self.offset:,}",
                where=str(self.path),
                fix="restore the file, or delete it with the checkpoints to start again",
            )
        with translated(self.path):
            if offset and os.pread(self._descriptor, 1, offset - 1) != b"\n":
                raise CheckpointError(f"no line ends at byte {offset:,}, as the checkpoint says", where=str(self.path))
            os.ftruncate(self._descriptor, offset)

    def close(self) -> None:
        """Close the file; it cannot be used after that."""
        os.close(self._descriptor)

    def _repair(self) -> None:
        start = max(0, self.offset - _MAX_LINE)
        tail = os.pread(self._descriptor, self.offset - start, start)
        end = tail.rfind(b"\n") + 1
        if not end and start:
            raise CheckpointError(f"no line ends in its last {_MAX_LINE:,} bytes", where=str(self.path))
        if end < len(tail):
            os.ftruncate(self._descriptor, start + end)


def _refuse_other(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path.name!r} is not a regular file", where=str(path))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file; a last line without its end is still being written, or torn, and left out.

    Raises:
        CheckpointError: It cannot be read, or another line is not a JSON object.
    """
    *lines, _ = read_bounded(path, _MAX_BYTES, error=CheckpointError).split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        record = parse_json(line, where=f"{path}:{number}")
        if not isinstance(record, dict):
            raise CheckpointError("not a JSON object", where=f"{path}:{number}")
        records.append(record)
    return records
