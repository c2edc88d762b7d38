"""The objective of distillation: ``total = (1 - alpha) * hard + alpha * soft``, for a whole cohort at once.

Shapes: K networks, M teachers, B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from kdcli.losses import (
    GRADED_SOFT_LOSSES,
    LABELLED_SOFT_LOSSES,
    EnsembleMean,
    combine_members,
    combine_peers,
)
from kdcli.losses.graded import Graded, of_mean
from kdcli.losses.hard import graded_hard
from kdcli.losses.inputs import Inputs, cast, compute_dtype
from kdcli.losses.own import OwnLoss
from kdcli.losses.pair import LESS_ENTROPY, Pair, Weighing, pairs, weigh
from kdcli.losses.softmax import LANES, arranged, class_dim


@dataclass(frozen=True)
class LossTerms:
    """The terms of each network's loss, shape ``(K,)``; None where no network of the cohort has that term.

    Attributes:
        gradient: Of the sum of all totals with respect to the logits, ``(K, B, C)``.
    """

    total: Tensor
    hard: Tensor | None
    soft: Tensor | None
    gradient: Tensor


Lesson: TypeAlias = Callable[[Tensor], LossTerms]
"""What the networks are to learn from one batch: the terms of their logits ``(K, B, C)``."""


class Material(NamedTuple):
    """What there is to learn from several batches.

    Attributes:
        labels: Of the examples of all of them, ``(N,)`` or ``(K, N)``.
        teacher_logits: ``(M, N, C)`` or ``(M, K, N, C)``, or None.
        sizes: How many examples each batch has.
        temperature: At each batch, ``(len(sizes), K)``.
        alpha: The same.
    """

    labels: Tensor
    teacher_logits: Tensor | None
    sizes: Sequence[int]
    temperature: Tensor
    alpha: Tensor

    def one_by_one(self, terms: Callable[..., LossTerms]) -> list[Lesson]:
        """The lessons where nothing is worked out beforehand; ``terms`` computes those of a step, see Objective."""
        sizes = list(self.sizes)
        said = [None] * len(sizes) if self.teacher_logits is None else self.teacher_logits.split(sizes, -2)
        each = zip(self.labels.split(sizes, -1), said, self.temperature, self.alpha, strict=True)
        return [
            partial(terms, labels=labels, teacher_logits=told, temperature=temperature, alpha=alpha)
            for labels, told, temperature, alpha in each
        ]


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

    @property
    def soft_loss(self) -> str | OwnLoss | None:
        """Name of the soft term, or the user's own; None where there is none."""

    def __call__(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, temperature: Tensor, alpha: Tensor
    ) -> LossTerms:
        """Compute the terms of one step; see Objective."""

    def lessons(self, material: Material) -> Sequence[Lesson]:
        """What the networks are to learn from each of several batches."""


@dataclass(frozen=True)
class Objective:
    """Hard and soft term of K networks, each with its own temperature and alpha.

    A term whose weight is 0 is left out or masked, never multiplied by 0: a teacher that says NaN does no harm at
    alpha 0, and at alpha 1 no label is looked at, unless by a soft term that is about labels.

    Args:
        spans: The range of each network's alpha over the whole training.
        soft_loss: Name of the soft term, or the user's own, the same for all networks whose alpha is ever above 0. With
            ``mutual`` each network's teacher is the others, as they are in that step.
        ensemble: How several teachers are combined, ``arithmetic`` or ``geometric``.
        label_smoothing: Of each network's hard term, in [0, 1].
    """

    spans: Sequence[Span]
    soft_loss: str | OwnLoss | None
    ensemble: EnsembleMean = "arithmetic"
    label_smoothing: Sequence[float] = (0.0,)

    @cached_property
    def uses_teacher(self) -> bool:
        """Whether any network ever looks at a teacher, or at the others."""
        return any(span.high > 0 for span in self.spans)

    @cached_property
    def uses_labels(self) -> bool:
        """Whether any network ever looks at a label."""
        labelled = isinstance(self.soft_loss, str) and self.soft_loss in LABELLED_SOFT_LOSSES
        return labelled or any(span.low < 1 for span in self.spans)

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
            teacher_logits: Shape ``(M, B, C)``, or None for training without a teacher, or with each other.
            temperature: Shape ``(K,)``.
            alpha: Weight of the soft term, shape ``(K,)``.
        """
        dim = class_dim(logits)
        student = arranged(cast(logits.detach(), compute_dtype(logits)), dim)
        hard = graded_hard(student, labels, self._smoothing(logits.device), dim) if self.uses_labels else None
        soft = None
        if self.uses_teacher:
            teacher = self._taught(logits, teacher_logits, temperature)
            soft = self._soft(student, teacher, labels, cast(temperature, student.dtype), dim)
        total = self._total(hard, soft, cast(alpha, student.dtype))
        gradient = of_mean(logits, total.gradient, dim)
        return LossTerms(total.value, hard and hard.value, soft and soft.value, gradient)

    def lessons(self, material: Material) -> Sequence[Lesson]:
        """See Minimised."""
        labels, teacher_logits, sizes, temperature, alpha = material
        if teacher_logits is not None and self._can_pair(labels, teacher_logits) and len(set(sizes)) == 1:
            each = {(*map(tuple, row),) for row in zip(temperature.tolist(), alpha.tolist(), strict=True)}
            if len(each) == 1:
                taught = combine_members(teacher_logits, temperature[0], self.ensemble)
                return self._pairs(labels, taught, sizes[0], weigh(*each.pop(), sizes[0]))
        return material.one_by_one(self)

    def _can_pair(self, labels: Tensor, teacher_logits: Tensor) -> bool:
        """Whether both terms can be computed side by side, and that is the faster way."""
        few = labels.is_cpu and labels.dim() == 1 and teacher_logits.shape[-1] < LANES
        known = isinstance(self.soft_loss, str) and self.soft_loss in LESS_ENTROPY
        return few and known and all(0 < span.low <= span.high < 1 for span in self.spans)

    def _pairs(self, labels: Tensor, taught: Tensor, size: int, weighing: Weighing) -> list[Lesson]:
        assert isinstance(self.soft_loss, str)
        smoothing, less_entropy = self._smoothing(labels.device), LESS_ENTROPY[self.soft_loss]
        both = pairs(labels, taught, size, weighing, smoothing, less_entropy=less_entropy)
        return [partial(_paired, pair) for pair in both]

    def _taught(self, logits: Tensor, teacher_logits: Tensor | None, temperature: Tensor) -> Tensor:
        """What the soft term compares with: the teacher, or of each network the others."""
        if self.soft_loss == "mutual":
            return combine_peers(logits, temperature, self.ensemble)
        assert teacher_logits is not None
        return combine_members(teacher_logits, temperature, self.ensemble)

    def _soft(self, student: Tensor, teacher: Tensor, labels: Tensor, temperature: Tensor, dim: int) -> Graded:
        assert self.soft_loss is not None
        teacher = arranged(cast(teacher, student.dtype), dim)
        inputs = Inputs(student, teacher, temperature, dim, labels)
        if isinstance(self.soft_loss, OwnLoss):
            return self.soft_loss.graded(inputs)
        return GRADED_SOFT_LOSSES[self.soft_loss](inputs)

    def _total(self, hard: Graded | None, soft: Graded | None, alpha: Tensor) -> Graded:
        if hard is None or soft is None:
            only = soft if hard is None else hard
            assert only is not None
            return only
        values = self._mix(hard.value, soft.value, alpha)
        return Graded(values, self._mix(hard.gradient, soft.gradient, alpha.view(-1, 1, 1)))

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


def _paired(pair: Pair, logits: Tensor) -> LossTerms:
    total, hard, soft, gradient = pair.terms(arranged(cast(logits.detach(), compute_dtype(logits)), -2))
    return LossTerms(total, hard, soft, cast(gradient.transpose(-1, -2), logits.dtype))
