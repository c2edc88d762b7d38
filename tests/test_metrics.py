"""Measures of predictions, against scikit-learn, scipy and slow loops."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from kdcli.metrics import NonFiniteError, confusion_matrix, gap_closed, mcnemar, measure, reliability_bins


def predictions(count: int = 500, num_classes: int = 10, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that are right about half the time, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (count,), generator=generator)
    logits = 2 * torch.randn(count, num_classes, generator=generator)
    logits[torch.arange(count), labels] += 2
    return logits, labels


def teacher_log_probs(count: int = 500, num_classes: int = 10) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return (2 * torch.randn(count, num_classes, generator=generator)).log_softmax(-1)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_measures_are_those_of_scikit_learn(num_classes: int) -> None:
    logits, labels = predictions(num_classes=num_classes)
    probs, classes = logits.double().softmax(-1).numpy(), range(num_classes)
    got = measure(logits, labels)
    top1 = sklearn_metrics.accuracy_score(labels, probs.argmax(1))
    assert 0.3 < top1 < 0.95
    assert got.n == 500
    assert got.top1 == pytest.approx(top1, abs=1e-12)
    assert got.errors == round(500 * (1 - top1))
    assert got.nll == pytest.approx(sklearn_metrics.log_loss(labels, probs, labels=list(classes)), rel=1e-6)
    brier = sklearn_metrics.brier_score_loss(labels, probs, labels=list(classes), scale_by_half=False)
    assert got.brier == pytest.approx(brier, rel=1e-6)


def test_top5_is_that_of_scikit_learn() -> None:
    logits, labels = predictions()
    expected = sklearn_metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(10))
    assert expected < 1
    assert measure(logits, labels).top5 == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_classes", [1, 2, 5])
def test_top5_of_few_classes_is_all_of_them(num_classes: int) -> None:
    assert measure(*predictions(num_classes=num_classes)).top5 == 1.0


def test_a_network_that_knows_nothing_is_measured_as_such() -> None:
    labels = torch.arange(10)
    got = measure(torch.zeros(10, 10), labels)
    assert (got.top1, got.top5, got.errors) == (0.1, 0.5, 9)  # ties go to the smallest class index
    assert got.nll == pytest.approx(math.log(10))
    assert got.brier == pytest.approx(0.9**2 + 9 * 0.1**2)
    assert got.ece == pytest.approx(0.0, abs=1e-7)


def test_a_perfect_network_is_measured_as_such() -> None:
    labels = torch.arange(10)
    got = measure(1000 * torch.eye(10), labels, (1000 * torch.eye(10)).log_softmax(-1))
    assert [getattr(got, field.name) for field in fields(got)] == [10, 0, 1, 1, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_rmse_is_over_examples_and_classes(dtype: torch.dtype) -> None:
    logits, labels = predictions(count=50)
    logits = logits.to(dtype)
    squares = [
        (p - (c == label)) ** 2
        for row, label in zip(logits.double().softmax(-1).tolist(), labels.tolist(), strict=True)
        for c, p in enumerate(row)
    ]
    assert measure(logits, labels).rmse == pytest.approx(math.sqrt(sum(squares) / 500), rel=1e-6)


def test_rmse_of_two_classes_is_that_of_the_positive_class() -> None:
    logits, labels = predictions(num_classes=2)
    positive = logits.double().softmax(-1)[:, 1]
    expected = sklearn_metrics.root_mean_squared_error(labels, positive)
    assert measure(logits, labels).rmse == pytest.approx(expected, rel=1e-6)


def slow_bins(logits: Tensor, labels: Tensor, num_bins: int) -> list[list[tuple[float, bool]]]:
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(num_bins)]
    for row, label in zip(logits.softmax(-1).tolist(), labels.tolist(), strict=True):
        confidence = max(row)
        for index in range(num_bins):
            if index / num_bins < confidence <= (index + 1) / num_bins:
                bins[index].append((confidence, row.index(confidence) == label))
    return bins


def test_calibration_error_is_that_of_a_slow_loop() -> None:
    logits, labels = predictions(count=2000)
    expected = 0.0
    for members in slow_bins(logits, labels, 15):
        if members:
            confidence = sum(confidence for confidence, _ in members) / len(members)
            accuracy = sum(hit for _, hit in members) / len(members)
            expected += len(members) / 2000 * abs(accuracy - confidence)
    assert expected > 0.02
    assert measure(logits, labels).ece == pytest.approx(expected, rel=1e-5)


def test_overconfidence_is_the_calibration_error() -> None:
    logits = torch.tensor([[math.log(9.0), 0.0]]).expand(10, -1)  # 90 % sure of class 0, right in 6 of 10
    labels = torch.tensor([0] * 6 + [1] * 4)
    assert measure(logits, labels).ece == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_reliability_bins_are_those_of_a_slow_loop(num_bins: int) -> None:
    logits, labels = predictions()
    bins = reliability_bins(logits, labels, num_bins)
    assert sum(each.count for each in bins) == 500
    for index, (got, members) in enumerate(zip(bins, slow_bins(logits, labels, num_bins), strict=True)):
        assert (got.lower, got.upper, got.count) == (index / num_bins, (index + 1) / num_bins, len(members))
        if members:
            assert got.confidence == pytest.approx(sum(confidence for confidence, _ in members) / len(members))
            assert got.accuracy == pytest.approx(sum(hit for _, hit in members) / len(members))
        else:
            assert got.confidence is None
            assert got.accuracy is None


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    halves = torch.zeros(3, 2, dtype=torch.float64)
    assert [each.count for each in reliability_bins(halves, torch.zeros(3, dtype=torch.int64), 2)] == [3, 0]


def test_bins_without_width_are_refused() -> None:
    with pytest.raises(ValueError, match="num_bins must be >= 1, got 0"):
        reliability_bins(*predictions(), num_bins=0)


def test_fidelity_is_that_of_scikit_learn_and_of_the_definition() -> None:
    (logits, labels), teacher = predictions(), teacher_log_probs()
    got = measure(logits, labels, teacher)
    agreement = sklearn_metrics.accuracy_score(teacher.argmax(1), logits.argmax(1))
    assert got.agreement == pytest.approx(agreement, abs=1e-12)
    divergence = 0.0
    for log_p, q in zip(teacher.tolist(), logits.double().softmax(-1).tolist(), strict=True):
        divergence += sum(math.exp(log_p_c) * (log_p_c - math.log(q_c)) for log_p_c, q_c in zip(log_p, q, strict=True))
    assert got.kl_to_teacher == pytest.approx(divergence / 500, rel=1e-5)


def test_a_student_that_equals_its_teacher_is_faithful() -> None:
    logits, labels = predictions()
    got = measure(logits, labels, (logits + 3).log_softmax(-1))
    assert got.agreement == 1.0
    assert got.kl_to_teacher == pytest.approx(0.0, abs=1e-6)


def test_a_teacher_may_be_certain() -> None:
    certain = torch.tensor([[0.0, -torch.inf]])
    got = measure(torch.zeros(1, 2), torch.tensor([0]), certain)
    assert got.kl_to_teacher == pytest.approx(math.log(2))


def test_without_a_teacher_there_is_no_fidelity() -> None:
    got = measure(*predictions())
    assert got.agreement is None
    assert got.kl_to_teacher is None


def test_examples_are_summed_in_float64() -> None:
    logits, labels = predictions(count=100_000)
    each = -logits.log_softmax(-1)[torch.arange(100_000), labels]
    exact = math.fsum(each.tolist()) / 100_000
    assert each.mean().item() != pytest.approx(exact, rel=1e-9)
    assert measure(logits, labels).nll == pytest.approx(exact, rel=1e-9)
    certain = torch.tensor([[0.0, 1.0]]).expand(100_000, -1)
    (everything,) = reliability_bins(certain, labels * 0, num_bins=1)
    assert everything.confidence == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-7)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    logits, labels = predictions()
    logits[3, 1] = value
    logits[7, 2] = value
    with pytest.raises(NonFiniteError, match="2 of 500 examples have logits that are not finite"):
        measure(logits, labels)
    with pytest.raises(NonFiniteError, match="not finite"):
        reliability_bins(logits, labels)


@pytest.mark.parametrize("shift", [math.nan, 1.0])
def test_a_teacher_that_states_no_probabilities_is_refused(shift: float) -> None:
    teacher = teacher_log_probs()
    teacher[4] += shift
    with pytest.raises(ValueError, match="do not sum to 1 in 1 of 500 examples"):
        measure(*predictions(), teacher)


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have the shape of logits, got \(500, 1\) and \(500, 10\)"):
        measure(*predictions(), torch.zeros(500, 1))


@pytest.mark.parametrize(
    ("logits_shape", "labels_shape"), [((4, 3), (5,)), ((4, 3), (4, 1)), ((3,), (3,)), ((0, 3), (0,))]
)
def test_shapes_that_do_not_fit_are_refused(logits_shape: tuple[int, ...], labels_shape: tuple[int, ...]) -> None:
    logits, labels = torch.zeros(logits_shape), torch.zeros(labels_shape, dtype=torch.int64)
    for function in (measure, reliability_bins, confusion_matrix):
        with pytest.raises(ValueError, match=r"logits must have shape \(N, C\)") as refused:
            function(logits, labels)
        assert str(refused.value).endswith(f"got {logits_shape} and {labels_shape}")


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_of_other_classes_are_refused(label: int) -> None:
    logits, labels = predictions()
    labels[17] = label
    for function in (measure, reliability_bins, confusion_matrix):
        with pytest.raises(ValueError, match=rf"labels must be in \[0, 10\), got {label}"):
            function(logits, labels)


def test_the_confusion_matrix_is_that_of_scikit_learn() -> None:
    logits, labels = predictions()
    labels[labels == 4] = 5  # a class without examples keeps its row
    expected = sklearn_metrics.confusion_matrix(labels, logits.argmax(1), labels=range(10))
    assert confusion_matrix(logits, labels).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("only_a", "only_b"),
    [(0, 0), (0, 1), (1, 1), (5, 5), (3, 9), (9, 3), (0, 20), (74, 146), (5000, 5200), (2000, 9000)],
)
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    correct_a = torch.tensor([True, False] * 10 + [True] * only_a + [False] * only_b)
    correct_b = torch.tensor([True, False] * 10 + [False] * only_a + [True] * only_b)
    got = mcnemar(correct_a, correct_b)
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert (got.only_a, got.only_b) == (only_a, only_b)
    assert got.p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("other", [torch.ones(4, dtype=torch.bool), torch.ones(3, dtype=torch.int64)])
def test_mcnemar_refuses_what_are_not_two_lists_of_hits(other: Tensor) -> None:
    with pytest.raises(ValueError, match="bool tensors of one shape"):
        mcnemar(torch.ones(3, dtype=torch.bool), other)


@pytest.mark.parametrize(("student", "fraction"), [(146, 0.0), (67, 1.0), (74, 72 / 79), (60, 86 / 79), (150, -4 / 79)])
def test_the_gap_closed_is_a_fraction_of_what_the_teacher_is_better(student: int, fraction: float) -> None:
    """Errors on MNIST of Hinton, Vinyals and Dean: teacher 67, the small network alone 146, distilled 74."""
    assert gap_closed(teacher=67, baseline=146, student=student) == pytest.approx(fraction)


@pytest.mark.parametrize("teacher", [146, 150])
def test_there_is_no_gap_to_close_to_a_teacher_that_is_no_better(teacher: int) -> None:
    assert gap_closed(teacher=teacher, baseline=146, student=74) is None
