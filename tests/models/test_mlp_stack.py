from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdcli.models.dropout import set_generator
from kdcli.models.mlp import Mlp
from kdcli.models.mlp_stack import MlpStack

MEMBERS = 3
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"hidden": (6, 5)},
    "softmax regression": {"hidden": ()},
    "softmax regression with input dropout": {"hidden": (), "input_dropout": 0.3},
    "one layer": {"hidden": (7,)},
    "batch norm": {"hidden": (6, 5, 4), "batch_norm": True},
    "dropout": {"hidden": (6, 5), "dropout": 0.5},
    "input dropout": {"hidden": (6, 5), "input_dropout": 0.2},
    "everything": {
        "hidden": (6, 5),
        "dropout": 0.4,
        "input_dropout": 0.2,
        "batch_norm": True,
        "max_norm_squared": 0.5,
    },
}
variants = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())


def backward_all(logits: Tensor, labels: Tensor) -> None:
    """Gradients of the sum of the members' losses."""
    torch.autograd.backward([functional.cross_entropy(member, labels) for member in logits])


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + member) for member in range(MEMBERS)]


def make(options: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[list[Mlp], MlpStack]:
    """Single nets and a stack of the same weights and generator states."""
    torch.manual_seed(0)
    nets = [Mlp(8, classes=3, **options).to(dtype) for _ in range(MEMBERS)]
    stack = MlpStack(nets)
    stack.generators = generators()
    for net, generator in zip(nets, generators(), strict=True):
        set_generator(net, generator)
    return nets, stack


def batches(count: int, dtype: torch.dtype = torch.float64) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(10, 2, 2, 2, generator=generator, dtype=dtype),
            torch.randint(3, (10,), generator=generator),
        )
        for _ in range(count)
    ]


def assert_same_state(stack: MlpStack, nets: list[Mlp], **tolerance: Any) -> None:
    for member, net in enumerate(nets):
        own, single = stack.member_state(member), net.state_dict()
        assert list(own) == list(single)
        for name in single:
            torch.testing.assert_close(own[name], single[name], **tolerance)


@variants
def test_member_logits_equal_the_single_net_in_training_and_in_eval(options: dict[str, Any]) -> None:
    nets, stack = make(options)
    [(inputs, _)] = batches(1)
    for training in (True, False):
        logits = stack.train(training)(inputs)
        assert logits.shape == (MEMBERS, 10, 3)
        for member, net in enumerate(nets):
            torch.testing.assert_close(logits[member], net.train(training)(inputs))


@variants
def test_members_with_batches_of_their_own_equal_the_single_nets(options: dict[str, Any]) -> None:
    nets, stack = make(options)
    inputs, labels = zip(*batches(MEMBERS), strict=True)
    logits = stack(torch.stack(inputs), own=True)
    torch.autograd.backward([functional.cross_entropy(*pair) for pair in zip(logits, labels, strict=True)])
    stacked = dict(stack.named_parameters())
    for member, net in enumerate(nets):
        single = net(inputs[member])
        torch.testing.assert_close(logits[member], single)
        functional.cross_entropy(single, labels[member]).backward()
        for name, parameter in net.named_parameters():
            grad = stacked[name].grad
            assert grad is not None
            torch.testing.assert_close(grad[member], parameter.grad)


@variants
def test_member_gradients_equal_the_single_net(options: dict[str, Any]) -> None:
    nets, stack = make(options)
    [(inputs, labels)] = batches(1)
    backward_all(stack(inputs), labels)
    stacked = dict(stack.named_parameters())
    for member, net in enumerate(nets):
        functional.cross_entropy(net(inputs), labels).backward()
        for name, parameter in net.named_parameters():
            grad = stacked[name].grad
            assert grad is not None
            torch.testing.assert_close(grad[member], parameter.grad)


@variants
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, {}), (torch.float32, {"rtol": 1e-4, "atol": 1e-5})], ids=["f64", "f32"]
)
def test_members_stay_equal_over_many_steps(
    options: dict[str, Any], dtype: torch.dtype, tolerance: dict[str, float]
) -> None:
    nets, stack = make(options, dtype)
    start = {name: value.clone() for name, value in stack.member_state(0).items()}
    optimizer = torch.optim.SGD(stack.parameters(), lr=0.3, momentum=0.9)
    singles = [torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9) for net in nets]
    for inputs, labels in batches(8, dtype):
        optimizer.zero_grad()
        backward_all(stack(inputs), labels)
        optimizer.step()
        stack.constrain()
        for net, single in zip(nets, singles, strict=True):
            single.zero_grad()
            functional.cross_entropy(net(inputs), labels).backward()
            single.step()
            net.constrain()
    assert_same_state(stack, nets, **tolerance)
    assert all(not torch.equal(value, start[name]) for name, value in stack.member_state(0).items())


def test_masks_are_bit_the_same_as_the_single_nets() -> None:
    # Identity weights, positive inputs and p = 1/2 make every product exact: the logits are the masks themselves.
    options = {"hidden": (16, 16), "dropout": 0.5, "input_dropout": 0.5}
    net = Mlp(16, classes=16, **options)  # type: ignore[arg-type]
    for name, parameter in net.named_parameters():
        parameter.data.copy_(torch.eye(16) if name.endswith("weight") else torch.zeros(16))
    stack = MlpStack([net] * MEMBERS)
    stack.generators = generators()
    for _ in range(2):
        logits = stack(torch.ones(40, 16))
    for member, generator in enumerate(generators()):
        set_generator(net, generator)
        for _ in range(2):
            expected = net(torch.ones(40, 16))
        assert torch.equal(logits[member], expected)
        assert torch.equal(stack.generators[member].get_state(), generator.get_state())
    assert not torch.equal(logits[0], logits[1])


def test_dropout_without_generators_draws_from_the_global_one() -> None:
    _, stack = make({"hidden": (6,), "dropout": 0.5})
    stack.generators = None
    [(inputs, _)] = batches(1)
    torch.manual_seed(4)
    first = stack(inputs)
    second = stack(inputs)
    torch.manual_seed(4)
    assert torch.equal(stack(inputs), first)
    assert not torch.equal(second, first)


def test_number_of_generators_must_be_that_of_the_members() -> None:
    _, stack = make({"hidden": (6,), "dropout": 0.5})
    stack.generators = generators()[:2]
    with pytest.raises(ValueError, match="shorter"):
        stack(batches(1)[0][0])


def test_a_member_that_is_not_finite_leaves_the_others_alone() -> None:
    nets, stack = make({"hidden": (6, 5), "batch_norm": True})
    stack.member_state(1)["hidden.0.weight"].fill_(float("nan"))
    [(inputs, labels)] = batches(1)
    logits = stack(inputs)
    backward_all(logits, labels)
    for member in (0, 2):
        torch.testing.assert_close(logits[member], nets[member](inputs))
        assert all(p.grad is not None and p.grad[member].isfinite().all() for p in stack.parameters())
    assert logits[1].isnan().any()


def test_state_of_the_stack_has_the_names_of_a_member_and_the_members_first() -> None:
    nets, stack = make(VARIANTS["everything"])
    shapes = {name: tuple(value.shape) for name, value in stack.state_dict().items()}
    assert shapes == {name: (MEMBERS, *value.shape) for name, value in nets[0].state_dict().items()}


def test_member_state_and_parameters_are_views() -> None:
    nets, stack = make(VARIANTS["everything"])
    for value in stack.member_state(1).values():
        value.fill_(7)
    assert all((value[1] == 7).all() for value in stack.state_dict().values())
    assert_same_state(stack, [nets[0]])
    for value in stack.member_parameters(2):
        value.fill_(9)
    assert all((value[2] == 9).all() for value in stack.parameters())


@variants
def test_member_parameters_have_the_order_of_the_single_net(options: dict[str, Any]) -> None:
    nets, stack = make(options)
    for own, single in zip(stack.member_parameters(2), nets[2].parameters(), strict=True):
        assert torch.equal(own, single)
        assert not own.requires_grad


def test_stacking_copies_the_weights() -> None:
    nets, stack = make({"hidden": (6,)})
    before = stack.member_state(0)["output.weight"].clone()
    nets[0].output.weight.data.zero_()
    assert torch.equal(stack.member_state(0)["output.weight"], before)


def test_member_state_loaded_into_another_member_makes_them_equal() -> None:
    nets, stack = make(VARIANTS["everything"])
    stack(batches(1)[0][0])
    nets[0].load_state_dict(stack.member_state(0))
    stack.load_member_state(2, nets[0].state_dict())
    for name, value in stack.state_dict().items():
        assert torch.equal(value[2], value[0]), name
    assert not torch.equal(stack.state_dict()["output.weight"][1], stack.state_dict()["output.weight"][0])


@pytest.mark.parametrize(
    "wrong",
    [{"output.weight": torch.zeros(3, 4)}, {"hidden.9.weight": torch.zeros(1)}],
    ids=["another shape", "another name"],
)
def test_state_that_does_not_fit_is_refused_whole(wrong: dict[str, Tensor]) -> None:
    _, stack = make({"hidden": (6,)})
    before = {name: value.clone() for name, value in stack.state_dict().items()}
    state = {name: torch.zeros_like(value) for name, value in stack.member_state(0).items()} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        stack.load_member_state(0, state)
    assert all(torch.equal(value, before[name]) for name, value in stack.state_dict().items())


def test_state_with_a_missing_name_is_refused() -> None:
    _, stack = make({"hidden": (6,)})
    state = stack.member_state(0)
    del state["hidden.0.bias"]
    with pytest.raises(ValueError, match=r"does not fit .*hidden\.0\.bias"):
        stack.load_member_state(0, state)


def test_members_of_different_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="one architecture"):
        MlpStack([Mlp(8, (6,), 3), Mlp(8, (6,), 3, dropout=0.5)])


def test_a_stack_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="one architecture"):
        MlpStack([])


def test_a_stack_of_nets_in_eval_mode_is_in_eval_mode() -> None:
    assert not MlpStack([Mlp(8, (6,), 3).eval()]).training


def test_initialisation_does_not_hinder_stacking() -> None:
    assert MlpStack([Mlp(8, (6,), 3), Mlp(8, (6,), 3, init_std=0.01)]).members == 2
