"""Specialists as a cohort: what each of them sees, and what it minimises.

Shapes: K networks, B examples of each, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.data.order import generator
from kdcli.losses.inputs import cast, compute_dtype
from kdcli.objective import Lesson, LossTerms, Material, Span
from kdcli.specialists import (
    Scope,
    dustbin_correction,
    dustbin_cross_entropy,
    full_softmax_targets,
    half_and_half,
    target_divergence,
)

_DRAW = 3


@dataclass(frozen=True)
class Draws:
    """The examples of each epoch: half of them of a specialist's own classes, or any, where the scope is all classes.

    Args:
        pool: The transfer set, as indices into the training set.
        labels: Their classes.
        scopes: Of the networks.
        examples: How many make an epoch, an even number.
        seeds: Of the networks; they decide what is drawn, with ``data_seed`` and the epoch.
        data_seed: See there.
    """

    pool: Tensor
    labels: Tensor
    scopes: Sequence[Scope]
    examples: int
    seeds: Sequence[int]
    data_seed: int

    def __call__(self, epoch: int) -> list[Tensor]:
        """The indices of every network, on the device of the pool."""
        pairs = zip(self.scopes, self.seeds, strict=True)
        return [self._drawn(scope, generator(_DRAW, self.data_seed, seed, epoch)) for scope, seed in pairs]

    def _drawn(self, scope: Scope, draw: torch.Generator) -> Tensor:
        if scope.special is None:
            chosen = torch.randperm(len(self.pool), generator=draw)[: self.examples]
            return self.pool[chosen.to(self.pool.device)]
        own = self._own(scope.special)
        return half_and_half(self.pool[own], self.pool[~own], self.examples // 2, draw)

    def correction(self, scope: Scope) -> float:
        """By how much this way of drawing puts the log-odds of the special classes too high."""
        if scope.special is None:
            return 0.0
        own = int(self._own(scope.special).sum())
        return dustbin_correction(own, len(self.pool) - own)

    def _own(self, special: Sequence[int]) -> Tensor:
        return torch.isin(self.labels, self.labels.new_tensor(special))


@dataclass(frozen=True, eq=False)
class SpecialistObjective:
    """What specialists minimise; see kdcli.objective.Minimised.

    The correction for drawing half and half stands here, not behind the network: ``shift`` lowers the logits of the
    dustbin's classes while they are trained. What the network itself says is then right for the data as they are, from
    the first step on, when it says what the generalist says. (A constant that is taken off before and added afterwards
    is the paper's "incrementing the logit of the dustbin class", begun from a bias that much lower.)

    Args:
        scopes: Of the networks.
        special: Which classes each of them knows, bool ``(K, C)``.
        shift: What is taken off the logits, ``(K, C)``.
        spans: Of alpha.
        full_softmax: Whether the networks are to tell all classes apart, the others by the generalist's soft targets.
    """

    scopes: Sequence[Scope]
    special: Tensor
    shift: Tensor
    spans: Sequence[Span]
    full_softmax: bool

    @property
    def soft_loss(self) -> str | None:
        """That of ``target_divergence``; each example counts as much, whichever others are in its batch."""
        return "kd" if self.full_softmax else None

    @classmethod
    def of(
        cls, scopes: Sequence[Scope], corrections: Sequence[float], spans: Sequence[Span], *, full_softmax: bool,
        device: torch.device,
    ) -> SpecialistObjective:  # fmt: skip
        """The objective of networks with these scopes, on a device."""
        special = torch.ones(len(scopes), scopes[0].num_classes, dtype=torch.bool)
        for row, scope in zip(special, scopes, strict=True):
            if scope.special is not None:
                row.fill_(False)[list(scope.special)] = True
        shift = (~special) * torch.tensor(corrections)[:, None]
        return cls(scopes, special.to(device), shift.to(device), spans, full_softmax)

    def __call__(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, temperature: Tensor, alpha: Tensor
    ) -> LossTerms:
        """Compute the terms of one step.

        Args:
            logits: Shape ``(K, B, C)``.
            labels: Shape ``(K, B)``.
            teacher_logits: The generalist's, shape ``(1, K, B, C)``, where the full softmax needs them.
            temperature: Shape ``(K,)``.
            alpha: Shape ``(K,)``.
        """
        leaf = logits.detach().requires_grad_()
        wide = cast(leaf, compute_dtype(leaf))
        known = torch.ones_like(self.special) if self.full_softmax else self.special
        total = hard = dustbin_cross_entropy(wide - self.shift[:, None], labels, known)
        soft = None
        if teacher_logits is not None:
            soft = target_divergence(wide, self._targets(teacher_logits[0], labels, temperature), temperature)
            total = torch.where(alpha == 0, hard, torch.where(alpha == 1, soft, torch.lerp(hard, soft, alpha)))
        (gradient,) = torch.autograd.grad(total.sum(), leaf)
        return LossTerms(total.detach(), hard.detach(), None if soft is None else soft.detach(), gradient)

    def lessons(self, material: Material) -> Sequence[Lesson]:
        """See kdcli.objective.Minimised."""
        return material.one_by_one(self)

    def _targets(self, generalist: Tensor, labels: Tensor, temperature: Tensor) -> Tensor:
        said = (generalist / temperature[:, None, None]).softmax(-1)
        return torch.stack(
            [
                one if scope.special is None else full_softmax_targets(one, own, scope.special)
                for one, own, scope in zip(said, labels, self.scopes, strict=True)
            ]
        )
