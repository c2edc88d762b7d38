"""Which classes each specialist knows: those that the generalist tends to take for one another.

Shapes: N examples, C classes, M specialists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from kdcli.errors import UsageError
from kdcli.specialists.kmeans import Clustering, k_means

ClassSets: TypeAlias = tuple[tuple[int, ...], ...]
"""The special classes of every specialist, sorted; the specialists in the order of their classes."""


def prediction_covariance(probabilities: Tensor) -> Tensor:
    r"""Covariance of the generalist's predictions, with the classes as variables.

    .. math:: \Sigma = \frac{1}{N} \sum_{n=1}^{N} (p_n - \bar p)(p_n - \bar p)^\top

    Args:
        probabilities: The generalist's distributions over a data set, shape ``(N, C)``. No labels are needed.

    Returns:
        Shape ``(C, C)``, float64, on the CPU. Its rows sum to 0. (N - 1 instead of N would scale all of it, which
        changes no cluster.)

    Raises:
        ValueError: If ``probabilities`` is not ``(N, C)`` or is empty.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 5.3. arXiv:1503.02531.
    """
    if probabilities.dim() != 2 or 0 in probabilities.shape:
        raise ValueError(f"probabilities must have shape (N, C), none of them 0, got {tuple(probabilities.shape)}")
    centred = probabilities.cpu().double()
    centred = centred - centred.mean(0)
    return centred.T @ centred / len(centred)


def class_sets(
    covariance: Tensor, specialists: int, *, size: int | None = None, seed: int = 0, restarts: int = 10
) -> ClassSets:
    """The special classes of each specialist: k-means on the columns of the covariance matrix.

    The paper's k-means is on-line, one column at a time; this one moves all at once, which minimises the same sum and
    does not depend on the order of the classes.

    Args:
        covariance: Of the generalist's predictions, shape ``(C, C)``.
        specialists: How many clusters, at least 2.
        size: None takes the clusters as they are: every class has one specialist. A number gives every specialist the
            ``size`` classes whose columns are nearest to its cluster's centre: the sets may overlap and need not cover
            all classes, as in the paper, where all 61 specialists have 300 classes, and one class has none of them,
            another ten or more.
        seed: What k-means starts from.
        restarts: How often it starts.

    Raises:
        UsageError: If there are not as many classes as that takes; a specialist for all classes has no dustbin.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", sections 5.3 and 5.5.
    """
    num_classes = len(covariance)
    _check(num_classes, specialists, size)
    columns = covariance.T.cpu().double()
    clustering = k_means(columns, specialists, seed=seed, restarts=restarts)
    sets = _clusters(clustering) if size is None else _nearest_classes(columns, clustering, size)
    return tuple(sorted(sets))


def membership(sets: ClassSets, num_classes: int) -> Tensor:
    """Which classes are special to which specialist: bool, shape ``(M, C)``, on the CPU."""
    mask = torch.zeros(len(sets), num_classes, dtype=torch.bool)
    for row, classes in zip(mask, sets, strict=True):
        row[list(classes)] = True
    return mask


def _check(num_classes: int, specialists: int, size: int | None) -> None:
    if not 2 <= specialists <= num_classes:
        raise UsageError(
            f"{specialists} specialists cannot share {num_classes} classes",
            where="specialists.count",
            fix=f"take 2 to {num_classes} specialists",
        )
    if size is not None and not 1 <= size < num_classes:
        raise UsageError(
            f"a specialist cannot have {size} of {num_classes} classes to itself and a dustbin for the rest",
            where="specialists.size",
            fix=f"take 1 to {num_classes - 1} classes",
        )


def _clusters(clustering: Clustering) -> Sequence[tuple[int, ...]]:
    numbers = range(len(clustering.centres))
    return [tuple((clustering.assignment == number).nonzero()[:, 0].tolist()) for number in numbers]


def _nearest_classes(columns: Tensor, clustering: Clustering, size: int) -> Sequence[tuple[int, ...]]:
    offsets = torch.cdist(clustering.centres, columns, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = offsets.sort(dim=1, stable=True).indices[:, :size]
    return [tuple(sorted(classes)) for classes in nearest.tolist()]
