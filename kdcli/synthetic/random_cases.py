"""RANDOM: every attribute drawn by itself from the values it has in the training set (Bucila 2006, sec. 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdcli.data.order import generator

_RANDOM = 18


def random_cases(inputs: Tensor, cases: int, *, seed: int) -> Tensor:
    """Draw each attribute of each case uniformly from the bag of its training values, whatever the others are.

    Nominal and continuous attributes, and pixels, are treated alike: no value is made that was not there.

    Args:
        inputs: The training set, ``(N, ...)``, on the CPU.
        cases: How many to draw.
        seed: What is drawn depends on this, the size of the training set and ``cases``.

    Returns:
        The cases, in the shape and dtype of ``inputs``.
    """
    draws = generator(_RANDOM, seed)
    bags = inputs.flatten(1).T.contiguous()
    columns = [bag[torch.randint(len(bag), (cases,), generator=draws)] for bag in bags]
    return torch.stack(columns, dim=1).view(cases, *inputs.shape[1:])
