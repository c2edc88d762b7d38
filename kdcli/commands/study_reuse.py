"""Runs that are there already: a study takes a finished one of the same configuration, and trains no second one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kdcli.errors import CheckpointError
from kdcli.json_io import read_json
from kdcli.rundir import RunDir, describe_environment
from kdcli.rundir.find import TRAININGS
from kdcli.rundir.run import ENVIRONMENT, RECORD
from kdcli.schema import Training, parse_config
from kdcli.schema.model import Custom

# What is inside a run belongs to it.
_CLOSED = {"checkpoints", "members", "baseline", "baselines", "cohort", "cohorts", "figures", "programs", "targets"}
_OWN: Any = {"output_dir": True, "sweep": True, "teacher": True, "trust_code": True, "targets": {"store"}}

TeacherHash = Callable[[Training], str]


@dataclass(frozen=True)
class _Candidate:
    """A finished training, with what is quickly known of it."""

    run: RunDir
    summary: dict[str, Any]


class Shelf:
    """The finished trainings under a folder, which is looked through once.

    Args:
        folder: Where to look, at any depth.
        smoke: Smoke runs are found, or all others.
        foreign: What lies there may be of another version of kd, and the code of its custom models another one.
    """

    def __init__(self, folder: Path, *, smoke: bool, foreign: bool) -> None:
        self._folder = folder
        self._smoke = smoke
        self._foreign = foreign
        self._found: list[_Candidate] | None = None
        self._keys: dict[Path, str | None] = {}

    def find(self, command: str, config: Training, teacher_hash: TeacherHash) -> RunDir | None:
        """The first training by this configuration, if there is one, with the same data and the same teacher.

        Args:
            command: What trained it.
            config: As it will be carried out.
            teacher_hash: The hash of a student's teacher; asked only where all else agrees.
        """
        if self._foreign and isinstance(config.model, Custom):
            return None
        key = same(config)
        for one in self._candidates():
            known = one.run.record.command, one.summary["seed"], one.summary["epochs"]
            if known != (command, config.seed, config.epochs) or self._key(one) != key:
                continue
            if _taught_by(one.summary) == (teacher_hash(config) if hasattr(config, "teacher") else None):
                return one.run
        return None

    def _candidates(self) -> list[_Candidate]:
        if self._found is None:
            self._found = list(self._look())
        return self._found

    def _look(self) -> Iterator[_Candidate]:
        for path in sorted(_run_directories(self._folder)):
            try:
                run = RunDir.open(path)
                fits = run.record.command in TRAININGS and run.record.status == "finished"
                if fits and run.record.smoke == self._smoke and _has_ended(path.parent):
                    yield _Candidate(run, run.summary())
            except CheckpointError:
                continue  # what is damaged cannot serve

    def _key(self, one: _Candidate) -> str | None:
        path = one.run.path
        if path not in self._keys:
            try:
                self._keys[path] = self._read_key(one.run)
            except CheckpointError:
                self._keys[path] = None
        return self._keys[path]

    def _read_key(self, run: RunDir) -> str | None:
        environment = read_json(run.path / ENVIRONMENT)
        if self._foreign and environment.get("versions", {}).get("kdcli") != _version():
            return None
        config = parse_config(run.record.command, run.config(), error=CheckpointError, where=str(run.path))
        assert isinstance(config, Training)
        return _key_of(config, environment.get("data_fingerprint"))


def _has_ended(folder: Path) -> bool:
    """Whether the sweep that a run is a job of has ended, if it is one: only then the job has been compared."""
    return not (folder / RECORD).exists() or RunDir.open(folder).record.status in ("finished", "failed")


def _taught_by(summary: dict[str, Any]) -> str | None:
    teacher = summary.get("teacher")
    return str(teacher["sha256"]) if isinstance(teacher, dict) else None


def same(config: Training) -> str:
    """Equal for trainings with the same configuration and the same data, whatever teaches them."""
    from kdcli.build import load_dataset

    return _key_of(config, load_dataset(config.dataset).fingerprint)


def _key_of(config: Training, fingerprint: object) -> str:
    return json.dumps([config.model_dump(exclude=_OWN), fingerprint], sort_keys=True)


def hash_teacher(config: Training) -> str:
    """The hash of the weights of a student's teacher.

    Raises:
        CheckpointError: They are damaged.
    """
    teacher = getattr(config, "teacher")  # noqa: B009  of every command that has one
    names = (teacher,) if isinstance(teacher, str) else tuple(teacher)
    return _hash(names, getattr(config, "ensemble", "arithmetic"), getattr(config, "trust_code", False))


@cache
def _hash(paths: Sequence[str], ensemble: Any, trust_code: bool) -> str:
    import torch

    from kdcli.program.teaching import load_teacher

    runs = [RunDir.open(Path(path)) for path in paths]
    loaded = load_teacher(runs, torch.device("cpu"), ensemble=ensemble, trust_code=trust_code, say=lambda _: None)
    return loaded.teacher.sha256()


def _version() -> object:
    versions = describe_environment(None)["versions"]
    assert isinstance(versions, dict)
    return versions["kdcli"]


def _run_directories(folder: Path) -> Iterator[Path]:
    """The trainings and whatever else has a record under a folder; not what is inside a training."""
    try:
        with os.scandir(folder) as entries:
            inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    if (folder / RECORD).exists():
        yield folder
    for name in inner:
        if name not in _CLOSED and not name.startswith("."):
            yield from _run_directories(folder / name)
