"""Processes that share every batch train what one process trains: threads stand for the processes here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from kdcli.data.order import epoch_order
from kdcli.data.source import TensorSource
from kdcli.data.views import Crop, Shift
from kdcli.engine import bank as bank_module
from kdcli.engine.bank import InTurnBank, StackedBank, make_bank
from kdcli.engine.fit import Fit, FitState
from kdcli.engine.group import Group
from kdcli.engine.precision import rounded_products
from kdcli.engine.ranks import Rows
from kdcli.engine.results import Stopped
from kdcli.engine.update import AdamWRule, MomentumRampRule
from kdcli.errors import MachineError, UsageError
from kdcli.schedules import Constant, Linear, Plateau

CPU = torch.device("cpu")
ROUNDING = {"rtol": 1e-3, "atol": 2e-5}
EVERYTHING: dict[str, Any] = {"dropout": 0.3, "input_dropout": 0.2, "batch_norm": True, "max_norm_squared": 0.5}
# Batch norm makes some gradients 0 but for rounding, which Adam with a smaller eps would turn into whole steps.
ADAM = {"rule": AdamWRule(eps=1e-3), "lr": 0.01}
MIXED = [
    {"seed": 1, "temperature": Constant(4.0), "alpha": Constant(0.9), "lr": 0.05},
    {"seed": 1, "alpha": Constant(0.0), "lr": 0.1, "label_smoothing": 0.1},
    {"seed": 2, "temperature": Linear(8.0, 1.0), "alpha": Linear(1.0, 0.0), "lr": 0.2},
]
ENSEMBLE = [{"seed": seed, "alpha": Constant(0.0)} for seed in (4, 5)]
PLATEAUS = [{"seed": seed, "rate": Plateau(0.5, 0, 0.5)} for seed in (0, 1)]


class Common:
    """What the threads of one training have in common."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=30)
        self.building = threading.Lock()  # initial weights are drawn from the one global generator of this process
        self.slots: list[Any] = [None] * size

    def exchanged(self, rank: int, value: Any) -> list[Any]:
        """What everybody brought."""
        self.slots[rank] = value
        self.barrier.wait()
        found = list(self.slots)
        self.barrier.wait()
        return found


class ThreadRanks(Group):
    """A group whose processes are threads."""

    def __init__(self, rank: int, common: Common) -> None:
        super().__init__(rank, common.size, rank)
        self.common = common

    def sum(self, tensor: Tensor) -> Tensor:
        """See Ranks."""
        parts = self.common.exchanged(self.rank, tensor.clone())
        return tensor.copy_(torch.stack(parts).sum(0))

    def share(self, tensors: Sequence[Tensor]) -> None:
        """See Ranks."""
        for tensor in tensors:
            tensor.copy_(self.common.exchanged(self.rank, tensor.clone())[0])


@dataclass(frozen=True)
class Trained:
    """A process's view of a training that is over."""

    fit: Fit
    results: list[Any]


def together(size: int, task: Callable[[ThreadRanks], Any]) -> list[Any]:
    """Let every one of ``size`` processes do the task."""
    common = Common(size)

    def one(rank: int) -> Any:
        torch.set_num_threads(1)
        try:
            return task(ThreadRanks(rank, common))
        except BaseException:
            common.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        done = [pool.submit(one, rank) for rank in range(size)]
    failures = [each.exception() for each in done]
    raised = [failure for failure in failures if failure and not isinstance(failure, threading.BrokenBarrierError)]
    for failure in raised or failures:
        if failure is not None:
            raise failure
    return [each.result() for each in done]


def parted(world: Any, members: Sequence[Any], ranks: ThreadRanks, make: Callable[[int], nn.Module], **how: Any) -> Fit:
    """A training before its first step, as one of several processes has it."""
    with ranks.common.building:
        fit = world.fit(members, make=make, **how)
        nets = [make(member.seed) for member in members]
    seeds = [member.seed + 100 for member in members]
    bank = make_bank(nets, seeds, CPU, compiled=False, ranks=ranks)
    validation = fit.validation and replace(fit.validation, ranks=ranks)
    return Fit(bank, replace(fit.stream, ranks=ranks), fit.objective, fit.plan, validation)


def trained_both_ways(
    world: Any, train: Any, plans: Sequence[Any], size: int, **how: Any
) -> tuple[Trained, list[Trained]]:
    """A training by one process, and the same by several."""
    members = [world.member(**plan) for plan in plans]
    make = how.pop("make", None) or world.mlp()

    def in_part(ranks: ThreadRanks) -> Trained:
        mine = parted(world, members, ranks, make, **how)
        return Trained(mine, train(mine))

    whole = world.fit(members, make=make, **how)
    return Trained(whole, train(whole)), together(size, in_part)


def assert_same(found: Trained, expected: Trained, weights: Any) -> None:
    """The same weights, numbers and standings, within rounding."""
    for k in range(expected.fit.bank.size):
        mine, theirs = weights(found.fit, k), weights(expected.fit, k)
        assert list(mine) == list(theirs)
        for name, tensor in theirs.items():
            torch.testing.assert_close(mine[name], tensor, **ROUNDING, msg=lambda text, name=name: f"{name}: {text}")
        for generator, other in zip(found.fit.bank.generators, expected.fit.bank.generators, strict=True):
            assert torch.equal(generator.get_state(), other.get_state())
    for one, other in zip(found.results, expected.results, strict=True):
        for member, theirs in zip(one.members, other.members, strict=True):
            assert type(member) is type(theirs)
            if not isinstance(member, Stopped):
                assert numbers(member) == pytest.approx(numbers(theirs), rel=1e-3, abs=1e-4)


def numbers(member: Any) -> list[float]:
    """What an epoch says of a network."""
    val = member.val
    shown = (member.total, member.hard, member.soft, member.lr, *(() if val is None else (val.top1, val.nll)))
    return [float("-1") if value is None else value for value in shown]


STACKS = {
    "temperatures, rates and smoothings": (MIXED, {}),
    "every layer, Adam": ([{"seed": 3, **ADAM}, {"seed": 4, **ADAM}], {"options": EVERYTHING}),
    "momentum ramp, last batch of one row for two": (
        [{"seed": seed, "rule": MomentumRampRule(0.5, 0.9, 2)} for seed in (0, 1)],
        {"batch_size": 18, "options": {"dropout": 0.5}},
    ),
    "networks that teach each other": ([{"seed": seed} for seed in range(3)], {"soft_loss": "mutual"}),
    "plateaus": (PLATEAUS, {"epochs": 3}),
    "an ensemble with data of its own": (
        ENSEMBLE,
        {"indices": [torch.arange(28), torch.arange(28, 56)], "options": {"dropout": 0.2}, "batch_size": 6},
    ),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", STACKS)
def test_a_stack_trains_as_in_one_process(world: Any, train: Any, weights: Any, case: str, size: int) -> None:
    plans, how = STACKS[case]
    how = dict(how)
    whole, parts = trained_both_ways(world, train, plans, size, make=world.mlp(**how.pop("options", {})), **how)
    assert isinstance(parts[0].fit.bank, StackedBank)
    for part in parts:
        assert_same(part, whole, weights)


def test_a_loss_that_needs_the_whole_batch_is_refused(world: Any) -> None:
    with pytest.raises(UsageError, match="loss=cwtm weighs the examples of a whole batch") as refused:
        together(2, lambda ranks: parted(world, [world.member()], ranks, world.mlp(), soft_loss="cwtm"))
    assert "one process" in str(refused.value.fix)


def test_processes_agree_to_the_bit(world: Any, train: Any, weights: Any, same_weights: Any) -> None:
    make = world.mlp(**EVERYTHING)
    _, parts = trained_both_ways(world, train, MIXED, 3, make=make, batch_size=10)
    for part in parts[1:]:
        assert part.results[-1].members == parts[0].results[-1].members
        same_weights(weights(part.fit), weights(parts[0].fit))


@pytest.mark.parametrize("batch_size", [2, 3])
def test_batches_of_fewer_rows_than_processes(world: Any, train: Any, weights: Any, batch_size: int) -> None:
    make = world.mlp(**EVERYTHING)
    whole, parts = trained_both_ways(
        world, train, MIXED, 4, make=make, batch_size=batch_size, epochs=1, epoch_examples=21
    )
    for part in parts:
        assert_same(part, whole, weights)


def test_networks_in_turn_train_as_in_one_process(
    world: Any, train: Any, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "STACKED_TENSOR_BYTES", 0)
    whole, parts = trained_both_ways(world, train, MIXED, 2, make=world.mlp(**EVERYTHING), batch_size=15)
    assert isinstance(parts[0].fit.bank, InTurnBank)
    for part in parts:
        assert_same(part, whole, weights)


@pytest.mark.parametrize("view", [Shift(2), Crop(1)])
def test_a_convolutional_network_with_views_trains_as_in_one_process(
    image_world: Any, train: Any, weights: Any, view: Any
) -> None:
    make = image_world.maker("cnn", channels=(4, 6))
    whole, parts = trained_both_ways(
        image_world, train, [{"lr": 0.05}], 2, make=make, view=view, batch_size=15, epochs=1
    )
    for part in parts:
        assert_same(part, whole, weights)


def test_half_precision_trains_as_in_one_process(world: Any, train: Any) -> None:
    with rounded_products():  # the threads are one process, whose setting they would take from each other
        whole, parts = trained_both_ways(world, train, MIXED, 2, make=world.mlp(**EVERYTHING), bf16=True, epochs=1)
    for part in parts:
        for member, theirs in zip(part.results[0].members, whole.results[0].members, strict=True):
            assert numbers(member)[:3] == pytest.approx(numbers(theirs)[:3], rel=0.03)


def test_a_network_that_diverges_is_blocked_everywhere_and_harms_no_other(world: Any, train: Any, weights: Any) -> None:
    plans = [{"seed": 1}, {"seed": 2, "lr": 1e25}]
    whole, parts = trained_both_ways(world, train, plans, 2)
    expected = whole.fit.standings[1].divergence
    assert expected is not None
    for part in parts:
        found = part.fit.standings[1].divergence
        assert found is not None
        assert (found.epoch, found.step) == (expected.epoch, expected.step)
        assert_same(Trained(part.fit, part.results), whole, weights)


def test_a_value_that_is_not_finite_in_one_process_blocks_all(world: Any, train: Any) -> None:
    inputs = world.split.inputs.clone()
    inputs[17] = torch.nan

    def one(ranks: ThreadRanks) -> Any:
        fit = parted(world, [world.member()], ranks, world.mlp(), epochs=1)
        poisoned = replace(fit.stream, source=TensorSource(inputs, CPU))
        fit = Fit(fit.bank, poisoned, fit.objective, fit.plan, fit.validation)
        train(fit)
        return fit.standings[0].divergence

    first, second = together(2, one)
    order = epoch_order(0, 0, 56).tolist()
    assert first.step == second.step == order.index(17) // 16


def test_early_stopping_happens_in_the_same_epoch(world: Any, train: Any) -> None:
    plans = [{"seed": seed, "lr": lr} for seed, lr in ((1, 0.5), (2, 1e-6))]
    whole, parts = trained_both_ways(world, train, plans, 2, early_stopping=1, epochs=6)
    epochs = [standing.stopped_epoch for standing in whole.fit.standings]
    assert any(epoch is not None for epoch in epochs)
    assert [[standing.stopped_epoch for standing in part.fit.standings] for part in parts] == [epochs] * 2


def test_a_stop_that_one_process_is_asked_for_stops_all_in_the_same_step(world: Any) -> None:
    def stopped_after(ranks: ThreadRanks) -> tuple[int, bool]:
        fit = parted(world, [world.member()], ranks, world.mlp(), epochs=50)
        asked = 5 if ranks.rank == 1 else 10**9
        for _ in fit.events(lambda: fit.step >= asked):
            pass
        return fit.step, fit.finished

    assert together(2, stopped_after) == [(6, False)] * 2


def test_networks_that_differ_between_processes_are_refused(world: Any, train: Any) -> None:
    def one(ranks: ThreadRanks) -> Any:
        return train(parted(world, [world.member(seed=ranks.rank)], ranks, world.mlp()))

    with pytest.raises(MachineError, match="no longer hold the same weights"):
        together(2, one)


def test_a_later_process_goes_on_to_the_bit(world: Any, train: Any, weights: Any, same_weights: Any) -> None:
    make = world.mlp(**EVERYTHING)

    def fresh(ranks: ThreadRanks) -> Fit:
        return parted(world, [world.member()], ranks, make, epochs=3)

    def in_two_parts(ranks: ThreadRanks) -> Fit:
        first = fresh(ranks)
        list(first.events(lambda: first.step >= 5))
        second = fresh(ranks)
        second.load(first.tensors(), TypeAdapter(FitState).validate_python(first.state()))
        train(second)
        return second

    def in_one(ranks: ThreadRanks) -> Fit:
        fit = fresh(ranks)
        train(fit)
        return fit

    for found, expected in zip(together(2, in_two_parts), together(2, in_one), strict=True):
        same_weights(weights(found), weights(expected))


@pytest.mark.parametrize("whole", [1, 2, 5, 7, 64])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_rows_are_parted_without_loss(whole: int, size: int) -> None:
    parts = [Rows.of(whole, rank, size) for rank in range(size)]
    assert sum(part.count for part in parts) == whole
    assert sum(part.weight for part in parts) == pytest.approx(1)
    assert max(part.count for part in parts) - min(part.count for part in parts) <= 1
    covered = [row for part in parts if part.count for row in range(whole)[part.held]]
    assert covered == list(range(whole))
    assert all(len(range(whole)[part.held]) == max(part.count, 1) for part in parts)
