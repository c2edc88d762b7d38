"""The part of the training set that the student sees while it is distilled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdcli.data.split import sample
from kdcli.errors import DataError, UsageError


def select_transfer(
    labels: Tensor,
    indices: Tensor,
    *,
    fraction: float = 1.0,
    omit: Sequence[int] = (),
    only: Sequence[int] = (),
    seed: int = 0,
) -> Tensor:
    """Select from the training part: first a fraction of every class, then classes are kept or left out.

    Args:
        labels: Class numbers of the whole training set, int64 ``(N,)``.
        indices: The examples to select from, int64 ``(M,)``.
        fraction: The part of every class that stays, in ``(0, 1]``.
        omit: Classes that are left out, as in "no 3s in the transfer set" (Hinton 2015, sec. 3).
        only: Classes that are kept; empty: all.
        seed: What the fraction is drawn by.

    Returns:
        Those of ``indices`` that were selected, in the same order.

    Raises:
        UsageError: ``omit`` or ``only`` names a class that the dataset does not have.
        DataError: Nothing is left.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1], got {fraction}")
    num_classes = int(labels.max()) + 1
    _check_classes("transfer.omit", omit, num_classes)
    _check_classes("transfer.only", only, num_classes)
    selected = indices[sample(labels[indices], fraction, seed)] if fraction < 1 else indices
    kept = [c for c in range(num_classes) if (not only or c in only) and c not in omit]
    selected = selected[torch.isin(labels[selected], torch.tensor(kept, dtype=torch.int64))]
    if len(selected) == 0:
        raise DataError(
            f"the transfer set is empty: fraction {fraction:g} of {len(indices)} examples, "
            f"without classes {list(omit)}" + (f", only classes {list(only)}" if only else ""),
            where="transfer",
            fix="raise transfer.fraction, or leave out fewer classes",
        )
    return selected


def _check_classes(where: str, classes: Sequence[int], num_classes: int) -> None:
    wrong = [number for number in classes if not 0 <= number < num_classes]
    if wrong:
        raise UsageError(
            f"there is no class {', '.join(map(str, wrong))}", where=where, fix=f"classes are 0 to {num_classes - 1}"
        )
