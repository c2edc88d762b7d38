"""Runs that are there already: a study takes a finished one of the same configuration, and trains no second one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kdcli.errors import CheckpointError
from kdcli.json_io import read_json
from kdcli.rundir import RunDir, describe_environment
from kdcli.rundir.find import TRAININGS
from kdcli.rundir.listing import SWEEPS
from kdcli.rundir.run import ENVIRONMENT, RECORD
from kdcli.schema import Config, Course, Evaluate, parse_config

# Baselines belong to the jobs that they are compared with; the others hold no runs.
_CLOSED = {"baselines", "cohorts", "figures", "programs", "targets"}
_OWN: Any = {"output_dir": True, "sweep": True, "teacher": True, "trust_code": True, "targets": {"store"}}


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
        foreign: What lies there may be of another version of kd, and what it names of the user's own code another one.
    """

    def __init__(self, folder: Path, *, smoke: bool, foreign: bool) -> None:
        self._folder = folder
        self._smoke = smoke
        self._foreign = foreign
        self._found: list[_Candidate] | None = None
        self._keys: dict[Path, str | None] = {}

    def find(self, command: str, config: Config) -> RunDir | None:
        """The first training by this configuration, if there is one, with the same data and the same teacher.

        Args:
            command: What trained it.
            config: As it will be carried out.
        """
        assert isinstance(config, Course)
        if self._foreign and _names_code(config):
            return None
        key = same(config)
        for one in self._candidates():
            known = one.run.record.command, one.summary["seed"]
            if known == (command, config.seed) and self._key(one) == key and _taught(one, config):
                return one.run
        return None

    def _candidates(self) -> list[_Candidate]:
        if self._found is None:
            self._found = list(self._look())
        return self._found

    def _look(self) -> Iterator[_Candidate]:
        for run in _trainings(self._folder, ended=True):
            if run.record.status == "finished" and run.record.smoke == self._smoke:
                with suppress(CheckpointError):  # what is damaged cannot serve
                    yield _Candidate(run, run.summary())

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
        return _key_of(config, environment.get("data_fingerprint"))


def _names_code(config: Config) -> bool:
    """Whether a part of it is code of the user's own, which may have changed since."""
    return any(isinstance(part, dict) and part.get("kind") == "custom" for part in config.model_dump().values())


def _taught(one: _Candidate, config: Config) -> bool:
    """Whether a training had the teacher that a configuration names: the very runs, or others with the same weights."""
    if not hasattr(config, "teacher"):
        return True
    names = [config.teacher] if isinstance(config.teacher, str) else config.teacher
    teacher = one.summary["teacher"]
    if teacher["run"] == names:
        return True
    combined, trust_code = getattr(config, "ensemble", "arithmetic"), getattr(config, "trust_code", False)
    return bool(teacher["sha256"] == _hash(tuple(names), combined, trust_code))


def same(config: Config) -> str:
    """Equal for trainings with the same configuration and the same data, whatever teaches them."""
    from kdcli.build import load_dataset

    assert not isinstance(config, Evaluate)
    return _key_of(config, load_dataset(config.dataset).fingerprint)


def _key_of(config: Config, fingerprint: object) -> str:
    return json.dumps([config.model_dump(exclude=_OWN), fingerprint], sort_keys=True)


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


def _trainings(folder: Path, *, ended: bool) -> Iterator[RunDir]:
    """The trainings under a folder, in the order of their paths; what is inside a training belongs to it.

    Args:
        folder: Where to look.
        ended: What the folder is part of has ended: only then a job of a sweep has been compared with its baseline.
    """
    try:
        with os.scandir(folder) as entries:
            inner = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        run = RunDir.open(folder) if os.path.lexists(folder / RECORD) else None
    except (OSError, CheckpointError):
        return
    if run is not None and run.record.command in TRAININGS:
        if ended:
            yield run
        return
    if run is not None and run.record.command == SWEEPS:
        ended = run.record.status in ("finished", "failed")
    for name in inner:
        if name not in _CLOSED and not name.startswith("."):
            yield from _trainings(folder / name, ended=ended)
