"""What networks say of a part of the data, without training them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kdcli.data.normalize import Normalization
from kdcli.data.source import BATCH, Source
from kdcli.engine.bank import Bank
from kdcli.engine.ranks import ALONE, Ranks
from kdcli.metrics import Measures, measure
from kdcli.specialists import Scope


@torch.no_grad()
def predict(
    forward: Callable[[Tensor], Tensor], source: Source, indices: Tensor, normalization: Normalization
) -> Tensor:
    """Logits ``(K, N, C)`` on the CPU for the examples at ``indices``, un-augmented.

    Args:
        forward: From normalised inputs ``(B, ...)`` to logits ``(K, B, C)``; in evaluation mode.
        source: The raw inputs.
        indices: Which of them, shape ``(N,)``.
        normalization: The networks' own.
    """
    parts = [forward(normalization(raw)).float().cpu() for raw in source.batches(indices.split(BATCH))]
    return torch.cat(parts, dim=1)


@dataclass(frozen=True)
class Validation:
    """The part of the training set that selects checkpoints, with what the teacher says of it.

    Args:
        source: The raw inputs of the training set.
        indices: The validation part, shape ``(N,)``.
        labels: Its labels on the CPU, shape ``(N,)``.
        normalization: Of the networks that train.
        teacher_log_probs: At temperature 1, on the CPU, shape ``(N, C)``, or None without a teacher; only the first
            process needs them.
        ranks: The processes, each of which asks the networks about some of the examples.
        scopes: What each network answers for, where that is not every class.
    """

    source: Source
    indices: Tensor
    labels: Tensor
    normalization: Normalization
    teacher_log_probs: Tensor | None
    ranks: Ranks = ALONE
    scopes: Sequence[Scope] | None = None

    def measure(self, bank: Bank) -> list[Measures | None]:
        """Measure every network; None for one whose logits are not finite."""
        bank.train(False)
        logits = self.ranks.spread(
            self.indices, lambda part: predict(bank.logits, self.source, part, self.normalization)
        )
        bank.train(True)
        # What selects a checkpoint is one process's word: others might round otherwise.
        measured = [self._measured(k, one) for k, one in enumerate(logits)] if self.ranks.rank == 0 else []
        return [None if one is None else Measures(**one) for one in self.ranks.tell(measured)]

    def _measured(self, k: int, logits: Tensor) -> dict[str, Any] | None:
        if not bool(logits.isfinite().all()):
            return None
        judge = measure if self.scopes is None else self.scopes[k].measure
        return asdict(judge(logits, self.labels, self.teacher_log_probs))
