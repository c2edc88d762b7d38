"""The last layer that a specialist starts from: the generalist's, with one row for the dustbin.

Shapes: N examples, C classes, S special ones, H features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.specialists.dustbin import aggregate, check_special

NEVER = -1e9
"""The bias of an output that is not there: its probability and gradient are exactly 0, and weight decay, which shrinks
it by a factor, does not bring it back."""


@dataclass(frozen=True)
class LastLayer:
    """A linear layer: ``weight`` ``(outputs, H)`` and ``bias`` ``(outputs,)``."""

    weight: Tensor
    bias: Tensor


def specialist_layer(
    generalist: LastLayer, logits: Tensor, special: Sequence[int], *, outputs: int | None = None
) -> LastLayer:
    r"""The generalist's rows of the special classes, and a dustbin whose logit comes close to that of all the others.

    With the dustbin's logit at :math:`\log \sum_{c \notin S} e^{z_c}` the specialist would say exactly what the
    generalist says. No linear layer can, so the dustbin is :math:`\sum_c a_c z_c + a_0`, a combination of the
    generalist's rows, with the least squares over these examples. Special classes keep their probabilities relative to
    one another. The mean of the other rows would not do: it lets most of the others pass for special classes.

    Args:
        generalist: Its last layer, C outputs.
        logits: What the generalist says of its training set, or of a few hundred examples of it, shape ``(N, C)``.
        special: The specialist's classes, sorted.
        outputs: Width of the layer, at least ``1 + S``, for specialists of different sizes in one stack. What is over
            has zero weights and a bias of :data:`NEVER`.

    Raises:
        ValueError: If the shapes or classes do not fit.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 5.2, which copies the
        generalist's weights and leaves open what the dustbin starts from. arXiv:1503.02531.
    """
    num_classes = len(generalist.bias)
    check_special(special, num_classes)
    spare = 0 if outputs is None else outputs - 1 - len(special)
    if logits.shape[-1] != num_classes or spare < 0:
        raise ValueError(f"{num_classes} classes, logits {tuple(logits.shape)}, {len(special)} special, {outputs=}")
    share, constant = _dustbin_combination(logits, special)
    share, kept = share.to(generalist.weight), list(special)
    weight, bias = generalist.weight, generalist.bias
    return LastLayer(
        torch.cat([share[None] @ weight, weight[kept], weight.new_zeros(spare, weight.shape[1])]),
        torch.cat([(share @ bias + constant)[None], bias[kept], bias.new_full((spare,), NEVER)]),
    )


def _dustbin_combination(logits: Tensor, special: Sequence[int]) -> tuple[Tensor, float]:
    """The combination of the logits, ``(C,)`` and a constant, that is closest to the dustbin's."""
    given = logits.cpu().double()
    wanted = aggregate(given, special)[:, :1]
    terms = torch.cat([given, torch.ones_like(wanted)], dim=1)
    # gelsd: logits whose sum is constant, as those of a centred layer are, have no full rank
    solution = torch.linalg.lstsq(terms, wanted, driver="gelsd").solution[:, 0]
    return solution[:-1], float(solution[-1])
