"""Hard and soft term side by side, with targets that were worked out beforehand for many batches at once.

Both are cross-entropies with a distribution. Where temperature and weight do not change from batch to batch, everything
about them that does not depend on the networks is known before a step begins, and what is left is half as many
operations as one term after the other takes. Between the products of a small network their number is what counts.

Shapes: K networks, B examples of a batch, C classes, and N examples of several batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from kdcli.losses.hard import one_hot, smoothed
from kdcli.losses.inputs import cast
from kdcli.losses.softmax import arranged

LESS_ENTROPY = {"kd": True, "dkpp": True, "soft_ce": False}
"""The soft terms that can be one of a pair, and whether they are a divergence or a cross-entropy."""

_SOFT = 1
_KEPT = 64


class Weighing(NamedTuple):
    """How K networks weigh the two terms of batches of one size; the hard term comes first.

    Attributes:
        temperature: ``(2, K, 1, 1)``, 1 and T.
        share: Of each term's gradient in that of the total, ``(2, K, 1, 1)``.
        scale: Of the sum over examples in the term, ``(2, K)``.
        alpha: ``(K,)``.
    """

    temperature: Tensor
    share: Tensor
    scale: Tensor
    alpha: Tensor


@lru_cache(_KEPT)
def weigh(temperatures: tuple[float, ...], alphas: tuple[float, ...], size: int) -> Weighing:
    """The weighing of networks with these temperatures, and alphas that are neither 0 nor 1: both terms count."""
    temperature, alpha = torch.tensor(temperatures), torch.tensor(alphas)
    both = torch.stack([torch.ones_like(temperature), temperature])
    share = torch.stack([1 - alpha, alpha]) * both / size
    return Weighing(both[..., None, None], share[..., None, None], both.square() / size, alpha)


class Pair(NamedTuple):
    """The two terms of one batch, up to what the networks say.

    Attributes:
        target: Distributions ``(2, K, C, B)``: the labels, and the teacher's at T.
        reference: What the surprise is measured from, of the same shape: 0, or the logarithm of the target.
        weighing: Of the networks.
    """

    target: Tensor
    reference: Tensor
    weighing: Weighing

    def terms(self, student: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Total, hard and soft term, each ``(K,)``, and the gradient of the sum of the totals, ``(K, C, B)``.

        Args:
            student: Logits with their classes before the examples, ``(K, C, B)``.
        """
        how = self.weighing
        log_q = (student / how.temperature).log_softmax(-2)
        surprise = self.reference - log_q
        difference = log_q.exp_().sub_(self.target)
        surprise.mul_(self.target)
        surprise[_SOFT].add_(difference[_SOFT])  # for the rounding: see kdcli.losses.targets
        hard, soft = surprise.sum((-2, -1)).mul_(how.scale)
        total = torch.lerp(hard, soft, cast(how.alpha, hard.dtype))
        return total, hard, soft, difference.mul_(how.share).sum(0)


def pairs(
    labels: Tensor, teacher: Tensor, size: int, weighing: Weighing, smoothing: float | Tensor, *, less_entropy: bool
) -> Iterator[Pair]:
    """The two terms of each of several batches that are equally large.

    Args:
        labels: ``(N,)``.
        teacher: Logits ``(K, N, C)``, or ``(N, C)`` for all networks.
        size: B.
        weighing: Of batches of that size.
        smoothing: Of the labels; see :func:`kdcli.losses.cross_entropy`.
        less_entropy: Whether the soft term is the divergence or the cross-entropy.
    """
    log_p = (arranged(teacher, -2) / weighing.temperature[_SOFT]).log_softmax(-2)
    known = log_p.new_zeros(2, 2, *log_p.shape)
    target, reference = known
    target[0], target[_SOFT] = smoothed(one_hot(labels, log_p, -2), smoothing, -2), log_p.exp()
    if less_entropy:
        reference[_SOFT] = log_p
    for each in known.unflatten(-1, (-1, size)).movedim(-2, 0).contiguous():
        yield Pair(each[0], each[1], weighing)
