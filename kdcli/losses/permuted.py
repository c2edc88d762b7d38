"""What a teacher says of the classes it does not choose, in disorder: a control of distillation."""

from __future__ import annotations

import torch
from torch import Tensor


def permute_others(logits: Tensor, kept: Tensor, keys: Tensor) -> Tensor:
    """Permute the scores of all classes but one: dark knowledge with permuted predictions (DKPP).

    The confidence of a teacher and how it spreads the rest stay what they were; which class has how much of the rest
    no longer means anything.

    Args:
        logits: Unnormalised scores, shape ``(..., B, C)``; all leading networks are permuted alike.
        kept: The class of each example whose score stays where it is, int64 ``(B,)``.
        keys: Numbers whose order, among the other classes, is the permutation: shape ``(B, C)``. From independent
            uniform numbers each permutation is equally likely.

    Returns:
        Tensor of the shape of ``logits``.

    Example:
        >>> import torch
        >>> keys = torch.tensor([[0.3, 0.9, 0.2, 0.1]])
        >>> permute_others(torch.tensor([[1.0, 9.0, 2.0, 3.0]]), torch.tensor([1]), keys)
        tensor([[3., 9., 2., 1.]])

    Reference:
        Furlanello et al. "Born-Again Neural Networks", section 3.2. arXiv:1805.04770.
    """
    fixed = torch.zeros_like(keys, dtype=torch.int64).scatter_(-1, kept.unsqueeze(-1), 1)
    places = fixed.argsort(dim=-1, stable=True)  # the other classes as they come, then the one that is kept
    drawn = keys.masked_fill(fixed.bool(), torch.inf).argsort(dim=-1, stable=True)
    source = torch.empty_like(places).scatter_(-1, places, drawn)
    return logits.gather(-1, source.expand_as(logits))
