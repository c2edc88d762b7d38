"""The objective of distillation: ``total = (1 - alpha) * hard + alpha * soft``, for a whole cohort at once.

Shapes: K networks, M teachers, B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from kdcli.losses import GRADED_SOFT_LOSSES, SOFT_LOSSES, EnsembleMean, combine_members, cross_entropy
from kdcli.losses.graded import Graded, differentiable
from kdcli.losses.hard import graded_hard
from kdcli.losses.inputs import Inputs, cast, prepare


@dataclass(frozen=True)
class LossTerms:
    """The terms of each network's loss, shape ``(K,)``; None where no network of the cohort has that term.

    The gradient is that of the total.
    """

    total: Tensor
    hard: Tensor | None
    soft: Tensor | None


@dataclass(frozen=True)
class Span:
    """The least and the greatest alpha a network's schedule takes."""

    low: float
    high: float


class Minimised(Protocol):
    """What a cohort minimises."""

    @property
    def spans(self) -> Sequence[Span]:
        """The range of each network's alpha over the whole training."""

    def __call__(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, temperature: Tensor, alpha: Tensor
    ) -> LossTerms:
        """Compute the terms of one step; see Objective."""


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

    @cached_property
    def uses_teacher(self) -> bool:
        """Whether any network ever looks at the teacher."""
        return any(span.high > 0 for span in self.spans)

    @cached_property
    def uses_labels(self) -> bool:
        """Whether any network ever looks at a label."""
        return any(span.low < 1 for span in self.spans)

    @cached_property
    def _reaches(self) -> tuple[bool, bool]:
        """Whether any network's alpha is ever 0, and ever 1."""
        return any(span.low == 0 for span in self.spans), any(span.high == 1 for span in self.spans)

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
        if not self.uses_teacher:
            hard = cross_entropy(logits, labels, self._smoothing(logits.device))
            return LossTerms(hard, hard, None)
        assert teacher_logits is not None
        assert self.soft_loss is not None
        teacher = combine_members(teacher_logits, temperature, self.ensemble)
        if not self.uses_labels:
            soft = SOFT_LOSSES[self.soft_loss](logits, teacher, temperature)
            return LossTerms(soft, None, soft)
        return self._both(logits, labels, prepare(logits, teacher, temperature), alpha)

    def _both(self, logits: Tensor, labels: Tensor, inputs: Inputs, alpha: Tensor) -> LossTerms:
        assert self.soft_loss is not None
        hard = graded_hard(inputs.student, labels, self._smoothing(logits.device), inputs.dim)
        soft = GRADED_SOFT_LOSSES[self.soft_loss](inputs)
        weight = cast(alpha, inputs.student.dtype)
        total = self._mix(hard.value, soft.value, weight)
        gradient = self._mix(hard.gradient, soft.gradient, weight.view(-1, 1, 1))
        return LossTerms(differentiable(logits, Graded(total, gradient), inputs.dim), hard.value, soft.value)

    def _mix(self, hard: Tensor, soft: Tensor, alpha: Tensor) -> Tensor:
        """``(1 - alpha) * hard + alpha * soft``, of values or of gradients."""
        mixed = torch.lerp(hard, soft, alpha)
        reaches_zero, reaches_one = self._reaches
        if reaches_zero:
            mixed = torch.where(alpha == 0, hard, mixed)
        return torch.where(alpha == 1, soft, mixed) if reaches_one else mixed

    def _smoothing(self, device: torch.device) -> float | Tensor:
        shares = self.label_smoothing
        return shares[0] if len(set(shares)) == 1 else torch.tensor(shares, device=device)
