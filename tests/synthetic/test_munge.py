from __future__ import annotations

import importlib
import math

import pytest
import torch
from torch import Tensor

from kdcli.data.letter import letter_p1
from kdcli.errors import DataError
from kdcli.synthetic import munge
from kdcli.synthetic.munge import draws, exchange

Row = list[float]


def algorithm_1(
    table: list[Row], nominal: set[int], chosen: list[list[bool]], noise: list[list[Row]], s: float
) -> None:
    """One pass over T', line 4 to 13 of the paper's algorithm 1, on Python's floats; changes ``table``."""
    columns = list(zip(*table, strict=True))
    scale = [(max(column) - min(column)) or 1.0 for column in columns]

    def squared_distance(x: Row, y: Row) -> float:
        total = 0.0
        for a in range(len(x)):
            total += float(x[a] != y[a]) if a in nominal else ((x[a] - y[a]) / scale[a]) ** 2
        return total

    for i, e in enumerate(table):
        others = [j for j in range(len(table)) if j != i]
        j = min(others, key=lambda j: squared_distance(table[j], e))
        e_ = table[j]
        for a in range(len(e)):
            if not chosen[i][a]:
                continue
            if a in nominal:
                e[a], e_[a] = e_[a], e[a]
            else:
                sd = abs(e[a] - e_[a]) / s
                e[a], e_[a] = e_[a] + sd * noise[0][i][a], e[a] + sd * noise[1][i][a]


def slowly(inputs: Tensor, nominal: set[int], passes: int, p: float, s: float, seed: int) -> Tensor:
    made = []
    for number in range(passes):
        table = inputs.double().tolist()
        chosen, noise = draws(seed, number, (inputs.shape[0], inputs.shape[1]), p)
        algorithm_1(table, nominal, chosen.tolist(), noise.double().tolist(), s)
        made += table
    return torch.tensor(made, dtype=torch.float64).float()


def mixed_table(num: int, seed: int = 0) -> Tensor:
    """Quantities of different scales, one far from 0 and one constant, between nominal attributes."""
    draw = torch.Generator().manual_seed(seed)
    latent = torch.randn(num, generator=draw)
    columns = [
        latent,
        torch.randint(30, (num,), generator=draw) * 10,  # so many that the nearest row has another one
        100 * latent + 30 * torch.randn(num, generator=draw),
        torch.full((num,), 7.0),
        5e6 + 1000 * torch.randn(num, generator=draw),
        (latent > 0).float() - 3,
    ]
    return torch.stack([column.float() for column in columns], dim=1)


def letter_rows(num: int) -> Tensor:
    rows = letter_p1().train.inputs
    assert isinstance(rows, Tensor)
    return rows[:num].clone()


MIXED = mixed_table(150)
NOMINAL = (1, 5)


@pytest.mark.parametrize(("p", "s"), [(0.5, 1.0), (0.2, 5.0), (1.0, 0.7), (0.9, math.inf)])
def test_it_is_algorithm_1_on_mixed_attributes(p: float, s: float) -> None:
    assert torch.equal(munge(MIXED, NOMINAL, 300, p=p, s=s, seed=3), slowly(MIXED, {1, 5}, 2, p, s, seed=3))


def test_it_is_algorithm_1_where_rows_are_often_equal_or_equally_near() -> None:
    rows = letter_rows(140)[:, :5]
    assert len(rows.unique(dim=0)) < 140
    assert torch.equal(munge(rows, (), 280, p=0.3, s=4.0, seed=0), slowly(rows, set(), 2, 0.3, 4.0, seed=0))


def test_it_is_algorithm_1_where_the_nearest_row_is_mostly_the_next_one() -> None:
    rows = MIXED[MIXED[:, 0].argsort()][:, :1].repeat(1, 3) + 0.01 * MIXED[:, :1]
    assert torch.equal(munge(rows, (), 150, p=0.5, s=2.0, seed=1), slowly(rows, set(), 1, 0.5, 2.0, seed=1))


def test_it_is_algorithm_1_on_nominal_attributes_alone() -> None:
    codes = torch.randint(3, (100, 7), generator=torch.Generator().manual_seed(5)).float()
    nominal = set(range(7))
    assert torch.equal(munge(codes, tuple(nominal), 100, p=0.5, s=1.0, seed=1), slowly(codes, nominal, 1, 0.5, 1.0, 1))


@pytest.mark.slow
def test_it_is_algorithm_1_at_full_size() -> None:
    rows, nominal = letter_rows(4000), torch.arange(16) % 5 == 0
    (chosen, noise), s = draws(0, 0, (4000, 16), 0.5), 3.0
    table, scale = rows.double(), (rows.amax(0) - rows.amin(0)).double()
    for i in range(4000):
        terms = torch.where(nominal, (table != table[i]).double(), ((table - table[i]) / scale) ** 2)
        distance = terms.cumsum(1)[:, -1]  # adds attribute after attribute, as a loop does
        distance[i] = torch.inf
        j = int(distance.argmin())
        e, e_ = table[i].clone(), table[j].clone()
        sd = torch.where(nominal, 0.0, (e - e_).abs() / s)
        table[i] = torch.where(chosen[i], e_ + sd * noise[0, i], e)
        table[j] = torch.where(chosen[i], e + sd * noise[1, i], e_)
    assert torch.equal(munge(rows, (0, 5, 10, 15), 4000, p=0.5, s=s, seed=0), table.float())


def test_images_are_rows_of_pixels_on_one_scale_rounded_after_the_pass() -> None:
    draw = torch.Generator().manual_seed(2)
    images = torch.randint(256, (70, 1, 3, 2), generator=draw, dtype=torch.uint8)
    images[0], images[1], images[2:, :, 0] = 0, 255, images[2:, :, 0] // 8  # the first pixels' own range stays 255
    made = munge(images, (), 70, p=0.6, s=0.8, seed=4)
    expected = slowly(images.flatten(1), set(), 1, 0.6, 0.8, seed=4)
    assert made.dtype == torch.uint8
    assert made.shape == images.shape
    assert not torch.equal(expected.round(), expected.round().clamp(0, 255))
    assert torch.equal(made.flatten(1).float(), expected.round().clamp(0, 255))


def test_passes_are_the_same_one_by_one_and_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    together = munge(MIXED, NOMINAL, 450, p=0.5, s=2.0, seed=0)
    monkeypatch.setattr(importlib.import_module("kdcli.synthetic.munge"), "_MEMORY", 1)
    assert torch.equal(munge(MIXED, NOMINAL, 450, p=0.5, s=2.0, seed=0), together)


def test_fewer_passes_are_the_first_of_more_and_all_of_them_differ() -> None:
    made = munge(MIXED, NOMINAL, 450, p=0.5, s=2.0, seed=0)
    assert torch.equal(munge(MIXED, NOMINAL, 300, p=0.5, s=2.0, seed=0), made[:300])
    assert len({tuple(part.flatten().tolist()) for part in made.split(150)}) == 3
    assert not torch.equal(munge(MIXED, NOMINAL, 300, p=0.5, s=2.0, seed=1), made[:300])


def test_a_last_pass_in_part_gives_a_random_part_of_its_cases() -> None:
    whole = munge(MIXED, NOMINAL, 300, p=0.5, s=2.0, seed=0)[150:].tolist()
    part = munge(MIXED, NOMINAL, 190, p=0.5, s=2.0, seed=0)[150:].tolist()
    places = [whole.index(row) for row in part]
    assert len(set(places)) == 40
    assert places == sorted(places)
    assert max(places) > 100


def test_p_zero_gives_the_training_set_again() -> None:
    assert torch.equal(munge(MIXED, NOMINAL, 300, p=0.0, s=1.0, seed=0), MIXED.repeat(2, 1))


def test_nominal_values_are_only_moved_between_rows() -> None:
    made = munge(MIXED, NOMINAL, 150, p=0.7, s=0.5, seed=0)
    for attribute in NOMINAL:
        assert torch.equal(made[:, attribute].sort().values, MIXED[:, attribute].sort().values)
    assert not torch.equal(made[:, 1], MIXED[:, 1])


def test_as_s_grows_a_continuous_value_becomes_the_neighbours() -> None:
    exact = munge(MIXED, NOMINAL, 150, p=0.5, s=math.inf, seed=0)
    assert torch.equal(exact.sort(0).values, MIXED.sort(0).values)
    distances = [
        float((munge(MIXED, NOMINAL, 150, p=0.5, s=s, seed=0) - exact)[:, 0].abs().mean()) for s in (1e4, 1e6, 1e8)
    ]
    assert 0.1 > distances[0] > distances[1] > distances[2]


def test_with_p_one_and_no_noise_rows_are_moved_whole() -> None:
    made = munge(MIXED, NOMINAL, 150, p=1.0, s=math.inf, seed=0)
    assert sorted(made.tolist()) == sorted(MIXED.tolist())
    assert not torch.equal(made, MIXED)


def test_an_exchange_draws_around_the_others_value_with_the_difference_over_s() -> None:
    draw = torch.Generator().manual_seed(0)
    pair = torch.tensor([[2.0, 0.0], [8.0, 1.0]], dtype=torch.float64).expand(40_000, -1, -1)
    chosen = torch.rand((40_000, 2), generator=draw) < 0.25
    noise = torch.randn((40_000, 2, 2), generator=draw)
    made = exchange(pair, chosen, noise, torch.tensor([False, True]), s=3.0)
    drawn = made[chosen[:, 0], :, 0]
    assert float(chosen[:, 0].double().mean()) == pytest.approx(0.25, abs=0.01)
    assert drawn.mean(0).tolist() == pytest.approx([8.0, 2.0], abs=0.1)
    assert drawn.std(0).tolist() == pytest.approx([2.0, 2.0], rel=0.03)
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 0.05
    assert torch.equal(made[:, :, 1], torch.where(chosen[:, 1:], torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])))
    assert torch.equal(made[~chosen[:, 0], :, 0], pair[~chosen[:, 0], :, 0])


def test_draws_have_the_probability_and_are_normal() -> None:
    chosen, noise = draws(0, 0, (300, 300), 0.3)
    assert float(chosen.double().mean()) == pytest.approx(0.3, abs=0.006)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert not torch.equal(draws(0, 1, (300, 300), 0.3)[1], noise)


def test_the_global_generator_and_the_inputs_are_left_alone() -> None:
    torch.manual_seed(0)
    state, before = torch.get_rng_state(), MIXED.clone()
    munge(MIXED, NOMINAL, 160, p=0.5, s=2.0, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(MIXED, before)


def test_one_row_has_no_neighbour() -> None:
    with pytest.raises(DataError, match="one example"):
        munge(MIXED[:1], NOMINAL, 5, p=0.5, s=1.0, seed=0)


def test_two_rows_are_each_others_neighbours() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert torch.equal(munge(rows, (), 4, p=0.5, s=1.0, seed=0), slowly(rows, set(), 2, 0.5, 1.0, seed=0))


def test_noise_that_grows_beyond_all_numbers_is_an_error() -> None:
    with pytest.raises(DataError, match="too large") as caught:
        munge(MIXED, NOMINAL, 150, p=1.0, s=1e-12, seed=0)
    assert caught.value.where == "transfer.s"


@pytest.mark.parametrize(("cases", "p", "s"), [(0, 0.5, 1.0), (5, 1.1, 1.0), (5, -0.1, 1.0), (5, 0.5, 0.0)])
def test_numbers_out_of_range_are_refused(cases: int, p: float, s: float) -> None:
    with pytest.raises(ValueError, match="p lie in"):
        munge(MIXED, NOMINAL, cases, p=p, s=s, seed=0)
