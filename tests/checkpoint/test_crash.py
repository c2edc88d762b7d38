"""R2: the process is killed at every named moment of a save."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from kdcli.checkpoint import load
from kdcli.errors import CheckpointError

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, saver: ModuleType) -> Path:
    """A store with step 1."""
    store: Path = tmp_path_factory.mktemp("old") / "checkpoints"
    saver.save(store, 1)
    return store


@pytest.fixture(scope="module")
def moments(old: Path, tmp_path_factory: pytest.TempPathFactory, saver: ModuleType) -> list[str]:
    """Every failpoint of a save, as often as it is visited."""
    store: Path = tmp_path_factory.mktemp("visited") / "checkpoints"
    shutil.copytree(old, store)
    names: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in ("disk", "checkpoint.write", "checkpoint.pruning"):
            patch.setattr(f"kdcli.{module}.reach", names.append)
        saver.save(store, 2)
    return [f"{name}:{visit}" for name, visits in Counter(names).items() for visit in range(1, visits + 1)]


def _killed(old: Path, work: Path, names: list[str], **environment: str) -> list[Path]:
    script = str(Path(__file__).with_name("saver.py"))
    done = subprocess.run(
        [sys.executable, script, str(old), str(work), *names],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(_ROOT)} | environment,
        check=True,
    )
    assert done.stdout.split() == ["137"] * len(names)
    return [work / str(number) for number in range(len(names))]


def test_there_are_failpoints_at_every_moment_that_matters(moments: list[str]) -> None:
    files = ["model.safetensors", "state.safetensors", "state.json", "manifest.json", "last.json"]
    inside = [f"{file}.{moment}:1" for file in files for moment in ("25", "50", "75", "fsync")]
    pointer = ["last.json.replace:1", "last.json.replaced:1"]
    commit = [f"commit.{moment}:1" for moment in ("begin", "directory.fsync", "rename", "renamed", "done")]
    prune = ["prune.begin:1", "prune.trashed:1", *(f"prune.deleting:{count}" for count in range(1, 5))]
    assert sorted(moments) == sorted(inside + pointer + commit + prune)


def test_a_process_killed_at_any_moment_of_a_save_leaves_the_old_or_the_new_checkpoint(
    old: Path, moments: list[str], tmp_path: Path, saver: ModuleType
) -> None:
    steps = []
    for store, moment in zip(_killed(old, tmp_path, moments), moments, strict=True):
        loaded = load(store, fallback=False)
        steps.append(loaded.step)
        assert saver.is_same(loaded, loaded.step), moment
        saver.save(store, 2)
        assert saver.is_same(load(store, fallback=False), 2), moment
        assert sorted(path.name for path in store.iterdir()) == ["last.json", "step-000002"], moment
    # The pointer's replacement is the one moment between old and new.
    turn = moments.index("last.json.replaced:1")
    assert steps == [1] * turn + [2] * (len(moments) - turn)


def test_a_save_without_the_protocol_is_caught_by_this_very_test(old: Path, tmp_path: Path) -> None:
    lost = 0
    for store in _killed(old, tmp_path, ["model.safetensors.50:1", "manifest.json.fsync:1"], NAIVE="1"):
        try:
            load(store, fallback=False)
        except CheckpointError:
            lost += 1
    assert lost
