"""The softmax of few and of many rows, which take different ways on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdcli.losses import SOFT_LOSSES, SoftLoss, cross_entropy
from kdcli.losses.softmax import has_many_short_rows, log_softmax, tempered_log_softmax

FEW, MANY, LONG = (8, 5), (3, 100, 5), (64, 100)


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_only_many_short_rows_go_their_own_way() -> None:
    assert [has_many_short_rows(torch.zeros(shape)) for shape in (FEW, MANY, LONG)] == [False, True, False]
    assert not has_many_short_rows(torch.zeros(MANY, device="meta"))


@pytest.mark.parametrize("shape", [FEW, MANY, LONG])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_logarithm_of_the_softmax_is_torchs(shape: tuple[int, ...], scale: float) -> None:
    scores = scale * logits(*shape)
    torch.testing.assert_close(log_softmax(scores), torch.log_softmax(scores, -1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_softmax(scores.float()), torch.log_softmax(scores.float(), -1))


@pytest.mark.parametrize("shape", [FEW, MANY])
@pytest.mark.parametrize(("value", "stays_finite"), [(torch.nan, False), (torch.inf, False), (-torch.inf, True)])
def test_a_score_that_is_not_finite_counts_as_in_torchs(
    shape: tuple[int, ...], value: float, stays_finite: bool
) -> None:
    scores = logits(*shape)
    scores[..., 1, 2] = value
    got = log_softmax(scores)
    torch.testing.assert_close(got, torch.log_softmax(scores, -1), equal_nan=True)
    assert got[..., 1, 0].isfinite().all() == stays_finite
    assert got[..., 0, :].isfinite().all()


def test_temperatures_divide_the_logits_of_their_network() -> None:
    scores, temperatures = logits(*MANY), torch.tensor([0.5, 1.0, 20.0], dtype=torch.float64)
    expected = torch.stack([torch.log_softmax(scores[k] / temperatures[k], -1) for k in range(3)])
    torch.testing.assert_close(tempered_log_softmax(scores, temperatures), expected)


@pytest.mark.parametrize("loss", SOFT_LOSSES.values(), ids=SOFT_LOSSES.keys())
def test_a_cohort_of_many_rows_learns_as_each_network_by_itself(loss: SoftLoss) -> None:
    student, teacher = logits(12, 40, 5).requires_grad_(), logits(40, 5, seed=1)
    assert has_many_short_rows(student)
    assert not has_many_short_rows(student[0])
    values, alone = loss(student, teacher, 4.0), torch.stack([loss(one, teacher, 4.0) for one in student])
    torch.testing.assert_close(values, alone, rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    (gradient_alone,) = torch.autograd.grad(alone.sum(), student)
    torch.testing.assert_close(gradient, gradient_alone, rtol=1e-10, atol=1e-14)


def test_the_hard_term_of_many_rows_is_torchs() -> None:
    student, labels = logits(300, 5).requires_grad_(), torch.arange(300) % 5
    value, torchs = cross_entropy(student, labels), torch.nn.functional.cross_entropy(student, labels)
    assert value.item() == pytest.approx(torchs.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, student)
    (torchs_gradient,) = torch.autograd.grad(torchs, student)
    torch.testing.assert_close(gradient, torchs_gradient, rtol=1e-10, atol=1e-15)
