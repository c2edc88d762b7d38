"""A user's own loss: the same as kd's where it is the same formula, and refused where it is no loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kdcli.errors import UsageError
from kdcli.losses import soft_target_kl
from kdcli.losses.own import OwnLoss
from kdcli.objective import Objective, Span

K, B, C = 3, 40, 7


def divergence(student: Tensor, teacher: Tensor, temperature: Tensor, factor: float = 1.0) -> Tensor:
    """Hinton's loss in the plainest words."""
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    return factor * temperature**2 * (p * (p / q).log()).sum(-1).mean()


def own(function: Callable[..., Any], **arguments: Any) -> OwnLoss:
    return OwnLoss("losses:mine", function, arguments)


@pytest.mark.parametrize("labels_too", [True, False])
def test_the_same_formula_trains_the_same(labels_too: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(K, B, C, generator=draw), torch.randn(2, B, C, generator=draw)
    labels, temperature = torch.arange(B) % C, torch.tensor([1.0, 2.0, 5.0])
    alpha = torch.tensor([0.0, 0.4, 1.0]) if labels_too else torch.ones(K)
    spans = [Span(0, 1)] * K if labels_too else [Span(1, 1)] * K
    found = []
    for loss in ("kd", own(divergence)):
        terms = Objective(spans, loss)(student, labels, teacher, temperature, alpha)
        found.append((terms.total, terms.gradient))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_one_network_alone_and_the_arguments() -> None:
    student, teacher = torch.randn(B, C), torch.randn(B, C)
    found = own(divergence, factor=3.0)(student, teacher, 2.0)
    torch.testing.assert_close(found, 3 * soft_target_kl(student, teacher, 2.0), rtol=1e-4, atol=1e-6)


def test_at_alpha_zero_nothing_of_it_reaches_the_weights() -> None:
    logits = torch.randn(1, B, C)
    objective = Objective([Span(0, 1)], own(lambda s, t, degree: (s * float("nan")).sum()))
    terms = objective(logits, torch.zeros(B).long(), torch.randn(1, B, C), torch.ones(1), torch.zeros(1))
    assert bool(terms.total.isfinite().all() and terms.gradient.isfinite().all())


def test_a_good_one_passes_its_trial() -> None:
    own(divergence).try_out(5)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda s, t: s.sum(), "failed: TypeError"),
        (lambda s, t, degree: 1 / 0, "failed: ZeroDivisionError"),
        (lambda s, t, degree: s.sum(-1), "returned shape (4,)"),
        (lambda s, t, degree: 3.0, "returned float"),
        (lambda s, t, degree: s.sum().long(), "int64"),
        (lambda s, t, degree: t.mean(), "no gradient"),
        (lambda s, t, degree: s.detach().mean(), "no gradient"),
        (lambda s, t, degree: (s - s).sum().log(), "is not finite"),
        (lambda s, t, degree: (s - s).abs().sqrt().sum(), "gradient is not"),
        (lambda s, t, degree: s.data.mul_(2).sum() + s.sum(), "changed the logits"),
    ],
)
def test_what_is_no_loss_is_refused(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        own(function).try_out(5)
    assert said in caught.value.what
    assert caught.value.where == "loss.target"
