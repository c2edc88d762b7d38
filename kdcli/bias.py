"""One number added to the logits of some classes: what sets a network right that has never seen them, or only them.

Hinton, Vinyals, Dean 2015, section 3: a student that saw no 3 knows threes once the bias of class 3 is raised.
Shapes: N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_HALVINGS = 80


def best_offset(logits: Tensor, labels: Tensor, classes: Sequence[int]) -> float:
    """The number that leaves the fewest errors when it is added to the logits of some classes.

    Errors change only where an example's best logit among these classes meets its best among the others: all numbers
    are tried that lie between two such places. Of equally good ones it is that nearest to 0.

    Args:
        logits: Shape ``(N, C)``.
        labels: Shape ``(N,)``.
        classes: Whose logits are moved; not all of them.

    Raises:
        ValueError: Classes that do not exist, or all.
    """
    chosen = _mask(logits, classes)
    inside, outside = _best(logits, chosen), _best(logits, ~chosen)
    meets = (outside[0] - inside[0]).double()
    places = meets.unique()
    tried = torch.cat([places[:1] - 1, (places[1:] + places[:-1]) / 2, places[-1:] + 1])
    if bool((places != 0).all()):
        tried = torch.cat([tried, tried.new_zeros(1)])
    right = _below(meets[inside[1] == labels], tried) - _below(meets[outside[1] == labels], tried)
    best = tried[right == right.max()]
    return float(best[best.abs().argmin()])


def _below(sorted_later: Tensor, places: Tensor) -> Tensor:
    """How many values lie below each place."""
    return torch.searchsorted(sorted_later.sort().values, places)


def _best(logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest logit of each example among some classes, and its class."""
    values, indices = logits.masked_fill(~chosen, -torch.inf).max(1)
    return values, indices


def matched_offset(logits: Tensor, classes: Sequence[int], share: float) -> float:
    """The number that makes the mean probability of some classes what it should be; no labels are needed.

    Args:
        logits: Shape ``(N, C)``, of examples as they will come.
        classes: Whose logits are moved.
        share: The share of examples that belong to these classes, in (0, 1).

    Raises:
        ValueError: A share that is none, classes that do not exist, or all.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be in (0, 1), got {share}")
    chosen, exact = _mask(logits, classes), logits.double()
    odds = exact[:, chosen].logsumexp(1) - exact[:, ~chosen].logsumexp(1)
    reach = float(odds.abs().max()) + 50
    low, high = -reach, reach
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float((odds + middle).sigmoid().mean()) < share else (low, middle)
    return (low + high) / 2


def moved(logits: Tensor, classes: Sequence[int], offset: float) -> Tensor:
    """The logits with a number added to those of some classes."""
    return logits.double() + offset * _mask(logits, classes)


def _mask(logits: Tensor, classes: Sequence[int]) -> Tensor:
    known = logits.shape[1]
    wrong = [one for one in classes if not 0 <= one < known]
    if wrong or not 0 < len(set(classes)) < known:
        raise ValueError(f"classes must be some of 0 to {known - 1} and not all of them, got {list(classes)}")
    mask = torch.zeros(known, dtype=torch.bool)
    mask[list(classes)] = True
    return mask
