"""Where each network of a cohort stands: its best epoch so far, and whether it still trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from kdcli.engine.results import Divergence
from kdcli.metrics import Measures


@dataclass(frozen=True)
class Standing:
    """One network's standing after an epoch.

    ``best_epoch`` is the earliest with the greatest (top-1, then lowest NLL) on validation, None before the first.
    """

    best_epoch: int | None = None
    best_step: int = 0
    best_val: Measures | None = None
    last_val: Measures | None = None
    stopped_epoch: int | None = None
    stopped_step: int = 0
    divergence: Divergence | None = None

    @property
    def active(self) -> bool:
        """Whether the network still trains."""
        return self.stopped_epoch is None

    def improved_by(self, val: Measures) -> bool:
        """Whether ``val`` beats the best so far."""
        best = self.best_val
        return best is None or (val.top1, -val.nll) > (best.top1, -best.nll)

    def after(self, epoch: int, step: int, val: Measures | None, patience: int | None) -> Standing:
        """The standing after an epoch with these validation measures."""
        if val is None:
            return self
        if self.improved_by(val):
            return replace(self, best_epoch=epoch, best_step=step, best_val=val, last_val=val)
        assert self.best_epoch is not None
        if patience is not None and epoch - self.best_epoch >= patience:
            return replace(self, last_val=val, stopped_epoch=epoch, stopped_step=step)
        return replace(self, last_val=val)

    def diverged(self, divergence: Divergence) -> Standing:
        """The standing of a network that takes no further part."""
        return replace(self, stopped_epoch=divergence.epoch, stopped_step=divergence.step, divergence=divergence)


def as_plain(standing: Standing) -> dict[str, Any]:
    """A standing as JSON can hold it: a loss that is not finite becomes a text, which pydantic reads back."""
    plain = asdict(standing)
    if standing.divergence is not None:
        plain["divergence"] = {name: _named(value) for name, value in plain["divergence"].items()}
    return plain


def _named(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors, detached and copied, so that training on leaves them as they are."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}
