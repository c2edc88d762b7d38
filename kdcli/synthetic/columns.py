"""Attributes as a naive Bayes mixture sees them: standardised quantities and indicators of categories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.synthetic.attributes import to_rows

_NARROWEST = 1e-3  # of a component's standard deviation, in those of the attribute


@dataclass(frozen=True, eq=False)
class Columns:
    """How rows, float64 ``(N, D)``, become sufficient statistics, and back.

    Attributes:
        continuous: The continuous attributes, int64 ``(C,)``.
        nominal: The nominal ones, in the order of their indicators.
        mean: Mean of each continuous attribute, float64 ``(C,)``.
        deviation: Its standard deviation, 0 if it is constant.
        floor: The least variance that a component may have, of standardised values. A value is known to no more than
            the typical gap between neighbouring values, so that a component can't shrink to a single number of a grid.
        values: The values of each nominal attribute, ascending.
        marginal: The share of each of them in the table, float64 ``(A,)``, attribute after attribute.
    """

    continuous: Tensor
    nominal: tuple[int, ...]
    mean: Tensor
    deviation: Tensor
    floor: Tensor
    values: tuple[Tensor, ...]
    marginal: Tensor

    @classmethod
    def of(cls, inputs: Tensor, nominal: tuple[int, ...]) -> Columns:
        """Take them from a training set."""
        rows = to_rows(inputs)
        continuous = torch.tensor([a for a in range(rows.shape[1]) if a not in set(nominal)], dtype=torch.int64)
        quantities = rows[:, continuous]
        deviation = (quantities - quantities.mean(0)).square().mean(0).sqrt()
        gaps = torch.ones_like(deviation) if inputs.dtype == torch.uint8 else _typical_gaps(quantities)
        floor = (gaps / deviation.where(deviation > 0, 1.0)).square() / 12
        counts = [rows[:, a].unique(return_counts=True) for a in nominal]
        return cls(
            continuous=continuous,
            nominal=nominal,
            mean=quantities.mean(0),
            deviation=deviation,
            floor=floor.clamp(min=_NARROWEST**2),
            values=tuple(values for values, _ in counts),
            marginal=torch.cat([rows.new_empty(0), *(count / len(rows) for _, count in counts)]),
        )

    @property
    def sizes(self) -> list[int]:
        """How many values each nominal attribute has."""
        return [len(values) for values in self.values]

    def statistics(self, rows: Tensor) -> Tensor:
        """Standardised quantities, their squares, and indicators of nominal values: float64 ``(N, 2 C + A)``."""
        standard = (rows[:, self.continuous] - self.mean) / self.deviation.where(self.deviation > 0, 1.0)
        indicators = [rows[:, a, None] == values for a, values in zip(self.nominal, self.values, strict=True)]
        return torch.cat([standard, standard.square(), *indicators], dim=1)

    def rows(self, standard: Tensor, codes: list[Tensor]) -> Tensor:
        """Rows, float64 ``(M, D)``, of standardised quantities and positions among the values of nominal attributes."""
        rows = standard.new_empty(len(standard), len(self.continuous) + len(self.nominal))
        rows[:, self.continuous] = standard * self.deviation + self.mean
        for attribute, values, code in zip(self.nominal, self.values, codes, strict=True):
            rows[:, attribute] = values[code]
        return rows


def _typical_gaps(quantities: Tensor) -> Tensor:
    """The median gap between neighbouring values of each column; 0 for a constant one."""
    gaps = [column.unique().diff() for column in quantities.T]
    return torch.tensor([float(gap.median()) if len(gap) else 0.0 for gap in gaps], dtype=torch.float64)
