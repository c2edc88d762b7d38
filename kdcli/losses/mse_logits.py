"""The soft term as a squared distance of logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdcli.losses.inputs import Temperature, prepare, refuse_second_derivative


def mse_logits(student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature = 1.0) -> Tensor:
    r"""Half the squared distance between the centred logits of student and teacher.

    With :math:`\bar z` the mean of :math:`z` over its ``C`` classes, returns

    .. math:: \frac{1}{B} \sum_{b=1}^{B} \frac{1}{2} \| (z_s - \bar z_s)_b - (z_t - \bar z_t)_b \|^2

    Centring each example removes what a softmax does not see. The loss is ``C`` times what
    :func:`kdcli.losses.kd.soft_target_kl` tends to as its temperature grows (section 2.1 of the second reference).

    Args:
        student_logits: Unnormalised scores, shape ``(..., B, C)``. Receives the gradient.
        teacher_logits: Unnormalised scores, shape ``(B, C)`` or one that broadcasts to the student's over the leading
            dimensions. Detached here: no gradient flows to the teacher.
        temperature: Checked and otherwise unused: it is here so that all soft losses are called in one way.

    Returns:
        Tensor of shape ``(...)``, in squared logits: the mean over the batch of each network, computed in float32
        (float64 for float64 logits). Zero when the logits of every example differ by a constant.

    Raises:
        ValueError: If the shapes do not fit, or a number ``temperature`` is not positive and finite.

    Example:
        >>> mse_logits(torch.tensor([[3.0, 1.0]]), torch.zeros(1, 2)).item()
        1.0

    Reference:
        Ba, Caruana. "Do Deep Nets Really Need to be Deep?", equation 1. arXiv:1312.6184.
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 2.1. arXiv:1503.02531.
    """
    student, teacher, _ = prepare(student_logits, teacher_logits, temperature)
    result: Tensor = _HalfSquaredDistance.apply(student, teacher)  # type: ignore[no-untyped-call]
    return result


class _HalfSquaredDistance(torch.autograd.Function):
    """The loss with its gradient, which is the centred difference over ``B``."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        difference = student - teacher
        centred = difference.sub_(difference.mean(-1, keepdim=True))
        ctx.save_for_backward(centred)
        ctx.batch_size = student.shape[-2]
        return centred.square().sum((-2, -1)).div_(2 * ctx.batch_size)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivative()
        (centred,) = ctx.saved_tensors
        return centred * (grad_output / ctx.batch_size)[..., None, None], None
