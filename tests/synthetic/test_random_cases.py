from __future__ import annotations

import torch

from kdcli.synthetic import random_cases


def test_each_attribute_has_its_own_marginal() -> None:
    rows = torch.stack([torch.arange(10.0) // 5, torch.arange(10.0) // 3, torch.arange(10.0)], dim=1)
    made = random_cases(rows, 40_000, seed=0)
    for attribute in range(3):
        values, counts = rows[:, attribute].unique(return_counts=True)
        drawn, times = made[:, attribute].unique(return_counts=True)
        assert torch.equal(drawn, values)
        expected = 40_000 * counts / 10
        # chi-square with at most 9 degrees of freedom: 27.9 is its 99.9 % quantile
        assert float(((times - expected) ** 2 / expected).sum()) < 27.9


def test_attributes_do_not_depend_on_each_other() -> None:
    same = torch.arange(50.0)[:, None].expand(-1, 3)
    made = random_cases(same, 20_000, seed=1)
    correlation = torch.corrcoef(made.T)
    assert float((correlation - torch.eye(3)).abs().max()) < 0.03


def test_images_keep_shape_and_dtype_and_draw_pixel_by_pixel() -> None:
    images = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 1, 3, 4)
    made = random_cases(images, 500, seed=0)
    assert made.shape == (500, 1, 3, 4)
    assert made.dtype == torch.uint8
    assert torch.equal(made.unique(dim=0).amin(0), images[0])
    assert torch.equal(made.amax(0), images[1])
    assert len(made.flatten(1).unique(dim=0)) > 400


def test_cases_depend_on_the_seed_and_on_nothing_else() -> None:
    torch.manual_seed(0)
    state, rows = torch.get_rng_state(), torch.arange(30.0).view(10, 3)
    assert torch.equal(random_cases(rows, 99, seed=5), random_cases(rows, 99, seed=5))
    assert not torch.equal(random_cases(rows, 99, seed=5), random_cases(rows, 99, seed=6))
    assert torch.equal(torch.get_rng_state(), state)
