"""The squared distance of distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.losses import mse_logits, mse_probs


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(row: list[float], temperature: float) -> list[float]:
    weights = [math.exp(score / temperature) for score in row]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_it_equals_the_definition(temperature: float) -> None:
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    total = 0.0
    for student_row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        pairs = zip(softmax(student_row, temperature), softmax(teacher_row, temperature), strict=True)
        total += temperature**2 * sum((q - p) ** 2 for q, p in pairs) / 2
    assert mse_probs(student, teacher, temperature).item() == pytest.approx(total / 7, rel=1e-10)


def test_it_is_zero_when_the_distributions_agree() -> None:
    student = logits(7, 10)
    assert mse_probs(student, student).item() == 0.0
    assert mse_probs(student, student + 5).item() == pytest.approx(0.0, abs=1e-24)


def test_at_high_temperature_it_is_the_distance_of_logits_over_the_squared_number_of_classes() -> None:
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    assert mse_probs(student, teacher, 1e5).item() == pytest.approx(mse_logits(student, teacher).item() / 100, rel=1e-3)
