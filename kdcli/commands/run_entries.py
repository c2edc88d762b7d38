"""The runs under an output directory, by their run.json alone: plain JSON, so that a thousand are read at once.

`kdcli.rundir.list_runs` checks every record whole, and needs pydantic for it; here a damaged one is an entry as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdcli.errors import CheckpointError
from kdcli.json_io import read_json
from kdcli.processes import host, is_alive

KINDS = (
    "train-teacher", "distill-student", "train-specialists", "evaluate", "import", "sweeps", "search", "studies",
)  # fmt: skip
STATUSES = ("finished", "running", "created", "interrupted", "failed", "diverged", "broken")
FILTERS = ("command", "status", "model", "dataset", "teacher", "label", "sweep")
ORDERS = ("started", "top1", "difference", "time", "id", "model")
_NO_RUNS = ("targets",)
RECORD = "run.json"
_STAMP = re.compile(r"(\d{8}T\d{6})Z-")


@dataclass(frozen=True)
class Entry:
    """A directory where a run should be.

    Args:
        path: The directory.
        name: What the commands call it: behind its sweep's or study's name where it has one.
        kind: The folder it lies in, one of `KINDS`.
        record: Its run.json; empty where it is damaged.
        started: When, in UTC.
        status: One of `STATUSES`: ``broken`` where it is damaged.
        problem: What is wrong with it.
    """

    path: Path
    name: str
    kind: str
    record: Mapping[str, Any]
    started: datetime
    status: str
    problem: str | None = None

    @property
    def is_job(self) -> bool:
        """Whether it is a job of a sweep."""
        return self.kind == "sweeps" and "/" in self.name

    @property
    def command(self) -> str:
        """What was run: of a job, the command that trains it."""
        return str(self.record.get("command", self.kind))


def find_entries(root: Path, *, jobs: bool) -> list[Entry]:
    """All runs, sweeps, searches and studies under an output directory, the newest first.

    Args:
        root: The directory; one that does not exist holds none.
        jobs: The jobs of sweeps as well.

    In a folder that is none of `KINDS`, what has no run.json is something else, and no damaged run.
    """
    found = [_entry(path, name, kind) for kind in KINDS for name, path in _places(root / kind, kind, jobs)]
    for kind in set(_directories(root)) - {*KINDS, *_NO_RUNS}:
        places = _places(root / kind, kind, jobs)
        found += [_entry(path, name, kind) for name, path in places if os.path.lexists(path / RECORD)]
    return sorted(found, key=lambda entry: (entry.started, entry.name), reverse=True)


def _places(folder: Path, kind: str, jobs: bool) -> Iterator[tuple[str, Path]]:
    for name in _directories(folder):
        path = folder / name
        if kind == "studies":
            yield from _studies(path, name)
            continue
        yield name, path
        if kind == "sweeps" and jobs:
            yield from ((f"{name}/{each}", path / each) for each in _directories(path) if each.isdigit())


def _studies(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    """The runs of a study, whose name may be in two parts; a folder without a file is no damaged one."""
    for each in _directories(path):
        inside = path / each
        deeper = [inner for inner in _directories(inside) if os.path.lexists(inside / inner / RECORD)]
        if deeper and not os.path.lexists(inside / RECORD):
            yield from ((f"{name}/{each}/{inner}", inside / inner) for inner in deeper)
        elif _has_files(inside):
            yield f"{name}/{each}", inside


def _directories(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    except OSError:
        return []


def _has_files(folder: Path) -> bool:
    try:
        return any(not entry.is_dir() for entry in folder.iterdir())
    except OSError:
        return False


def _entry(path: Path, name: str, kind: str) -> Entry:
    try:
        record = as_object(read_json(path / RECORD), RECORD)
        for key in ("id", "command", "status", "host"):
            typed(record, key, str, RECORD)
        typed(record, "smoke", bool, RECORD)
        if record["command"] != kind and not (kind == "sweeps" and "/" in name):
            raise CheckpointError(f"{RECORD}: a {ascii(record['command'])[:40]} among {kind}")
        started = moment(typed(record, "started", str, RECORD))
        return Entry(path, name, kind, record, started, _status(path, record))
    except CheckpointError as problem:
        return Entry(path, name, kind, {}, _guessed(path), "broken", problem.what)
    except OSError as problem:  # it is being taken away
        return Entry(path, name, kind, {}, _guessed(path), "broken", problem.strerror)


def as_object(value: Any, file: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        CheckpointError: It is something else.
    """
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} is no JSON object")
    return value


def typed(values: Mapping[str, Any], key: str, kind: type, file: str) -> Any:
    """A value of an object.

    Raises:
        CheckpointError: It is missing, or of another type.
    """
    value = values.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise CheckpointError(f"{file}: {key} is {ascii(value)[:40]}, not of type {kind.__name__}")
    return value


def moment(text: str) -> datetime:
    """A time of a record.

    Raises:
        CheckpointError: It is none.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        raise CheckpointError(f"{RECORD}: {ascii(text)[:40]} is no time") from None


def _status(path: Path, record: Mapping[str, Any]) -> str:
    """As `RunDir.status`: a run whose process of this machine is gone was interrupted."""
    status = str(record["status"])
    if status not in STATUSES[:-1]:
        raise CheckpointError(f"{RECORD}: {ascii(status)[:40]} is no status")
    if status != "running" or record["host"] != host():
        return status
    return (
        status if is_alive(typed(record, "pid", int, RECORD), since=os.lstat(path / RECORD).st_mtime) else "interrupted"
    )


def _guessed(path: Path) -> datetime:
    """When a damaged run was made: its name says it, or else its directory."""
    stamp = _STAMP.match(path.name)
    with suppress(ValueError):
        return datetime.strptime(stamp[1] if stamp else "", "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    with suppress(OSError):
        return datetime.fromtimestamp(os.lstat(path).st_mtime, UTC)
    return datetime.fromtimestamp(0, UTC)
