"""What networks say of the validation part, and what is measured of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdcli.engine import predict as predict_module
from kdcli.engine.predict import predict


@pytest.mark.parametrize("batch", [3, 20, 1000])
def test_predictions_do_not_depend_on_the_batches(world: Any, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(predict_module, "BATCH", batch)
    weight = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    indices = torch.arange(75, 55, -1)

    def forward(inputs: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return torch.einsum("bd,kcd->kbc", inputs, weight).half()

    logits = predict(forward, world.source, indices, world.normalization)
    assert (logits.shape, logits.dtype) == ((2, 20, 3), torch.float32)
    expected = torch.einsum("bd,kcd->kbc", world.normalization(world.split.inputs[indices]), weight)
    torch.testing.assert_close(logits, expected, rtol=1e-2, atol=1e-2)


def test_validation_measures_every_network_as_it_is_in_evaluation(world: Any) -> None:
    fit = world.fit([world.member(seed=seed) for seed in range(3)], make=world.mlp(dropout=0.5, batch_norm=True))
    fit.bank.train(True)
    measures = world.validation().measure(fit.bank)
    rows = world.normalization(world.split.inputs[56:])
    labels = world.split.labels[56:]
    for seed, found in enumerate(measures):
        logits = world.mlp(dropout=0.5, batch_norm=True)(seed).eval()(rows)
        assert found is not None
        assert found.errors == int((logits.argmax(1) != labels).sum())
        assert found.nll == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
        teacher = world.teacher.logits(world.split.inputs[56:]).softmax(-1).mean(0)
        assert found.agreement == pytest.approx((logits.argmax(1) == teacher.argmax(1)).double().mean().item())


def test_validation_puts_the_networks_back_to_training_and_draws_no_noise(world: Any) -> None:
    fit = world.fit([world.member()], make=world.mlp(dropout=0.5))
    before = fit.bank.generators[0].get_state()
    fit.bank.train(True)
    world.validation().measure(fit.bank)
    assert torch.equal(fit.bank.generators[0].get_state(), before)
    rows = world.normalization(world.split.inputs)
    assert not torch.equal(fit.bank.logits(rows), fit.bank.logits(rows))


def test_validation_without_a_teacher_has_no_agreement(world: Any) -> None:
    fit = world.fit([world.member()])
    [found] = world.validation(with_teacher=False).measure(fit.bank)
    assert (found.agreement, found.kl_to_teacher) == (None, None)


def test_a_network_whose_answers_are_not_finite_has_no_measures(world: Any) -> None:
    fit = world.fit([world.member(seed=seed) for seed in range(2)])
    state = fit.bank.state(1)
    fit.bank.load(1, {**state, "output.bias": torch.tensor([0.0, float("inf"), 0.0])})
    first, second = world.validation().measure(fit.bank)
    assert first is not None
    assert second is None
