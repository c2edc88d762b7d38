"""The numbers of ``kd evaluate``, on tiny networks that learned MNIST, against scikit-learn and numpy in float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import entropy
from sklearn import metrics as sklearn_metrics

from kdcli.data.mnist import mnist
from kdcli.data.split import split_validation
from kdcli.program.run import Manner
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir
from kdcli.schema import TrainTeacher
from kdcli.schema.results import Evaluation, TestMeasures

Array = NDArray[np.float64]
Configure = Callable[..., Any]
Bench = Callable[..., Evaluation]
FLOAT32 = 1e-5


@cache
def probabilities(path: Path, part: str) -> Array:
    images, _ = examples(part)
    store = path / "checkpoints"
    step = store / json.loads((store / "best.json").read_text())["dir"]
    weights = {name: tensor.astype(np.float64) for name, tensor in load_file(step / "model.safetensors").items()}
    card = json.loads((step / "state.json").read_text())["state"]["card"]
    values = (images / 255 - card["mean"][0]) / card["std"][0]
    for layer in range(sum(name.startswith("hidden.") for name in weights) // 2):
        values = np.maximum(values @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"], 0)
    logits = values @ weights["output.weight"].T + weights["output.bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


@cache
def examples(part: str) -> tuple[Array, NDArray[np.int64]]:
    """Images, flat and in bytes, and labels of ``test`` or of ``train``: all that is not for validation."""
    dataset = mnist()
    split = dataset.test
    if part == "train":
        split = dataset.train.subset(split_validation(dataset.train.labels, 0.1, 0)[0])
    return split.inputs.flatten(1).double().numpy(), split.labels.numpy()


def expected_ece(probs: Array, labels: NDArray[np.int64]) -> float:
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    total = 0.0
    for upper in range(1, 16):
        inside = (confidence > (upper - 1) / 15) & (confidence <= upper / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("part", ["test", "train"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_measures_agree_with_scikit_learn(
    evaluation: Evaluation, tiny_teacher: RunDir, tiny_student: RunDir, part: str, position: int
) -> None:
    run = [tiny_teacher, RunDir.open(tiny_student.path / "baseline"), tiny_student][position]
    labels, probs = examples(part)[1], probabilities(run.path, part)
    found: TestMeasures = getattr(evaluation.runs[position], part)
    one = 1.01 / len(labels)  # float32 may order two logits that are almost equal the other way

    assert found.n == len(labels) == {"test": 10_000, "train": 54_000}[part]
    accuracy = sklearn_metrics.accuracy_score(labels, probs.argmax(axis=1))
    assert 0.5 < accuracy < 1, "a network that learned something, and not all"
    assert found.top1 == pytest.approx(accuracy, abs=one)
    assert found.errors == round(found.n * (1 - found.top1))
    assert found.top5 == pytest.approx(sklearn_metrics.top_k_accuracy_score(labels, probs, k=5), abs=one)
    assert found.nll == pytest.approx(sklearn_metrics.log_loss(labels, probs), abs=FLOAT32)
    one_hot = np.eye(10)[labels]
    brier = sklearn_metrics.brier_score_loss(labels, probs, scale_by_half=False)
    assert found.brier == pytest.approx(brier, abs=FLOAT32)
    assert found.rmse == pytest.approx(np.sqrt(sklearn_metrics.mean_squared_error(one_hot, probs)), abs=FLOAT32)
    assert found.ece == pytest.approx(expected_ece(probs, labels), abs=5 * one)


@pytest.mark.parametrize("part", ["test", "train"])
def test_fidelity_is_that_to_the_teacher(
    evaluation: Evaluation, tiny_teacher: RunDir, tiny_student: RunDir, part: str
) -> None:
    teacher = probabilities(tiny_teacher.path, part)
    for position, run in ((1, RunDir.open(tiny_student.path / "baseline")), (2, tiny_student)):
        student, found = probabilities(run.path, part), getattr(evaluation.runs[position], part)
        agreement = sklearn_metrics.accuracy_score(teacher.argmax(axis=1), student.argmax(axis=1))
        assert found.agreement == pytest.approx(agreement, abs=2.01 / len(teacher))
        assert found.kl_to_teacher == pytest.approx(entropy(teacher, student, axis=1).mean(), abs=FLOAT32)


def test_a_run_without_a_teacher_has_no_fidelity(evaluation: Evaluation) -> None:
    assert evaluation.runs[0].test.agreement is None
    assert evaluation.runs[0].train.kl_to_teacher is None


def test_confusion_matrix_is_scikit_learns(evaluation: Evaluation, tiny_student: RunDir) -> None:
    labels, probs = examples("test")[1], probabilities(tiny_student.path, "test")
    expected = sklearn_metrics.confusion_matrix(labels, probs.argmax(axis=1))
    assert np.abs(np.array(evaluation.runs[2].confusion) - expected).sum() <= 2
    assert evaluation.classes == [str(digit) for digit in range(10)]


def test_reliability_bins_hold_every_test_example_once(evaluation: Evaluation, tiny_student: RunDir) -> None:
    labels, probs = examples("test")[1], probabilities(tiny_student.path, "test")
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    bins = evaluation.runs[2].reliability
    assert sum(each.count for each in bins) == 10_000
    for each in bins:
        inside = (confidence > each.lower) & (confidence <= each.upper)
        assert abs(each.count - inside.sum()) <= 1
        if each.count > 50:
            assert each.accuracy == pytest.approx(right[inside].mean(), abs=0.02)
            assert each.confidence == pytest.approx(confidence[inside].mean(), abs=0.001)


def test_costs_of_a_perceptron_follow_from_its_layers(evaluation: Evaluation) -> None:
    teacher, student = evaluation.runs[0], evaluation.runs[2]
    assert teacher.macs == 784 * 30 + 30 * 30 + 30 * 10
    assert teacher.parameters == teacher.macs + 30 + 30 + 10
    assert student.macs == 784 * 20 + 20 * 10
    assert student.bytes == 4 * (student.macs + 20 + 10)
    assert [run.model for run in evaluation.runs] == ["mlp_30", "mlp_20", "mlp_20"]


def test_the_numbers_are_those_of_the_trainings_own_summary(evaluation: Evaluation, tiny_student: RunDir) -> None:
    written, found = tiny_student.summary()["test"], evaluation.runs[2].test.model_dump()
    assert found == pytest.approx(written, abs=FLOAT32)


def test_the_run_directory_says_what_was_done(evaluation: Evaluation, tiny_student: RunDir) -> None:
    run = RunDir.open(Path(evaluation.run))
    assert (run.record.command, run.record.status) == ("evaluate", "finished")
    assert json.loads((run.path / "evaluation.json").read_text()) == evaluation.model_dump(by_alias=True)
    assert json.loads((run.path / "environment.json").read_text())["device"] == "cpu"
    assert not (run.path / "summary.json").exists()
    assert evaluation.runs[2].run == str(tiny_student.path)


@pytest.fixture(scope="module")
def ensemble(configure: Configure, manner: Manner, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    tiny = ("transfer.fraction=0.02", "epochs=1", "batch_size=32", "device=cpu", "model=mlp_30")
    outputs = f"output_dir={tmp_path_factory.mktemp('ensemble')}"
    config = configure("train-teacher", "members=2", outputs, *tiny)
    assert isinstance(config, TrainTeacher)
    return train_teacher(config, manner)


@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
def test_an_ensemble_is_one_network_of_combined_members(bench: Bench, ensemble: RunDir, how: str) -> None:
    found = bench([ensemble], f"ensemble={how}").runs[0]
    labels = examples("test")[1]
    members = np.stack([probabilities(ensemble.path / f"members/0{k}", "test") for k in (0, 1)])
    combined = members.mean(axis=0)
    if how == "geometric":
        combined = np.exp(np.log(members).mean(axis=0))
        combined /= combined.sum(axis=1, keepdims=True)
    assert found.test.nll == pytest.approx(sklearn_metrics.log_loss(labels, combined), abs=FLOAT32)
    assert (found.members, found.parameters) == (2, 2 * 24_790)


def test_latency_is_measured_at_batch_1_and_256(bench: Bench, tiny_teacher: RunDir) -> None:
    latency = bench([tiny_teacher], "latency=true", smoke=True).runs[0].latency
    assert [each.batch for each in latency] == [1, 256]
    assert all(0 < each.median <= each.p90 < 1 for each in latency)


def test_latency_false_leaves_it_out(evaluation: Evaluation) -> None:
    assert evaluation.runs[0].latency == []


def test_smoke_measures_512_examples_of_each_part(bench: Bench, tiny_student: RunDir) -> None:
    found = bench([tiny_student], smoke=True)
    assert (found.runs[0].test.n, found.runs[0].train.n) == (512, 512)
    labels, probs = examples("train")[1][:512], probabilities(tiny_student.path, "train")[:512]
    assert found.runs[0].train.nll == pytest.approx(sklearn_metrics.log_loss(labels, probs), abs=FLOAT32)
    assert RunDir.open(Path(found.run)).record.smoke
