"""The last layer a specialist starts from, against what its generalist says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdcli.specialists import LastLayer, aggregate, specialist_layer

SPECIAL = (1, 4, 5)


def generalist(classes: int = 7, dtype: torch.dtype = torch.float64) -> LastLayer:
    draw = torch.Generator().manual_seed(0)
    return LastLayer(
        torch.randn(classes, 12, dtype=dtype, generator=draw), torch.randn(classes, dtype=dtype, generator=draw)
    )


def features(examples: int = 400, seed: int = 1) -> Tensor:
    return torch.randn(examples, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def logits(layer: LastLayer, inputs: Tensor) -> Tensor:
    return functional.linear(inputs, layer.weight, layer.bias)


def divergence(wanted: Tensor, said: Tensor) -> float:
    log_p, log_q = wanted.log_softmax(-1), said.log_softmax(-1)
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


def test_special_classes_keep_their_rows() -> None:
    started = specialist_layer(generalist(), logits(generalist(), features()), SPECIAL)
    assert torch.equal(started.weight[1:], generalist().weight[[1, 4, 5]])
    assert torch.equal(started.bias[1:], generalist().bias[[1, 4, 5]])


def test_a_dustbin_of_one_class_is_that_class() -> None:
    special = (0, 1, 2, 3, 4, 6)
    started = specialist_layer(generalist(), logits(generalist(), features()), special)
    unseen = features(50, seed=2)
    torch.testing.assert_close(logits(started, unseen), logits(generalist(), unseen)[:, [5, 0, 1, 2, 3, 4, 6]])


def test_a_dustbin_of_equal_classes_counts_them() -> None:
    """Three classes of the same logit z are together as likely as one of z + log 3."""
    layer = generalist(4)
    triple = LastLayer(layer.weight[[0, 0, 0, 1, 2, 3]], layer.bias[[0, 0, 0, 1, 2, 3]])
    started = specialist_layer(triple, logits(triple, features()), (3, 4, 5))
    unseen = features(50, seed=2)
    torch.testing.assert_close(logits(started, unseen)[:, 0], logits(layer, unseen)[:, 0] + math.log(3))


def test_the_dustbin_is_the_least_squares_fit() -> None:
    """By the normal equations: the residual is orthogonal to every logit and to the constant."""
    said = logits(generalist(), features())
    started = specialist_layer(generalist(), said, SPECIAL)
    residual = logits(started, features())[:, 0] - said[:, [0, 2, 3, 6]].exp().sum(1).log()
    assert float(residual.square().mean()) > 1e-3
    assert float((said.T @ residual).abs().max()) < 1e-8
    assert float(residual.sum().abs()) < 1e-8


def test_it_starts_much_closer_to_the_generalist_than_the_mean_of_the_rows() -> None:
    layer, kept, others = generalist(), list(SPECIAL), [0, 2, 3, 6]
    started = specialist_layer(layer, logits(layer, features()), SPECIAL)
    mean = LastLayer(
        torch.cat([layer.weight[others].mean(0, keepdim=True), layer.weight[kept]]),
        torch.cat([layer.bias[others].mean(0, keepdim=True) + math.log(4), layer.bias[kept]]),
    )
    unseen = features(seed=2)
    wanted = aggregate(logits(layer, unseen), SPECIAL)
    assert divergence(wanted, logits(started, unseen)) < divergence(wanted, logits(mean, unseen)) / 4


def test_spare_outputs_have_no_probability_and_no_gradient() -> None:
    started = specialist_layer(
        generalist(dtype=torch.float32), logits(generalist(), features()).float(), SPECIAL, outputs=6
    )
    layer = LastLayer(started.weight.requires_grad_(), started.bias.requires_grad_())
    said = logits(layer, features().float())
    assert said.shape == (400, 6)
    assert said.softmax(-1)[:, 4:].unique().tolist() == [0.0]
    functional.cross_entropy(said, torch.arange(400) % 4).backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    assert not layer.weight.grad[4:].any()
    assert not layer.bias.grad[4:].any()
    assert layer.bias.grad[:4].all()


def test_spare_outputs_change_nothing_else() -> None:
    said = logits(generalist(), features())
    narrow, wide = (specialist_layer(generalist(), said, SPECIAL, outputs=outputs) for outputs in (None, 9))
    torch.testing.assert_close(logits(wide, features())[:, :4], logits(narrow, features()), rtol=0, atol=0)
    assert wide.bias.shape == (9,)


def test_logits_whose_sum_is_constant_are_no_trouble() -> None:
    layer = generalist()
    centred = LastLayer(layer.weight - layer.weight.mean(0), layer.bias - layer.bias.mean())
    started = specialist_layer(centred, logits(centred, features()), SPECIAL)
    plain = specialist_layer(layer, logits(layer, features()), SPECIAL)
    wanted = aggregate(logits(layer, features()), SPECIAL)
    assert divergence(wanted, logits(started, features())) < 3 * divergence(wanted, logits(plain, features()))
    assert float(started.weight.abs().max()) < 10


@pytest.mark.parametrize(("width", "outputs"), [(6, None), (7, 3)])
def test_what_does_not_fit_is_refused(width: int, outputs: int | None) -> None:
    with pytest.raises(ValueError, match="7 classes"):
        specialist_layer(generalist(), torch.zeros(5, width), SPECIAL, outputs=outputs)
