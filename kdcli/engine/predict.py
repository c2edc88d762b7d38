"""What networks say of a part of the data, without training them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.data.normalize import Normalization
from kdcli.data.source import TensorSource
from kdcli.engine.bank import Bank
from kdcli.metrics import Measures, measure

BATCH = 2000


@torch.no_grad()
def predict(
    forward: Callable[[Tensor], Tensor], source: TensorSource, indices: Tensor, normalization: Normalization
) -> Tensor:
    """Logits ``(K, N, C)`` on the CPU for the examples at ``indices``, un-augmented.

    Args:
        forward: From normalised inputs ``(B, ...)`` to logits ``(K, B, C)``; in evaluation mode.
        source: The raw inputs.
        indices: Which of them, shape ``(N,)``.
        normalization: The networks' own.
    """
    parts = [forward(normalization(source.gather(part))).float().cpu() for part in indices.split(BATCH)]
    return torch.cat(parts, dim=1)


@dataclass(frozen=True)
class Validation:
    """The part of the training set that selects checkpoints, with what the teacher says of it.

    Args:
        source: The raw inputs of the training set.
        indices: The validation part, shape ``(N,)``.
        labels: Its labels on the CPU, shape ``(N,)``.
        normalization: Of the networks that train.
        teacher_log_probs: At temperature 1, on the CPU, shape ``(N, C)``, or None without a teacher.
    """

    source: TensorSource
    indices: Tensor
    labels: Tensor
    normalization: Normalization
    teacher_log_probs: Tensor | None

    def measure(self, bank: Bank) -> list[Measures | None]:
        """Measure every network; None for one whose logits are not finite."""
        bank.train(False)
        logits = predict(bank.logits, self.source, self.indices, self.normalization)
        bank.train(True)
        return [
            measure(one, self.labels, self.teacher_log_probs) if bool(one.isfinite().all()) else None for one in logits
        ]
