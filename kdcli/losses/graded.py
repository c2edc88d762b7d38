"""Losses with their gradients in closed form: one node for autograd instead of one for each operation.

Between the matrix products of a small network, what a step costs is the number of operations and, more than that, of
different ones: none of them is in the processor's cache when it is called once a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdcli.losses.inputs import Inputs, cast, check_teacher, check_temperature, prepare
from kdcli.losses.softmax import Temperature


class Graded(NamedTuple):
    """A loss of each network, and its gradient.

    Attributes:
        value: The mean over the batch, shape ``(...)``.
        gradient: Of the sum over the batch with respect to the logits, arranged as they were: ``(..., B, C)`` or
            ``(..., C, B)``.
    """

    value: Tensor
    gradient: Tensor


def differentiable(student_logits: Tensor, loss: Graded, dim: int) -> Tensor:
    """The value of a loss, through which autograd reaches the logits.

    Args:
        student_logits: Shape ``(..., B, C)``.
        loss: Computed from these logits.
        dim: Where its gradient has the classes: see :func:`kdcli.losses.softmax.class_dim`.
    """
    gradient = of_mean(student_logits, loss.gradient, dim)
    result: Tensor = _ClosedForm.apply(student_logits, loss.value, gradient)  # type: ignore[no-untyped-call]
    return result


def of_mean(student_logits: Tensor, gradient: Tensor, dim: int) -> Tensor:
    """The gradient of a mean over the batch from that of the sum, with the shape and precision of the logits."""
    mean = gradient / student_logits.shape[-2]
    return cast(mean if dim == -1 else mean.transpose(-1, -2), student_logits.dtype)


def soft_loss(
    graded: Callable[[Inputs], Graded], student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature
) -> Tensor:
    """A soft loss on its own.

    Raises:
        ValueError: If the shapes do not fit, or a number ``temperature`` is not positive and finite.
    """
    check_teacher(student_logits, teacher_logits)
    check_temperature(temperature, student_logits.shape[:-2])
    inputs = prepare(student_logits, teacher_logits, temperature)
    return differentiable(student_logits, graded(inputs), inputs.dim)


class _ClosedForm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student_logits: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        _refuse_second_derivative()
        (gradient,) = ctx.saved_tensors
        return cast(gradient * grad_output[..., None, None], gradient.dtype), None, None


def _refuse_second_derivative() -> None:
    """Autograd would take the gradient for a constant.

    ``torch.autograd.function.once_differentiable`` does the same, but costs as much as the whole backward.

    Raises:
        RuntimeError: If autograd records the backward pass.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("the losses can be differentiated once only: backward with create_graph=False")
