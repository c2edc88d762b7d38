"""What a specialist sees: half of it its own classes, half of it all the others, and how to correct for that."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdcli.errors import DataError


def half_and_half(special: Tensor, rest: Tensor, half: int, draw: torch.Generator) -> Tensor:
    """The examples of one epoch of a specialist: half from its special subset, half at random from the rest.

    Every example of a part is seen as often as any other, give or take once: a part that is too small begins again.

    Args:
        special: Indices of the examples of the special classes.
        rest: Those of all other examples.
        half: How many of each make an epoch. Given alike to specialists of different sizes, they train in step.
        draw: A generator on the CPU, seeded by the specialist and the epoch.

    Returns:
        ``2 * half`` indices in random order.

    Raises:
        DataError: If a part is empty.
    """
    _check_parts(len(special), len(rest))
    both = torch.cat([_drawn(special, half, draw), _drawn(rest, half, draw)])
    return both[_permutation(len(both), draw, both)]


def dustbin_correction(special: int, rest: int) -> float:
    r"""What to add to the dustbin's logit of a specialist that was trained half and half.

    Training saw the special classes and the dustbin with priors 1/2 and 1/2, where the data have :math:`\pi` and
    :math:`1 - \pi`. By Bayes' rule the odds of dustbin against any special class are those that training saw, times

    .. math:: \frac{1 - \pi}{1/2} \Big/ \frac{\pi}{1/2} = \frac{1 - \pi}{\pi} = \frac{n_{rest}}{n_{special}}

    and the logit changes by its logarithm: up where special examples are the fewer, as the paper has it, which
    increments it "by the log of the proportion by which the specialist class is oversampled". That proportion has to
    be read as relative to the dustbin; the special classes' own, :math:`1 / 2\pi`, falls short by
    :math:`\log 2(1 - \pi)`.

    Args:
        special: Examples of the special classes in the training set.
        rest: All other examples in it.

    Raises:
        DataError: If there are none of either.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 5.2. arXiv:1503.02531.
    """
    _check_parts(special, rest)
    return math.log(rest / special)


def _drawn(part: Tensor, count: int, draw: torch.Generator) -> Tensor:
    rounds = [_permutation(len(part), draw, part) for _ in range(-(-count // len(part)))]
    return part[torch.cat(rounds)[:count]]


def _permutation(length: int, draw: torch.Generator, like: Tensor) -> Tensor:
    return torch.randperm(length, generator=draw).to(like.device)


def _check_parts(special: int, rest: int) -> None:
    if not special or not rest:
        raise DataError(
            f"a specialist needs examples of its classes and of others, there are {special} and {rest}",
            where="transfer",
            fix="leave the examples of all classes in the training set",
        )
