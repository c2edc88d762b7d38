"""One teacher from the members of an ensemble."""

from __future__ import annotations

import math
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor

from kdcli.losses import EnsembleMean, combine_members, combine_peers, soft_target_kl


def members(count: int = 4) -> Tensor:
    return 3 * torch.randn(count, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def softmax(scores: list[float], temperature: float) -> list[float]:
    weights = [math.exp(score / temperature) for score in scores]
    return [weight / sum(weights) for weight in weights]


def slow_mean(rows: list[list[float]], temperature: float, how: str) -> list[float]:
    """The mean of the members' distributions, for one example, from its definition."""
    columns = list(zip(*(softmax(row, temperature) for row in rows), strict=True))
    if how == "arithmetic":
        return [sum(column) / len(column) for column in columns]
    products = [math.prod(column) ** (1 / len(column)) for column in columns]
    return [product / sum(products) for product in products]


@pytest.mark.parametrize("how", get_args(EnsembleMean))
@pytest.mark.parametrize("temperature", [0.5, 1, 3.3, 20.0])
def test_the_result_says_the_mean_of_what_the_members_say(
    how: Literal["arithmetic", "geometric"], temperature: float
) -> None:
    logits = members()
    said = (combine_members(logits, temperature, how) / temperature).softmax(-1)
    assert said.shape == (5, 6)
    for example in range(5):
        expected = slow_mean(logits[:, example].tolist(), temperature, how)
        assert said[example].tolist() == pytest.approx(expected, rel=1e-10)


def test_the_arithmetic_result_is_the_logarithm_of_the_mean() -> None:
    combined = combine_members(members(), 1.0, "arithmetic")
    torch.testing.assert_close(combined, members().softmax(-1).mean(0).log())


@pytest.mark.parametrize("shape", [(3,), (2, 3), ()])
def test_each_temperature_of_a_tensor_has_its_own_arithmetic_mean(shape: tuple[int, ...]) -> None:
    temperatures = torch.linspace(1, 8, math.prod(shape), dtype=torch.float64).reshape(shape)
    combined = combine_members(members(), temperatures, "arithmetic")
    assert combined.shape == (*shape, 5, 6)
    for temperature, one in zip(temperatures.flatten().tolist(), combined.reshape(-1, 5, 6), strict=True):
        torch.testing.assert_close(one, combine_members(members(), temperature, "arithmetic"))


def test_the_geometric_mean_is_the_same_at_every_temperature() -> None:
    temperatures = torch.tensor([1.0, 4.0])
    assert torch.equal(combine_members(members(), temperatures, "geometric"), members().mean(0))


@pytest.mark.parametrize("how", get_args(EnsembleMean))
@pytest.mark.parametrize("temperature", [4.0, torch.tensor([1.0, 4.0])])
def test_one_member_is_returned_as_it_is(how: Literal["arithmetic", "geometric"], temperature: float | Tensor) -> None:
    assert torch.equal(combine_members(members(1), temperature, how), members(1)[0])


def test_a_cohort_learns_from_the_mean_at_its_own_temperatures() -> None:
    """The combined logits go straight into a soft loss, beside the same tensor of temperatures."""
    student = members(3)
    temperatures = torch.tensor([1.0, 2.0, 8.0], dtype=torch.float64)
    together = soft_target_kl(student, combine_members(members(), temperatures, "arithmetic"), temperatures)
    for k, temperature in enumerate(temperatures.tolist()):
        q = (student[k] / temperature).softmax(-1)
        p = (members() / temperature).softmax(-1).mean(0)
        expected = temperature**2 * (p * (p / q).log()).sum(-1).mean()
        assert together[k].item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("how", get_args(EnsembleMean))
def test_extreme_members_in_half_precision_stay_finite(how: Literal["arithmetic", "geometric"]) -> None:
    certain = torch.tensor([[[6e4, -6e4]], [[-6e4, 6e4]]], dtype=torch.float16)
    combined = combine_members(certain, 1.0, how)
    assert combined.dtype is torch.float32
    assert combined.softmax(-1).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("shape", [(5, 6), (2, 4, 5, 6), (0, 5, 6), (4, 0, 6)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(M, B, C\)") as refused:
        combine_members(torch.zeros(shape), 1.0, "geometric")
    assert str(refused.value).endswith(f"got {shape}")


def test_an_unknown_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of arithmetic, geometric, got 'harmonic'"):
        combine_members(members(), 1.0, "harmonic")  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.0, -2.0, float("nan")])
def test_a_number_that_is_no_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be > 0"):
        combine_members(members(), temperature, "arithmetic")


@pytest.mark.parametrize("how", get_args(EnsembleMean))
def test_each_of_several_networks_hears_the_mean_of_the_others(how: Literal["arithmetic", "geometric"]) -> None:
    logits, temperatures = members(), [1.0, 2.5, 0.7, 8.0]
    found = combine_peers(logits, torch.tensor(temperatures, dtype=torch.float64), how)
    for k, temperature in enumerate(temperatures):
        said = (found[k] / temperature).softmax(-1)
        for example in range(5):
            rows = [logits[j, example].tolist() for j in range(4) if j != k]
            assert said[example].tolist() == pytest.approx(slow_mean(rows, temperature, how), rel=1e-10)


def test_two_networks_hear_each_other_and_no_gradient_flows() -> None:
    logits = members(2).requires_grad_()
    found = combine_peers(logits, torch.ones(2), "arithmetic")
    assert torch.equal(found, logits.detach().flip(0))
    assert not found.requires_grad


@pytest.mark.parametrize("shape", [(1, 5, 3), (5, 3)])
def test_one_network_has_nobody_to_hear(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="K at least 2"):
        combine_peers(torch.zeros(shape), torch.ones(1), "arithmetic")
