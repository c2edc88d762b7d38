"""A training's checkpoints: which are kept, and what happens where the newest cannot be used."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kdcli import checkpoint
from kdcli.errors import CheckpointError, DataError, Interrupted, UsageError
from kdcli.program.run import Manner
from kdcli.program.student import distill_student
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir
from tests.program import reference, scripted

Configure = Callable[..., Any]
# 590 examples in 19 batches; at a rate that grows until nothing is left the first epoch is the best.
TINY = (
    "dataset.val_fraction=0.02", "transfer.fraction=0.01", "batch_size=32", "device=cpu", "epochs=5", "model=mlp_30",
    "optimizer.lr=0.5", "lr_schedule=one_cycle", "lr_schedule.warmup=0.999", "lr_schedule.start=0.01",
)  # fmt: skip
STEPS = 19


@pytest.fixture(autouse=True)
def _after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdcli.program.commits.SAVE_SHARE", 1e9)


@pytest.fixture
def whole(configure: Configure, manner: Manner, tmp_path: Path) -> RunDir:
    """The training, undisturbed."""
    return train_teacher(configure("train-teacher", *TINY, f"output_dir={tmp_path / 'whole'}"), manner)


@pytest.fixture
def stopped(configure: Configure, manner: Manner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """The same training, stopped in its fourth epoch."""
    config = configure("train-teacher", *TINY, f"output_dir={tmp_path / 'parts'}")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        train_teacher(config, scripted.signalled(manner, patch, 3 * STEPS + 5, signal.SIGTERM))
    (run,) = map(RunDir.open, (tmp_path / "parts").glob("train-teacher/*"))
    return run


@pytest.fixture
def go_on(configure: Configure, manner: Manner) -> Callable[..., list[str]]:
    """Resume a run, and return what was said."""

    def resumed(run: RunDir, *overrides: str) -> list[str]:
        said: list[str] = []
        config = configure("train-teacher", *TINY, *overrides)
        train_teacher(config, dataclasses.replace(manner, say=said.append), run)
        return said

    return resumed


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def step_of(directory: str) -> int:
    return int(directory.split("-")[1])


def test_the_two_newest_states_are_kept_to_fall_back_to(stopped: RunDir) -> None:
    newest = [step_of(name) for name in reference.full_commits(stopped.path)][-2:]
    assert newest == [3 * STEPS, 3 * STEPS + 5]
    assert len(list(stopped.checkpoints.glob("step-*"))) <= 3


def test_a_best_checkpoint_is_committed_once(whole: RunDir) -> None:
    best, last = (reference.step_directory(whole.path, name) for name in ("best", "last"))
    assert (step_of(best.name), step_of(last.name)) == (STEPS, 5 * STEPS)
    names = [path.name for path in whole.checkpoints.glob("step-*")]
    assert [name for name in names if name.count("-") > 1] == [], "no second copy of a step"


@pytest.mark.parametrize("file", ["model.safetensors", "state.safetensors", "state.json", "manifest.json", "last.json"])
def test_a_damaged_last_checkpoint_is_said_and_an_older_one_taken(
    stopped: RunDir, whole: RunDir, go_on: Callable[..., list[str]], file: str
) -> None:
    last = reference.step_directory(stopped.path, "last")
    flip(stopped.checkpoints / file if file == "last.json" else last / file)
    said = go_on(stopped)
    place = f"epoch 4, step {3 * STEPS}" if file != "last.json" else f"epoch 4, step {3 * STEPS + 5}"
    assert any(line.startswith(f"going on from {place}: last.json could not be used") for line in said)
    reference.same_training(whole.path, RunDir.open(stopped.path).path)


def test_weights_alone_are_nothing_to_go_on_from(
    stopped: RunDir, whole: RunDir, go_on: Callable[..., list[str]]
) -> None:
    last = reference.step_directory(stopped.path, "last")
    weights = checkpoint.load(stopped.checkpoints, "best").tensors["model"]
    for path in stopped.checkpoints.glob("step-*"):
        if path != last:
            shutil.rmtree(path)
    only = checkpoint.commit(stopped.checkpoints, step_of(last.name) + 1, {"model": weights}, {})
    checkpoint.point(stopped.checkpoints, "best", only)
    flip(last / "state.safetensors")
    said = go_on(stopped)
    assert any(line.startswith("beginning again: last.json could not be used") for line in said)
    reference.same_training(whole.path, stopped.path)


def test_a_cohort_falls_back_too(
    configure: Configure, manner: Manner, tiny_teacher: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def options(name: str) -> Any:
        return configure("distill-student", *TINY, f"output_dir={tmp_path / name}", f"teacher={tiny_teacher.path}")

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        distill_student(options("a"), [tiny_teacher], scripted.signalled(manner, patch, 45, signal.SIGINT))
    (run,) = map(RunDir.open, (tmp_path / "a").glob("distill-student/*"))
    newest = sorted((run.path / "cohort").glob("step-*"))[-1]
    assert newest.name == "step-000045"
    shutil.rmtree(newest)
    distill_student(options("a"), [tiny_teacher], manner, run)
    other = distill_student(options("b"), [tiny_teacher], manner)
    for name in (".", "baseline"):
        reference.same_training(run.path / name, other.path / name)


def alter(run: RunDir, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Let last.json name a checkpoint whose tensors and state were changed."""
    loaded = checkpoint.load(run.checkpoints, "last")
    state = json.loads(json.dumps(loaded.state))
    change(loaded.tensors, state)
    checkpoint.point(run.checkpoints, "last", checkpoint.commit(run.checkpoints, loaded.step, loaded.tensors, state))


def test_other_data_are_refused(stopped: RunDir, go_on: Callable[..., list[str]]) -> None:
    alter(stopped, lambda tensors, state: state.update(fingerprint="0" * 64))
    with pytest.raises(DataError, match="not those that this training began with"):
        go_on(stopped)
    assert RunDir.open(stopped.path).record.status == "failed"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, state: tensors["model"].popitem(),
        lambda tensors, state: tensors["state"].popitem(),
        lambda tensors, state: tensors["model"].update(extra=torch.zeros(1)),
        lambda tensors, state: tensors["model"].update({"output.bias": torch.zeros(11)}),
        lambda tensors, state: tensors["model"].update({"output.bias": torch.zeros(10).double()}),
    ],
)
def test_tensors_of_another_training_are_refused(
    stopped: RunDir, go_on: Callable[..., list[str]], change: Callable[..., object]
) -> None:
    alter(stopped, change)
    with pytest.raises(CheckpointError, match="does not fit this training"):
        go_on(stopped)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.hidden=[31,30]", r"model.hidden from '\[30, 30\]' to '\[31, 30\]'"),
        ("optimizer=sgd", "optimizer.kind from 'adamw' to 'sgd'"),
        ("epochs=2", "epochs from '5' to '2'"),
        ("seed=1", "seed from '0' to '1'"),
        ("dataset=letter", "dataset.kind from 'mnist' to 'letter'"),
    ],
)
def test_a_configuration_that_was_changed_is_refused_and_named(
    stopped: RunDir, go_on: Callable[..., list[str]], override: str, named: str
) -> None:
    with pytest.raises(UsageError, match=f"changed since this training began:.*{named}"):
        go_on(stopped, override)


def test_another_output_directory_is_no_change(
    stopped: RunDir, go_on: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert any(line.startswith("going on from") for line in go_on(stopped, f"output_dir={tmp_path}"))


def test_another_teacher_is_refused(
    configure: Configure,
    manner: Manner,
    tiny_teacher: RunDir,
    whole: RunDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configure("distill-student", *TINY, f"output_dir={tmp_path / 'a'}", f"teacher={tiny_teacher.path}")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        distill_student(config, [tiny_teacher], scripted.signalled(manner, patch, 45, signal.SIGINT))
    (run,) = map(RunDir.open, (tmp_path / "a").glob("distill-student/*"))
    with pytest.raises(UsageError, match="teacher_sha256 from"):
        distill_student(config, [whole], manner, run)


def test_another_version_of_torch_is_said(stopped: RunDir, go_on: Callable[..., list[str]]) -> None:
    environment = json.loads((stopped.path / "environment.json").read_text())
    environment["versions"]["torch"] = "2.11.0"
    (stopped.path / "environment.json").write_text(json.dumps(environment))
    assert any("not bit-exact" in line and f"torch 2.11.0 -> {torch.__version__}" in line for line in go_on(stopped))


def test_a_training_that_was_killed_before_its_first_checkpoint_begins_again_with_empty_metrics(
    stopped: RunDir, whole: RunDir, go_on: Callable[..., list[str]]
) -> None:
    shutil.rmtree(stopped.checkpoints)
    go_on(stopped)
    reference.same_training(whole.path, stopped.path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fit", None),
        ("fit", {"epoch": 1}),
        ("metrics", [0, 0]),
        ("metrics", "none"),
        ("wall_seconds", "long"),
        (("fit", "epoch"), -1),
        (("fit", "step_in_epoch"), 10**6),
        (("fit", "standings"), []),
        (("fit", "plateaus"), [{}, {}]),
    ],
)
def test_a_state_that_makes_no_sense_is_refused(
    stopped: RunDir, go_on: Callable[..., list[str]], key: Any, value: object
) -> None:
    def change(tensors: object, state: dict[str, Any]) -> None:
        if isinstance(key, tuple):
            state[key[0]][key[1]] = value
        else:
            state[key] = value

    alter(stopped, change)
    with pytest.raises(CheckpointError):
        go_on(stopped)


def test_metrics_that_are_shorter_than_the_checkpoint_says_are_refused(
    stopped: RunDir, go_on: Callable[..., list[str]]
) -> None:
    stopped.metrics.write_text("")
    with pytest.raises(CheckpointError, match="this file had"):
        go_on(stopped)
