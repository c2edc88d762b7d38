"""A mixture of components in which attributes are independent, and expectation maximisation for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor

from kdcli.synthetic.columns import Columns

_CHUNK = 4096
_PRIOR = 1.0  # examples of the whole table that every component's nominal attributes count beside their own


@dataclass(frozen=True, eq=False)
class Mixture:
    """K components: normal distributions of standardised quantities, multinomial ones of nominal attributes.

    Attributes:
        columns: The attributes.
        weights: Share of each component, float64 ``(K,)``, the sum is 1.
        means: ``(K, C)``.
        variances: ``(K, C)``.
        shares: Probabilities of nominal values, ``(K, A)``, attribute after attribute.
    """

    columns: Columns
    weights: Tensor
    means: Tensor
    variances: Tensor
    shares: Tensor

    def log_joint(self, statistics: Tensor) -> Tensor:
        """Log of weight times density of each component, ``(N, K)``, for ``columns.statistics`` of N rows."""
        natural = torch.cat([self.means / self.variances, -0.5 / self.variances, self.shares.log()], dim=1)
        constant = -0.5 * (self.means.square() / self.variances + self.variances.log() + log(2 * pi)).sum(1)
        return torch.addmm(self.weights.log() + constant, statistics, natural.T)

    def log_likelihood(self, rows: Tensor) -> float:
        """Mean over rows, float64 ``(N, D)``, of the log of the density of standardised values, in nats."""
        chunks = rows.split(_CHUNK)
        return sum(float(self.log_joint(self.columns.statistics(c)).logsumexp(1).sum()) for c in chunks) / len(rows)

    def sample(self, cases: int, draws: torch.Generator) -> Tensor:
        """Draw rows, float64 ``(cases, D)``."""
        component = torch.multinomial(self.weights, cases, replacement=True, generator=draws)
        noise = torch.randn((cases, self.means.shape[1]), generator=draws, dtype=torch.float64)
        standard = self.means[component] + self.variances[component].sqrt() * noise
        codes = [
            torch.multinomial(share[component], 1, generator=draws).squeeze(1)
            for share in self.shares.split(self.columns.sizes, dim=1)
        ]
        return self.columns.rows(standard, codes)

    def __len__(self) -> int:
        return len(self.weights)


def single(columns: Columns, rows: Tensor) -> Mixture:
    """One component, fitted to rows."""
    statistics = columns.statistics(rows)
    return _maximise(columns, statistics.new_full((1,), len(rows)), statistics.sum(0, keepdim=True))


def em_step(mixture: Mixture, rows: Tensor) -> Mixture:
    """Assign rows to components by their probabilities, then fit the components to what they have.

    The log-likelihood of ``rows`` never falls where there are no nominal attributes; where there are, its sum with
    the log of their Dirichlet prior does not.
    """
    num = torch.zeros_like(mixture.weights)
    sums = rows.new_zeros(len(mixture), 2 * mixture.means.shape[1] + mixture.shares.shape[1])
    for chunk in rows.split(_CHUNK):
        statistics = mixture.columns.statistics(chunk)
        share = mixture.log_joint(statistics).softmax(1)
        num += share.sum(0)
        sums += share.T @ statistics
    return _maximise(mixture.columns, num, sums)


def _maximise(columns: Columns, num: Tensor, sums: Tensor) -> Mixture:
    """The most likely components given the examples, ``(K,)``, and sums of statistics that each one has."""
    held = num.clamp(min=1e-300)[:, None]  # a component can lose all of its examples
    split = len(columns.continuous)
    means = sums[:, :split] / held
    variances = (sums[:, split : 2 * split] / held - means.square()).clamp(min=columns.floor)
    shares = (sums[:, 2 * split :] + _PRIOR * columns.marginal) / (held + _PRIOR)
    return Mixture(columns, num / num.sum(), means, variances, shares)
