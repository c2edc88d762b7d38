"""The softmax of few and of many short rows, whose classes the losses keep in different places on a CPU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.losses import SOFT_LOSSES, SoftLoss, combine_members, cross_entropy
from kdcli.losses.softmax import arranged, class_dim, tempered_log_softmax

FEW, MANY, LONG = (8, 5), (3, 100, 5), (64, 100)


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_only_many_short_rows_on_a_cpu_are_turned() -> None:
    assert [class_dim(torch.zeros(shape)) for shape in (FEW, MANY, LONG)] == [-1, -2, -1]
    assert class_dim(torch.zeros(MANY, device="meta")) == -1


@pytest.mark.parametrize(("dim", "shape"), [(-1, MANY), (-2, (3, 5, 100))])
def test_arranged_logits_are_in_the_order_of_their_memory(dim: int, shape: tuple[int, ...]) -> None:
    scores = logits(*MANY)
    found = arranged(scores, dim)
    assert found.shape == shape
    assert found.is_contiguous()
    assert found.movedim(dim, -1).tolist() == scores.tolist()


@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize("temperatures", [[0.5, 1.0, 20.0], [4.0, 4.0, 4.0]])
def test_it_is_the_definition_in_both_arrangements(dim: int, temperatures: list[float]) -> None:
    scores = logits(3, 4, 5)
    temperature = torch.tensor(temperatures, dtype=torch.float64) if len(set(temperatures)) > 1 else temperatures[0]
    found = tempered_log_softmax(arranged(scores, dim), temperature, dim).movedim(dim, -1)
    for rows, own, said in zip(scores.tolist(), temperatures, found.tolist(), strict=True):
        for row, values in zip(rows, said, strict=True):
            normaliser = math.log(sum(math.exp(score / own) for score in row))
            assert values == pytest.approx([score / own - normaliser for score in row], rel=1e-12)


@pytest.mark.parametrize("loss", SOFT_LOSSES.values(), ids=SOFT_LOSSES.keys())
def test_a_cohort_of_many_rows_learns_as_each_network_by_itself(loss: SoftLoss) -> None:
    student, teacher = logits(12, 40, 5).requires_grad_(), logits(40, 5, seed=1)
    assert (class_dim(student), class_dim(student[0])) == (-2, -1)
    values, alone = loss(student, teacher, 4.0), torch.stack([loss(one, teacher, 4.0) for one in student])
    torch.testing.assert_close(values, alone, rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    (gradient_alone,) = torch.autograd.grad(alone.sum(), student)
    torch.testing.assert_close(gradient, gradient_alone, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("leading", [(1,), (4,)])
def test_the_hard_term_of_many_rows_is_torchs(leading: tuple[int, ...], smoothing: float) -> None:
    student, labels = logits(*leading, 300, 5).requires_grad_(), torch.arange(300) % 5
    values = cross_entropy(student, labels, smoothing)
    torchs = torch.stack([torch.nn.functional.cross_entropy(one, labels, label_smoothing=smoothing) for one in student])
    torch.testing.assert_close(values, torchs, rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    (torchs_gradient,) = torch.autograd.grad(torchs.sum(), student)
    torch.testing.assert_close(gradient, torchs_gradient, rtol=1e-10, atol=1e-15)


def test_many_rows_of_an_ensemble_are_combined_as_each_by_itself() -> None:
    members, temperatures = logits(4, 100, 5), torch.tensor([1.0, 4.0], dtype=torch.float64)
    together = combine_members(members, temperatures, "arithmetic")
    for k, temperature in enumerate(temperatures.tolist()):
        alone = torch.cat([combine_members(part, temperature, "arithmetic") for part in members.split(10, dim=1)])
        torch.testing.assert_close(together[k], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [FEW, MANY[1:]], ids=["few", "many"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("loss", SOFT_LOSSES.values(), ids=SOFT_LOSSES.keys())
def test_a_score_that_is_not_finite_never_passes_for_a_number(
    loss: SoftLoss, value: float, shape: tuple[int, ...]
) -> None:
    student, teacher, labels = logits(2, *shape), logits(*shape, seed=1), torch.zeros(shape[0], dtype=torch.int64)
    student[1, 1, 2] = value
    assert loss(student, teacher, 4.0).isfinite().tolist() == [True, False]
    assert cross_entropy(student, labels).isfinite().tolist() == [True, False]
