"""Permuted dark knowledge."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from kdcli.losses import permute_others

B, C = 2400, 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def kept() -> Tensor:
    return torch.randint(C, (B,), generator=torch.Generator().manual_seed(1))


def by_hand(scores: list[float], kept: int, keys: list[float]) -> list[float]:
    """The other classes, in the order of their keys, put where the others were."""
    others = [c for c in range(len(scores)) if c != kept]
    drawn = sorted(others, key=lambda c: keys[c])
    result = list(scores)
    for place, source in zip(others, drawn, strict=True):
        result[place] = scores[source]
    return result


def test_it_is_the_permutation_that_the_keys_order(kept: Tensor) -> None:
    logits, keys = draw(B, C), draw(B, C, seed=2)
    rows = zip(logits.tolist(), kept.tolist(), keys.tolist(), strict=True)
    assert permute_others(logits, kept, keys).tolist() == [by_hand(*row) for row in rows]


def test_the_score_that_is_kept_stays_and_the_others_are_the_same_numbers(kept: Tensor) -> None:
    logits = draw(B, C)
    found = permute_others(logits, kept, draw(B, C, seed=2))
    rows = torch.arange(B)
    assert torch.equal(found[rows, kept], logits[rows, kept])
    assert torch.equal(found.sort(dim=-1).values, logits.sort(dim=-1).values)


def test_every_permutation_is_equally_likely() -> None:
    """Six of three others: the statistic of a chi-square test with five degrees of freedom, whose 99.9 % is 20.5."""
    logits = torch.tensor([7.0, 0.0, 1.0, 2.0]).expand(B, C)
    found = permute_others(logits, torch.zeros(B, dtype=torch.int64), draw(B, C, seed=2))
    counts = Counter(tuple(row) for row in found[:, 1:].tolist())
    assert len(counts) == 6
    assert sum((count - B / 6) ** 2 / (B / 6) for count in counts.values()) < 20.5


def test_all_members_are_permuted_alike(kept: Tensor) -> None:
    members, keys = draw(3, B, C), draw(B, C, seed=2)
    found = permute_others(members, kept, keys)
    assert torch.equal(found, torch.stack([permute_others(member, kept, keys) for member in members]))


def test_of_two_classes_nothing_can_be_permuted() -> None:
    logits = draw(5, 2)
    assert torch.equal(permute_others(logits, logits.argmax(-1), draw(5, 2, seed=2)), logits)
