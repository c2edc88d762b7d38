"""Cross-entropy weighted by the teacher's confidence, against one example at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.losses import confidence_weighted, cross_entropy

B, C = 5, 4
MANY = 90  # examples, whose scores are turned before they are computed with


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def labels_of(*shape: int) -> Tensor:
    return torch.randint(C, shape, generator=torch.Generator().manual_seed(9))


def softmax(scores: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(score / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def definition(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> float:
    weights = [max(softmax(row, temperature)) for row in teacher.tolist()]
    costs = [-math.log(softmax(row)[y]) for row, y in zip(student.tolist(), labels.tolist(), strict=True)]
    return sum(w * cost for w, cost in zip(weights, costs, strict=True)) / sum(weights)


@pytest.mark.parametrize("size", [B, MANY])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_it_equals_the_definition(temperature: float, size: int) -> None:
    student, teacher, labels = logits(size, C), logits(size, C, seed=1), labels_of(size)
    found = confidence_weighted(student, teacher, labels, temperature)
    assert found.item() == pytest.approx(definition(student, teacher, labels, temperature), rel=1e-10)


@pytest.mark.parametrize("size", [B, MANY])
@pytest.mark.parametrize("own", [False, True], ids=["labels of all", "labels of each"])
def test_each_network_has_its_own_teacher_labels_and_temperature(own: bool, size: int) -> None:
    student, teacher = logits(3, size, C), logits(3, size, C, seed=1)
    labels = labels_of(3, size) if own else labels_of(size)
    temperatures = torch.tensor([1.0, 3.0, 0.7], dtype=torch.float64)
    found = confidence_weighted(student, teacher, labels, temperatures).tolist()
    for k in range(3):
        mine = labels[k] if own else labels
        expected = definition(student[k], teacher[k], mine, temperatures[k].item())
        assert found[k] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("size", [B, MANY])
def test_the_gradient_is_that_of_the_value(size: int) -> None:
    student, teacher, labels = logits(2, size, C).requires_grad_(), logits(size, C, seed=1), labels_of(size)
    assert torch.autograd.gradcheck(lambda z: confidence_weighted(z, teacher, labels, 2.0), (student,))


def test_a_teacher_that_is_equally_sure_of_all_changes_nothing() -> None:
    student, labels = logits(B, C), labels_of(B)
    teacher = torch.stack([logits(C, seed=1)[torch.randperm(C)] for _ in range(B)])
    found = confidence_weighted(student, teacher, labels)
    assert found.item() == pytest.approx(cross_entropy(student, labels).item(), rel=1e-12)


def test_which_class_the_teacher_is_sure_of_does_not_matter() -> None:
    student, teacher, labels = logits(B, C), logits(B, C, seed=1), labels_of(B)
    found = confidence_weighted(student, teacher.flip(-1), labels)
    assert found.item() == pytest.approx(confidence_weighted(student, teacher, labels).item(), rel=1e-12)


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = logits(B, C).requires_grad_(), logits(B, C, seed=1).requires_grad_()
    confidence_weighted(student, teacher, labels_of(B)).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="same B and C"):
        confidence_weighted(torch.zeros(8, 4), torch.zeros(8, 5), labels_of(8))
    with pytest.raises(ValueError, match=r"labels \(B,\)"):
        confidence_weighted(torch.zeros(8, 4), torch.zeros(8, 4), labels_of(7))
    with pytest.raises(ValueError, match="temperature must be > 0"):
        confidence_weighted(torch.zeros(8, 4), torch.zeros(8, 4), labels_of(8), 0.0)
