"""The distance between cases of continuous and nominal attributes, exact and as a product of vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MixedDistance:
    """Squared distance: the squares of differences, scaled to [0, 1], plus 1 for every mismatch of a nominal attribute.

    A case is also coded as a vector such that squared Euclidean distances of codes are these distances: one number for
    a continuous attribute, and for a nominal one as many as it has values, of which one is not 0.

    Attributes:
        spread: What scales each attribute, float64 ``(D,)``.
        nominal: Which attributes are nominal, bool ``(D,)``.
        attribute: The attribute of each entry of a code, int64 ``(E,)``.
        origin: What such an entry is measured from, float64 ``(E,)``: the attribute's mean, or one of its values.
    """

    spread: Tensor
    nominal: Tensor
    attribute: Tensor
    origin: Tensor

    @classmethod
    def of(cls, rows: Tensor, spread: Tensor, nominal: Tensor) -> MixedDistance:
        """The distance for cases whose nominal values are those of ``rows``, float64 ``(N, D)``."""
        origins = [rows[:, a].unique() if nominal[a] else rows[:, a].mean()[None] for a in range(rows.shape[1])]
        counts = torch.tensor([len(origin) for origin in origins])
        return cls(spread, nominal, torch.arange(len(origins)).repeat_interleave(counts), torch.cat(origins))

    def encode(self, rows: Tensor) -> Tensor:
        """The codes of ``rows``, float32 ``(..., E)``, each number correctly rounded twice."""
        offset = rows[..., self.attribute] - self.origin
        code = offset / self.spread[self.attribute]
        if self.nominal.any():
            code = torch.where(self.nominal[self.attribute], (offset == 0) * 0.5**0.5, code)
        return code.float()

    def exact(self, first: Tensor, second: Tensor) -> Tensor:
        """Squared distances, float64 ``(...)``, of cases ``(..., D)``, summed attribute after attribute.

        A sum in this order has the same rounding on every machine, so that ties are ties everywhere.
        """
        offset = first - second
        terms = (offset / self.spread).square_()
        if self.nominal.any():
            terms = torch.where(self.nominal, (offset != 0).double(), terms)
        return terms.cumsum(-1)[..., -1]
