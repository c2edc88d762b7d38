"""An epoch's losses and gradient norms, kept on the device until the epoch ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdcli.engine.update import can_ask
from kdcli.objective import LossTerms

TOTAL, HARD, SOFT, NORM = range(4)


class Meters:
    """The log of one epoch of K networks, and the mask of those that must not change any more.

    Args:
        num_steps: Steps an epoch.
        size: Number of networks.
        device: Where they train.
    """

    def __init__(self, num_steps: int, size: int, device: torch.device) -> None:
        self.log = torch.zeros(num_steps, size, 4, device=device)
        self.blocked = torch.zeros(size, device=device)
        self._absent = torch.zeros(size, device=device)
        self._present = torch.ones(size, device=device)

    def record(self, row: int, terms: LossTerms, gradient_norms: Tensor) -> None:
        """Write a step's terms and norms down, and block the networks whose total or gradient is not finite.

        A term of weight 0 may be anything.
        """
        hard = self._absent if terms.hard is None else terms.hard
        soft = self._absent if terms.soft is None else terms.soft
        total = terms.total.detach()
        torch.stack([total, hard.detach(), soft.detach(), gradient_norms], dim=1, out=self.log[row])
        both = total + gradient_norms  # finite where both are
        if can_ask(both) and all(map(math.isfinite, both.tolist())):
            return
        self.blocked = torch.where(both - both == 0, self.blocked, self._present)

    def means(self, sizes: list[int]) -> list[list[float]]:
        """Mean total, hard and soft of each network over the epoch's examples; waits for the device."""
        weights = torch.tensor(sizes, dtype=torch.float64).view(-1, 1, 1)
        table: list[list[float]] = ((self.log.double().cpu() * weights).sum(0) / weights.sum()).tolist()
        return table

    def first_bad(self, member: int) -> tuple[int, list[float]] | None:
        """The first row in which a network's total or gradient was not finite, with its values."""
        for row, values in enumerate(self.log[:, member].tolist()):
            if not (math.isfinite(values[TOTAL]) and math.isfinite(values[NORM])):
                return row, values
        return None

    def reset(self, stopped: list[bool]) -> None:
        """Begin the next epoch; networks that have stopped stay blocked."""
        self.log.zero_()
        self.blocked.copy_(torch.tensor(stopped, dtype=torch.float32))
