"""The two ends of alpha, to the bit: 0 is plain training, 1 never looks at a label."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdcli.data.order import epoch_order
from kdcli.schedules import Constant, Linear, Step

ZERO, HALF, ONE = Constant(0.0), Constant(0.5), Constant(1.0)
OPTIONS: dict[str, Any] = {"dropout": 0.3, "batch_norm": True}


def trained(world: Any, train: Any, *alphas: Constant, shuffled: bool = False, **how: Any) -> Any:
    """A cohort that differs in alpha only, trained; on request with other labels."""
    fit = world.fit([world.member(seed=4, alpha=alpha) for alpha in alphas], make=world.mlp(**OPTIONS), **how)
    if shuffled:
        labels = fit.stream.labels
        fit.stream = dataclasses.replace(fit.stream, labels=(labels + 1) % 3)
    train(fit)
    return fit


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    return [name for name in first if not torch.equal(first[name], second[name])]


def test_alpha_zero_is_training_with_cross_entropy(world: Any, train: Any, weights: Any) -> None:
    """The reference is torch's own: autograd, cross-entropy, SGD, and two epochs of the same batches."""
    net = world.mlp()(4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, fused=True)
    rows = world.normalization(world.split.inputs)
    for epoch in range(2):
        for batch in epoch_order(0, epoch, 56).split(16):
            optimizer.zero_grad()
            functional.cross_entropy(net(rows[batch]), world.split.labels[batch]).backward()
            optimizer.step()
    fit = world.fit([world.member(seed=4, alpha=ZERO)], teacher=world.mute(math.nan))
    train(fit)
    torch.testing.assert_close(dict(weights(fit)), dict(net.state_dict()), rtol=1e-5, atol=1e-6)
    fit = world.fit([world.member(seed=4, alpha=Constant(0.001))])
    train(fit)
    assert any(float((weights(fit)[name] - tensor).abs().max()) > 1e-5 for name, tensor in net.state_dict().items())


def test_alpha_zero_among_others_is_as_in_a_cohort_without_a_teacher(world: Any, train: Any, weights: Any) -> None:
    expected = weights(trained(world, train, ZERO, ZERO), 1)
    assert differing(weights(trained(world, train, HALF, ZERO), 1), expected) == []
    assert differing(weights(trained(world, train, HALF, ZERO), 0), expected) != []


@pytest.mark.parametrize("soft_loss", ["kd", "soft_ce", "mse_logits", "mse_probs"])
def test_a_teacher_of_nan_does_no_harm_at_alpha_zero(world: Any, train: Any, weights: Any, soft_loss: str) -> None:
    expected = weights(trained(world, train, HALF, ZERO, soft_loss=soft_loss), 1)
    found = trained(world, train, HALF, ZERO, soft_loss=soft_loss, teacher=world.mute(math.nan))
    assert differing(weights(found, 1), expected) == []
    assert found.standings[0].divergence is not None


def test_alpha_one_never_looks_at_a_label(world: Any, train: Any, weights: Any) -> None:
    for alphas in ([ONE], [ONE, HALF], [ONE, ZERO]):
        honest, shuffled = (trained(world, train, *alphas, shuffled=wrong) for wrong in (False, True))
        assert differing(weights(honest), weights(shuffled)) == []
        for k in range(1, len(alphas)):
            assert differing(weights(honest, k), weights(shuffled, k)) != []


SWITCHES = {0.2: 2, 0.55: 5, 0.7: 6}  # of eight steps, the first in which the end holds


@pytest.mark.parametrize(("at", "first"), SWITCHES.items())
def test_a_switch_from_one_to_zero_looks_at_labels_from_there_on(
    world: Any, train: Any, weights: Any, at: float, first: int
) -> None:
    def after(steps: int, shuffled: bool) -> dict[str, Tensor]:
        fit = world.fit([world.member(seed=4, alpha=Step(1.0, 0.0, at))])
        if shuffled:
            fit.stream = dataclasses.replace(fit.stream, labels=(fit.stream.labels + 1) % 3)
        done = iter(range(1, 9))
        train(fit, lambda: next(done) == steps)
        assert fit.step == steps
        return dict(weights(fit))

    assert differing(after(first, False), after(first, True)) == []
    assert differing(after(first + 1, False), after(first + 1, True)) != []


@pytest.mark.parametrize(("at", "first"), SWITCHES.items())
def test_a_switch_from_zero_to_one_asks_the_teacher_from_there_on(
    world: Any, train: Any, at: float, first: int
) -> None:
    fit = world.fit([world.member(alpha=Step(0.0, 1.0, at))], teacher=world.mute(math.nan))
    train(fit)
    assert fit.standings[0].divergence.step == first


def test_a_schedule_that_ends_at_zero_measures_the_true_soft_term_there(world: Any, train: Any) -> None:
    """Where the teacher has no weight its answers are looked at all the same, unless they are not finite."""
    [falling] = train(world.fit([world.member(lr=0.0, alpha=Linear(1.0, 0.0))], epochs=1))
    [constant] = train(world.fit([world.member(lr=0.0, alpha=HALF)], epochs=1))
    assert falling.members[0].soft == pytest.approx(constant.members[0].soft)
    assert falling.members[0].hard == pytest.approx(constant.members[0].hard)
