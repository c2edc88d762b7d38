from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.calibration import fit_temperature


def nll(logits: Tensor, labels: Tensor, temperature: float) -> float:
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        scaled = [value / temperature for value in row]
        total -= scaled[label] - math.log(sum(map(math.exp, scaled)))
    return total / len(labels)


def test_the_temperature_is_the_one_of_the_least_nll() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(200, 5, dtype=torch.float64)
    labels = (logits + 2 * torch.randn(200, 5)).argmax(1)
    best = fit_temperature(logits, labels)
    found = nll(logits, labels, best)
    assert all(found < nll(logits, labels, best * factor) for factor in (0.8, 0.98, 1.02, 1.25))


@pytest.mark.parametrize("stretched", [0.5, 1.0, 3.0])
def test_answers_that_were_stretched_are_stretched_back(stretched: float) -> None:
    torch.manual_seed(1)
    true = torch.randn(40_000, 4, dtype=torch.float64)
    labels = torch.distributions.Categorical(logits=true).sample()
    assert fit_temperature(stretched * true, labels) == pytest.approx(stretched, rel=0.03)


def test_a_network_that_is_always_right_gets_a_low_temperature_and_nothing_overflows() -> None:
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    assert nll(logits, torch.tensor([0, 1]), fit_temperature(logits, torch.tensor([0, 1]))) < 1e-14
    assert fit_temperature(1e4 * logits, torch.tensor([1, 0])) == pytest.approx(100, rel=1e-3)


def test_without_examples_there_is_nothing_to_fit() -> None:
    with pytest.raises(ValueError, match="no examples"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
