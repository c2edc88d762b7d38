from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdcli.errors import DataError
from kdcli.synthetic import munge, nbe, random_cases
from kdcli.synthetic.attributes import to_rows
from kdcli.synthetic.columns import Columns
from kdcli.synthetic.mixture import single
from kdcli.synthetic.nbe import fit

CENTRES = torch.tensor([[-4.0, -4.0], [0.0, 3.0], [5.0, -1.0]])
WIDTHS = torch.tensor([[0.5, 1.5], [1.5, 0.4], [0.6, 0.6]])


def three_groups(num: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    group = torch.randint(3, (num,), generator=draw)
    return CENTRES[group] + WIDTHS[group] * torch.randn((num, 2), generator=draw)


def log_truth(rows: Tensor) -> float:
    """Mean log density of the three groups at rows."""
    offset = (rows[:, None].double() - CENTRES) / WIDTHS
    each = (
        -0.5 * offset.square().sum(2)
        - WIDTHS.log().sum(1)
        - torch.log(torch.tensor(2 * torch.pi))
        - torch.log(torch.tensor(3.0))
    )
    return float(each.logsumexp(1).mean())


def energy_distance(first: Tensor, second: Tensor) -> float:
    """Szekely's distance between two samples: 0 for one distribution, as they grow."""
    x, y = first.double(), second.double()
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def square(num: int, seed: int) -> Tensor:
    """A square's outline, of which four standard deviations lie within 0.12: a problem with corners."""
    draw = torch.Generator().manual_seed(seed)
    along = torch.rand(num, generator=draw) * 2 - 1
    across = (torch.rand(num, generator=draw) < 0.5).float() * 2 - 1 + 0.03 * torch.randn(num, generator=draw)
    turned = torch.rand(num, generator=draw) < 0.5
    return torch.where(turned[:, None], torch.stack([along, across], 1), torch.stack([across, along], 1))


def test_a_known_mixture_is_recovered_better_than_by_random() -> None:
    train, fresh = three_groups(2000, seed=0), three_groups(2000, seed=1)
    estimated, independent = nbe(train, (), 2000, seed=0), random_cases(train, 2000, seed=0)
    assert log_truth(estimated) > log_truth(fresh) - 0.2 > log_truth(independent) + 2
    assert energy_distance(estimated, fresh) < 0.05 * energy_distance(independent, fresh)


def test_on_a_problem_with_corners_random_leaves_the_region_of_interest_and_the_others_do_not() -> None:
    def share_outside(rows: Tensor) -> float:
        return float(((rows.abs().amax(1) - 1).abs() > 0.12).double().mean())

    train = square(1500, seed=0)
    assert share_outside(train) < 0.001
    assert share_outside(random_cases(train, 3000, seed=0)) > 0.15
    assert share_outside(nbe(train, (), 3000, seed=0)) < 0.01
    assert share_outside(munge(train, (), 3000, p=0.5, s=5.0, seed=0)) < 0.01


def test_nominal_attributes_keep_their_values_and_their_dependence() -> None:
    draw = torch.Generator().manual_seed(0)
    first = torch.randint(3, (1500,), generator=draw)
    noisy = torch.where(torch.rand(1500, generator=draw) < 0.1, torch.randint(3, (1500,), generator=draw), first)
    rows = torch.stack([first * 2.0, 10 + noisy.float(), first + 0.2 * torch.randn(1500, generator=draw)], dim=1)
    made = nbe(rows, (0, 1), 3000, seed=0)
    assert set(made[:, 0].tolist()) == {0.0, 2.0, 4.0}
    assert set(made[:, 1].tolist()) == {10.0, 11.0, 12.0}
    share = float((made[:, 0] / 2 == made[:, 1] - 10).double().mean())
    assert share == pytest.approx(float((first == noisy).double().mean()), abs=0.04)
    assert float((made[:, 2].round() == made[:, 0] / 2).double().mean()) > 0.9


def test_growing_raises_the_likelihood_of_rows_that_were_not_seen() -> None:
    train, fresh = three_groups(1000, seed=0), three_groups(1000, seed=1).double()
    columns = Columns.of(train, ())
    mixture = fit(to_rows(train), columns, seed=0)
    assert mixture.log_likelihood(fresh) > single(columns, train.double()).log_likelihood(fresh) + 1
    assert float(mixture.weights.sum()) == pytest.approx(1)
    assert float(mixture.weights.min()) > 0


def test_images_keep_shape_dtype_and_what_is_constant() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (200, 1, 3, 3), generator=draw, dtype=torch.uint8)
    images[:, 0, 0, 0] = 0
    images[:, 0, 1, 1] = 77
    made = nbe(images, (), 300, seed=0)
    assert made.dtype == torch.uint8
    assert made.shape == (300, 1, 3, 3)
    assert made[:, 0, 0, 0].unique().tolist() == [0]
    assert made[:, 0, 1, 1].unique().tolist() == [77]
    assert len(made.flatten(1).unique(dim=0)) == 300


def test_few_cases_are_the_first_of_many_and_depend_on_the_seed() -> None:
    train = three_groups(200, seed=0)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    many = nbe(train, (), 20_000, seed=0)
    assert torch.equal(nbe(train, (), 17_000, seed=0), many[:17_000])
    assert not torch.equal(nbe(train, (), 100, seed=1), many[:100])
    assert not any(torch.equal(many[:2000], many[start : start + 2000]) for start in range(2000, 18_001))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num", [2, 3, 7, 25])
def test_few_rows_give_finite_cases(num: int) -> None:
    assert nbe(three_groups(num, seed=0), (), 50, seed=0).isfinite().all()


def test_a_table_of_nominal_attributes_only() -> None:
    rows = torch.tensor([[0.0, 5.0], [1.0, 6.0]]).repeat(100, 1)
    made = nbe(rows, (0, 1), 1000, seed=0)
    assert float((made[:, 0] == made[:, 1] - 5).double().mean()) > 0.75  # half of independent ones would


def test_one_row_has_no_distribution() -> None:
    with pytest.raises(DataError, match="one example"):
        nbe(three_groups(1, seed=0), (), 5, seed=0)
