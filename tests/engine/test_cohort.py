"""Member k of a cohort is what it would be alone: weights after two epochs, and every number on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from kdcli.engine import bank as bank_module
from kdcli.engine.bank import InTurnBank, StackedBank
from kdcli.engine.results import EpochResult
from kdcli.engine.update import AdamWRule, MomentumRampRule, SgdRule
from kdcli.schedules import Constant, Cosine, CosineDecay, ExponentialDecay, Linear, Plateau, Step

ROUNDING = {"rtol": 1e-3, "atol": 2e-5}
EVERYTHING: dict[str, Any] = {"dropout": 0.3, "input_dropout": 0.2, "batch_norm": True, "max_norm_squared": 0.5}
SEEDS = [{"seed": 3}, {"seed": 4}, {"seed": 5}]
TEMPERATURES = [{"temperature": Constant(1.0)}, {"temperature": Constant(7.0)}, {"temperature": Linear(8.0, 1.0)}]
ALPHAS = [{"alpha": Constant(value)} for value in (0.0, 0.3, 1.0)]
SCHEDULES = [{"alpha": Linear(1.0, 0.0)}, {"alpha": Step(0.0, 1.0, 0.7)}, {"alpha": Cosine(0.0, 0.5)}]
RATES = [{"lr": 0.2}, {"lr": 0.02, "rate": ExponentialDecay(0.5)}, {"lr": 0.1, "rate": CosineDecay(0.2)}]
SMOOTHINGS = [{"label_smoothing": value} for value in (0.0, 0.1, 0.4)]
# Batch norm makes some gradients 0 but for rounding, which Adam with a smaller eps would turn into whole steps.
ADAMW = [{"rule": AdamWRule(eps=1e-3, weight_decay=decay), "lr": 0.01} for decay in (0.0, 0.1)]
RAMPS = [{"rule": MomentumRampRule(0.5, 0.9, 2), "seed": seed, "lr": lr} for seed, lr in ((0, 1.0), (1, 0.5))]
PLATEAUS = [{"seed": seed, "rate": Plateau(0.5, 0, 0.5)} for seed in (0, 1)]
NOISY_DECAYS = [{"seed": 8, "rule": SgdRule(0.9, nesterov=True, weight_decay=0.01)}, {"seed": 8, "rule": SgdRule(0.0)}]
MIXED = [
    {"seed": 1, "temperature": Constant(4.0), "alpha": Constant(0.9), "lr": 0.05},
    {"seed": 1, "alpha": Constant(0.0), "lr": 0.1, "label_smoothing": 0.1},
    {"seed": 2, "temperature": Linear(8.0, 1.0), "alpha": Linear(1.0, 0.0), "lr": 0.2},
    {"seed": 3, "temperature": Constant(1.0), "alpha": Constant(1.0), "lr": 0.05, "label_smoothing": 0.2},
]
BASELINE = [{"seed": 2, "alpha": Constant(0.9)}, {"seed": 2, "alpha": Constant(0.0), "temperature": Constant(1.0)}]


def assert_alike(found: Any, expected: Any) -> None:
    """Equal within rounding, structures of numbers included."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_alike(found[key], expected[key])
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
    else:
        assert found == expected


def assert_member_is_alone(world: Any, plans: Sequence[dict[str, Any]], train: Any, weights: Any, **how: Any) -> None:
    """Train the cohort, then each member by itself, and compare."""
    members = [world.member(**plan) for plan in plans]
    indices = how.pop("indices", None)
    cohort = world.fit(members, indices=indices, **how)
    results = train(cohort)
    for k, member in enumerate(members):
        single = world.fit([member], indices=indices and [indices[k]], **how)
        assert_same_course(results, k, train(single))
        torch.testing.assert_close(weights(cohort, k), weights(single), **ROUNDING)


def assert_same_course(cohort: list[EpochResult], k: int, single: list[EpochResult]) -> None:
    assert [result.step for result in cohort] == [result.step for result in single]
    for together, alone in zip(cohort, single, strict=True):
        assert_alike(asdict(together.members[k]), asdict(alone.members[0]))


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize(
    "plans",
    [SEEDS, TEMPERATURES, ALPHAS, SCHEDULES, RATES, SMOOTHINGS, ADAMW, RAMPS, PLATEAUS, NOISY_DECAYS, MIXED, BASELINE],
    ids=[
        "seeds", "temperatures", "alphas", "schedules", "rates", "label smoothings",
        "adamw", "momentum ramp", "plateau", "weight decays", "all at once", "student and baseline",
    ],
)  # fmt: skip
def test_member_of_a_stack_equals_its_own_single_run(
    world: Any, train: Any, weights: Any, plans: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    assert_member_is_alone(world, plans, train, weights, make=world.mlp(**options))


def dropping(world: Any) -> Callable[[int], nn.Module]:
    """A network that is not ours: its dropout draws from torch's global generator."""

    def make(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 3))

    return make


@pytest.mark.parametrize(("name", "options"), [("lenet", {}), ("cnn", {"channels": [3, 4]})])
def test_member_in_turn_equals_its_own_single_run(
    image_world: Any, train: Any, weights: Any, name: str, options: dict[str, Any]
) -> None:
    assert_member_is_alone(image_world, MIXED[:3], train, weights, make=image_world.maker(name, **options))


@pytest.mark.parametrize("plans", [MIXED, SEEDS, BASELINE], ids=["all at once", "seeds", "student and baseline"])
def test_member_too_large_to_stack_equals_its_own_single_run(
    world: Any, train: Any, weights: Any, monkeypatch: pytest.MonkeyPatch, plans: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(bank_module, "STACKED_TENSOR_BYTES", 0)
    make = world.mlp(**EVERYTHING)
    assert isinstance(world.fit([world.member(**plan) for plan in plans], make=make).bank, InTurnBank)
    assert_member_is_alone(world, plans, train, weights, make=make)


def test_member_with_global_dropout_equals_its_own_single_run(world: Any, train: Any, weights: Any) -> None:
    before = torch.get_rng_state()
    assert_member_is_alone(world, MIXED, train, weights, make=dropping(world))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("everything", [True, False], ids=["stacked", "in turn"])
@pytest.mark.parametrize("how", ["bootstrap", "parts"])
def test_member_with_examples_of_its_own_equals_its_own_single_run(
    world: Any, train: Any, weights: Any, how: str, everything: bool
) -> None:
    draw = torch.Generator().manual_seed(5)
    own = torch.randint(56, (3, 56), generator=draw) if how == "bootstrap" else torch.arange(54).view(3, 18)
    plans = [{"seed": seed, "alpha": Constant(0.0), "label_smoothing": seed / 10} for seed in range(3)]
    make = world.mlp(**EVERYTHING) if everything else dropping(world)
    assert_member_is_alone(world, plans, train, weights, make=make, indices=list(own), batch_size=10)


def test_the_comparison_tells_members_apart(world: Any, train: Any, weights: Any) -> None:
    """Neighbours in one cohort that differ by little must not pass for one another."""
    plans = [{"seed": 1}, {"seed": 1, "temperature": Constant(2.1)}, {"seed": 1, "label_smoothing": 0.01}]
    cohort = world.fit([world.member(**plan) for plan in plans])
    results = train(cohort)
    single = world.fit([world.member(**plans[0])])
    alone = train(single)
    for k in (1, 2):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(weights(cohort, k), weights(single), **ROUNDING)
        with pytest.raises(AssertionError):
            assert_same_course(results, k, alone)


def test_dropout_of_a_member_is_its_own(world: Any, train: Any, weights: Any) -> None:
    """Two members of one seed draw the same masks, another seed draws others."""
    cohort = world.fit([world.member(seed=seed) for seed in (1, 1, 2)], make=world.mlp(dropout=0.5))
    for generator in cohort.bank.generators[1:]:
        assert generator is not cohort.bank.generators[0]
    train(cohort)
    first, second, third = (torch.cat([w.flatten() for w in weights(cohort, k).values()]) for k in range(3))
    assert torch.equal(first, second)
    assert not torch.allclose(first, third)


def test_which_networks_are_stacked(world: Any) -> None:
    members = [world.member(seed=seed) for seed in range(2)]
    assert isinstance(world.fit(members).bank, StackedBank)
    assert isinstance(world.fit(members[:1]).bank, InTurnBank)
    assert isinstance(world.fit(members, make=dropping(world)).bank, InTurnBank)


def test_the_order_of_members_does_not_matter(world: Any, train: Any, weights: Any) -> None:
    members = [world.member(seed=seed) for seed in range(3)]
    forward, backward = world.fit(members), world.fit(members[::-1])
    train(forward)
    train(backward)
    for k in range(3):
        torch.testing.assert_close(weights(forward, k), weights(backward, 2 - k), **ROUNDING)
