"""The temperature-scaled KL divergence."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdcli.losses import soft_target_kl


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(scores: list[float], temperature: float) -> list[float]:
    weights = [math.exp(score / temperature) for score in scores]
    return [weight / sum(weights) for weight in weights]


def slow_kl(student: Tensor, teacher: Tensor, temperature: float) -> float:
    total = 0.0
    for student_row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = softmax(student_row, temperature), softmax(teacher_row, temperature)
        total += sum(p_c * math.log(p_c / q_c) for p_c, q_c in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1, 3.3, 20.0])
def test_it_equals_the_definition(temperature: float) -> None:
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    assert soft_target_kl(student, teacher, temperature).item() == pytest.approx(
        slow_kl(student, teacher, temperature), rel=1e-10
    )


def test_it_equals_the_divergence_worked_out_by_hand() -> None:
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])  # at temperature 2: (3/4, 1/4)
    by_hand = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert soft_target_kl(torch.zeros(1, 2), teacher, 2.0).item() == pytest.approx(by_hand, rel=1e-6)


def test_it_equals_torch_with_the_batch_mean() -> None:
    student, teacher = logits(7, 10), logits(7, 10, seed=1)
    torchs = 16 * torch.nn.functional.kl_div(
        (student / 4).log_softmax(-1), (teacher / 4).softmax(-1), reduction="batchmean"
    )
    assert soft_target_kl(student, teacher, 4.0).item() == pytest.approx(torchs.item(), rel=1e-10)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 20.0, 10_000.0])
def test_it_is_exactly_zero_when_the_logits_agree(temperature: float) -> None:
    student = logits(3, 7, 10).float().requires_grad_()
    values = soft_target_kl(student, student.detach(), temperature)
    values.sum().backward()
    assert values.tolist() == [0.0, 0.0, 0.0]
    assert student.grad is not None
    assert not student.grad.any()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.floats(0.1, 1000), st.integers(2, 20))
def test_it_is_never_negative(seed: int, temperature: float, num_classes: int) -> None:
    student, teacher = logits(4, num_classes, seed=seed), logits(4, num_classes, seed=seed + 1)
    assert soft_target_kl(student, teacher, temperature).item() > 0


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_is_equation_2_of_the_paper_times_the_temperature_squared(temperature: float) -> None:
    student, teacher = logits(7, 10).requires_grad_(), logits(7, 10, seed=1)
    (gradient,) = torch.autograd.grad(soft_target_kl(student, teacher, temperature), student)
    for row, student_row, teacher_row in zip(gradient.tolist(), student.tolist(), teacher.tolist(), strict=True):
        q, p = softmax(student_row, temperature), softmax(teacher_row, temperature)
        expected = [temperature**2 / 7 * (q_c - p_c) / temperature for q_c, p_c in zip(q, p, strict=True)]
        assert row == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_high_temperatures_match_logits() -> None:
    """Equation 4 of the paper: for centred logits the gradient tends to ``(z - v) / N``, with an error of order 1/T."""
    student, teacher = (z - z.mean(-1, keepdim=True) for z in (logits(2000, 10), logits(2000, 10, seed=1)))
    student.requires_grad_()
    limit = (student - teacher) / 10
    error = {}
    for temperature in (1, 20, 100, 1000):
        (gradient,) = torch.autograd.grad(soft_target_kl(student, teacher, temperature) * 2000, student)
        error[temperature] = ((gradient - limit).norm() / limit.norm()).item()
    assert error[1] > 0.5
    assert error[20] < 0.1
    assert error[100] / error[1000] == pytest.approx(10, rel=0.03)


def test_the_temperature_does_not_scale_the_gradient() -> None:
    student, teacher = (logits(256, 10, seed=seed) / 3 for seed in (0, 1))
    student.requires_grad_()
    norms = [
        torch.autograd.grad(soft_target_kl(student, teacher, temperature), student)[0].norm().item()
        for temperature in (1.0, 4.0, 16.0, 64.0)
    ]
    assert max(norms) / min(norms) < 1.5


@pytest.mark.parametrize(("temperature", "tolerance"), [(20.0, 1e-6), (100.0, 1e-5), (1000.0, 1e-3)])
def test_rounding_does_not_drown_it_at_high_temperature(temperature: float, tolerance: float) -> None:
    for seed in range(0, 40, 2):
        student, teacher = logits(64, 10, seed=seed), logits(64, 10, seed=seed + 1)
        exact = soft_target_kl(student, teacher, temperature).item()
        rounded = soft_target_kl(student.float(), teacher.float(), temperature).item()
        assert rounded == pytest.approx(exact, rel=tolerance)
