"""A table as scikit-learn's models read it: quantities on one scale, categories as indicators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Encoding:
    """Turns raw inputs into rows of float64, by the numbers of a training part.

    Attributes:
        quantities: The attributes that are quantities.
        mean: Their means.
        std: Their standard deviations; of what is constant 1.
        categories: The codes that each other attribute takes.
    """

    quantities: Tensor
    mean: Tensor
    std: Tensor
    categories: dict[int, Tensor]

    @classmethod
    def of(cls, inputs: Tensor, nominal: Sequence[int]) -> Encoding:
        """Measure the rows of a training part, ``(N, D)``, in which the attributes ``nominal`` are codes."""
        values = inputs.double()
        quantities = torch.tensor([column for column in range(values.shape[1]) if column not in nominal]).long()
        kept = values[:, quantities]
        mean = kept.mean(0)
        std = (kept - mean).square().mean(0).sqrt().where((kept != kept[0]).any(0), 1.0)
        return cls(quantities, mean, std, {column: values[:, column].unique() for column in nominal})

    def __call__(self, inputs: Tensor) -> Rows:
        """The rows, ``(N, D')``; a code that the training part does not have is in no category."""
        values = inputs.double().cpu()
        scaled = (values[:, self.quantities] - self.mean) / self.std
        indicators = [(values[:, [column]] == codes).double() for column, codes in self.categories.items()]
        rows: Rows = torch.cat([scaled, *indicators], dim=1).numpy()
        return rows
