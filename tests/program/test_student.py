"""``distill-student`` through the program: student, baseline and teacher, and what is said of them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from torch import Tensor

from kdcli import checkpoint
from kdcli.data.source import TensorSource
from kdcli.errors import CheckpointError, DivergedError, UsageError
from kdcli.program.rehearsal import rehearse_student
from kdcli.program.run import Manner
from kdcli.program.student import distill_student
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir
from tests.program import reference

Configure = Callable[..., Any]
Distil = Callable[..., RunDir]
TINY = ("transfer.fraction=0.02", "batch_size=32", "device=cpu", "epochs=2", "optimizer.lr=0.01")
STUDENT = ("model=mlp", "model.hidden=[20]")
STORE = {"checkpoints/step-*", "checkpoints/last.json", "checkpoints/best.json"}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("students")


@pytest.fixture(scope="module")
def distil(configure: Configure, manner: Manner, outputs: Path) -> Distil:
    """Distil runs into a small student: ``distil([teacher], "alpha=1")``."""

    def distilled(teachers: list[RunDir], *overrides: str, said: list[str] | None = None) -> RunDir:
        names = ",".join(str(run.path) for run in teachers)
        options = (*TINY, *STUDENT, f"output_dir={outputs}", f"teacher=[{names}]", *overrides)
        say = manner.say if said is None else said.append
        return distill_student(configure("distill-student", *options), teachers, dataclasses.replace(manner, say=say))

    return distilled


@pytest.fixture(scope="module")
def ensemble(configure: Configure, manner: Manner, outputs: Path) -> RunDir:
    config = configure("train-teacher", *TINY, "model=mlp_30", "members=2", "epochs=1", f"output_dir={outputs}")
    return train_teacher(config, manner)


@pytest.fixture(scope="module")
def student(distil: Distil, tiny_teacher: RunDir) -> RunDir:
    return distil([tiny_teacher], "temperature.value=4", "alpha.value=0.9")


def test_a_run_holds_exactly_the_files_of_the_design(student: RunDir) -> None:
    own = reference.RECORDS | STORE
    assert reference.files(student.path) == own | {f"baseline/{name}" for name in own}
    assert not (student.path / "cohort").exists()
    assert checkpoint.verify(student.checkpoints) == []
    assert checkpoint.verify(student.path / "baseline" / "checkpoints") == []


def test_summary_and_metrics_have_the_keys_of_the_design(student: RunDir) -> None:
    found, lines = reference.summary(student.path), reference.metrics(student.path)
    assert found.keys() == reference.SUMMARY_KEYS
    assert all(line.keys() == reference.METRIC_KEYS for line in lines)
    assert (found["command"], found["temperature"], found["alpha"], found["loss"]) == ("distill-student", 4, 0.9, "kd")
    assert found["teacher"].keys() >= {"run", "sha256", "members", "test"}
    assert found["baseline"].keys() >= {"run", "test"}
    for line in lines:
        assert (line["temperature"], line["alpha"]) == (4, 0.9)
        assert line["train/loss"] == pytest.approx(0.1 * line["train/hard"] + 0.9 * line["train/soft"], rel=1e-5)
        assert 0.5 < line["val/agreement"] < 1
    baseline = reference.metrics(student.path / "baseline")
    assert {line[key] for line in baseline for key in ("temperature", "alpha", "train/soft")} == {None}


def test_numbers_are_those_of_the_three_networks(student: RunDir, tiny_teacher: RunDir) -> None:
    found = reference.summary(student.path)
    taught, teacher = reference.probabilities(student.path), reference.probabilities(tiny_teacher.path)
    baseline = reference.probabilities(student.path / "baseline")
    for section, probs in ((found, taught), (found["teacher"], teacher), (found["baseline"], baseline)):
        assert section["test"]["errors"] == pytest.approx(reference.errors(probs), abs=1)
        assert section["test"]["nll"] == pytest.approx(reference.nll(probs), abs=1e-5)
    for section, probs in ((found, taught), (found["baseline"], baseline)):
        agreement = (probs.argmax(axis=1) == teacher.argmax(axis=1)).mean()
        assert section["test"]["agreement"] == pytest.approx(agreement, abs=2e-4)
        assert section["test"]["kl_to_teacher"] == pytest.approx(reference.kl(teacher, probs), abs=1e-5)
    assert found["teacher"]["run"] == [str(tiny_teacher.path)]
    assert (found["teacher"]["members"], found["teacher"]["parameters"]) == (1, 24_790)
    assert found["baseline"]["test"] == reference.summary(student.path / "baseline")["test"]


def test_student_and_baseline_are_compared_as_mcnemar_did(student: RunDir) -> None:
    found, labels = reference.summary(student.path), reference.test_set()[1]
    right = [
        reference.probabilities(path).argmax(axis=1) == labels for path in (student.path, student.path / "baseline")
    ]
    compared = found["baseline"]
    assert compared["only_student"] == pytest.approx((right[0] & ~right[1]).sum(), abs=2)
    assert compared["only_baseline"] == pytest.approx((right[1] & ~right[0]).sum(), abs=2)
    assert compared["only_student"] - compared["only_baseline"] == compared["test"]["errors"] - found["test"]["errors"]
    exact = binomtest(compared["only_student"], compared["only_student"] + compared["only_baseline"])
    assert compared["p_value"] == pytest.approx(exact.pvalue, rel=1e-9)
    taught, alone = found["test"]["errors"], compared["test"]["errors"]
    between = alone - found["teacher"]["test"]["errors"]
    assert compared["gap_closed"] == (pytest.approx((alone - taught) / between) if between > 0 else None)


def test_the_teacher_and_its_directory_are_unchanged(distil: Distil, tiny_teacher: RunDir, tmp_path: Path) -> None:
    teacher = RunDir.open(Path(shutil.copytree(tiny_teacher.path, tmp_path / tiny_teacher.path.name)))
    before = reference.fingerprints(teacher.path)
    run = distil([teacher], "epochs=1")
    assert reference.fingerprints(teacher.path) == before
    assert len(before) > 8
    same = distil([tiny_teacher], "epochs=1")
    sha256 = [reference.summary(each.path)["teacher"]["sha256"] for each in (run, same)]
    assert sha256[0] == sha256[1]


def test_nobody_is_asked_about_the_test_set_before_the_selection(
    distil: Distil, tiny_teacher: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, bool]] = []
    gather = TensorSource.gather

    def spied(self: TensorSource, indices: Tensor) -> Tensor:
        if len(self) == 10_000:
            selected = list(tmp_path.rglob("best.json"))
            read.append((len(indices), len(selected) == 2))
        return gather(self, indices)

    monkeypatch.setattr(TensorSource, "gather", spied)
    distil([tiny_teacher], f"output_dir={tmp_path}")
    whole = [count for count, _ in read if count > 100]  # the rest are the images that the report shows
    assert sum(whole) == 20_000, "once for the cohort, once for the teacher"
    assert all(selected for _, selected in read)


def test_the_baseline_is_the_same_network_trained_without_a_teacher(
    configure: Configure, manner: Manner, student: RunDir, outputs: Path
) -> None:
    config = configure("train-teacher", *TINY, *STUDENT, f"output_dir={outputs}")
    alone = train_teacher(config, manner)
    baseline = student.path / "baseline"
    assert reference.differences(reference.weights(baseline), reference.weights(alone.path)) < 1e-4
    first, second = reference.summary(baseline), reference.summary(alone.path)
    assert (first["seed"], first["steps"], first["loss"]) == (second["seed"], second["steps"], "hard")
    losses = [[line["train/loss"] for line in reference.metrics(path)] for path in (baseline, alone.path)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_without_its_baseline_the_student_is_the_same(distil: Distil, tiny_teacher: RunDir, student: RunDir) -> None:
    alone = distil([tiny_teacher], "temperature.value=4", "alpha.value=0.9", "baseline=false")
    assert reference.files(alone.path) == reference.RECORDS | STORE
    assert reference.summary(alone.path)["baseline"] is None
    assert reference.differences(reference.weights(alone.path), reference.weights(student.path)) < 1e-4


def test_alpha_zero_is_plain_training_to_the_bit(
    distil: Distil, configure: Configure, manner: Manner, tiny_teacher: RunDir, outputs: Path
) -> None:
    run = distil([tiny_teacher], "alpha.value=0", "baseline=false")
    plain = train_teacher(configure("train-teacher", *TINY, *STUDENT, f"output_dir={outputs}"), manner)
    assert reference.differences(reference.weights(run.path), reference.weights(plain.path)) == 0
    assert {line["train/soft"] for line in reference.metrics(run.path)} == {None}


def test_a_transfer_set_without_labels_trains_as_with_labels_it_never_looks_at(
    distil: Distil, tiny_teacher: RunDir
) -> None:
    blind, seeing = (distil([tiny_teacher], "alpha.value=1", f"transfer.labels={labels}") for labels in (False, True))
    assert reference.differences(reference.weights(blind.path), reference.weights(seeing.path)) < 1e-4
    assert {line["train/hard"] for line in reference.metrics(blind.path)} == {None}
    baseline = RunDir.open(blind.path / "baseline")
    assert reference.summary(baseline.path)["steps"] == reference.summary(blind.path)["steps"] == 2 * 34
    assert baseline.config()["transfer"]["labels"] is True
    assert baseline.config()["transfer"]["fraction"] == 1
    assert reference.errors(reference.probabilities(baseline.path)) < reference.errors(
        reference.probabilities(seeing.path / "baseline")
    ), "as many steps, over other examples in every epoch"
    assert not list(blind.path.rglob("cohort"))


@pytest.mark.parametrize("alpha", ["alpha.value=0.9", "alpha=linear"])
def test_a_transfer_set_without_labels_needs_alpha_one(configure: Configure, alpha: str) -> None:
    with pytest.raises(UsageError, match="alpha must be 1"):
        configure("distill-student", "teacher=any", "transfer.labels=false", alpha)


def test_omitted_classes_are_seen_by_nobody_and_only_named_ones_by_all(distil: Distil, tiny_teacher: RunDir) -> None:
    soft = ("temperature.value=4", "alpha.value=1", "epochs=6")
    without = distil([tiny_teacher], "transfer.omit=[3]", *soft)
    baseline, student = (
        reference.probabilities(path).argmax(axis=1) for path in (without.path / "baseline", without.path)
    )
    threes = reference.test_set()[1] == 3
    assert (baseline == 3).sum() == 0
    assert (student[threes] == 3).mean() > 0.05, "it knows the 3s that it never saw from its teacher"
    only = distil([tiny_teacher], "transfer.only=[7,8]")
    assert set(reference.probabilities(only.path / "baseline").argmax(axis=1)) <= {7, 8}
    assert reference.summary(only.path)["steps"] < reference.summary(without.path)["steps"] / 3


def test_an_ensemble_run_teaches_like_its_members_by_name(distil: Distil, ensemble: RunDir) -> None:
    members = [RunDir.open(ensemble.path / "members" / name) for name in ("00", "01")]
    whole, named = distil([ensemble]), distil(members)
    assert reference.differences(reference.weights(whole.path), reference.weights(named.path)) == 0
    first, second = (reference.summary(run.path)["teacher"] for run in (whole, named))
    assert (first["sha256"], first["members"], first["test"]) == (second["sha256"], 2, second["test"])
    assert (first["run"], len(second["run"])) == ([str(ensemble.path)], 2)


@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
def test_several_teachers_are_combined(distil: Distil, ensemble: RunDir, tiny_teacher: RunDir, how: str) -> None:
    run = distil([ensemble, tiny_teacher], f"ensemble={how}", "epochs=1")
    paths = [ensemble.path / "members" / "00", ensemble.path / "members" / "01", tiny_teacher.path]
    members = np.stack([reference.probabilities(path) for path in paths])
    mean = members.mean(axis=0)
    if how == "geometric":
        mean = np.exp(np.log(members).mean(axis=0))
        mean /= mean.sum(axis=1, keepdims=True)
    found = reference.summary(run.path)
    assert found["teacher"]["members"] == 3
    assert found["teacher"]["test"]["nll"] == pytest.approx(reference.nll(mean), abs=1e-5)
    student = reference.probabilities(run.path)
    assert found["test"]["kl_to_teacher"] == pytest.approx(reference.kl(mean, student), abs=1e-5)


def test_a_student_that_diverges_leaves_its_baseline_whole(distil: Distil, tiny_teacher: RunDir) -> None:
    with pytest.raises(DivergedError) as caught:
        distil(
            [tiny_teacher], "loss=mse_logits", "alpha.value=1", "temperature.value=2", "optimizer=sgd",
            "optimizer.lr=2", "lr_schedule=constant",
        )  # fmt: skip
    for term in ("lr 2, ", "temperature 2, ", "alpha 1, ", "total ", "soft "):
        assert term in caught.value.what
    run = RunDir.open(Path(str(caught.value.where)))
    assert run.record.status == "diverged"
    assert reference.status(run.path / "baseline") == "finished"
    assert reference.summary(run.path / "baseline")["teacher"] is not None
    assert not (run.path / "cohort").exists()


def test_a_damaged_teacher_checkpoint_is_named(distil: Distil, tiny_teacher: RunDir, tmp_path: Path) -> None:
    teacher = RunDir.open(Path(shutil.copytree(tiny_teacher.path, tmp_path / "teacher")))
    store = teacher.checkpoints
    loaded = checkpoint.load(store, "best")
    newer = checkpoint.commit(store, 999, {"model": loaded.tensors["model"]}, loaded.state)
    checkpoint.point(store, "best", newer)
    file = store / newer.dir / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    said: list[str] = []
    distil([teacher], "epochs=1", said=said)
    assert any(line.startswith(f"teacher {teacher.path}: best.json could not be used") for line in said)
    shutil.rmtree(store)
    with pytest.raises(CheckpointError, match="no checkpoint was committed"):
        distil([teacher])


def test_a_teacher_that_did_not_finish_is_named(distil: Distil, tiny_teacher: RunDir, tmp_path: Path) -> None:
    teacher = RunDir.open(Path(shutil.copytree(tiny_teacher.path, tmp_path / "teacher")))
    teacher.set_status("interrupted")
    said: list[str] = []
    distil([teacher], "epochs=1", said=said)
    assert any("is interrupted: what teaches is the checkpoint it left" in line for line in said)


def test_a_teacher_of_other_classes_is_refused_before_anything_is_made(
    configure: Configure, manner: Manner, tiny_teacher: RunDir, tmp_path: Path
) -> None:
    config = configure("distill-student", "dataset=letter", "device=cpu", "teacher=x", f"output_dir={tmp_path}")
    with pytest.raises(UsageError, match="knows classes"):
        distill_student(config, [tiny_teacher], manner)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_names_all_networks_and_writes_nothing(
    configure: Configure, manner: Manner, tiny_teacher: RunDir, tmp_path: Path
) -> None:
    options = (*TINY, *STUDENT, "teacher=x", f"output_dir={tmp_path / 'outputs'}")
    plan = rehearse_student(configure("distill-student", *options), [tiny_teacher], manner).text()
    blind = configure("distill-student", *options, "transfer.labels=false", "alpha.value=1")
    apart = rehearse_student(blind, [tiny_teacher], manner).text()
    assert list(tmp_path.iterdir()) == []
    assert f"teacher   mlp_30, 24,790 parameters, from {tiny_teacher.path}" in plan
    assert "student   mlp_20, 15,910 parameters" in plan
    assert "baseline  mlp_20, 15,910 parameters\n" in plan
    assert "68 steps in all" in plan
    assert "baseline  mlp_20, 15,910 parameters (by itself)\n" in apart
