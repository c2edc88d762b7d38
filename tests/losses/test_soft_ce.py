"""The temperature-scaled cross-entropy with soft targets."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.losses import soft_cross_entropy, soft_target_kl


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def log_softmax(scores: list[float], temperature: float) -> list[float]:
    normaliser = math.log(sum(math.exp(score / temperature) for score in scores))
    return [score / temperature - normaliser for score in scores]


@pytest.mark.parametrize("temperature", [0.5, 1, 3.3, 20.0])
def test_it_equals_the_definition(temperature: float) -> None:
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    total = 0.0
    for student_row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        log_q, log_p = log_softmax(student_row, temperature), log_softmax(teacher_row, temperature)
        total -= sum(math.exp(log_p_c) * log_q_c for log_p_c, log_q_c in zip(log_p, log_q, strict=True))
    expected = temperature**2 * total / 7
    assert soft_cross_entropy(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-10)


def test_it_equals_torch_with_probabilities_as_targets() -> None:
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    torchs = 16 * torch.nn.functional.cross_entropy(student / 4, (teacher / 4).softmax(-1))
    assert soft_cross_entropy(student, teacher, 4.0).item() == pytest.approx(torchs.item(), rel=1e-10)


def test_it_is_the_divergence_plus_the_entropy_of_the_teacher() -> None:
    student, teacher = logits(3, 7, 10).requires_grad_(), logits(7, 10, seed=1)
    entropy = torch.distributions.Categorical(logits=teacher / 4).entropy().mean()
    cross_entropy, divergence = soft_cross_entropy(student, teacher, 4.0), soft_target_kl(student, teacher, 4.0)
    torch.testing.assert_close(cross_entropy, divergence + 16 * entropy, rtol=1e-12, atol=0)
    (of_cross_entropy,) = torch.autograd.grad(cross_entropy.sum(), student)
    (of_divergence,) = torch.autograd.grad(divergence.sum(), student)
    assert torch.equal(of_cross_entropy, of_divergence)
