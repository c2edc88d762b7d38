"""Stratified samples: a validation part, a test part, a fraction of a transfer set."""

from __future__ import annotations

import torch
from torch import Tensor

from kdcli.data.order import generator
from kdcli.data.types import Dataset, Split
from kdcli.errors import DataError

_SPLIT = 3


def split_validation(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Cut a part for validation, with every class in it by its share; every class keeps at least one example.

    Args:
        labels: Class numbers, int64 ``(N,)``.
        fraction: The validation part of all examples, in ``[0, 1)``; 0 cuts none.
        seed: What is drawn depends on this and on the labels only.

    Returns:
        Sorted indices of what stays in training, and of the validation part.

    Raises:
        DataError: There are too few examples for that.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must lie in [0, 1), got {fraction}")
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    if fraction > 0:
        chosen[sample(labels, fraction, seed, keep=1)] = True
        if not chosen.any():
            raise DataError(
                f"{fraction:g} of {len(labels)} examples is less than one", fix="take a larger fraction, or 0"
            )
    return (~chosen).nonzero().squeeze(1), chosen.nonzero().squeeze(1)


def cut_validation(dataset: Dataset, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the training and of the validation part: the published one, where there is one and one is wanted.

    See :func:`split_validation`.
    """
    if dataset.validation is None or fraction == 0:
        return split_validation(dataset.train.labels, fraction, seed)
    everything = torch.ones(len(dataset.train), dtype=torch.bool)
    everything[dataset.validation] = False
    return everything.nonzero().squeeze(1), dataset.validation


def sample(labels: Tensor, fraction: float, seed: int, *, keep: int = 0) -> Tensor:
    """Draw ``round(fraction * N)`` examples, from every class by its share, rounded by largest remainders.

    Returns:
        Indices, sorted.

    Raises:
        DataError: That many cannot be drawn when ``keep`` examples of every class must be left.
    """
    draws = generator(_SPLIT, seed)
    parts = [torch.empty(0, dtype=torch.int64)]
    for number, share in enumerate(_shares(labels.bincount(), fraction, keep)):
        members = (labels == number).nonzero().squeeze(1)
        parts.append(members[torch.randperm(len(members), generator=draws)[:share]])
    return torch.cat(parts).sort().values


def _shares(counts: Tensor, fraction: float, keep: int) -> list[int]:
    exact = counts.double() * fraction
    shares = exact.floor().long()
    missing = round(fraction * int(counts.sum())) - int(shares.sum())
    remainder = (exact - shares).where(shares + keep < counts, -1.0)
    if missing > int((remainder >= 0).sum()):
        raise DataError(
            f"{fraction:g} of {int(counts.sum())} examples leaves a class without one; "
            f"the smallest class has {int(counts[counts > 0].min())}",
            fix="take a smaller fraction, or leave out the smallest classes",
        )
    shares[remainder.argsort(descending=True, stable=True)[:missing]] += 1
    return [int(share) for share in shares]


def cut_test(whole: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Cut a test part off a dataset that has none of its own.

    Raises:
        DataError: The part would be empty, or leave a class without an example.
    """
    if fraction == 0:
        raise DataError(
            "there is nothing to test on", where="dataset.test_fraction", fix="set it above 0, or name a test part"
        )
    train, test = split_validation(whole.labels, fraction, seed)
    return whole.subset(train), whole.subset(test)
