"""Networks behind one interface, stacked or in turn, and where their noise comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli.engine import bank as bank_module
from kdcli.engine.bank import Bank, InTurnBank, StackedBank, global_noise_from, make_bank
from kdcli.models.mlp import Mlp

CPU = torch.device("cpu")
SEEDS = [10, 11, 12]


class Foreign(nn.Module):
    """A user's network: dropout of torch's own, batch norm, and a layer that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.unused = nn.Linear(2, 2)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x``."""
        return torch.as_tensor(self.body(x) * self.frozen)


def mlps(**options: Any) -> list[nn.Module]:
    torch.manual_seed(0)
    return [Mlp(4, [5, 6], 3, **options) for _ in SEEDS]


def foreign() -> list[nn.Module]:
    torch.manual_seed(0)
    return [Foreign() for _ in SEEDS]


def bank_of(nets: list[nn.Module], *, compiled: bool = False) -> Bank:
    return make_bank(nets, SEEDS, CPU, compiled=compiled)


def batch(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


BANKS = {"stacked": lambda: mlps(batch_norm=True), "in turn": foreign}
each_bank = pytest.mark.parametrize("nets", BANKS.values(), ids=BANKS.keys())


@each_bank
def test_logits_are_those_of_the_networks(nets: Any) -> None:
    originals, bank = nets(), bank_of(nets())
    bank.train(False)
    shared, own = batch(7, 4), batch(3, 7, 4)
    expected_shared = torch.stack([net.eval()(shared) for net in originals])
    expected_own = torch.stack([net.eval()(inputs) for net, inputs in zip(originals, own, strict=True)])
    torch.testing.assert_close(bank.logits(shared), expected_shared)
    torch.testing.assert_close(bank.logits(own, own=True), expected_own)


@each_bank
def test_state_goes_from_one_bank_to_another(nets: Any) -> None:
    first, second = bank_of(nets()), bank_of(nets())
    with torch.no_grad():
        for group in first.parameters():
            for tensor in group.tensors:
                tensor.add_(torch.rand_like(tensor))
    for member in range(len(SEEDS)):
        second.load(member, first.state(member))
        copied, original = second.state(member), first.state(member)
        assert list(copied) == list(nets()[member].state_dict())
        assert all(torch.equal(copied[name], original[name]) for name in original)


@each_bank
def test_loading_one_member_leaves_the_others(nets: Any) -> None:
    bank = bank_of(nets())
    before = {name: tensor.clone() for name, tensor in bank.state(0).items()}
    bank.load(1, {name: tensor + 1 for name, tensor in bank.state(2).items()})
    assert all(torch.equal(tensor, before[name]) for name, tensor in bank.state(0).items())


@each_bank
def test_training_mode_reaches_every_network(nets: Any) -> None:
    bank = bank_of(nets())
    counters = [name for name in bank.state(0) if name.endswith("num_batches_tracked")]
    for mode, expected in ((True, 1), (False, 1), (True, 2)):
        bank.train(mode)
        bank.logits(batch(7, 4))
        assert {int(bank.state(member)[name]) for member in range(len(SEEDS)) for name in counters} == {expected}


def test_a_stack_has_one_group_of_parameters_and_networks_in_turn_one_each() -> None:
    [stack] = bank_of(mlps()).parameters()
    assert stack.members == (0, 1, 2)
    assert all(len(tensor) == 3 for tensor in stack.tensors)
    single = list(mlps()[1].parameters())
    assert [tuple(share.shape) for share in stack.share(1)] == [tuple(p.shape) for p in single]
    assert all(torch.equal(share, p) for share, p in zip(stack.share(1), single, strict=True))
    groups = bank_of(foreign()).parameters()
    assert [group.members for group in groups] == [(0,), (1,), (2,)]


def test_frozen_parameters_are_not_trained() -> None:
    nets = foreign()
    trained = {id(tensor) for group in bank_of(nets).parameters() for tensor in group.tensors}
    assert not trained & {id(net.frozen) for net in nets}
    assert all(id(parameter) in trained for net in nets for parameter in net.body.parameters())


@pytest.mark.parametrize("count", [1, 3])
def test_constrain_bounds_the_incoming_weights(count: int) -> None:
    bank = make_bank(mlps(max_norm_squared=0.01)[:count], SEEDS[:count], CPU, compiled=False)
    assert isinstance(bank, StackedBank if count > 1 else InTurnBank)
    bank.constrain()
    for member in range(count):
        state = bank.state(member)
        assert float(state["hidden.0.weight"].square().sum(1).max()) == pytest.approx(0.01)
        assert float(state["output.weight"].square().sum(1).max()) > 0.02


def test_constrain_leaves_networks_without_a_bound() -> None:
    bank = bank_of(foreign())
    before = {name: tensor.clone() for name, tensor in bank.state(0).items()}
    bank.constrain()
    assert all(torch.equal(tensor, before[name]) for name, tensor in bank.state(0).items())


def test_a_stack_that_outgrows_what_is_cheap_to_allocate_trains_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 3 * 6 * 5 * 4  # three members, 6 x 5 weights of 4 bytes
    monkeypatch.setattr(bank_module, "STACKED_TENSOR_BYTES", largest)
    assert isinstance(bank_of(mlps()), StackedBank)
    monkeypatch.setattr(bank_module, "STACKED_TENSOR_BYTES", largest - 1)
    assert isinstance(bank_of(mlps()), InTurnBank)


@pytest.fixture
def eager() -> Iterator[None]:
    """torch.compile without a compiler: what it wraps runs as it is."""
    with torch.compiler.set_stance("force_eager"):
        yield


@each_bank
@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch 2.13's own, on import
def test_a_compiled_bank_has_the_same_names_and_answers(nets: Any) -> None:
    plain, compiled = bank_of(nets()), bank_of(nets(), compiled=True)
    inputs = batch(7, 4)
    assert torch.equal(plain.logits(inputs), compiled.logits(inputs))
    assert list(plain.state(0)) == list(compiled.state(0))


def test_global_noise_goes_on_where_the_generator_stands() -> None:
    generator, reference = (torch.Generator().manual_seed(4) for _ in range(2))
    torch.manual_seed(9)
    expected_global = torch.rand(2, generator=torch.Generator().manual_seed(9))
    drawn = []
    for _ in range(2):
        with global_noise_from(generator):
            drawn.append(torch.rand(3))
    expected = [torch.rand(3, generator=reference) for _ in range(2)]
    assert all(torch.equal(*pair) for pair in zip(drawn, expected, strict=True))
    assert torch.equal(torch.rand(2), expected_global)


def test_global_noise_is_put_back_after_an_error() -> None:
    before = torch.get_rng_state()

    def fail() -> None:
        with global_noise_from(torch.Generator().manual_seed(4)):
            torch.rand(3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_foreign_network_draws_from_its_own_generator() -> None:
    first, second = bank_of(foreign()), bank_of(foreign())
    inputs = batch(7, 4)
    torch.manual_seed(1)
    expected = first.logits(inputs)
    torch.manual_seed(2)
    assert torch.equal(second.logits(inputs), expected)
    assert not torch.equal(second.logits(inputs), expected)
