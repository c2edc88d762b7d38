"""Optimizers as rules: what they compute, whom they leave out, and what they remember."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli.engine.bank import Bank, make_bank
from kdcli.engine.update import AdamWRule, MomentumRampRule, Rule, SgdRule, Updater, gradients
from kdcli.models.mlp import Mlp

STEPS = 20
RULES: list[Rule] = [
    SgdRule(),
    SgdRule(0.9),
    SgdRule(0.9, nesterov=True, weight_decay=0.01),
    MomentumRampRule(0.5, 0.9, 2),
    AdamWRule(),
    AdamWRule(0.8, 0.95, 1e-6, 0.05),
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=str)


def gradient_table(count: int = STEPS) -> list[list[Tensor]]:
    draw = torch.Generator().manual_seed(2)
    return [[torch.randn(shape, generator=draw) for shape in ((4, 3), (5,))] for _ in range(count)]


def start() -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=draw) for shape in ((4, 3), (5,))]


def applied(rule: Rule, lr: Callable[[int], float], blocked: float = 0.0) -> list[Tensor]:
    """The parameters after ``STEPS`` steps, of which four are an epoch."""
    tensors = start()
    slots = rule.slots(tensors)
    for step, grads in enumerate(gradient_table()):
        copies = [grad.clone() for grad in grads]
        rule.apply(tensors, copies, slots, lr=lr(step), epoch=step / 4, blocked=torch.tensor(blocked))
    return tensors


def torch_applied(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], lr: Callable[[int], float]) -> Any:
    parameters = [nn.Parameter(tensor) for tensor in start()]
    optimizer = make(parameters)
    for step, grads in enumerate(gradient_table()):
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad.clone()
        optimizer.param_groups[0]["lr"] = lr(step)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def falling(step: int) -> float:
    return 0.1 * 0.9**step


@pytest.mark.parametrize(
    ("momentum", "nesterov", "weight_decay"), [(0.0, False, 0.0), (0.9, False, 0.1), (0.9, True, 0.01)]
)
def test_sgd_is_torch_s(momentum: float, nesterov: bool, weight_decay: float) -> None:
    expected = torch_applied(
        lambda p: torch.optim.SGD(p, 0.1, momentum, nesterov=nesterov, weight_decay=weight_decay, foreach=False),
        falling,
    )
    torch.testing.assert_close(
        applied(SgdRule(momentum, nesterov, weight_decay), falling), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adamw_is_torch_s(weight_decay: float) -> None:
    expected = torch_applied(
        lambda p: torch.optim.AdamW(p, 0.1, (0.8, 0.95), 1e-6, weight_decay, foreach=False), falling
    )
    torch.testing.assert_close(
        applied(AdamWRule(0.8, 0.95, 1e-6, weight_decay), falling), expected, rtol=1e-6, atol=1e-6
    )


def test_adamw_without_decay_is_adam() -> None:
    expected = torch_applied(lambda p: torch.optim.Adam(p, 0.1, foreach=False), falling)
    torch.testing.assert_close(applied(AdamWRule(), falling), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "last", "ramp_epochs"), [(0.5, 0.99, 3), (0.0, 0.9, 4), (0.0, 0.0, 1), (0.9, 0.5, 9)]
)
@pytest.mark.parametrize("lr", [10.0, 0.1, 1e-4])
def test_momentum_ramp_is_the_formula_of_the_paper(first: float, last: float, ramp_epochs: int, lr: float) -> None:
    """v = m v - (1 - m) lr g and w = w + v in float64; m is linear over the ramp, and the rate may fall."""
    expected = [tensor.double() for tensor in start()]
    velocities = [torch.zeros_like(tensor) for tensor in expected]
    for step, grads in enumerate(gradient_table()):
        momentum = first + (last - first) * min(step / 4 / ramp_epochs, 1.0)
        for weight, velocity, grad in zip(expected, velocities, grads, strict=True):
            velocity.mul_(momentum).sub_((1 - momentum) * lr * 0.9**step * grad.double())
            weight.add_(velocity)
    found = applied(MomentumRampRule(first, last, ramp_epochs), lambda step: lr * 0.9**step)
    for weight, reference, before in zip(found, expected, start(), strict=True):
        moved = (weight - before).double()
        torch.testing.assert_close(moved, reference - before.double(), rtol=1e-4, atol=1e-6)


@each_rule
def test_a_blocked_step_changes_nothing(rule: Rule) -> None:
    tensors, before = start(), start()
    slots = rule.slots(tensors)
    poison = [torch.full_like(tensor, float("nan")) for tensor in tensors]
    rule.apply(tensors, poison, slots, lr=0.1, epoch=0.5, blocked=torch.tensor(1.0))
    assert all(torch.equal(*pair) for pair in zip(tensors, before, strict=True))
    fresh = rule.slots(tensors)
    assert all(torch.equal(*pair) for name in slots for pair in zip(slots[name], fresh[name], strict=True))
    rule.apply(tensors, gradient_table(1)[0], slots, lr=0.1, epoch=0.5, blocked=torch.tensor(0.0))
    assert not any(torch.equal(*pair) for pair in zip(tensors, before, strict=True))


def bank_of(count: int) -> Bank:
    torch.manual_seed(0)
    return make_bank([Mlp(3, [4], 2) for _ in range(count)], range(count), torch.device("cpu"), compiled=False)


def backward(bank: Bank, factor: float = 1.0) -> None:
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(5))
    logits = bank.logits(inputs)
    bank.backward(logits, factor * 2 * logits.detach() / logits[0].numel())  # of the mean square


def states(bank: Bank) -> list[dict[str, Tensor]]:
    return [{name: t.detach().clone() for name, t in bank.state(k).items()} for k in range(bank.size)]


def stepped(rules: Sequence[Rule], rates: Sequence[float], *, own_rates: bool) -> list[dict[str, Tensor]]:
    bank = bank_of(len(rules))
    updater = Updater(bank, rules, own_rates=own_rates)
    for step in range(3):
        backward(bank)
        updater.step(torch.zeros(len(rules)), rates=rates, epoch=step / 2)
    return states(bank)


@each_rule
def test_rates_of_their_own_are_each_member_s(rule: Rule) -> None:
    mixed = stepped([rule] * 3, [0.1, 0.01, 0.0], own_rates=True)
    fast = stepped([rule] * 3, [0.1] * 3, own_rates=False)
    slow = stepped([rule] * 3, [0.01] * 3, own_rates=False)
    torch.testing.assert_close([mixed[0], mixed[1]], [fast[0], slow[1]], rtol=1e-5, atol=1e-7)
    assert not torch.allclose(mixed[1]["output.weight"], fast[1]["output.weight"], atol=1e-5)
    assert all(torch.equal(tensor, bank_of(3).state(2)[name]) for name, tensor in mixed[2].items())


def test_rules_of_their_own_are_each_member_s() -> None:
    mixed = stepped([SgdRule(0.9), AdamWRule()], [0.01, 0.01], own_rates=False)
    sgd = stepped([SgdRule(0.9)] * 2, [0.01] * 2, own_rates=False)
    adam = stepped([AdamWRule()] * 2, [0.01] * 2, own_rates=False)
    torch.testing.assert_close(mixed, [sgd[0], adam[1]], rtol=1e-5, atol=1e-7)


@each_rule
@pytest.mark.parametrize("own_rates", [True, False])
def test_a_blocked_member_of_a_stack_stays_finite_and_the_others_do_not_notice(rule: Rule, own_rates: bool) -> None:
    disturbed, calm = bank_of(3), bank_of(3)
    updaters = [Updater(bank, [rule] * 3, own_rates=own_rates) for bank in (disturbed, calm)]
    for step in range(4):
        for bank, updater in zip((disturbed, calm), updaters, strict=True):
            backward(bank)
            blocked = torch.zeros(3)
            if bank is disturbed and step > 0:
                blocked[1] = 1.0
                for group in bank.parameters():
                    for leaf in group.tensors:
                        assert leaf.grad is not None
                        leaf.grad[1] = float("nan")
            updater.step(blocked, rates=[0.1] * 3, epoch=step / 2)
    for member in (0, 2):
        assert all(torch.equal(disturbed.state(member)[name], t) for name, t in calm.state(member).items())
    assert all(bool(tensor.isfinite().all()) for tensor in disturbed.state(1).values())


def test_a_blocked_member_with_a_rate_of_its_own_does_not_change() -> None:
    bank = bank_of(2)
    updater = Updater(bank, [SgdRule(0.9)] * 2, own_rates=True)
    backward(bank)
    updater.step(torch.zeros(2), rates=[0.1, 0.1], epoch=0.0)
    before = states(bank)
    backward(bank)
    updater.step(torch.tensor([0.0, 1.0]), rates=[0.1, 0.1], epoch=0.0)
    after = states(bank)
    assert all(torch.equal(after[1][name], before[1][name]) for name in before[1])
    assert not torch.equal(after[0]["output.weight"], before[0]["output.weight"])


@pytest.mark.parametrize("count", [1, 3])
def test_gradient_norms_tell_whose_gradient_is_not_finite(count: int) -> None:
    bank = bank_of(count)
    updater = Updater(bank, [SgdRule()] * count, own_rates=False)
    backward(bank)
    norms = updater.gradient_norms()
    assert norms.shape == (count,)
    assert bool((norms > 0).all())
    assert bool(norms.isfinite().all())
    leaf = bank.parameters()[0].tensors[0]
    assert leaf.grad is not None
    leaf.grad.view(-1)[-1] = float("inf")  # the last member's
    assert updater.gradient_norms().isfinite().tolist() == [True] * (count - 1) + [False]


def test_a_step_drops_the_gradients() -> None:
    bank = bank_of(2)
    updater = Updater(bank, [SgdRule()] * 2, own_rates=False)
    backward(bank)
    updater.step(torch.zeros(2), rates=[0.1, 0.1], epoch=0.0)
    assert all(leaf.grad is None for group in bank.parameters() for leaf in group.tensors)


def test_a_parameter_that_takes_no_part_has_a_gradient_of_zero() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    used.sum().backward()
    assert torch.equal(gradients([used, unused])[0], torch.ones(2))
    assert torch.equal(gradients([used, unused])[1], torch.zeros(3))


@each_rule
@pytest.mark.parametrize("own_rates", [True, False])
def test_a_loaded_updater_goes_on_bit_for_bit(rule: Rule, own_rates: bool) -> None:
    bank = bank_of(2)
    updater = Updater(bank, [rule] * 2, own_rates=own_rates)
    backward(bank)
    updater.step(torch.zeros(2), rates=[0.1, 0.1], epoch=0.5)
    other = bank_of(2)
    for member in range(2):
        other.load(member, bank.state(member))
    restored = Updater(other, [rule] * 2, own_rates=own_rates)
    restored.load({name: tensor.clone() for name, tensor in updater.state().items()})
    for each, its in ((bank, updater), (other, restored)):
        backward(each, 2.0)
        its.step(torch.zeros(2), rates=[0.1, 0.1], epoch=1.0)
    assert all(torch.equal(other.state(k)[name], t) for k in range(2) for name, t in bank.state(k).items())
    assert updater.state().keys() == restored.state().keys()
    assert all(torch.equal(restored.state()[name], tensor) for name, tensor in updater.state().items())
