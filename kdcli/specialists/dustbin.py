"""A specialist's outputs: the dustbin first, then its classes in order.

All classes that are not special share the dustbin. It comes first so that it has the same place in specialists of
different sizes. Shapes: C classes in all, S special ones, B examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DUSTBIN = 0
"""The output that stands for every class but the special ones."""


def outputs_of(special: Sequence[int], num_classes: int) -> Tensor:
    """The output of every class, int64 ``(C,)``: ``outputs_of(...)[labels]`` are a specialist's labels.

    Args:
        special: The specialist's classes, sorted.
        num_classes: C.

    Raises:
        ValueError: If the classes are not sorted, different and in ``[0, C)``, or none or all of them are special.

    Example:
        >>> outputs_of([1, 3], 5)
        tensor([0, 1, 0, 2, 0])
    """
    check_special(special, num_classes)
    outputs = torch.full((num_classes,), DUSTBIN)
    outputs[list(special)] = torch.arange(1, len(special) + 1)
    return outputs


def aggregate(log_probs: Tensor, special: Sequence[int]) -> Tensor:
    """What a network that knows all classes says in a specialist's terms: the probabilities of the others summed up.

    Args:
        log_probs: Log-probabilities of all classes, shape ``(..., C)``; logits give logits.
        special: The specialist's classes, sorted.

    Returns:
        Shape ``(..., 1 + S)``, in the order of a specialist's outputs.

    Raises:
        ValueError: As :func:`outputs_of`.
    """
    others = rest_of(special, log_probs.shape[-1])
    dustbin = log_probs[..., others].logsumexp(-1, keepdim=True)
    return torch.cat([dustbin, log_probs[..., list(special)]], dim=-1)


def rest_of(special: Sequence[int], num_classes: int) -> list[int]:
    """The classes in the dustbin, sorted.

    Raises:
        ValueError: As :func:`outputs_of`.
    """
    check_special(special, num_classes)
    return sorted(set(range(num_classes)) - set(special))


def check_special(special: Sequence[int], num_classes: int) -> None:
    """Raise ValueError unless these are some, but not all, of the classes, in order."""
    if list(special) != sorted(set(special) & set(range(num_classes))) or not 0 < len(special) < num_classes:
        raise ValueError(f"special classes must be some of 0 to {num_classes - 1}, in order, got {list(special)}")
