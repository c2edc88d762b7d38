"""One run on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdcli.errors import CheckpointError, KDError
from kdcli.json_io import read_json, write_json_atomic
from kdcli.processes import host, is_alive
from kdcli.rundir.record import RunRecord, Status, error_record, now
from kdcli.strict import check_schema, validated
from kdcli.yaml_io import check_plain, load_yaml, load_yaml_list

RECORD = "run.json"
CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
ENVIRONMENT = "environment.json"
SUMMARY = "summary.json"
FINDINGS = "findings.json"
METRICS = "metrics.jsonl"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"

_ENDS = ("finished", "failed", "interrupted", "diverged")


class RunDir:
    """A run directory: where its files are, and its record.

    Whatever is wrong with a file of it is a CheckpointError, whatever hinders writing one a MachineError.

    Attributes:
        path: The directory.
        record: run.json as it was read or last written by this object.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """The run in an existing directory."""
        where = str(path / RECORD)
        return cls(path, validated(RunRecord, read_json(path / RECORD), where=where))

    @property
    def status(self) -> Status:
        """The status, where a run whose process of this machine is gone counts as interrupted."""
        gone = self.record.status == "running" and self.record.host == host() and not self.has_process()
        return "interrupted" if gone else self.record.status

    def has_process(self) -> bool:
        """Whether the process that wrote the record still runs on this machine."""
        if self.record.host != host():
            return False
        try:
            written = os.stat(self.path / RECORD).st_mtime
        except OSError:
            return False
        return is_alive(self.record.pid, since=written)

    @property
    def checkpoints(self) -> Path:
        """The store of its checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def metrics(self) -> Path:
        """Its metrics.jsonl."""
        return self.path / METRICS

    def set_status(self, status: Status, error: KDError | None = None) -> None:
        """Write a new status, with this process as the run's; an end gets the time, and the error that caused it."""
        change = {
            "status": status,
            "pid": os.getpid(),
            "host": host(),
            "ended": now() if status in _ENDS else None,
            "error": None if error is None else error_record(error),
        }
        record = self.record.model_copy(update=change)
        write_record(self.path, record)
        self.record = record

    def config(self) -> dict[str, Any]:
        """The resolved configuration: plain data without interpolations; its meaning is checked elsewhere."""
        config = load_yaml(self.path / CONFIG)
        check_plain(config, error=CheckpointError, file=self.path / CONFIG)
        return config

    def overrides(self) -> list[str]:
        """The ``key=value`` words that it was started with."""
        return [str(word) for word in load_yaml_list(self.path / OVERRIDES)]

    def summary(self) -> dict[str, Any]:
        """The result."""
        content = read_json(self.path / SUMMARY)
        check_schema(content, where=str(self.path / SUMMARY))
        return dict(content)

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Write the result; numbers that are not finite become null."""
        write_json_atomic(self.path / SUMMARY, summary)


def write_record(path: Path, record: RunRecord) -> None:
    """Write run.json."""
    write_json_atomic(path / RECORD, record.model_dump(by_alias=True))
