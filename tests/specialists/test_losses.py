"""What specialists minimise, against loops over the definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdcli.specialists import dustbin_cross_entropy, full_softmax_targets, target_divergence

SPECIAL = torch.tensor([[True, False, True, False, False], [False, True, True, True, False]])


def scene() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return 2 * torch.randn(2, 6, 5, generator=draw, dtype=torch.float64), torch.randint(5, (2, 6), generator=draw)


def slow(logits: list[float], label: int, special: list[bool]) -> float:
    """One example: the probability of its output among dustbin and special classes."""
    odds = [math.exp(z) for z in logits]
    meant = [label] if special[label] else [c for c, own in enumerate(special) if not own]
    return -math.log(sum(odds[c] for c in meant) / sum(odds))


def test_it_is_the_cross_entropy_over_special_classes_and_dustbin() -> None:
    logits, labels = scene()
    found = dustbin_cross_entropy(logits, labels, SPECIAL)
    for k in range(2):
        pairs = zip(logits[k].tolist(), labels[k].tolist(), strict=True)
        expected = sum(slow(z, y, SPECIAL[k].tolist()) for z, y in pairs) / 6
        assert found[k].item() == pytest.approx(expected, rel=1e-12)


def test_a_network_that_knows_all_classes_has_the_usual_cross_entropy() -> None:
    logits, labels = scene()
    found = dustbin_cross_entropy(logits, labels, torch.ones(2, 5, dtype=torch.bool))
    expected = torch.stack([functional.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)])
    assert torch.allclose(found, expected, rtol=1e-12)


def test_an_example_of_the_dustbin_does_not_change_the_odds_within_it() -> None:
    """Its gradient raises the dustbin's logits by their own shares."""
    logits = torch.tensor([[[1.0, 0.5, -1.0, 0.2, 0.0]]], dtype=torch.float64, requires_grad=True)
    dustbin_cross_entropy(logits, torch.tensor([[3]]), SPECIAL[:1]).sum().backward()
    assert logits.grad is not None
    shares = logits.detach()[0, 0, [1, 3, 4]].softmax(0)
    rise = -logits.grad[0, 0, [1, 3, 4]]
    assert torch.allclose(rise / rise.sum(), shares, rtol=1e-9)


def test_the_divergence_from_soft_targets_holds_zeros_and_is_zero_where_they_are_met() -> None:
    logits, labels = scene()
    temperature = torch.tensor([2.0, 5.0], dtype=torch.float64)
    generalist = torch.flip(logits, (1,)).softmax(-1)
    targets = torch.stack(
        [
            full_softmax_targets(p, y, row.nonzero()[:, 0].tolist())
            for p, y, row in zip(generalist, labels, SPECIAL, strict=True)
        ]
    )
    assert (targets == 0).any()
    found = target_divergence(logits, targets, temperature)
    for k, t in enumerate(temperature.tolist()):
        q = (logits[k] / t).softmax(-1).tolist()
        rows = zip(targets[k].tolist(), q, strict=True)
        total = sum(p * math.log(p / x) for row, said in rows for p, x in zip(row, said, strict=True) if p > 0)
        assert found[k].item() == pytest.approx(t * t * total / 6, rel=1e-10)
    met = target_divergence(targets.clamp_min(1e-300).log() * temperature[:, None, None], targets, temperature)
    assert met.abs().max() < 1e-12
