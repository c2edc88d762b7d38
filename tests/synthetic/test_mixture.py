from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.synthetic.columns import Columns
from kdcli.synthetic.mixture import Mixture, em_step, single


def two_groups(num: int, seed: int = 0) -> Tensor:
    """A third around (0, 0) with b = 1 mostly, the rest around (6, 2) with b = 2 or 3; b is nominal."""
    draw = torch.Generator().manual_seed(seed)
    second = torch.rand(num, generator=draw) > 1 / 3
    noise = torch.randn((num, 2), generator=draw)
    quantities = torch.where(second[:, None], torch.tensor([6.0, 2.0]), torch.zeros(2)) + noise * torch.tensor([1, 0.5])
    rare = torch.rand(num, generator=draw) < 0.1
    return torch.cat([quantities, torch.where(second, torch.where(rare, 3.0, 2.0), 1.0)[:, None]], dim=1)


def rough(columns: Columns, components: int, seed: int = 1) -> Mixture:
    """A mixture that fits nothing."""
    draw = torch.Generator().manual_seed(seed)
    shares = torch.rand((components, len(columns.marginal)), generator=draw, dtype=torch.float64) + 0.5
    return Mixture(
        columns,
        torch.full((components,), 1 / components, dtype=torch.float64),
        torch.randn((components, len(columns.continuous)), generator=draw, dtype=torch.float64),
        torch.ones((components, len(columns.continuous)), dtype=torch.float64),
        torch.cat([share / share.sum(1, keepdim=True) for share in shares.split(columns.sizes, dim=1)] or [shares], 1),
    )


def log_density(mixture: Mixture, row: list[float]) -> float:
    """Of one standardised row with its nominal values' positions at the end, by the definition of the mixture."""
    quantities = mixture.means.shape[1]
    total = 0.0
    for k in range(len(mixture)):
        density = float(mixture.weights[k])
        for c in range(quantities):
            mean, variance = float(mixture.means[k, c]), float(mixture.variances[k, c])
            density *= math.exp(-((row[c] - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
        start = 0
        for size, code in zip(mixture.columns.sizes, row[quantities:], strict=True):
            density *= float(mixture.shares[k, start + int(code)])
            start += size
        total += density
    return math.log(total)


def test_the_likelihood_is_that_of_the_definition() -> None:
    rows = two_groups(40)
    columns = Columns.of(rows, (2,))
    mixture = rough(columns, 3)
    standard = ((rows - rows.mean(0)) / rows.std(0, correction=0)).double()
    standard[:, 2] = rows[:, 2] - 1
    expected = sum(log_density(mixture, row) for row in standard.tolist()) / 40
    assert mixture.log_likelihood(rows.double()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("components", [1, 4, 12])
def test_the_likelihood_of_quantities_never_falls(components: int) -> None:
    rows = two_groups(400)[:, :2].double()
    mixture = rough(Columns.of(rows.float(), ()), components)
    course = [mixture.log_likelihood(rows)]
    for _ in range(40):
        mixture = em_step(mixture, rows)
        course.append(mixture.log_likelihood(rows))
    assert all(after >= before - 1e-12 for before, after in zip(course, course[1:], strict=False))
    assert course[-1] > course[0] + 0.1


def test_with_nominal_attributes_likelihood_and_prior_together_never_fall() -> None:
    rows = two_groups(400).double()
    columns = Columns.of(rows.float(), (2,))
    mixture = rough(columns, 6)

    def objective() -> float:
        # one example of the table's shares, beside each component's own: a Dirichlet prior
        return 400 * mixture.log_likelihood(rows) + float((columns.marginal * mixture.shares.log()).sum())

    course = [objective()]
    for _ in range(40):
        mixture = em_step(mixture, rows)
        course.append(objective())
    assert all(after >= before - 1e-9 for before, after in zip(course, course[1:], strict=False))
    assert course[-1] > course[0] + 40


def test_known_components_are_found() -> None:
    rows = two_groups(6000)
    columns = Columns.of(rows, (2,))
    mixture = rough(columns, 2)
    for _ in range(60):
        mixture = em_step(mixture, rows.double())
    order = mixture.means[:, 0].argsort()
    means = mixture.means * columns.deviation + columns.mean
    deviations = mixture.variances.sqrt() * columns.deviation
    assert mixture.weights[order].tolist() == pytest.approx([1 / 3, 2 / 3], abs=0.02)
    assert means[order].flatten().tolist() == pytest.approx([0, 0, 6, 2], abs=0.08)
    assert deviations[order].flatten().tolist() == pytest.approx([1, 0.5, 1, 0.5], abs=0.05)
    assert mixture.shares[order].flatten().tolist() == pytest.approx([1, 0, 0, 0, 0.9, 0.1], abs=0.02)


def test_one_component_has_the_moments_of_the_table() -> None:
    rows = two_groups(500)
    columns = Columns.of(rows, (2,))
    mixture = single(columns, rows.double())
    assert mixture.means.flatten().tolist() == pytest.approx([0, 0], abs=1e-9)
    assert mixture.variances.flatten().tolist() == pytest.approx([1, 1])
    counts = rows[:, 2].long().bincount()[1:] / 500
    assert mixture.shares.flatten().tolist() == pytest.approx(counts.tolist(), rel=1e-6)


def test_no_component_is_narrower_than_the_grid_of_the_values() -> None:
    rows = torch.arange(4.0).repeat(50)[:, None]
    columns = Columns.of(rows, ())
    mixture = rough(columns, 4)
    for _ in range(200):
        mixture = em_step(mixture, rows.double())
    # values 0, 1, 2, 3: a gap of 1, whose uniform distribution has variance 1/12
    least = float((mixture.variances * columns.deviation**2).min())
    assert least == pytest.approx(1 / 12)


def test_samples_have_the_mixtures_moments() -> None:
    rows = two_groups(500)
    columns = Columns.of(rows, (2,))
    mixture = rough(columns, 3)
    drawn = mixture.sample(50_000, torch.Generator().manual_seed(0))
    standard = (drawn[:, :2] - columns.mean) / columns.deviation
    mean = mixture.weights @ mixture.means
    second = mixture.weights @ (mixture.variances + mixture.means**2)
    assert standard.mean(0).tolist() == pytest.approx(mean.tolist(), abs=0.02)
    assert standard.square().mean(0).tolist() == pytest.approx(second.tolist(), rel=0.03)
    assert (drawn[:, 2].long().bincount()[1:] / 50_000).tolist() == pytest.approx(
        (mixture.weights @ mixture.shares).tolist(), abs=0.01
    )
