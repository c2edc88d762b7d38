"""A network whose loss leaves the finite numbers: caught in that step, told of in full, and no harm to the others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli.data.order import epoch_order
from kdcli.data.source import TensorSource
from kdcli.engine.bank import StackedBank
from kdcli.engine.results import EpochResult, MemberResult, Stopped
from kdcli.engine.update import AdamWRule, MomentumRampRule, SgdRule
from kdcli.schedules import Constant, ExponentialDecay, Linear

TOO_FAST = 1e25
STEPS = 4
each_rule = pytest.mark.parametrize("rule", [SgdRule(0.9), AdamWRule(), MomentumRampRule(0.5, 0.9, 2)], ids=str)


def after_steps(fit: Any, steps: int, weights: Any) -> dict[str, Tensor]:
    """A copy of the only network's weights after so many steps."""
    done = iter(range(1, steps + 1))
    list(fit.events(lambda: next(done) == steps))
    return dict(weights(fit))


@each_rule
def test_the_weights_before_the_step_stay(world: Any, train: Any, weights: Any, same_weights: Any, rule: Any) -> None:
    member = world.member(rule=rule, lr=TOO_FAST)
    fit = world.fit([member])
    [result] = train(fit)
    assert fit.finished
    [stopped] = result.members
    assert isinstance(stopped, Stopped)
    assert stopped.divergence is not None
    assert stopped.divergence.step > 0
    kept = weights(fit)
    assert all(bool(tensor.isfinite().all()) for tensor in kept.values())
    same_weights(kept, after_steps(world.fit([member]), stopped.divergence.step, weights))


def test_an_infinite_rate_is_caught_one_step_later(world: Any, train: Any) -> None:
    [result] = train(world.fit([world.member(lr=math.inf)]))
    [stopped] = result.members
    assert stopped.divergence is not None
    assert (stopped.divergence.epoch, stopped.divergence.step, stopped.divergence.lr) == (0, 1, math.inf)


def poisoned(world: Any, fit: Any, example: int) -> Any:
    """The same training with a NaN in one example."""
    inputs = world.split.inputs.clone()
    inputs[example, 2] = math.nan
    fit.stream = dataclasses.replace(fit.stream, source=TensorSource(inputs, "cpu"))
    return fit


def test_a_divergence_says_where_and_at_which_values(world: Any, train: Any, weights: Any, same_weights: Any) -> None:
    """An epoch is three batches of 8; the example that holds a NaN first comes up in the second epoch's second."""
    how = {"epochs": 3, "batch_size": 8, "epoch_examples": 24}
    seen = epoch_order(0, 0, 56)[:24].tolist()
    late = next(example for example in epoch_order(0, 1, 56)[8:16].tolist() if example not in seen)
    member = world.member(temperature=Linear(8.0, 1.0), alpha=Linear(1.0, 0.0), rate=ExponentialDecay(0.5))
    fit = poisoned(world, world.fit([member], **how), late)
    first, second = train(fit)
    assert isinstance(first.members[0], MemberResult)
    at = second.members[0].divergence
    assert (at.epoch, at.step) == (1, 4)
    assert (at.lr, at.temperature, at.alpha) == pytest.approx((0.05, 8 - 7 * 4 / 8, 0.5))
    assert all(math.isnan(value) for value in (at.total, at.hard, at.soft))
    same_weights(weights(fit), after_steps(world.fit([member], **how), 4, weights))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("stop_at", [5, 6, 99])
def test_running_statistics_are_as_they_were_when_the_epoch_began(
    world: Any, train: Any, weights: Any, count: int, stop_at: int
) -> None:
    """The NaN comes in the fifth step, and no mask can keep its forward pass from changing them."""
    how = {"batch_size": 8, "epoch_examples": 24, "make": world.mlp(batch_norm=True)}
    seen = epoch_order(0, 0, 56)[:24].tolist()
    late = next(example for example in epoch_order(0, 1, 56)[8:16].tolist() if example not in seen)
    members = [world.member(seed=k, lr=0.1 / (1 + k)) for k in range(count)]

    def last(fit: Any) -> Any:
        return weights(fit, count - 1)

    fit = poisoned(world, world.fit(members, epochs=3, **how), late)
    done = iter(range(1, 100))
    train(fit, lambda: next(done) == stop_at)
    before_the_step = after_steps(world.fit(members, epochs=3, **how), 4, last)
    after_an_epoch = after_steps(world.fit(members, epochs=1, **how), 99, last)
    buffers = fit.bank.buffers(count - 1).keys()
    assert len(buffers) == 6
    for name, tensor in last(fit).items():
        assert torch.equal(tensor, (after_an_epoch if name in buffers else before_the_step)[name])


def test_terms_that_take_no_part_are_none_in_a_divergence(world: Any, train: Any) -> None:
    plain = world.member(alpha=Constant(0.0), lr=TOO_FAST)
    [result] = train(world.fit([plain]))
    at = result.members[0].divergence
    assert (at.temperature, at.alpha, at.soft) == (None, None, None)
    assert at.hard is not None
    pure = world.member(alpha=Constant(1.0), lr=TOO_FAST)
    [result] = train(world.fit([pure]))
    at = result.members[0].divergence
    assert (at.temperature, at.alpha, at.hard) == (2.0, 1.0, None)
    assert at.soft is not None


def courses(results: Sequence[EpochResult], k: int) -> list[Any]:
    return [result.members[k] for result in results]


@each_rule
@pytest.mark.parametrize("own_rates", [True, False], ids=["own rates", "one rate"])
def test_the_others_end_bit_for_bit_as_if_nothing_had_happened(
    world: Any, train: Any, weights: Any, same_weights: Any, rule: Any, own_rates: bool
) -> None:
    """Without rates of their own the rate cannot be it: the network starts from weights that overflow."""
    members = [world.member(seed=k, rule=rule, lr=0.01 * (1 + k * own_rates)) for k in range(3)]
    options = {"dropout": 0.3, "batch_norm": True, "max_norm_squared": 1.0}
    calm, disturbed = (world.fit(members, make=world.mlp(**options), epochs=3) for _ in range(2))
    state = {name: tensor.clone() for name, tensor in disturbed.bank.state(1).items()}
    state["output.weight"][0] = 3e38
    disturbed.bank.load(1, state)
    expected, found = train(calm), train(disturbed)
    assert [type(one) for one in courses(found, 1)] == [Stopped] * 3
    for k in (0, 2):
        assert courses(found, k) == courses(expected, k)
        same_weights(weights(disturbed, k), weights(calm, k))
        same_weights(disturbed.best[k], calm.best[k])


def test_a_rate_that_is_too_high_for_one_leaves_the_others(
    world: Any, train: Any, weights: Any, same_weights: Any
) -> None:
    members = [world.member(seed=k, lr=lr) for k, lr in enumerate((0.1, TOO_FAST, 0.05))]
    calm = [members[0], dataclasses.replace(members[1], lr=0.1), members[2]]
    wild, tame = world.fit(members), world.fit(calm)
    found, expected = train(wild), train(tame)
    assert isinstance(found[0].members[1], Stopped)
    assert isinstance(found[0].members[0], MemberResult)
    for k in (0, 2):
        assert courses(found, k) == courses(expected, k)
        same_weights(weights(wild, k), weights(tame, k))


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "in turn"])
def test_examples_that_are_not_finite_stop_only_who_sees_them(
    world: Any, train: Any, weights: Any, same_weights: Any, stacked: bool
) -> None:
    def fit() -> Any:
        members = [world.member(seed=k, alpha=Constant(0.0)) for k in range(3)]
        make = world.mlp() if stacked else lambda seed: nn.Sequential(world.mlp()(seed))
        return world.fit(members, make=make, indices=list(torch.arange(54).view(3, 18)), batch_size=6)

    calm, disturbed = fit(), poisoned(world, fit(), 20)
    assert isinstance(calm.bank, StackedBank) == stacked
    expected, found = train(calm), train(disturbed)
    assert isinstance(found[0].members[1], Stopped)
    for k in (0, 2):
        assert courses(found, k) == courses(expected, k)
        same_weights(weights(disturbed, k), weights(calm, k))


def test_a_network_that_diverged_keeps_the_best_it_had(world: Any, train: Any, weights: Any, same_weights: Any) -> None:
    """The rate explodes after two epochs."""
    exploding = world.member(lr=0.1, rate=_Exploding(2 * STEPS))
    fit = world.fit([exploding], epochs=4)
    best = None
    results = []
    for result in fit.events():
        results.append(result)
        if isinstance(result.members[0], MemberResult) and result.members[0].is_best:
            best = (result.epoch, weights(fit))
    assert [type(result.members[0]) for result in results] == [MemberResult, MemberResult, Stopped]
    assert best is not None
    assert fit.standings[0].best_epoch == best[0]
    same_weights(fit.best[0], best[1])


@dataclasses.dataclass(frozen=True)
class _Exploding:
    """A rate that leaves all bounds at a step."""

    at: int

    def factor(self, step: int, steps_per_epoch: int, num_steps: int) -> float:
        """See RateSchedule."""
        return 1.0 if step < self.at else 1e30


def test_validation_that_is_not_finite_is_a_divergence_too(world: Any, train: Any) -> None:
    """The last step of the epoch overflows: no loss of the training has seen it yet."""
    fit = world.fit([world.member(rate=_Exploding(STEPS - 1))], epochs=2)
    [result] = train(fit)
    at = result.members[0].divergence
    assert (at.epoch, at.step) == (0, STEPS - 1)
    assert math.isfinite(at.total)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_teacher_that_is_not_finite_harms_whoever_listens(world: Any, train: Any, value: float) -> None:
    members = [world.member(seed=1, alpha=Constant(alpha)) for alpha in (0.5, 0.0, 1.0)]
    results = train(world.fit(members, teacher=world.mute(value)))
    kinds = [type(member) for member in results[-1].members]
    assert kinds == [Stopped, MemberResult, Stopped]
