"""The objective of distillation: ``total = (1 - alpha) * hard + alpha * soft``, for a whole cohort at once.

Shapes: K networks, M teachers, B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.losses import SOFT_LOSSES, EnsembleMean, combine_members, cross_entropy


@dataclass(frozen=True)
class LossTerms:
    """The terms of each network's loss, shape ``(K,)``; None where no network of the cohort has that term."""

    total: Tensor
    hard: Tensor | None
    soft: Tensor | None


@dataclass(frozen=True)
class Span:
    """The least and the greatest alpha a network's schedule takes."""

    low: float
    high: float


@dataclass(frozen=True)
class Objective:
    """Hard and soft term of K networks, each with its own temperature and alpha.

    A term whose weight is 0 is left out or masked, never multiplied by 0: a teacher that says NaN does no harm at
    alpha 0, and at alpha 1 no label is looked at.

    Args:
        spans: The range of each network's alpha over the whole training.
        soft_loss: Name of the soft term, the same for all networks whose alpha is ever above 0.
        ensemble: How several teachers are combined, ``arithmetic`` or ``geometric``.
        label_smoothing: Of each network's hard term, in [0, 1].
    """

    spans: Sequence[Span]
    soft_loss: str | None
    ensemble: EnsembleMean = "arithmetic"
    label_smoothing: Sequence[float] = (0.0,)

    @property
    def uses_teacher(self) -> bool:
        """Whether any network ever looks at the teacher."""
        return any(span.high > 0 for span in self.spans)

    @property
    def uses_labels(self) -> bool:
        """Whether any network ever looks at a label."""
        return any(span.low < 1 for span in self.spans)

    def __call__(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, temperature: Tensor, alpha: Tensor
    ) -> LossTerms:
        """Compute the terms of one step.

        Args:
            logits: The networks' logits, shape ``(K, B, C)``.
            labels: Shape ``(B,)``, or ``(K, B)`` where every network has examples of its own.
            teacher_logits: Shape ``(M, B, C)``, or None for training without a teacher.
            temperature: Shape ``(K,)``.
            alpha: Weight of the soft term, shape ``(K,)``.
        """
        hard = self._hard(logits, labels) if self.uses_labels else None
        soft = self._soft(logits, teacher_logits, temperature, alpha) if self.uses_teacher else None
        if soft is None:
            assert hard is not None
            return LossTerms(hard, hard, None)
        if hard is None:
            return LossTerms(soft, None, soft)
        return LossTerms(self._mix(hard, soft, alpha), hard, soft)

    def _hard(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.label_smoothing
        if labels.dim() == 2:
            members = zip(logits, labels, smoothing, strict=True)
            return torch.stack([cross_entropy(one, own, share) for one, own, share in members])
        if len(set(smoothing)) == 1:
            return cross_entropy(logits, labels, smoothing[0])
        # The smoothed loss is linear in the smoothing, so its two ends give every member its own.
        share = torch.tensor(smoothing, device=logits.device)
        return (1 - share) * cross_entropy(logits, labels, 0.0) + share * cross_entropy(logits, labels, 1.0)

    def _soft(self, logits: Tensor, teacher_logits: Tensor | None, temperature: Tensor, alpha: Tensor) -> Tensor:
        assert teacher_logits is not None
        assert self.soft_loss is not None
        teacher = combine_members(teacher_logits, temperature, self.ensemble)
        if any(span.low == 0 for span in self.spans):
            # Cleaned before the loss, not after it: a NaN behind a zero gradient is still a NaN.
            clean = teacher.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            teacher = torch.where((alpha > 0).view(-1, 1, 1), teacher, clean)
        return SOFT_LOSSES[self.soft_loss](logits, teacher, temperature)

    def _mix(self, hard: Tensor, soft: Tensor, alpha: Tensor) -> Tensor:
        mixed = (1 - alpha) * hard + alpha * soft
        if any(span.low == 0 for span in self.spans):
            mixed = torch.where(alpha == 0, hard, mixed)
        if any(span.high == 1 for span in self.spans):
            mixed = torch.where(alpha == 1, soft, mixed)
        return mixed
