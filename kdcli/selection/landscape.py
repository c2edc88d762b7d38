"""The measure of every ensemble that a hillclimb may go to next.

Shapes: M models, N examples, C classes, B ensembles. An ensemble is a row of weights, which need not sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot

Metric = Literal["rmse", "cross_entropy", "accuracy"]


class Landscape(Protocol):
    """A metric over ensembles; less is better."""

    def of(self, weights: Tensor) -> Tensor:
        """The losses ``(B,)`` of ensembles ``(B, M)``."""
        ...

    def with_one_more(self, counts: Tensor) -> Tensor:
        """The losses ``(B, M)`` of the ensembles ``counts``, ``(B, M)``, after each model is added to each."""
        ...

    def shown(self, losses: Tensor) -> Tensor:
        """Losses as they are reported."""
        ...


def landscape_of(predictions: Tensor, labels: Tensor, metric: Metric) -> Landscape:
    """The landscape of a metric.

    Args:
        predictions: Every model's class probabilities, float64 ``(M, N, C)``.
        labels: Class numbers, int64 ``(N,)``.
        metric: ``rmse`` over examples and classes, mean ``cross_entropy`` of the label in nats, or ``accuracy``, of
            which the part that is wrong is minimised; a tie goes to the class of the smallest index.
    """
    match metric:
        case "rmse":
            residuals = (predictions - one_hot(labels, predictions.shape[2])).flatten(1)
            return SquaredError(residuals @ residuals.T / residuals.shape[1])
        case "cross_entropy":
            return CrossEntropy(predictions[:, torch.arange(len(labels)), labels])
    return WrongPart(predictions, labels)


@dataclass(frozen=True, eq=False)
class SquaredError:
    """Mean squared error, whose root is the RMSE.

    The residual of a mean is the mean of the residuals, so that all there is to know of them is their products.

    Attributes:
        products: Mean product of the residuals of each two models, float64 ``(M, M)``.
    """

    products: Tensor

    def of(self, weights: Tensor) -> Tensor:
        """See :class:`Landscape`."""
        shares = _shares(weights)
        return ((shares @ self.products) * shares).sum(1).clamp_min(0.0)

    def with_one_more(self, counts: Tensor) -> Tensor:
        """See :class:`Landscape`: ``|S + r|² = |S|² + 2 S·r + |r|²`` for the sum S of the residuals so far."""
        weights = counts.double()
        along = weights @ self.products
        squared = (along * weights).sum(1, keepdim=True)
        return ((squared + 2 * along + self.products.diagonal()) / (weights.sum(1, keepdim=True) + 1) ** 2).clamp_min(0)

    def shown(self, losses: Tensor) -> Tensor:
        """Roots of mean squares."""
        return losses.sqrt()


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """Mean negative log-likelihood of the label, in nats; infinite where a label has no probability.

    Attributes:
        own: Each model's probability of each label, float64 ``(M, N)``.
    """

    own: Tensor

    def of(self, weights: Tensor) -> Tensor:
        """See :class:`Landscape`."""
        return -(_shares(weights) @ self.own).log().mean(1)

    def with_one_more(self, counts: Tensor) -> Tensor:
        """See :class:`Landscape`."""
        weights = counts.double()
        parts = [-(row @ self.own + self.own).log().mean(1) for row in weights]
        return torch.stack(parts) + (weights.sum(1, keepdim=True) + 1).log()

    def shown(self, losses: Tensor) -> Tensor:
        """The same."""
        return losses


@dataclass(frozen=True, eq=False)
class WrongPart:
    """The part of the examples whose most probable class is not the label.

    Attributes:
        predictions: Every model's class probabilities, float64 ``(M, N, C)``.
        labels: Class numbers, int64 ``(N,)``.
    """

    predictions: Tensor
    labels: Tensor

    def of(self, weights: Tensor) -> Tensor:
        """See :class:`Landscape`."""
        return self._wrong(torch.einsum("bm,mnc->bnc", weights.double(), self.predictions))

    def with_one_more(self, counts: Tensor) -> Tensor:
        """See :class:`Landscape`."""
        sums = torch.einsum("bm,mnc->bnc", counts.double(), self.predictions)
        return torch.stack([self._wrong(each + self.predictions) for each in sums])

    def shown(self, losses: Tensor) -> Tensor:
        """The same."""
        return losses

    def _wrong(self, sums: Tensor) -> Tensor:
        return (sums.argmax(-1) != self.labels).double().mean(-1)


def _shares(weights: Tensor) -> Tensor:
    return weights.double() / weights.sum(1, keepdim=True)
