"""Layers that look beyond one example, where a process has some rows: what they draw, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli.engine.bank import make_bank
from kdcli.engine.device import pick_device
from kdcli.engine.group import Group
from kdcli.engine.ranks import ALONE, among, current
from kdcli.errors import MachineError, UsageError
from kdcli.models.mlp import Mlp
from kdcli.models.torchvision_shim import import_beside_torchvision

CPU = torch.device("cpu")
SIZE, BATCH = 3, 10


def bank_of(make: Callable[[], nn.Module], members: int, ranks: Any = ALONE) -> Any:
    """Networks with equal weights, which draw from generators of their own."""
    torch.manual_seed(0)
    return make_bank([make() for _ in range(members)], range(members), CPU, compiled=False, ranks=ranks)


def by_rows(make: Callable[[], nn.Module], inputs: Tensor, members: int = 1) -> Tensor:
    """What processes say of their rows, one after another, put together; each draws twice."""
    parts = []
    for rank in range(SIZE):
        ranks = Group(rank, SIZE, rank)
        bank = bank_of(make, members, ranks)
        for _ in range(2):
            ranks.begin(len(inputs))
            said = bank.logits(ranks.own(inputs))
        parts.append(said)
    return torch.cat(parts, dim=1)


def whole(make: Callable[[], nn.Module], inputs: Tensor, members: int = 1) -> Tensor:
    """What one process says, the second time."""
    bank = bank_of(make, members)
    bank.logits(inputs)
    result: Tensor = bank.logits(inputs)
    return result


def own() -> nn.Module:
    """One of kd's networks with dropout everywhere."""
    return Mlp(6, [8, 7], 3, dropout=0.4, input_dropout=0.2)


def sequence(*layers: nn.Module) -> nn.Module:
    """A network of the user's on rows of six numbers."""
    return nn.Sequential(nn.Linear(6, 8), *layers, nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("members", [1, 3])
def test_own_dropout_draws_what_one_process_draws(members: int) -> None:
    inputs = torch.randn(BATCH, 6)
    torch.testing.assert_close(by_rows(own, inputs, members), whole(own, inputs, members))


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.4), nn.Dropout(0.4, inplace=True), nn.Dropout1d(0.4), nn.Dropout(0.0)], ids=str
)
def test_torchs_dropout_draws_what_one_process_draws(layer: nn.Module) -> None:
    def make() -> nn.Module:
        shape = nn.Unflatten(1, (4, 2)) if isinstance(layer, nn.Dropout1d) else nn.Identity()
        return sequence(shape, layer, layer)

    inputs = torch.randn(BATCH, 6)
    torch.testing.assert_close(by_rows(make, inputs), whole(make, inputs))


def test_stochastic_depth_draws_what_one_process_draws() -> None:
    depth = import_beside_torchvision("torchvision.ops").StochasticDepth
    inputs = torch.randn(BATCH, 6)

    def make() -> nn.Module:
        return sequence(depth(0.5, "row"))

    torch.testing.assert_close(by_rows(make, inputs), whole(make, inputs))


class Drawing(nn.Module):
    """A layer that adds noise of its own making."""

    def forward(self, x: Tensor) -> Tensor:
        """Noisy."""
        return x + torch.randn_like(x)


class OwnNorm(nn.BatchNorm1d):
    """A batch normalisation of the user's."""


def test_other_noise_is_refused_and_the_global_generator_left_as_it_was() -> None:
    ranks = Group(0, SIZE, 0)
    bank = bank_of(lambda: sequence(Drawing()), 1, ranks)
    inputs = torch.randn(BATCH, 6)
    before = torch.get_rng_state()
    with pytest.raises(UsageError, match="draws random numbers otherwise"):
        bank.logits(ranks.own(inputs))
    assert torch.equal(before, torch.get_rng_state())
    assert bank_of(lambda: sequence(Drawing()), 1).logits(inputs).shape == (1, BATCH, 3)


@pytest.mark.parametrize(
    "layer", [OwnNorm(8), nn.BatchNorm1d(8, track_running_stats=False), nn.SyncBatchNorm(8)], ids=str
)
def test_a_normalisation_that_cannot_be_shared_is_refused(layer: nn.Module) -> None:
    with pytest.raises(UsageError, match=type(layer).__name__):
        bank_of(lambda: sequence(layer), 1, Group(0, SIZE, 0))
    assert bank_of(lambda: sequence(layer), 1).size == 1


def test_normalisations_within_an_example_stay() -> None:
    def make() -> nn.Module:
        return sequence(nn.LayerNorm(8), nn.GroupNorm(2, 8))

    inputs = torch.randn(BATCH, 6)
    torch.testing.assert_close(by_rows(make, inputs), whole(make, inputs))


def test_dropout_over_something_else_than_examples_is_refused() -> None:
    ranks = Group(0, SIZE, 0)
    bank = bank_of(lambda: nn.Sequential(nn.Flatten(0), nn.Dropout(0.5), nn.Unflatten(0, (-1, 6))), 1, ranks)
    ranks.begin(BATCH)
    with pytest.raises(UsageError, match="first dimension is not the examples"):
        bank.logits(ranks.own(torch.randn(BATCH, 6)))


def test_names_and_tensors_of_a_network_stay() -> None:
    net = Mlp(6, [8, 7], 3, dropout=0.4, batch_norm=True)
    expected = net.state_dict()
    for members in (1, 2):
        bank = make_bank([net] * members, range(members), CPU, compiled=False, ranks=Group(0, SIZE, 0))
        found = bank.state(0)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", ["mps", "cuda:0"])
def test_one_device_for_several_processes_is_refused(name: str) -> None:
    with among(Group(0, SIZE, 0)), pytest.raises(UsageError, match="one device, for 3 processes"):
        pick_device(name)


def test_a_process_without_a_gpu_of_its_own_is_refused() -> None:
    with among(Group(0, SIZE, 99)), pytest.raises(MachineError, match="no GPU for process 99"):
        pick_device("cuda")


def test_the_processor_is_for_all_and_one_process_is_alone_again() -> None:
    with among(Group(0, SIZE, 0)):
        assert pick_device("cpu") == CPU
        assert current().size == SIZE
    assert current() is ALONE
