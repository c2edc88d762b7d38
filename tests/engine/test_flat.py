"""The training step of an Mlp without autograd, against autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdcli.engine import bank as bank_module
from kdcli.engine.bank import Bank, make_bank
from kdcli.engine.flat import FlatMlp, FlatStack
from kdcli.models.mlp import Mlp
from kdcli.models.mlp_stack import MlpStack

CPU = torch.device("cpu")
SIZES: list[list[int]] = [[], [5], [6, 4], [3, 7, 2]]
each_size = pytest.mark.parametrize("hidden", SIZES, ids=str)


def mlp(hidden: list[int], seed: int = 0, **options: Any) -> Mlp:
    torch.manual_seed(seed)
    return Mlp(4, hidden, 3, **options).double()


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(9, 2, 2, generator=draw, dtype=torch.float64), torch.randint(3, (9,), generator=draw)


def gradients(net: nn.Module) -> Tensor:
    inputs, labels = batch()
    net.zero_grad()
    functional.cross_entropy(net(inputs), labels).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def of_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().softmax(-1) - functional.one_hot(labels, 3)) / len(labels)


@each_size
def test_logits_and_gradient_are_those_of_autograd(hidden: list[int]) -> None:
    expected, net = mlp(hidden), mlp(hidden)
    flat = FlatMlp(net)
    inputs, labels = batch()
    logits = flat.logits(inputs)
    torch.testing.assert_close(logits, expected(inputs).detach())
    flat.backward(of_cross_entropy(logits, labels))
    assert flat.leaf.grad is not None
    torch.testing.assert_close(flat.leaf.grad, gradients(expected))


@pytest.mark.parametrize("own", [False, True], ids=["one batch for all", "each its own"])
@pytest.mark.parametrize("hidden", SIZES[1:], ids=str)
def test_a_stack_has_the_logits_and_gradients_of_its_networks(hidden: list[int], own: bool) -> None:
    nets = [mlp(hidden, seed) for seed in range(3)]
    stack = MlpStack([mlp(hidden, seed) for seed in range(3)])
    inputs, labels = batch()
    flat = FlatStack(stack)
    logits = flat.logits(inputs.expand(3, *inputs.shape) if own else inputs, own=own)
    flat.backward(torch.stack([of_cross_entropy(one, labels) for one in logits]))
    for member, net in enumerate(nets):
        torch.testing.assert_close(logits[member], net(inputs).detach())
        found = [parameter.grad[member].flatten() for parameter in stack.parameters() if parameter.grad is not None]
        torch.testing.assert_close(torch.cat(found), gradients(net))
    assert flat.leaf.grad is not None
    together = torch.cat([parameter.grad.flatten() for parameter in stack.parameters() if parameter.grad is not None])
    assert torch.equal(flat.leaf.grad, together)


def test_the_network_sees_what_happens_to_the_buffer_and_the_buffer_what_is_loaded() -> None:
    net = mlp([5])
    flat = FlatMlp(net)
    before = net(batch()[0]).detach()
    with torch.no_grad():
        flat.leaf.mul_(2)
    assert not torch.allclose(net(batch()[0]), before)
    net.load_state_dict(mlp([5], seed=1).state_dict())
    torch.testing.assert_close(flat.logits(batch()[0]), mlp([5], seed=1)(batch()[0]).detach())


@pytest.mark.parametrize("room", [0, 2**20], ids=["in turn", "stacked"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_bank_trains_them_as_torch_does(count: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "STACKED_TENSOR_BYTES", room)
    expected = [mlp([6, 4], seed) for seed in range(count)]
    bank = make_bank([mlp([6, 4], seed) for seed in range(count)], range(count), CPU, compiled=False)
    bank.train(True)
    inputs, labels = batch()
    for _ in range(5):
        logits = bank.logits(inputs)
        bank.backward(logits, torch.stack([of_cross_entropy(one, labels) for one in logits]))
        for parameters in bank.parameters():
            leaf = parameters.whole
            assert leaf is not None
            assert leaf.grad is not None
            leaf.data -= 0.3 * leaf.grad
    for member, net in enumerate(expected):
        optimizer = torch.optim.SGD(net.parameters(), 0.3)
        for _ in range(5):
            gradients(net)
            optimizer.step()
        torch.testing.assert_close(bank.state(member), dict(net.state_dict()))


def test_what_validates_leaves_the_gradient_of_the_batch_before_it_alone() -> None:
    bank = make_bank([mlp([5])], [0], CPU, compiled=False)
    inputs, labels = batch()
    found = []
    for between in (False, True):
        bank.train(True)
        logits = bank.logits(inputs)
        if between:
            bank.train(False)
            with torch.no_grad():
                bank.logits(torch.zeros(2, 4, dtype=torch.float64))
        bank.backward(logits, of_cross_entropy(logits[0], labels).unsqueeze(0))
        grad = bank.parameters()[0].tensors[0].grad
        assert grad is not None
        found.append(grad.clone())
    assert float(found[0].abs().sum()) > 0
    assert torch.equal(*found)


NOT_PLAIN: dict[str, Any] = {"dropout": 0.5, "input_dropout": 0.2, "batch_norm": True}


def is_flat(bank: Bank) -> bool:
    return bank.parameters()[0].whole is not None


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_it_does_not_know_is_left_to_autograd(name: str) -> None:
    odd = mlp([5], **{name: NOT_PLAIN[name]})
    assert not is_flat(make_bank([odd], [0], CPU, compiled=False))
    assert is_flat(make_bank([mlp([5])], [0], CPU, compiled=False))
    frozen = mlp([5])
    frozen.output.bias.requires_grad_(False)
    assert not is_flat(make_bank([frozen], [0], CPU, compiled=False))
