from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcli.data.split import cut_test, sample, split_validation
from kdcli.data.types import Split
from kdcli.errors import DataError


def _labels(*counts: int) -> torch.Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def test_a_tenth_is_a_tenth_of_every_class() -> None:
    labels = _labels(100, 50, 30)
    train, val = split_validation(labels, 0.1, seed=0)
    assert labels[val].bincount().tolist() == [10, 5, 3]
    assert labels[train].bincount().tolist() == [90, 45, 27]


def test_what_does_not_divide_goes_to_the_largest_remainders() -> None:
    # 0.1 of 36, 27, 18 is 3.6, 2.7, 1.8, of all 8.1: one each for 1.8 and 2.7.
    assert _labels(36, 27, 18)[sample(_labels(36, 27, 18), 0.1, 0)].bincount().tolist() == [3, 3, 2]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(0, 0.99), st.integers(0, 99))
def test_a_split_is_a_partition_that_keeps_every_class(counts: list[int], fraction: float, seed: int) -> None:
    labels = _labels(*counts)
    try:
        train, val = split_validation(labels, fraction, seed)
    except DataError:
        size = round(fraction * len(labels))
        # Only so many can be taken when a class keeps one example, and gives at most its share rounded up.
        assert size == 0 or size > sum(min(n - 1, int(fraction * n) + 1) for n in counts)
        return
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(labels)))
    assert train.tolist() == sorted(train.tolist())
    assert val.tolist() == sorted(val.tolist())
    assert len(val) == round(fraction * len(labels))
    assert set(labels[train].tolist()) == set(range(len(counts)))
    for number, count in enumerate(counts):
        assert abs(int((labels[val] == number).sum()) - fraction * count) < 1 + 1e-9


def test_fraction_zero_cuts_nothing() -> None:
    train, val = split_validation(_labels(3, 4), 0.0, seed=0)
    assert train.tolist() == list(range(7))
    assert val.dtype == torch.int64
    assert len(val) == 0


def test_the_seed_decides_what_is_drawn() -> None:
    labels = _labels(50, 50)
    drawn = {tuple(split_validation(labels, 0.2, seed)[1].tolist()) for seed in (0, 0, 1, 2)}
    assert len(drawn) == 3


def test_a_split_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="less than one"):
        split_validation(_labels(2, 2), 0.1, seed=0)
    with pytest.raises(DataError, match="the smallest class has 1"):
        split_validation(_labels(1, 1, 1), 0.5, seed=0)
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"\[0, 1\)"):
            split_validation(_labels(2, 2), fraction, seed=0)


def test_a_test_part_is_cut_from_the_whole() -> None:
    labels = _labels(20, 10)
    whole = Split(torch.arange(30.0).view(30, 1), labels)
    train, test = cut_test(whole, 0.3, seed=1)
    assert test.labels.bincount().tolist() == [6, 3]
    assert sorted([*train.inputs.flatten().tolist(), *test.inputs.flatten().tolist()]) == list(range(30))
    assert torch.equal(labels[test.inputs.flatten().long()], test.labels)
    with pytest.raises(DataError, match="nothing to test on"):
        cut_test(whole, 0.0, seed=1)
