"""Targets for a specialist that keeps all classes: soft for the others, hard for its own (section 6.1 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kdcli.specialists.dustbin import check_special


def full_softmax_targets(generalist: Tensor, labels: Tensor, special: Sequence[int]) -> Tensor:
    """The distribution that such a specialist is trained towards.

    Every other class keeps the probability that the generalist gives it, so that the specialist goes on knowing what
    the generalist knows of them. What the generalist gives to the special classes together goes to the label, if that
    is one of them; else they keep their probabilities too, and the target is the generalist's whole distribution. The
    paper has hard targets beside these: mix the two by alpha, as in distillation.

    Args:
        generalist: Its probabilities, at the temperature of the soft term, shape ``(B, C)``.
        labels: Class indices, int64 ``(B,)``.
        special: The specialist's classes, sorted.

    Returns:
        Probabilities, shape ``(B, C)``.

    Raises:
        ValueError: If the classes do not fit.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 6.1, an idea without an
        experiment. arXiv:1503.02531.
    """
    check_special(special, generalist.shape[-1])
    own = generalist.new_zeros(generalist.shape[-1]).index_fill_(0, labels.new_tensor(special), 1.0)
    mass = generalist @ own
    hard = (generalist * (1 - own)).scatter_add(1, labels[:, None], mass[:, None])
    return hard.where((own[labels] > 0)[:, None], generalist)
