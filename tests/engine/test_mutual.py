"""Networks that teach each other, against two written out in plain torch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from kdcli.data.order import epoch_order
from kdcli.schedules import Constant


def test_two_networks_train_as_two_in_plain_torch(world: Any, train: Any, weights: Any) -> None:
    """Zhang et al. 2018, CE + KL(p_j || p_i) with both updated at once, at half its size: alpha is 1/2."""
    nets = [world.mlp()(seed) for seed in (4, 5)]
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9) for net in nets]
    rows = world.normalization(world.split.inputs)
    for epoch in range(2):
        for batch in epoch_order(0, epoch, 56).split(16):
            said = [net(rows[batch]).log_softmax(-1) for net in nets]
            for own, other, optimizer in ((0, 1, optimizers[0]), (1, 0, optimizers[1])):
                peer = said[other].detach()
                divergence = (peer.exp() * (peer - said[own])).sum(-1).mean()
                optimizer.zero_grad()
                (functional.nll_loss(said[own], world.split.labels[batch]) / 2 + divergence / 2).backward()
            for optimizer in optimizers:
                optimizer.step()
    members = [world.member(seed=seed, temperature=Constant(1.0)) for seed in (4, 5)]
    fit = world.fit(members, soft_loss="mutual")
    train(fit)
    for k, net in enumerate(nets):
        found = weights(fit, k)
        for name, expected in net.state_dict().items():
            torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


def test_at_alpha_zero_they_are_as_they_would_be_alone(world: Any, train: Any, weights: Any, same_weights: Any) -> None:
    members = [world.member(seed=k, alpha=Constant(0.0)) for k in range(2)]
    together, plain = world.fit(members, soft_loss="mutual"), world.fit(members)
    train(together)
    train(plain)
    for k in range(2):
        same_weights(weights(together, k), weights(plain, k))


def test_networks_in_turn_train_as_the_stack_does(world: Any, train: Any, weights: Any, monkeypatch: Any) -> None:
    members = [world.member(seed=k) for k in range(3)]
    stacked = world.fit(members, soft_loss="mutual")
    monkeypatch.setattr("kdcli.engine.bank._stacks_faster", lambda nets, device: False)
    in_turn = world.fit(members, soft_loss="mutual")
    train(stacked)
    train(in_turn)
    for k in range(3):
        for name, expected in weights(stacked, k).items():
            torch.testing.assert_close(weights(in_turn, k)[name], expected, rtol=1e-4, atol=1e-5)


def test_both_terms_are_shown_and_fall(world: Any, train: Any) -> None:
    results = train(world.fit([world.member(seed=k) for k in range(2)], soft_loss="mutual", epochs=6))
    for k in range(2):
        first, last = results[0].members[k], results[-1].members[k]
        assert last.hard < first.hard
        assert all(math.isfinite(value) and value > 0 for value in (first.soft, last.soft))
        assert last.total == pytest.approx((last.hard + last.soft) / 2, rel=1e-5)
