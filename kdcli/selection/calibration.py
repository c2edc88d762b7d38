"""Platt's calibration: the probabilities of the classes from a model's scores.

Shapes: N examples, C classes, K scores an example: one where there are two classes, of the second; else C.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FOLDS = 5
FINEST = 1e-3
"""Log-odds are taken of probabilities that are at least so far from 0 and 1.

Forests and neighbours say 0 of what is rare. Of a selection part of a thousand rows, no smaller number can be told.
"""

_STEPS = 100
_FLAT = 1e-10


@dataclass(frozen=True, eq=False)
class Platt:
    """A sigmoid for each score; for more than two classes each against the rest, scaled to sum 1.

    Attributes:
        slopes: Float64 ``(K,)``.
        offsets: Float64 ``(K,)``.
    """

    slopes: Tensor
    offsets: Tensor

    def __call__(self, scores: Tensor) -> Tensor:
        """Probabilities ``(N, C)`` of scores ``(N, K)``."""
        sigmoids = torch.sigmoid(scores * self.slopes + self.offsets)
        if sigmoids.shape[1] == 1:
            return torch.cat([1 - sigmoids, sigmoids], dim=1)
        return sigmoids / sigmoids.sum(1, keepdim=True)


def platt(scores: Tensor, labels: Tensor) -> Platt:
    """Fit sigmoids by maximum likelihood to labels that are softened, as Platt's paper has it.

    A label counts as ``(n + 1) / (n + 2)``, n being how many examples are of its side, and not as 1; so the fit is
    finite even where the scores part the classes.

    Args:
        scores: Float64 ``(N, K)``.
        labels: Class numbers, int64 ``(N,)``.

    Reference:
        Platt. "Probabilistic outputs for support vector machines". 1999. Fitted by Newton's method, as in Lin, Lin,
        Weng. "A note on Platt's probabilistic outputs for support vector machines". 2007.
    """
    first = 1 if scores.shape[1] == 1 else 0
    pairs = [_sigmoid(column, labels == number) for number, column in enumerate(scores.unbind(1), first)]
    slopes, offsets = torch.stack(pairs).unbind(1)
    return Platt(slopes, offsets)


def calibrated_out_of_fold(scores: Tensor, labels: Tensor) -> Tensor:
    """What calibrations say of examples that they were not fitted to: probabilities ``(N, C)``.

    The hillclimb compares calibrated models with others on the same examples; calibrations that had seen them would
    look better than they are. The examples of a class take turns in the folds.

    Args:
        scores: Float64 ``(N, K)``.
        labels: Class numbers, int64 ``(N,)``.
    """
    folds = _folds(labels)
    parts = [platt(scores[folds != fold], labels[folds != fold])(scores[folds == fold]) for fold in range(FOLDS)]
    whole = torch.empty(len(scores), parts[0].shape[1], dtype=torch.float64)
    for fold, part in enumerate(parts):
        whole[folds == fold] = part
    return whole


def log_odds(probabilities: Tensor) -> Tensor:
    """Scores ``(N, K)`` of a model that says probabilities ``(N, C)``: the log-odds of each class."""
    kept = probabilities.clamp(FINEST, 1 - FINEST)
    scores = kept.log() - (1 - kept).log()
    return scores[:, 1:] if scores.shape[1] == 2 else scores


def _folds(labels: Tensor) -> Tensor:
    folds = torch.empty_like(labels)
    for number in labels.unique():
        own = labels == number
        folds[own] = torch.arange(int(own.sum())) % FOLDS
    return folds


def _sigmoid(scores: Tensor, positive: Tensor) -> Tensor:
    """Slope and offset, ``(2,)``."""
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    targets = torch.where(positive, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2)).double()
    mean, spread = scores.mean(), scores.std(correction=0)
    spread = spread if spread > 0 else torch.ones_like(spread)
    design = torch.stack([(scores - mean) / spread, torch.ones_like(scores)], dim=1)
    slope, offset = _newton(design, targets)
    return torch.stack([slope / spread, offset - slope * mean / spread])


def _newton(design: Tensor, targets: Tensor) -> Tensor:
    """The minimum of the cross-entropy of ``sigmoid(design @ theta)`` with ``targets``, which is convex."""
    theta, ridge = design.new_zeros(2), _FLAT * torch.eye(2, dtype=design.dtype)
    for _ in range(_STEPS):
        said = torch.sigmoid(design @ theta)
        gradient = design.T @ (said - targets) / len(targets)
        if gradient.abs().max() < _FLAT:
            break
        curvature = (design.T * (said * (1 - said))) @ design / len(targets)
        theta = theta - torch.linalg.solve(curvature + ridge, gradient)
    return theta
