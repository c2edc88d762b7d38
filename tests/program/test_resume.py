"""A training that was stopped, here in this very process, and went on: it ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcli.errors import Interrupted
from kdcli.program.run import Manner
from kdcli.program.student import distill_student
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir
from kdcli.schema import TrainTeacher
from tests.program import reference, scripted

Configure = Callable[..., Any]
# 590 examples in 19 batches.
TINY = (
    "dataset.val_fraction=0.02",
    "transfer.fraction=0.01",
    "batch_size=32",
    "device=cpu",
    "epochs=3",
    "model=mlp_30",
    "optimizer.lr=0.01",
)
STEPS = 19
DROPOUT = ("model.dropout=0.3", "model.input_dropout=0.1")
PROGRAMS = {
    "one network with dropout and views": ("train-teacher", *DROPOUT, "dataset.views=shift"),
    "momentum ramp": ("train-teacher", "recipe=hinton2012", "optimizer.lr=1"),
    "batch norm, plateau and early stopping": (
        "train-teacher", "model.batch_norm=true", "optimizer=sgd", "optimizer.lr=0.2", "optimizer.momentum=0.9",
        "optimizer.nesterov=true", "lr_schedule=plateau", "lr_schedule.patience=0", "early_stopping=1",
    ),
    "no validation": ("train-teacher", "dataset.val_fraction=0", "select=last"),
    "members": ("train-teacher", "members=2", *DROPOUT),
    "members with data of their own": ("train-teacher", "members=2", "members_data=bootstrap"),
    "members that teach each other": ("train-teacher", "members=2", "loss=mutual", "alpha.value=0.5", *DROPOUT),
    "student and baseline": ("distill-student", *DROPOUT, "dataset.views=shift", "temperature=linear"),
    "student alone": ("distill-student", "baseline=false", "loss=mse_logits", "alpha.value=0.5"),
    "baseline by itself": ("distill-student", "transfer.labels=false", "alpha.value=1"),
    "synthetic cases": (
        "distill-student", "transfer=munge", "transfer.cases=590", "transfer.keep_original=false", "alpha.value=1",
    ),
    "networks in turn": ("distill-student", "model=cnn", "model.channels=[2]", "dataset.val_fraction=0.005"),
}  # fmt: skip


class Trainer:
    """Runs one program into directories of its own, in whatever manner, from its start or on from where it was."""

    def __init__(self, configure: Configure, teacher: RunDir, folder: Path, program: str) -> None:
        command, *overrides = PROGRAMS[program]
        self.command, self.folder, self._teacher = command, folder, teacher
        self._options = [*TINY, *overrides]
        if command == "distill-student":
            self._options += [f"teacher={teacher.path}", f"targets.store={folder / 'targets'}"]
        self._configure = configure

    def __call__(self, name: str, manner: Manner, run: RunDir | None = None) -> RunDir:
        """Train into ``folder/name``."""
        config = self._configure(self.command, *self._options, f"output_dir={self.folder / name}")
        if isinstance(config, TrainTeacher):
            return train_teacher(config, manner, run)
        return distill_student(config, [self._teacher], manner, run)

    def stopped(self, name: str) -> RunDir:
        """The run under ``folder/name``."""
        (run,) = map(RunDir.open, (self.folder / name).glob(f"{self.command}/*"))
        return run


@pytest.fixture(params=PROGRAMS)
def trainer(request: pytest.FixtureRequest, configure: Configure, tiny_teacher: RunDir, tmp_path: Path) -> Trainer:
    return Trainer(configure, tiny_teacher, tmp_path, request.param)


def networks(run: RunDir) -> list[Path]:
    """The directories of all networks of a run."""
    inside = [*run.path.glob("members/*"), *run.path.glob("baseline")]
    return inside if (run.path / "members").exists() else [run.path, *inside]


def assert_same(first: RunDir, second: RunDir) -> None:
    for one, other in zip(networks(first), networks(second), strict=True):
        reference.same_training(one, other)
    assert reference.timeless(first.summary()) == reference.timeless(second.summary())
    assert reference.files(first.path) == reference.files(second.path)
    assert not list(second.path.rglob("cohort"))


def test_a_training_that_was_stopped_and_one_that_crashed_end_as_the_undisturbed_one(
    trainer: Trainer, manner: Manner, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer("whole", manner)
    with pytest.raises(Interrupted):
        trainer("parts", scripted.signalled(manner, monkeypatch, 7, signal.SIGINT))
    for path in networks(trainer.stopped("parts")):
        assert reference.status(path) == "interrupted"
    with pytest.raises(scripted.CrashError):
        trainer("parts", scripted.crashing(manner, monkeypatch, 2 * STEPS - 3), trainer.stopped("parts"))
    for path in networks(trainer.stopped("parts")):
        assert reference.status(path) == "failed"
    assert_same(whole, trainer("parts", manner, trainer.stopped("parts")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_within_one_step(
    configure: Configure,
    tiny_teacher: RunDir,
    manner: Manner,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    trainer = Trainer(configure, tiny_teacher, tmp_path, "one network with dropout and views")
    with pytest.raises(Interrupted) as caught:
        trainer("it", scripted.signalled(manner, monkeypatch, STEPS + 4, number))
    assert caught.value.exit_code == (130 if number == signal.SIGINT else 143)
    run = trainer.stopped("it")
    assert number.name in caught.value.what
    assert caught.value.fix == f"kd resume {run.path}"
    assert run.record.error is not None
    assert (run.record.status, run.record.error.code) == ("interrupted", caught.value.exit_code)
    assert reference.step_directory(run.path, "last").name == f"step-{STEPS + 4:06d}"
    assert len(reference.metrics(run.path)) == 1


@pytest.mark.parametrize("program", ["one network with dropout and views", "baseline by itself"])
def test_a_signal_during_the_very_last_step_is_not_lost(
    configure: Configure,
    tiny_teacher: RunDir,
    manner: Manner,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    program: str,
) -> None:
    trainer = Trainer(configure, tiny_teacher, tmp_path, program)
    with pytest.raises(Interrupted):
        trainer("it", scripted.signalled(manner, monkeypatch, 3 * STEPS, signal.SIGTERM))
    run = trainer.stopped("it")
    assert (run.record.status, len(reference.metrics(run.path))) == ("interrupted", 3)
    assert not (run.path / "summary.json").exists()
    assert_same(trainer("whole", manner), trainer("it", manner, run))


def test_a_run_that_never_took_a_step_begins_when_it_is_resumed(
    configure: Configure, tiny_teacher: RunDir, manner: Manner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer = Trainer(configure, tiny_teacher, tmp_path, "student and baseline")
    with pytest.raises(scripted.CrashError):
        trainer("it", scripted.crashing(manner, monkeypatch, 2))
    assert not (trainer.stopped("it").path / "cohort").exists()
    assert_same(trainer("whole", manner), trainer("it", manner, trainer.stopped("it")))


def test_the_wall_clock_counts_all_processes(
    configure: Configure, tiny_teacher: RunDir, manner: Manner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer = Trainer(configure, tiny_teacher, tmp_path, "student alone")
    with pytest.raises(Interrupted):
        trainer("it", scripted.signalled(manner, monkeypatch, 20, signal.SIGINT))
    record = json.loads((reference.step_directory(trainer.stopped("it").path, "last") / "state.json").read_text())
    run = trainer("it", manner, trainer.stopped("it"))
    assert 0 < record["state"]["wall_seconds"] < reference.summary(run.path)["wall_seconds"]


@pytest.mark.parametrize("program", ["student alone", "members"])
def test_epochs_after_the_last_checkpoint_are_done_and_written_down_again(
    configure: Configure,
    tiny_teacher: RunDir,
    manner: Manner,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    program: str,
) -> None:
    trainer = Trainer(configure, tiny_teacher, tmp_path, program)
    whole = trainer("whole", manner)
    with monkeypatch.context() as patch:
        patch.setattr("kdcli.program.commits.SAVE_SHARE", 1e-12)  # after the first epoch, and then not for days
        crashing = scripted.crashing(manner, patch, 2 * STEPS + 2)
        with pytest.raises(scripted.CrashError):
            trainer("it", crashing)
    run = trainer.stopped("it")
    assert [len(reference.metrics(path)) for path in networks(run)] == [2] * len(networks(run))
    assert_same(whole, trainer("it", manner, run))
