"""Making run directories: whole or not there, and never two runs in one."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict, Unpack

from kdcli.disk import (
    fsync_directory,
    make_directory,
    remove_leftovers,
    remove_tree,
    temporary_name,
    translated,
    write_file,
)
from kdcli.errors import CheckpointError, MachineError, UsageError
from kdcli.json_io import encode_json
from kdcli.processes import host
from kdcli.rundir.record import RunRecord, now
from kdcli.rundir.run import CONFIG, ENVIRONMENT, OVERRIDES, RunDir, write_record
from kdcli.yaml_io import check_plain, dump_yaml

_ATTEMPTS = 1000
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
_CHILD = re.compile(r"[a-z0-9][a-z0-9-]*(?:/[a-z0-9][a-z0-9-]*)*")


class Contents(TypedDict):
    """What a run directory holds from its first moment.

    Attributes:
        label: A name the user gave, or None.
        smoke: Whether it is only a trial of the machinery.
        argv: The command line.
        config: The whole resolved configuration, plain data.
        overrides: The `key=value` arguments.
        environment: See `describe_environment`.
    """

    label: str | None
    smoke: bool
    argv: Sequence[str]
    config: Mapping[str, object]
    overrides: Sequence[str]
    environment: Mapping[str, object]


def create_run(root: Path, command: str, **contents: Unpack[Contents]) -> RunDir:
    """A new run `root/<command>/<UTC time>-<4 hex>`; as many at once as one likes, each gets its own.

    Args:
        root: The user's `output_dir`.
        command: What is run; a sweep is "sweeps", a study "studies" (see `create_at`).
        **contents: See `Contents`.

    Raises:
        UsageError: The configuration is not plain data.
        MachineError: The directory cannot be made.
    """
    return _create(root / command, _fresh_names(), lambda name: name, command, contents)


def create_child(parent: RunDir, name: str, *, command: str, **contents: Unpack[Contents]) -> RunDir:
    """A run inside another: "baseline", "members/00", or "00" for a job of a sweep; arguments as of `create_run`.

    Args:
        parent: The run, sweep or study it belongs to.
        name: Where in it; must not exist yet.
        command: What is run.
        **contents: See `Contents`.
    """
    if _CHILD.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot name a run inside another")
    folder = (parent.path / name).parent
    if os.path.islink(folder):
        raise CheckpointError("a symbolic link where runs are kept", where=str(folder), fix="remove it")
    return create_at(parent.path / name, id=f"{parent.record.id}/{name}", command=command, **contents)


def create_at(path: Path, *, id: str, command: str, **contents: Unpack[Contents]) -> RunDir:
    """A run in a directory whose name is given, such as a study's; arguments as of `create_run`.

    Args:
        path: The directory; must not exist yet.
        id: What the record calls it.
        command: What is run.
        **contents: See `Contents`.
    """
    return _create(path.parent, iter([path.name]), lambda _: id, command, contents)


def _fresh_names() -> Iterator[str]:
    for _ in range(_ATTEMPTS):
        yield f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def _create(
    folder: Path, names: Iterator[str], identify: Callable[[str], str], command: str, contents: Contents
) -> RunDir:
    check_plain(contents["config"], error=UsageError)
    make_directory(folder)
    remove_leftovers(folder)
    temporary = folder / temporary_name()
    with translated(folder):
        os.mkdir(temporary)
        try:
            _write_contents(temporary, contents)
            run = _claim(temporary, names, lambda name: _record(identify(name), command, contents))
        except BaseException:
            remove_tree(temporary)
            raise
        fsync_directory(folder)
    return run


def _write_contents(directory: Path, contents: Contents) -> None:
    write_file(directory / CONFIG, dump_yaml(dict(contents["config"])).encode())
    write_file(directory / OVERRIDES, dump_yaml([_text(line) for line in contents["overrides"]]).encode())
    write_file(directory / ENVIRONMENT, encode_json(contents["environment"]))


def _record(id: str, command: str, contents: Contents) -> RunRecord:
    return RunRecord(
        id=id,
        command=command,
        label=None if contents["label"] is None else _text(contents["label"]),
        status="created",
        smoke=contents["smoke"],
        pid=os.getpid(),
        host=host(),
        started=now(),
        ended=None,
        argv=[_text(argument) for argument in contents["argv"]],
    )


def _text(argument: str) -> str:
    """An argument of the command line, whose bytes need not be valid Unicode, as text that can be written."""
    return argument.encode("utf-8", "replace").decode("utf-8")


def _claim(temporary: Path, names: Iterator[str], record: Callable[[str], RunRecord]) -> RunDir:
    """Rename a finished directory to the first name that nobody has: the rename succeeds for one process only."""
    for name in names:
        path = temporary.with_name(name)
        run = RunDir(path, record(name))
        write_record(temporary, run.record)
        try:
            os.rename(temporary, path)
        except OSError as problem:
            if problem.errno not in _TAKEN:
                raise
        else:
            return run
    raise MachineError(f"{path.name!r} exists already", where=str(path), fix="move it, or choose another output_dir=")
