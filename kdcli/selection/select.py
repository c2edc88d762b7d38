"""Ensemble selection from libraries of models (Caruana et al. 2004): pure functions on what the models say.

Shapes: M models, N examples of the hillclimbing set, C classes, B bags.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.data.order import generator
from kdcli.selection.landscape import Landscape, Metric, landscape_of

_BAGS = 21
_TIE = 1e-12  # what is closer is equal: the order in which products are summed must not decide


@dataclass(frozen=True)
class Hillclimb:
    """How an ensemble is selected.

    Attributes:
        metric: What is minimised on the hillclimbing set.
        steps: Models that are added after the first ones; the best ensemble on the way is kept.
        most_first: An ensemble begins with the N best models, N being the best of 1 to this.
        bags: How many ensembles are selected and averaged.
        share: The part of the library that each of them selects from, in (0, 1].
        seed: What those parts are drawn by.

    Raises:
        ValueError: A number is out of its range.
    """

    metric: Metric = "rmse"
    steps: int = 100
    most_first: int = 25
    bags: int = 20
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.steps < 0 or self.most_first < 1 or self.bags < 1 or not 0 < self.share <= 1:
            raise ValueError(f"steps >= 0, most_first >= 1, bags >= 1 and 0 < share <= 1 are needed, got {self}")


@dataclass(frozen=True, eq=False)
class Selection:
    """What was selected.

    Attributes:
        counts: How often each bag took each model, int64 ``(B, M)``.
        weights: Each model's part in the mean of the bags' means, float64 ``(M,)``, in sum 1.
        loss: The metric of that mean on the hillclimbing set; of ``accuracy`` what is missing from 1.
        alone: The same of each model, float64 ``(M,)``.
    """

    counts: Tensor
    weights: Tensor
    loss: float
    alone: Tensor


def select_ensemble(predictions: Tensor, labels: Tensor, how: Hillclimb) -> Selection:
    """Select models, with replacement, whose mean prediction is best on the hillclimbing set.

    Each bag climbs on its own: it begins with the best models of its part of the library, then adds the model with
    which the mean is best, again and again, and goes back to the best mean it met. Of equal models the first is taken,
    of equal ensembles the smallest.

    Args:
        predictions: Every model's class probabilities, ``(M, N, C)``.
        labels: Class numbers, int64 ``(N,)``.
        how: The course and its measure.

    Raises:
        ValueError: The shapes or labels do not fit, or a prediction is not finite.

    Reference:
        Caruana, Niculescu-Mizil, Crew, Ksikes. "Ensemble selection from libraries of models". ICML 2004, sections 2
        (replacement, sorted initialisation) and 2.3 (bagging).
    """
    _check(predictions, labels)
    landscape = landscape_of(predictions.double(), labels, how.metric)
    allowed = draw_bags(len(predictions), how.bags, how.share, how.seed)
    counts = climb(landscape, allowed, how.steps, how.most_first)
    weights = (counts.double() / counts.sum(1, keepdim=True)).mean(0)
    loss = landscape.shown(landscape.of(weights[None]))
    alone = landscape.shown(landscape.of(torch.eye(len(predictions))))
    return Selection(counts, weights, float(loss), alone)


def draw_bags(models: int, bags: int, share: float, seed: int) -> Tensor:
    """Which models each bag may take, bool ``(B, M)``: ``share`` of them, but at least one, none twice."""
    size = max(1, round(share * models))
    allowed = torch.zeros(bags, models, dtype=torch.bool)
    for number, bag in enumerate(allowed):
        bag[torch.randperm(models, generator=generator(_BAGS, seed, number))[:size]] = True
    return allowed


def climb(landscape: Landscape, allowed: Tensor, steps: int, most_first: int) -> Tensor:
    """The best ensemble that each bag meets.

    Args:
        landscape: What is minimised.
        allowed: Which models each bag may take, bool ``(B, M)``.
        steps: How many are added after the first ones.
        most_first: How many the first ones are at the most.

    Returns:
        How often each bag took each model, int64 ``(B, M)``.
    """
    counts = torch.stack([_first_models(landscape, bag, most_first) for bag in allowed])
    best, least = counts.clone(), landscape.of(counts)
    rows = torch.arange(len(counts))
    for _ in range(steps):
        losses = landscape.with_one_more(counts).masked_fill(~allowed, torch.inf)
        chosen = _first_least(losses)
        counts[rows, chosen] += 1
        better = losses[rows, chosen] < least - _TIE
        best[better], least[better] = counts[better], losses[rows, chosen][better]
    return best


def _first_models(landscape: Landscape, allowed: Tensor, most: int) -> Tensor:
    """The N best models once each, ``(M,)``, N being that of the best mean."""
    alone = landscape.of(torch.eye(len(allowed))).masked_fill(~allowed, torch.inf)
    order = (alone / _TIE).round().argsort(stable=True)[: min(most, int(allowed.sum()))]
    nested = torch.zeros(len(order), len(allowed), dtype=torch.int64)
    for number, model in enumerate(order):
        nested[number:, model] = 1
    return nested[_first_least(landscape.of(nested))]


def _first_least(losses: Tensor) -> Tensor:
    """The place of the least along the last dimension, of the first where several are equal."""
    return (losses <= losses.amin(-1, keepdim=True) + _TIE).int().argmax(-1)


def _check(predictions: Tensor, labels: Tensor) -> None:
    if predictions.ndim != 3 or 0 in predictions.shape or labels.shape != predictions.shape[1:2]:
        raise ValueError(
            "predictions must have shape (M, N, C), none of them 0, and labels (N,), "
            f"got {tuple(predictions.shape)} and {tuple(labels.shape)}"
        )
    if not bool(predictions.isfinite().all()):
        raise ValueError("a prediction is not finite")
    if int(labels.min()) < 0 or int(labels.max()) >= predictions.shape[2]:
        raise ValueError(f"labels must be in [0, {predictions.shape[2]})")
