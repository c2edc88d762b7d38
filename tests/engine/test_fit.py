"""Training, against a loop written with nothing but torch, and the events it yields."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from kdcli.data.order import epoch_order
from kdcli.engine import fit as fit_module
from kdcli.engine import meters, update
from kdcli.engine.results import EpochResult, Tick
from kdcli.engine.update import AdamWRule, MomentumRampRule, SgdRule
from kdcli.schedules import Constant, ExponentialDecay, Linear

EPOCHS, STEPS = 3, 4  # an epoch of 56 examples is batches of 16, 16, 16 and 8


def plain_loop(world: Any, temperatures: Tensor, alphas: Tensor, lrs: Tensor) -> tuple[Any, list[dict[str, float]]]:
    """Distillation as a tutorial writes it, in float64: the network, and the mean losses of each epoch."""
    net = world.mlp()(5).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, foreach=False)
    rows = world.normalization(world.split.inputs).double()
    answers = world.teacher.logits(world.split.inputs).double()
    epochs = []
    for epoch in range(EPOCHS):
        sums = {"total": 0.0, "hard": 0.0, "soft": 0.0}
        for step, batch in enumerate(epoch_order(0, epoch, 56).split(16)):
            at = epoch * STEPS + step
            temperature, alpha = temperatures[at], alphas[at]
            logits = net(rows[batch])
            hard = functional.cross_entropy(logits, world.split.labels[batch])
            teacher = (answers[:, batch] / temperature).softmax(-1).mean(0)
            log_student = (logits / temperature).log_softmax(-1)
            soft = temperature**2 * functional.kl_div(log_student, teacher, reduction="batchmean")
            total = (1 - alpha) * hard + alpha * soft
            optimizer.param_groups[0]["lr"] = float(lrs[at])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            for name, value in (("total", total), ("hard", hard), ("soft", soft)):
                sums[name] += value.item() * len(batch) / 56
        epochs.append(sums)
    return net, epochs


def test_training_is_what_a_plain_loop_does(world: Any, train: Any, weights: Any) -> None:
    """Both schedules reach their ends in the first and the last step, the rate falls after every epoch."""
    positions = torch.linspace(0, 1, EPOCHS * STEPS, dtype=torch.float64)
    lrs = 0.1 * 0.5 ** (torch.arange(EPOCHS * STEPS) // STEPS)
    net, expected = plain_loop(world, 8 - 7 * positions, 1 - positions, lrs)
    member = world.member(seed=5, temperature=Linear(8.0, 1.0), alpha=Linear(1.0, 0.0), rate=ExponentialDecay(0.5))
    fit = world.fit([member], epochs=EPOCHS)
    results = train(fit)
    torch.testing.assert_close(weights(fit), {n: t.float() for n, t in net.state_dict().items()}, rtol=1e-4, atol=1e-5)
    for epoch, result in enumerate(results):
        [found] = result.members
        assert {name: getattr(found, name) for name in expected[epoch]} == pytest.approx(expected[epoch], rel=1e-4)
        last = (epoch + 1) * STEPS - 1
        assert found.temperature == pytest.approx(8 - 7 * last / 11)
        assert found.alpha == pytest.approx(1 - last / 11)
        assert found.lr == pytest.approx(0.1 * 0.5**epoch)


def test_training_by_the_recipe_of_2012_is_what_a_plain_loop_does(world: Any, train: Any, weights: Any) -> None:
    """Momentum that grows within epochs, steps of (1 - momentum) * lr, and a bound on incoming weights after each."""
    net = world.mlp()(5).double()
    velocities = [torch.zeros_like(parameter) for parameter in net.parameters()]
    rows = world.normalization(world.split.inputs).double()
    for epoch in range(EPOCHS):
        for step, batch in enumerate(epoch_order(0, epoch, 56).split(16)):
            net.zero_grad()
            functional.cross_entropy(net(rows[batch]), world.split.labels[batch]).backward()
            momentum = 0.5 + (0.9 - 0.5) * min((epoch + step / STEPS) / 2, 1)
            with torch.no_grad():
                for parameter, velocity in zip(net.parameters(), velocities, strict=True):
                    velocity.mul_(momentum).sub_((1 - momentum) * 2.0 * 0.8**epoch * parameter.grad)
                    parameter.add_(velocity)
                for layer in net.hidden:
                    length = layer.weight.square().sum(1, keepdim=True).sqrt()
                    layer.weight.mul_((0.5**0.5 / length).clamp(max=1))
    plan = {"seed": 5, "alpha": Constant(0.0), "lr": 2.0, "rate": ExponentialDecay(0.8)}
    fit = world.fit(
        [world.member(rule=MomentumRampRule(0.5, 0.9, 2), **plan)], epochs=EPOCHS, make=world.mlp(max_norm_squared=0.5)
    )
    train(fit)
    torch.testing.assert_close(weights(fit), {n: t.float() for n, t in net.state_dict().items()}, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_one_seed_gives_the_same_bits_twice(world: Any, train: Any, weights: Any, count: int) -> None:
    def outcome() -> list[Tensor]:
        members = [world.member(seed=seed) for seed in range(count)]
        fit = world.fit(members, make=world.mlp(dropout=0.5, input_dropout=0.2, batch_norm=True))
        train(fit)
        return [tensor for k in range(count) for tensor in weights(fit, k).values()]

    assert all(torch.equal(*pair) for pair in zip(outcome(), outcome(), strict=True))


@pytest.mark.parametrize("changed", [{"data_seed": 1}, {"seed": 1}])
def test_another_seed_gives_another_network(world: Any, train: Any, weights: Any, changed: dict[str, int]) -> None:
    networks = []
    for seeds in ({}, changed):
        fit = world.fit([world.member(seed=seeds.get("seed", 0))], data_seed=seeds.get("data_seed", 0))
        train(fit)
        networks.append(weights(fit)["output.weight"])
    assert not torch.allclose(*networks)


def test_training_begins_in_training_mode(world: Any, train: Any, weights: Any) -> None:
    """Whatever the networks were used for before."""
    fits = [world.fit([world.member()], make=world.mlp(dropout=0.5)) for _ in range(2)]
    fits[0].bank.train(False)
    for fit in fits:
        train(fit)
    assert torch.equal(*(weights(fit)["output.weight"] for fit in fits))


def test_terms_that_take_no_part_are_none(world: Any, train: Any) -> None:
    members = [world.member(alpha=Constant(alpha)) for alpha in (0.0, 0.5, 1.0)]
    [result] = train(world.fit(members, epochs=1, validated=False))
    plain, mixed, pure = result.members
    assert (plain.soft, plain.temperature, plain.alpha) == (None, None, None)
    assert plain.hard == plain.total
    assert (mixed.temperature, mixed.alpha) == (2.0, 0.5)
    assert mixed.total == pytest.approx((mixed.hard + mixed.soft) / 2)
    assert pure.hard is None
    assert pure.soft == pure.total
    assert {member.val for member in result.members} == {None}
    assert not any(member.is_best for member in result.members)


def test_ticks_tell_of_every_step(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "TICK_SECONDS", 0.0)
    events = list(world.fit([world.member()]).events())
    assert [type(event) for event in events] == ([Tick] * STEPS + [EpochResult]) * 2
    ticks = [event for event in events if isinstance(event, Tick)]
    assert [(tick.epoch, tick.step, tick.steps_per_epoch) for tick in ticks] == [
        (epoch, step, STEPS) for epoch in range(2) for step in (1, 2, 3, 4)
    ]
    assert all(tick.images_per_second > 0 for tick in ticks)


def test_an_epoch_is_timed(world: Any, train: Any) -> None:
    fit = world.fit([world.member()])
    results = train(fit)
    assert [result.step for result in results] == [4, 8]
    assert sum(result.seconds for result in results) == pytest.approx(fit.train_seconds)
    assert all(result.images_per_second == pytest.approx(56 / result.seconds) for result in results)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.1}], ids=["without autograd", "by autograd"])
def test_bf16_is_close_to_float32_and_not_the_same(world: Any, train: Any, weights: Any, options: Any) -> None:
    outcomes = []
    for bf16 in (False, True):
        members = [world.member(seed=seed, lr=0.001) for seed in range(2)]
        fit = world.fit(members, bf16=bf16, make=world.mlp((64, 64), **options))
        train(fit)
        outcomes.append(weights(fit, 1))
    assert {tensor.dtype for tensor in outcomes[1].values()} == {torch.float32}
    torch.testing.assert_close(outcomes[1], outcomes[0], rtol=0.05, atol=0.01)
    rounds = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert torch.equal(outcomes[1]["output.weight"], outcomes[0]["output.weight"]) is not rounds


class Waiting(TorchDispatchMode):
    """Counts the operations that read a tensor's value on the host, for which it must wait for the device."""

    NAMES = ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += 1
        name = func.name().split("::")[1].split(".")[0]
        by_mask = name == "index" and any(index is not None and index.dtype is torch.bool for index in args[1])
        if by_mask or name in self.NAMES:
            self.found.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("rule", [SgdRule(0.9), AdamWRule(), MomentumRampRule(0.5, 0.9, 2)], ids=str)
@pytest.mark.parametrize("lrs", [[0.1], [0.1] * 3, [0.1, 0.2, 0.3]], ids=["alone", "one rate", "own rates"])
def test_a_step_never_waits_for_the_device(
    world: Any, rule: Any, lrs: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (update, meters):
        monkeypatch.setattr(module, "can_ask", lambda tensor: False)  # as on a GPU
    options = {"dropout": 0.3, "input_dropout": 0.1, "batch_norm": True, "max_norm_squared": 1.0}
    members = [world.member(seed=k, lr=lr, rule=rule, alpha=Linear(0.0, 1.0)) for k, lr in enumerate(lrs)]
    fit = world.fit(members, make=world.mlp(**options))
    fit.bank.train(True)
    with Waiting() as waiting:
        lessons = fit._lessons(0)
        for _ in range(2):
            fit._train_step(*next(lessons))
            fit.step_in_epoch += 1
    assert waiting.found == []
    assert waiting.seen > 50


def test_the_count_notices_what_waits() -> None:
    tensor = torch.ones(3)
    with Waiting() as waiting:
        tensor.sum().item()
        bool(tensor[0] > 0)
        tensor[tensor > 0]
        tensor.nonzero()
    assert len(waiting.found) == 4
