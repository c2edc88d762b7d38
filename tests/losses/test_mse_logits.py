"""The squared distance of centred logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdcli.losses import mse_logits, soft_target_kl


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def centred(row: list[float]) -> list[float]:
    return [score - sum(row) / len(row) for score in row]


def test_it_equals_the_definition() -> None:
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    total = 0.0
    for student_row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        pairs = zip(centred(student_row), centred(teacher_row), strict=True)
        total += 0.5 * sum((z - v) ** 2 for z, v in pairs)
    assert mse_logits(student, teacher).item() == pytest.approx(total / 7, rel=1e-10)


def test_it_is_zero_when_the_logits_agree() -> None:
    student = logits(7, 10)
    assert mse_logits(student, student).item() == 0.0
    assert mse_logits(student, student + 5).item() == pytest.approx(0.0, abs=1e-24)


def test_it_is_the_limit_of_the_divergence_times_the_number_of_classes() -> None:
    """Section 2.1 of the paper: at high temperature distillation minimises half the squared distance of logits."""
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    limit = 10 * soft_target_kl(student, teacher, 1e4).item()
    assert mse_logits(student, teacher).item() == pytest.approx(limit, rel=1e-3)


def test_the_temperature_has_no_effect() -> None:
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    assert torch.equal(mse_logits(student, teacher, 20.0), mse_logits(student, teacher, 1.0))
