"""The best weights, early stopping, and a rate that follows the validation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kdcli.engine.results import EpochResult, MemberResult
from kdcli.engine.update import SgdRule
from kdcli.schedules import Constant, Plateau

STEPS = 4


def test_the_best_weights_are_those_of_the_best_epoch(world: Any, weights: Any, same_weights: Any) -> None:
    """With a rate this high the best epoch is not the last."""
    members = [world.member(seed=seed, alpha=Constant(0.0), lr=1.5) for seed in range(4)]
    fit = world.fit(members, epochs=6)
    courses: list[list[Any]] = [[] for _ in members]
    kept = []
    for result in fit.events():
        assert isinstance(result, EpochResult)
        kept.append([weights(fit, k) for k in range(len(members))])
        for k, member in enumerate(result.members):
            assert isinstance(member, MemberResult)
            assert member.val is not None
            courses[k].append((member.val.top1, -member.val.nll, member.is_best))
    best = [max(range(6), key=lambda epoch, k=k: courses[k][epoch][:2]) for k in range(len(members))]
    assert set(best) != {5}
    for k, epoch in enumerate(best):
        assert (fit.standings[k].best_epoch, fit.standings[k].best_step) == (epoch, (epoch + 1) * STEPS)
        same_weights(fit.best[k], kept[epoch][k])
        so_far = [max(courses[k][: e + 1], key=lambda one: one[:2])[:2] for e in range(6)]
        assert [e for e in range(6) if courses[k][e][2]] == [e for e in range(6) if so_far.index(so_far[e]) == e]


def test_early_stopping_ends_a_network_that_does_not_improve(
    world: Any, train: Any, weights: Any, same_weights: Any
) -> None:
    """A rate of 0 never improves; its neighbour goes on."""
    rule = SgdRule(0.9, weight_decay=0.1)
    still, learning = world.member(seed=1, lr=0.0, rule=rule), world.member(seed=2, lr=0.03, alpha=Constant(0.0))
    fit = world.fit([still, learning], epochs=6, early_stopping=2)
    before = weights(fit, 0)
    results = train(fit)
    stopped = [type(result.members[0]).__name__ for result in results]
    assert stopped == ["MemberResult"] * 3 + ["Stopped"] * (len(results) - 3)
    assert len(results) > 4
    assert results[-1].members[0].divergence is None
    assert (fit.standings[0].stopped_epoch, fit.standings[0].stopped_step) == (2, 3 * STEPS)
    same_weights(dict(fit.last_weights(0)), before)
    same_weights(dict(fit.last_weights(1)), weights(fit, 1))


def test_training_ends_when_every_network_has_stopped(world: Any, train: Any) -> None:
    fit = world.fit([world.member(seed=seed, lr=0.0) for seed in range(2)], epochs=50, early_stopping=1)
    assert len(train(fit)) == 2
    assert fit.finished


def test_weights_of_a_stopped_network_outlive_the_momentum_of_the_stack(world: Any, train: Any, weights: Any) -> None:
    """They share one update, in which the stopped one's velocity goes on."""
    fit = world.fit([world.member(seed=seed, lr=0.7) for seed in range(4)], epochs=12, early_stopping=1)
    train(fit)
    stopped = [k for k in range(4) if (fit.standings[k].stopped_epoch or 99) < fit.epoch - 1]
    assert stopped
    for k in stopped:
        assert not torch.equal(weights(fit, k)["output.weight"], fit.last_weights(k)["output.weight"])
        fit.bank.load(k, fit.last_weights(k))
        assert fit.standings[k].last_val == world.validation().measure(fit.bank)[k]


def test_a_stopped_network_with_a_rate_of_its_own_does_not_move(world: Any, train: Any, weights: Any) -> None:
    fit = world.fit([world.member(seed=seed, lr=0.7 + seed / 10_000) for seed in range(4)], epochs=12, early_stopping=1)
    train(fit)
    stopped = [k for k in range(4) if (fit.standings[k].stopped_epoch or 99) < fit.epoch - 1]
    assert stopped
    for k in stopped:
        assert torch.equal(weights(fit, k)["output.weight"], fit.last_weights(k)["output.weight"])


def test_plateau_is_torch_s(world: Any, train: Any) -> None:
    plateau = Plateau(factor=0.5, patience=1, threshold=0.02, min_factor=0.1)
    fit = world.fit([world.member(seed=seed, lr=1.0 + seed, rate=plateau) for seed in range(2)], epochs=12)
    results = train(fit)
    for k in range(2):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0 + k)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=1, threshold=0.02, min_lr=0.1 * (1 + k), eps=0.0
        )
        expected = []
        for result in results:
            expected.append(optimizer.param_groups[0]["lr"])
            scheduler.step(result.members[k].val.nll)
        assert [result.members[k].lr for result in results] == pytest.approx(expected)
        assert len(set(expected)) > 2
