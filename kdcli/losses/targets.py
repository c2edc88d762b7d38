"""Cross-entropy of a student with given target distributions, with its gradient in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdcli.losses.inputs import Temperature, refuse_second_derivative
from kdcli.losses.softmax import tempered_log_softmax


def target_cross_entropy(student_logits: Tensor, target: Tensor, temperature: Temperature) -> Tensor:
    r"""``T^2`` times the batch mean of the cross-entropy between ``target`` and ``softmax(student / T)``, in nats.

    Args:
        student_logits: Shape ``(..., B, C)``, float32 or float64. Receives the gradient
            :math:`\frac{T}{B} (\mathrm{softmax}(z_s / T) - p)`.
        target: Probabilities :math:`p`, shape ``(..., B, C)`` or ``(B, C)``; no gradient.
        temperature: A number, or a tensor of the leading shape of ``student_logits``.

    Returns:
        Tensor of the leading shape of ``student_logits``.
    """
    result: Tensor = _TargetCrossEntropy.apply(student_logits, target, None, temperature)  # type: ignore[no-untyped-call]
    return result


def target_kl(student_logits: Tensor, log_target: Tensor, temperature: Temperature) -> Tensor:
    """As :func:`target_cross_entropy` for ``exp(log_target)``, less the entropy of the target."""
    result: Tensor = _TargetCrossEntropy.apply(  # type: ignore[no-untyped-call]
        student_logits, log_target.exp(), log_target, temperature
    )
    return result


class _TargetCrossEntropy(torch.autograd.Function):
    """One node with one saved tensor instead of the six nodes that autograd would record for the same mathematics."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, target: Tensor, log_target: Tensor | None, temperature: Temperature
    ) -> Tensor:
        log_student = tempered_log_softmax(student, temperature)
        gradient = log_student.exp().sub_(target)
        batch_size = student.shape[-2]
        ctx.save_for_backward(gradient)
        ctx.scale = temperature / batch_size
        if log_target is None:
            return log_student.mul_(target).sum((-2, -1)).mul_(-temperature * ctx.scale)
        # p (log p - log q) - p + q: the last two cancel in the sum over classes, and the rounding of the
        # normalisers with them, which at high temperature is as large as the divergence itself.
        divergence = torch.addcmul(gradient, target, log_target - log_student)
        return divergence.sum((-2, -1)).mul_(temperature * ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        refuse_second_derivative()
        (gradient,) = ctx.saved_tensors
        return gradient * (grad_output * ctx.scale)[..., None, None], None, None, None
